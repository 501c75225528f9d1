// Package xray shows what a running process waits for, from what /proc says. Its
// command is tools/xray.
package xray

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"epoll-step-by-step/internal/terminal"
)

// Main runs the command with these arguments and returns its exit code.
func Main(args []string, stdout, stderr *os.File) int {
	flags := flag.NewFlagSet("xray", flag.ContinueOnError)
	flags.SetOutput(stderr)
	at := flags.String("addr", "127.0.0.1:6379", "the process that listens on `HOST:PORT`")
	pid := flags.Int("pid", 0, "the process with this `number`")
	once := flags.Bool("once", false, "print one report and stop; implied if standard output is no terminal")
	asJSON := flags.Bool("json", false, "print one report as JSON and stop")
	interval := flags.Duration("interval", 500*time.Millisecond, "how often to look, and for how long to measure CPU time")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	fail := func(code int, err error) int {
		fmt.Fprintln(stderr, "xray:", err)
		return code
	}
	switch {
	case flags.NArg() > 0:
		return fail(2, fmt.Errorf("takes no argument, got %q", flags.Arg(0)))
	case given["addr"] && given["pid"]:
		return fail(2, errors.New("give -addr or -pid, not both"))
	case given["pid"] && *pid <= 0:
		return fail(2, fmt.Errorf("-pid %d: a process has a positive number", *pid))
	case *interval < 10*time.Millisecond:
		return fail(2, fmt.Errorf("-interval %v: at least 10ms", *interval))
	}
	var note string
	if !given["pid"] {
		addrs, err := addresses(*at)
		if err != nil {
			return fail(2, err)
		}
		if *pid, note, err = find(addrs); err != nil {
			return fail(1, err)
		}
	}
	p := &patient{pid: *pid, interval: *interval, note: note}
	if err := p.first(); err != nil {
		return fail(1, err)
	}
	var err error
	if *once || *asJSON || !terminal.Is(stdout) {
		err = p.report(stdout, *asJSON)
	} else {
		err = p.live(stdout)
	}
	if errors.Is(err, errEnded) {
		fmt.Fprintln(stderr, "xray:", err)
		return 0
	}
	if err != nil {
		return fail(1, err)
	}
	return 0
}

// A patient is the process under observation.
type patient struct {
	pid      int
	interval time.Duration
	note     string // who else has the listener

	last Report
	when time.Time
	took time.Duration // for the last look
}

// first is the look that the next is compared with.
func (p *patient) first() error {
	r, err := p.look()
	if errors.Is(err, errEnded) {
		return fmt.Errorf("there is no process %d", p.pid)
	}
	p.last = r
	return err
}

// again looks once more.
func (p *patient) again() (Report, error) {
	before, when := p.last, p.when
	r, err := p.look()
	// The first look was permitted. A process that is being killed has lost its
	// memory, and until it has ended its files in /proc are root's.
	for deadline := time.Now().Add(time.Second); errors.Is(err, fs.ErrPermission) && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
		r, err = p.look()
	}
	if err == nil && r.Process.Start != before.Process.Start {
		err = errEnded // and the number is another process's now
	}
	if errors.Is(err, errEnded) {
		return r, fmt.Errorf("process %d (%s) %w", p.pid, before.Process.Name, err)
	}
	if err != nil {
		return r, err
	}
	p.last = r
	shown := r
	shown.since(before, p.when.Sub(when).Seconds())
	return shown, nil
}

func (p *patient) look() (Report, error) {
	p.when = time.Now()
	r, err := look(p.pid)
	p.took = time.Since(p.when)
	if errors.Is(err, fs.ErrPermission) {
		err = denied(p.pid, err)
	}
	if p.note != "" {
		r.Notes = append(r.Notes, p.note)
	}
	return r, err
}

// denied explains why there is nothing to see.
func denied(pid int, err error) error {
	return fmt.Errorf("process %d is another user's, or protected: %w\n"+
		`ptrace(2), "Ptrace access mode checking", says who may look; root may (sudo)`, pid, err)
}

// report prints one report.
func (p *patient) report(w *os.File, asJSON bool) error {
	time.Sleep(p.interval)
	r, err := p.again()
	if err != nil {
		return err
	}
	if asJSON {
		return write(w, r)
	}
	width, _ := terminal.Size(w)
	_, err = io.WriteString(w, text(r, width, 0, terminal.Colour(w)))
	return err
}

func write(w io.Writer, r Report) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}
