package doctest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// How long to wait, at most, for something to be printed and for a command to
// end; and how long a silence is one.
var limits = struct{ print, end, partial, nothing, last time.Duration }{
	60 * time.Second, 300 * time.Second, 200 * time.Millisecond, 500 * time.Millisecond, 200 * time.Millisecond,
}

const (
	numbersVary = "numbers vary" // the option of a transcript
	port        = "6379"         // what the documents say
)

// A statement is a line of a script. N is a terminal, one digit:
//
//	N$ command   start it
//	N> text      type it, and Enter
//	N: text      wait for a line with this text; show all up to it
//	N~ text      wait for a line with this text that has no end yet
//	N nothing    it prints nothing for a while
//	N^C  N^D     type that: SIGINT to all that runs there, the end of the input
//	N.           wait for the command's end; show the rest
//	N? command   wait until this succeeds; not shown
//	# text       a comment
//
// Without an N there is one terminal, and "$ command" runs to its end.
type statement struct {
	line                 int // in the directive
	terminal, verb, text string
}

var statementForm = regexp.MustCompile(`^(\d?)(\$|\?|>|:|~|\^C|\^D|\.| nothing)(?: (.*))?$`)

// transcript runs a script, in a copy of the repository, and shows what a
// reader would see who does the same.
func transcript(ctx context.Context, rest string) (language, text string, err error) {
	options, script, _ := strings.Cut(rest, "\n")
	if options = strings.TrimSpace(options); options != "" && options != numbersVary {
		return "", "", fmt.Errorf("no such option: %s", options)
	}
	statements, err := parseScript(script)
	if err != nil {
		return "", "", err
	}
	if err := toolsFor(statements); err != nil {
		return "", "", err
	}
	s := &session{ctx: ctx, terminals: make(map[string]*terminal), port: freePort()}
	defer givenPorts.Delete(s.port) // nobody listens there any more
	s.portWord = regexp.MustCompile(`\b` + s.port + `\b`)
	if s.dir, err = copyRepository(ctx, statements); err != nil {
		return "", "", err
	}
	defer os.RemoveAll(s.dir)
	defer s.stop()
	if err := s.run(statements); err != nil {
		return "", "", err
	}
	if statements[0].terminal == "" {
		return "console", s.out.String(), nil
	}
	return "text", s.out.String(), nil
}

func parseScript(script string) ([]statement, error) {
	var all []statement
	line := 0
	for text := range strings.SplitSeq(script, "\n") {
		line++
		text = strings.TrimSpace(text)
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		m := statementForm.FindStringSubmatch(text)
		if m == nil {
			return nil, errorAt{line, fmt.Errorf("%q is no statement", text)}
		}
		st := statement{line, m[1], m[2], m[3]}
		switch {
		case st.verb != ">" && strings.Contains("$?:~", st.verb) != (st.text != ""):
			return nil, errorAt{line, fmt.Errorf("%q is no statement: a text too many or too few", text)}
		case st.terminal == "" && !strings.Contains("$?", st.verb):
			return nil, errorAt{line, fmt.Errorf("%q is no statement: in which terminal?", text)}
		case len(all) > 0 && (st.terminal == "") != (all[0].terminal == ""):
			return nil, errorAt{line, errors.New("a terminal has a number in all lines or in none")}
		}
		all = append(all, st)
	}
	if len(all) == 0 {
		return nil, errors.New("there is no script")
	}
	return all, nil
}

// words returns those of the script's commands.
func words(statements []statement) []string {
	var all []string
	for _, st := range statements {
		if strings.Contains("$?", st.verb) {
			all = append(all, strings.FieldsFunc(st.text, func(r rune) bool {
				return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-+_", r)
			})...)
		}
	}
	return all
}

var stracing = regexp.MustCompile(`^(trace|count)[1-4]$`) // targets of make

// toolsFor fails if a command needs a program that may not be installed, and is not.
func toolsFor(statements []statement) error {
	for _, word := range words(statements) {
		if stracing.MatchString(word) {
			word = "strace"
		}
		switch word {
		case "nc", "strace", "ss", "ps", "redis-cli", "redis-benchmark", "g++", "haproxy":
			if _, err := exec.LookPath(word); err != nil {
				return missing(word)
			}
		}
	}
	return nil
}

var built = regexp.MustCompile(`\bbin/(step[1-4][\w-]*)`)

