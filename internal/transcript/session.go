package transcript

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// The longest waits: for a line or a state, for a command to end, and, where the
// commands never sleep, for output that should not come. Each wait ends as soon
// as its state is reached, so generous limits cost nothing.
var limits = struct{ print, end, nothing, last time.Duration }{
	180 * time.Second, 300 * time.Second, 500 * time.Millisecond, 200 * time.Millisecond,
}

// lookInterval separates two looks at processes: those that used no processor
// time in between are asleep.
const lookInterval = 20 * time.Millisecond

const (
	shownPort  = "6379" // in scripts and in what the reader sees
	maxUnshown = 8      // lines of each terminal in an error
)

// Run runs the script in a directory and with an environment, and returns what
// the reader sees. When it returns, nothing that it started is running. An error
// in a statement is of type [Error].
func (s Script) Run(ctx context.Context, dir string, env []string) (string, error) {
	port, release, err := reservePort()
	if err != nil {
		return "", err
	}
	defer release()
	r := &session{ctx: ctx, dir: dir, env: env, port: port, terminals: make(map[string]*terminal)}
	r.portWord = regexp.MustCompile(`\b` + port + `\b`)
	defer r.stop()
	if err := r.run(s.statements); err != nil {
		return "", err
	}
	return r.out.String(), nil
}

// A session is one run of a script.
type session struct {
	ctx       context.Context
	dir       string
	env       []string
	port      string         // what the commands use instead of shownPort
	portWord  *regexp.Regexp // finds port in the output
	terminals map[string]*terminal
	out       strings.Builder

	// The script holds mu except while it waits. Only then is output taken from
	// the terminals.
	mu sync.Mutex
}

func (s *session) run(statements []statement) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range statements {
		if err := s.do(st); err != nil {
			s.collectRest()
			return Error{st.line, fmt.Errorf("%s%s %s: %w\n%s", st.terminal, st.verb, st.text, err, s.unshown())}
		}
	}
	if err := s.settle(limits.last, slices.Collect(maps.Values(s.terminals))...); err != nil {
		return err
	}
	if text := s.unshown(); text != "" {
		return fmt.Errorf("the reader also sees this, for which the script does not wait\n%s", text)
	}
	return nil
}

func (s *session) do(st statement) error {
	t := s.terminals[st.terminal]
	if t == nil && !strings.Contains("$?", st.verb) {
		return errors.New("no command was started there")
	}
	switch st.verb {
	case "?":
		return s.until(st.text)
	case "$":
		return s.command(st.terminal, st.text)
	case ">":
		s.show(st.terminal, st.text+" ⏎")
		_, err := io.WriteString(t.stdin, st.text+"\n")
		return err
	case ":":
		n := 0
		err := s.await(t, limits.print, func() bool {
			for n < len(t.lines)-1 {
				n++
				if strings.Contains(s.line(t.lines[n-1]), st.text) {
					return true
				}
			}
			return false
		})
		if err == nil {
			s.showLines(t, n)
		}
		return err
	case "~":
		err := s.await(t, limits.print, func() bool {
			waits := t.unshown() != "" && strings.Contains(s.line(t.partial()), st.text)
			return waits && t.asleep()
		})
		if err == nil {
			s.showLines(t, len(t.lines)-1)
			t.cursor = t.partial()
			s.show(t.number, strings.TrimRight(s.line(t.cursor), " ")+" █")
		}
		return err
	case " asleep":
		return s.await(t, limits.print, t.asleep)
	case " nothing":
		if err := s.settle(limits.nothing, t); err != nil {
			return err
		}
		if t.unshown() != "" {
			return errors.New("it printed something")
		}
		s.show(st.terminal, "(nothing)")
	case "^C":
		s.show(st.terminal, "^C")
		return t.signal(unix.SIGINT)
	case "^D":
		s.show(st.terminal, "^D")
		return t.stdin.Close()
	case ".":
		return s.end(t)
	}
	return nil
}

// command starts a command after the last one in this terminal has ended.
func (s *session) command(terminal, command string) error {
	if t := s.terminals[terminal]; t != nil {
		if err := s.end(t); err != nil {
			return err
		}
		t.stop()
		delete(s.terminals, terminal)
	}
	here, err := s.here(command)
	if err != nil {
		return err
	}
	t, err := s.start(terminal, here)
	if err != nil {
		return err
	}
	s.terminals[terminal] = t
	s.show(terminal, "$ "+command)
	if terminal == "" {
		t.stdin.Close()
		return s.end(t)
	}
	return nil
}

