// Package xray shows what a running process waits for. Everything it shows comes from
// /proc. Its command is tools/xray.
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
		addrs, err := parseAddresses(*at)
		if err != nil {
			return fail(2, err)
		}
		if *pid, note, err = findListener(addrs); err != nil {
			return fail(1, err)
		}
	}
	o := &observer{pid: *pid, interval: *interval, note: note}
	if err := o.first(); err != nil {
		return fail(1, err)
	}
	var err error
	if *once || *asJSON || !terminal.Is(stdout) {
		err = o.report(stdout, *asJSON)
	} else {
		err = o.live(stdout)
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

// An observer inspects one process repeatedly.
type observer struct {
	pid      int
	interval time.Duration
	note     string // names other processes that have the listener

	previous Report
	lookedAt time.Time     // when the last look began
	lookTook time.Duration // how long it took
}

// first takes the look that the next one is compared with.
func (o *observer) first() error {
	r, err := o.look()
	if errors.Is(err, errEnded) {
		return fmt.Errorf("there is no process %d", o.pid)
	}
	o.previous = r
	return err
}

// permissionWait is how long next waits for the end of a process that it may no longer
// inspect.
var permissionWait = time.Second

// next looks at the process and compares the result with the previous look.
func (o *observer) next() (Report, error) {
	before, beforeAt := o.previous, o.lookedAt
	r, err := o.look()
	// The first look was permitted. A process that is being killed has already lost its
	// memory, and until it has ended root owns its files in /proc.
	for deadline := time.Now().Add(permissionWait); errors.Is(err, fs.ErrPermission) && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
		r, err = o.look()
	}
	if err == nil && r.Process.Start != before.Process.Start {
		err = errEnded // another process has its number now
	}
	if errors.Is(err, errEnded) {
		return r, fmt.Errorf("process %d (%s) %w", o.pid, before.Process.Name, err)
	}
	if err != nil {
		return r, err
	}
	o.previous = r
	shown := r
	shown.compare(before, o.lookedAt.Sub(beforeAt).Seconds())
	return shown, nil
}

func (o *observer) look() (Report, error) {
	o.lookedAt = time.Now()
	r, err := inspect(o.pid)
	o.lookTook = time.Since(o.lookedAt)
	if errors.Is(err, fs.ErrPermission) {
		err = denied(o.pid, err)
	}
	if o.note != "" {
		r.Notes = append(r.Notes, o.note)
	}
	return r, err
}

// denied explains an error of permission.
func denied(pid int, err error) error {
	return fmt.Errorf("process %d is another user's, or protected: %w\n"+
		`ptrace(2), "Ptrace access mode checking", says who may look; root may (sudo)`, pid, err)
}

// report prints one report, for people or as JSON.
func (o *observer) report(w *os.File, asJSON bool) error {
	time.Sleep(o.interval)
	r, err := o.next()
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(w, r)
	}
	width, _ := terminal.Size(w)
	_, err = io.WriteString(w, render(r, width, 0, terminal.Colour(w)))
	return err
}

func writeJSON(w io.Writer, r Report) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}
