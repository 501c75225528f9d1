package doctest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
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
	numbersVary = "numbers vary" // the option of a transcript
	port        = "6379"         // what the documents say
)

// A statement is a line of a script. N is a terminal, one digit:
//
//	N$ command   start it
//	N> text      type it, and Enter
//	N: text      wait for a line with this text; show all up to it
//	N~ text      wait until all is asleep there, and the last line, which has no
//	             end yet, has this text
//	N asleep     wait until all that runs there is asleep; not shown
//	N nothing    it is asleep and has printed nothing
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

var statementForm = regexp.MustCompile(`^(\d?)(\$|\?|>|:|~|\^C|\^D|\.| asleep| nothing)(?: (.*))?$`)

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
	s := &session{ctx: ctx, terminals: make(map[string]*terminal)}
	var release func()
	if s.port, release, err = reservePort(); err != nil {
		return "", "", err
	}
	defer release()
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
		script += " && cp -a '" + programs + "' bin"
	}
	if slices.Contains(words(statements), "git") {
		script += ` && git init -q && git add -A && git commit -qm "as it was"`
	}
	for _, st := range statements {
		for _, m := range built.FindAllStringSubmatch(st.text, -1) {
			if programs != "" {
				script += " && mkdir -p bin && cp -a '" + programs + "/" + m[1] + "' bin"
			} else {
				script += " && go build -o bin/ ./" + m[1]
			}
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

// reservePort returns a port for a script, since Redis may be on 6379, and keeps
// it from other scripts, of other processes too, until it is released. It has
// four digits: columns stay in place, and write(2) returns the same.
func reservePort() (port string, release func(), err error) {
	for range 1000 {
		number := 9000 + rand.IntN(1000)
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return "", nil, os.NewSyscallError("socket", err)
		}
		// Without SO_REUSEADDR, bind fails if any socket has the port, even in
		// TIME_WAIT, which ss would show. With it, set afterwards, servers may
		// bind the port as long as we do not listen: socket(7).
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: number})
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		}
		if err == nil {
			return strconv.Itoa(number), func() { unix.Close(fd) }, nil
		}
		unix.Close(fd)
	}
	return "", nil, errors.New("no port from 9000 to 9999 is free")
}

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
	if err := s.settle(limits.last, slices.Collect(maps.Values(s.terminals))...); err != nil {
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
	output *os.File    // the read end of the pipe that the command prints to
	lines  []string    // printed and not shown; the last has no end yet
	cursor string      // the last line as shown, when it had no end

	looked time.Time             // when asleep last looked
	used   map[int]time.Duration // each thread's processor time then, by TID
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
	err := t.run(s, command)
	if err != nil {
		close(t.ended)
		t.stop()
		return nil, err
	}
	return t, nil
}

func (t *terminal) run(s *session, command string) error {
	output, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer theirs.Close()
	cmd := exec.Command("bash", "-c", command)
	cmd.Dir, cmd.Env = s.dir, environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: t.guard.Process.Pid}
	cmd.Stdout, cmd.Stderr = theirs, theirs
	if t.stdin, err = cmd.StdinPipe(); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		output.Close()
		return err
	}
	t.output = output
	go func() {
		t.collect()
		cmd.Wait()
		output.Close()
		close(t.ended)
	}()
	return nil
}

// collect takes what the command prints, until nobody can print any more. It
// takes bytes out of the pipe only with the lock held: if the pipe is empty then,
// lines has everything.
func (t *terminal) collect() {
	raw, err := t.output.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 64<<10)
	for ended := false; !ended; {
		err := raw.Read(func(fd uintptr) bool {
			t.mu.Lock()
			defer t.mu.Unlock()
			n, err := unix.Read(int(fd), buf)
			switch {
			case err == unix.EINTR:
				return true
			case err == unix.EAGAIN:
				return false // call again when there is something to read
			case err != nil || n == 0:
				ended = true
				return true
			}
			last := len(t.lines) - 1
			t.lines = append(t.lines[:last], strings.Split(t.lines[last]+string(buf[:n]), "\n")...)
			return true
		})
		ended = ended || err != nil
	}
}

// asleep reports whether all threads of the command's process group are blocked
// or stopped, have used no processor time since the last call, which was at least
// lookInterval ago, and all that they printed is in lines.
func (t *terminal) asleep() bool {
	if time.Since(t.looked) < lookInterval {
		return false
	}
	used, blocked := t.look()
	same := t.used != nil && maps.Equal(used, t.used)
	t.looked, t.used = time.Now(), used
	unread, err := t.unread()
	return blocked && same && unread == 0 && err == nil
}

// look returns the processor time of each thread in the command's process group,
// and whether all of them are blocked or stopped.
func (t *terminal) look() (used map[int]time.Duration, blocked bool) {
	used, blocked = make(map[int]time.Duration), true
	group := t.guard.Process.Pid
	pids, err := procfs.PIDs()
	if err != nil {
		return nil, false
	}
	for _, pid := range pids {
		if of, err := unix.Getpgid(pid); err != nil || of != group || pid == group {
			continue
		}
		// A process that has just ended makes these fail. The next look will
		// not find it.
		states, err := procfs.ThreadStates(pid)
		times, timesErr := procfs.ThreadCPU(pid)
		if err != nil || timesErr != nil {
			return nil, false
		}
		for _, state := range states {
			blocked = blocked && state != 'R' && state != 'D'
		}
		maps.Copy(used, times)
	}
	return used, blocked
}

// unread returns the number of bytes that are printed and not collected.
func (t *terminal) unread() (n int, err error) {
	raw, err := t.output.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n, errors.Join(err, controlErr)
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