// until repeats a command, which is not shown, until it succeeds.
func (s *session) until(command string) error {
	here, err := s.here(command)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, limits.print)
	defer cancel()
	for {
		cmd := exec.CommandContext(ctx, "bash", "-c", here)
		cmd.Dir, cmd.Env = s.dir, s.env
		s.mu.Unlock()
		begin := time.Now()
		err := cmd.Run()
		took := time.Since(begin)
		s.mu.Lock()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("not within %v", limits.print)
		}
		// Pauses in proportion leave the processor to the commands that matter.
		if err := s.pause(max(20*time.Millisecond, 3*took)); err != nil {
			return err
		}
	}
}

var (
	portWord  = regexp.MustCompile(`\b` + shownPort + `\b`)
	stepWord  = regexp.MustCompile(`\bmake ((step|trace|count)[1-4]|xray|beyond)\b`)
	pidOfStep = regexp.MustCompile(`\$\(pidof step[1-4][\w-]*\)`)
)

// here returns the command for this run: with its port, because Redis may listen
// on 6379, and with the process that listens there for $(pidof step…), because
// other steps of that name may run on this machine.
func (s *session) here(command string) (string, error) {
	if !strings.Contains(command, "ADDR=") {
		command = stepWord.ReplaceAllString(command, "$0 ADDR=127.0.0.1:"+shownPort)
	}
	command = portWord.ReplaceAllString(command, s.port)
	if !pidOfStep.MatchString(command) {
		return command, nil
	}
	pid, err := procfs.Listening(netip.MustParseAddrPort("127.0.0.1:" + s.port))
	if pid == 0 && err == nil {
		err = errors.New("no step listens")
	}
	return pidOfStep.ReplaceAllString(command, strconv.Itoa(pid)), err
}

// end waits for the command's end and shows the rest of its output.
func (s *session) end(t *terminal) error {
	err := s.await(t, limits.end, t.hasEnded)
	if err != nil {
		return err
	}
	n := len(t.lines)
	if t.partial() == "" || t.partial() == t.cursor {
		n-- // an empty rest, or one that is shown already
	}
	s.showLines(t, n)
	t.lines, t.cursor = []string{""}, ""
	return nil
}

// await waits until the condition is true, which the terminal's command has to
// bring about.
func (s *session) await(t *terminal, limit time.Duration, condition func() bool) error {
	for deadline := time.Now().Add(limit); ; {
		ended := t.hasEnded()
		switch {
		case condition():
			return nil
		case ended:
			return errors.New("not printed, and the command has ended")
		case time.Now().After(deadline):
			return fmt.Errorf("not within %v", limit)
		}
		if err := s.pause(5 * time.Millisecond); err != nil {
			return err
		}
	}
}

// collectRest waits, not for long, until all output is collected: an error shows
// it.
func (s *session) collectRest() {
	unread := func(t *terminal) bool {
		n, _ := t.unread() // fails after the command's end, when nothing is unread
		return n > 0
	}
	terminals := slices.Collect(maps.Values(s.terminals))
	for deadline := time.Now().Add(time.Second); slices.ContainsFunc(terminals, unread) && time.Now().Before(deadline); {
		if s.pause(time.Millisecond) != nil {
			return
		}
	}
}

// settle waits until all that runs in the terminals is asleep, or for the limit:
// a busy loop never sleeps.
func (s *session) settle(limit time.Duration, terminals ...*terminal) error {
	awake := func(t *terminal) bool { return !t.hasEnded() && !t.asleep() }
	for deadline := time.Now().Add(limit); slices.ContainsFunc(terminals, awake) && time.Now().Before(deadline); {
		if err := s.pause(lookInterval / 4); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) pause(d time.Duration) error {
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-time.After(d):
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// line returns a line as a reader sees it.
func (s *session) line(text string) string {
	text = strings.TrimSuffix(text, "\r")
	text = text[strings.LastIndexByte(text, '\r')+1:] // \r overwrites what was there
	return s.portWord.ReplaceAllString(text, shownPort)
}

func (s *session) show(terminal, line string) {
	if terminal != "" {
		line = " " + terminal + " │ " + line
	}
	s.out.WriteString(strings.TrimRight(line, " ") + "\n")
}

// showLines shows the terminal's next n lines.
func (s *session) showLines(t *terminal, n int) {
	for _, line := range t.lines[:n] {
		s.show(t.number, s.line(line))
		t.cursor = ""
	}
	t.lines = t.lines[n:]
}

// unshown returns the output that the script has not shown.
func (s *session) unshown() string {
	var out strings.Builder
	for _, number := range slices.Sorted(maps.Keys(s.terminals)) {
		t := s.terminals[number]
		if t.unshown() == "" {
			continue
		}
		for i, line := range t.lines {
			if i == maxUnshown {
				fmt.Fprintf(&out, " %s │ …\n", number)
				break
			}
			fmt.Fprintf(&out, " %s │ %s\n", number, s.line(line))
		}
	}
	return out.String()
}

func (s *session) stop() {
	for _, t := range s.terminals {
		t.stop()
	}
}