// copyRepository returns a folder with all that is here but what git keeps and
// what was built here, so that a script may change it. If a command uses git, there
// is one commit; if it uses a step in bin, that is built: the reader did it in
// an earlier chapter.
func copyRepository(ctx context.Context, statements []statement) (string, error) {
	dir, err := os.MkdirTemp("", "doctest")
	if err != nil {
		return "", err
	}
	script := `cp -a -- "$@" .`
	if programs != "" && slices.Contains(words(statements), "make") {
		script += " && cp -a " + programs + "/. bin"
	}
	if slices.Contains(words(statements), "git") {
		script += ` && git init -q && git add -A && git commit -qm "as it was"`
	}
	for _, st := range statements {
		for _, m := range built.FindAllStringSubmatch(st.text, -1) {
			script += " && go build -o bin/ ./" + m[1]
		}
	}
	here, err := filepath.Abs(".")
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", script, "sh")
	entries, _ := os.ReadDir(".")
	for _, e := range entries {
		if e.Name() != ".git" && e.Name() != "bin" {
			cmd.Args = append(cmd.Args, filepath.Join(here, e.Name()))
		}
	}
	cmd.Dir, cmd.Env = dir, environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return "", fmt.Errorf("copying the repository: %w: %s", err, out)
	}
	return dir, nil
}

// environment is ours, but for what would show in a transcript.
func environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == "MAKEFLAGS" || name == "MAKELEVEL" || strings.HasPrefix(name, "GIT_")
	})
	return slices.Concat(env, plainGit, []string{
		"NO_COLOR=1", "TERM=dumb", "LC_ALL=C.UTF-8", "COLUMNS=72",
		"GOFLAGS=-trimpath -buildvcs=false", // so that what was built elsewhere is good here
		"GIT_AUTHOR_NAME=Reader", "GIT_AUTHOR_EMAIL=reader@localhost",
		"GIT_COMMITTER_NAME=Reader", "GIT_COMMITTER_EMAIL=reader@localhost",
	})
}

// freePort returns one that nobody listens on, since Redis may be on 6379. It
// has four digits, too: columns stay in place, and write(2) returns the same.
func freePort() string {
	for {
		port := strconv.Itoa(9000 + rand.IntN(1000))
		if _, given := givenPorts.LoadOrStore(port, true); given {
			continue // to another script, which may not listen yet
		}
		l, err := net.Listen("tcp4", "127.0.0.1:"+port)
		if err == nil {
			l.Close()
			return port
		}
		givenPorts.Delete(port) // somebody else's
	}
}

var givenPorts sync.Map

// A session runs a script.
type session struct {
	ctx       context.Context
	dir, port string
	portWord  *regexp.Regexp // finds our port
	terminals map[string]*terminal
	out       strings.Builder

	// The script has it all the time, but for when it waits: then the terminals
	// may print.
	mu sync.Mutex
}

func (s *session) run(statements []statement) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range statements {
		if err := s.do(st); err != nil {
			return errorAt{st.line, fmt.Errorf("%s%s %s: %w\n%s", st.terminal, st.verb, st.text, err, s.unshown())}
		}
	}
	if err := s.pause(limits.last); err != nil {
		return err
	}
	if text := s.unshown(); text != "" {
		return fmt.Errorf("the reader would see this, too: expect it\n%s", text)
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
			return t.unshown() != "" && strings.Contains(s.line(t.partial()), st.text) &&
				time.Since(t.spoke) >= limits.partial
		})
		if err == nil {
			s.showLines(t, len(t.lines)-1)
			t.cursor = t.partial()
			s.show(t.number, strings.TrimRight(s.line(t.cursor), " ")+" █")
		}
		return err
	case " nothing":
		if err := s.pause(limits.nothing); err != nil {
			return err
		}
		if t.unshown() != "" {
			return errors.New("it has printed something")
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

// command starts a command, when the last one in this terminal has ended.
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

// until runs a command again and again, behind the scenes, until it succeeds.
func (s *session) until(command string) error {
	here, err := s.here(command)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, limits.print)
	defer cancel()
	for {
		cmd := exec.CommandContext(ctx, "bash", "-c", here)
		cmd.Dir, cmd.Env = s.dir, environment()
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
		// To ask is work, too, and shall not keep a processor from the others.
		if err := s.pause(max(20*time.Millisecond, 3*took)); err != nil {
			return err
		}
	}
}

var (
	portWord  = regexp.MustCompile(`\b` + port + `\b`)
	stepWord  = regexp.MustCompile(`\bmake ((step|trace|count)[1-4]|xray|beyond)\b`)
	pidOfStep = regexp.MustCompile(`\$\(pidof step[1-4][\w-]*\)`)
)

// here returns a command for our port: there may be a Redis on the other one,
// and steps of the same name may run elsewhere on this machine.
func (s *session) here(command string) (string, error) {
	if !strings.Contains(command, "ADDR=") {
		command = stepWord.ReplaceAllString(command, "$0 ADDR=127.0.0.1:"+port)
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

// end waits until the command has ended and shows what it has printed last.
func (s *session) end(t *terminal) error {
	err := s.await(t, limits.end, t.hasEnded)
	if err != nil {
		return err
	}
	n := len(t.lines)
	if t.partial() == "" || t.partial() == t.cursor {
		n-- // no line, or shown already
	}
	s.showLines(t, n)
	t.lines, t.cursor = []string{""}, ""
	return nil
}

// await waits until what is true. The terminal is the one that is to make it so.
func (s *session) await(t *terminal, limit time.Duration, what func() bool) error {
	for deadline := time.Now().Add(limit); ; {
		ended := t.hasEnded()
		switch {
		case what():
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

// line returns a line as a reader would see it.
func (s *session) line(text string) string {
	text = strings.TrimSuffix(text, "\r")
	text = text[strings.LastIndexByte(text, '\r')+1:] // which overwrites
	return s.portWord.ReplaceAllString(text, port)
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

// unshown says what the terminals have printed that the script has not shown.
func (s *session) unshown() string {
	var out strings.Builder
	for _, number := range slices.Sorted(maps.Keys(s.terminals)) {
		t := s.terminals[number]
		if t.unshown() == "" {
			continue
		}
		lines := make([]string, len(t.lines))
		for i, line := range t.lines {
			lines[i] = s.line(line)
		}
		out.WriteString(firstLines(" "+number+" │ ", lines))
	}
	return out.String()
}

func (s *session) stop() {
	for _, t := range s.terminals {
		t.stop()
	}
}

// A terminal runs a command, as a process group.
type terminal struct {
	number string
	guard  *exec.Cmd // the group's leader
	stdin  io.WriteCloser
	ended  chan struct{} // closed when the command has, and all is printed

	mu     *sync.Mutex // the session's
	lines  []string    // printed and not shown; the last has no end yet
	cursor string      // the last line as shown, when it had no end
	spoke  time.Time   // the last time
}

func (s *session) start(number, command string) (*terminal, error) {
	t := &terminal{number: number, ended: make(chan struct{}), mu: &s.mu, lines: []string{""}}
	// The guard kills the group if we die, for then its pipe closes. And while
	// it is there, the group's number is nobody else's.
	t.guard = exec.Command("sh", "-c", `trap "" INT TERM; read -r line; kill -KILL 0`)
	t.guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := t.guard.StdinPipe(); err != nil {
		return nil, err
	}
	if err := t.guard.Start(); err != nil {
		return nil, err
	}
	cmd := exec.Command("bash", "-c", command)
	cmd.Dir, cmd.Env = s.dir, environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: t.guard.Process.Pid}
	cmd.Stdout, cmd.Stderr = t, t
	var err error
	if t.stdin, err = cmd.StdinPipe(); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		close(t.ended)
		t.stop()
		return nil, err
	}
	go func() {
		cmd.Wait()
		close(t.ended)
	}()
	return t, nil
}

// Write takes what the command prints.
func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := len(t.lines) - 1
	t.lines = append(t.lines[:last], strings.Split(t.lines[last]+string(p), "\n")...)
	t.spoke = time.Now()
	return len(p), nil
}

func (t *terminal) partial() string { return t.lines[len(t.lines)-1] }

func (t *terminal) hasEnded() bool {
	select {
	case <-t.ended:
		return true
	default:
		return false
	}
}

func (t *terminal) unshown() string {
	text := strings.Join(t.lines, "\n")
	if text == t.cursor {
		return ""
	}
	return text
}

func (t *terminal) signal(sig unix.Signal) error {
	return unix.Kill(-t.guard.Process.Pid, sig)
}

// stop ends what still runs in the terminal. (Who has left the process group
// is not found, and not waited for.)
func (t *terminal) stop() {
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		t.signal(sig)
		select {
		case <-t.ended:
		case <-time.After(time.Second):
		}
	}
	t.guard.Wait()
}
