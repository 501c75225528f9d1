// What the four steps promise, as tests. The behaviour is the examiner's to
// judge; here stands what it must say of each step.
package steps_test

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/checks"
	"epoll-step-by-step/internal/exam/made"
	"epoll-step-by-step/internal/exam/show"
	"epoll-step-by-step/internal/procfs"
	"epoll-step-by-step/internal/source"
)

// The budgets are those of a page that a reader can hold in his head. Code
// lines are neither blank nor comment; changed lines are added plus removed.
var steps = []struct {
	name    string
	code    int // lines of code, at most
	changed int // lines changed from the step before, at most
	as      exam.Profile
	fails   string // the checks that it must fail: what its chapter is about
}{
	{"step1-blocking", 125, 0, exam.Echo, "ONE_AT_A_TIME SLOW_READER_BLOCKS STARVED ACCEPT_LOST"},
	{"step2-nonblocking", 170, 80, exam.Echo, "BUSY_LOOP"},
	{"step3-epoll-lt", 230, 120, exam.LT, ""},
	{"step4-epoll-et", 270, 80, exam.ET, ""},
}

// identical lists the functions that are copied from step to step, byte by
// byte, comment included.
var identical = []struct{ function, steps string }{
	{"init", "1234"}, {"main", "1234"}, {"addrPort", "1234"}, {"check", "1234"},
	{"turn", "234"}, {"listen", "34"}, {"setInterest", "34"}, {"read", "23"},
}

var bin string // folder with the built steps

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		flag.Set("test.parallel", "5") // a grading waits more than it works
	}
	os.Exit(func() int {
		var err error
		if bin, err = os.MkdirTemp("", "steps"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(bin)
		build := exec.Command("go", "build", "-o", bin+"/")
		for _, s := range steps {
			build.Args = append(build.Args, "./"+s.name)
		}
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build error: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

func TestGrading(t *testing.T) {
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			grade(t, s.as, s.fails, filepath.Join(bin, s.name), "-addr", "{addr}")
		})
	}
	t.Run("step2-nonblocking has O_NONBLOCK", func(t *testing.T) {
		t.Parallel()
		report, err := exam.Run(t.Context(), exam.Options{
			Command: []string{filepath.Join(bin, "step2-nonblocking"), "-addr", "{addr}"},
			Checks:  []exam.Check{made.BlockingFD},
		})
		if err != nil || !report.Passed() {
			t.Error(err, show.Style{Width: 100}.Summary(report))
		}
	})
	t.Run("server_epoll.cpp", func(t *testing.T) {
		t.Parallel()
		server := filepath.Join(t.TempDir(), "server_epoll")
		out, err := need(t, "g++", "-Wall", "-Wextra", "-Werror", "docs/server_epoll.cpp", "-o", server).CombinedOutput()
		if err != nil {
			t.Fatalf("build error: %v\n%s", err, out)
		}
		grade(t, exam.LT, "", server, "-addr", "{addr}")
	})
}

// grade wants exactly these checks to fail, and none to be impossible.
func grade(t *testing.T, as exam.Profile, fails string, command ...string) {
	t.Helper()
	selected, err := checks.Select(as)
	if err != nil {
		t.Fatal(err)
	}
	report, err := exam.Run(t.Context(), exam.Options{Command: command, As: as, Checks: selected})
	if err != nil {
		t.Fatal(err)
	}
	if report.Status != exam.StatusGraded {
		t.Fatalf("%s: %s\n%s", report.Status, report.Problem, report.Output)
	}
	for _, r := range report.Results {
		want := slices.Contains(strings.Fields(fails), r.ID)
		text := show.Style{Width: 100, Verbose: true}.Text(r)
		switch {
		case r.Verdict == exam.Error:
			t.Errorf("could not be run:\n%s", text)
		case want && r.Verdict != exam.Fail:
			t.Errorf("passed, but should fail:\n%s", text)
		case !want && r.Verdict == exam.Fail:
			t.Errorf("failed:\n%s", text)
		}
	}
}

// need returns a command if its program is installed; else the test is skipped.
func need(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed: make setup", name)
	}
	return exec.CommandContext(t.Context(), name, args...)
}

// A process is a step that runs.
type process struct {
	cmd  *exec.Cmd
	addr string
	port string
	log  chan string // what it prints, line by line; closed at the end
}

// run starts a step on a port of the kernel's choosing and waits until it says
// where it listens.
func run(t *testing.T, name string, args ...string) *process {
	t.Helper()
	if len(args) == 0 {
		args = []string{"-addr", "127.0.0.1:0"}
	}
	p := &process{cmd: exec.Command(filepath.Join(bin, name), args...), log: make(chan string, 1000)}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.log <- lines.Text()
		}
		close(p.log)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
	})
	first := p.line(t)
	addr, ok := strings.CutPrefix(first, name+": listening on ")
	if !ok {
		t.Fatalf("%s: first line is %q", name, first)
	}
	p.addr = addr
	if _, p.port, err = net.SplitHostPort(addr); err != nil || p.port == "0" {
		t.Fatalf("%s: listens on %q", name, addr)
	}
	return p
}

// line returns the next line that the step prints.
func (p *process) line(t *testing.T) string {
	t.Helper()
	select {
	case line, ok := <-p.log:
		if !ok {
			t.Fatalf("%s ended", p.cmd.Path)
		}
		return line
	case <-time.After(10 * time.Second):
		t.Fatalf("%s printed nothing for 10 s", p.cmd.Path)
	}
	return ""
}

// asleep waits until the loop sleeps in epoll_wait, and returns its thread.
func (p *process) asleep(t *testing.T) procfs.Thread {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		var seen [2]procfs.Thread // what was counted while it fell asleep may be old
		for i := range seen {
			threads, err := procfs.Threads(p.cmd.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			seen[i] = threads[0] // the main thread
		}
		if seen[0].State == 'S' && strings.HasPrefix(seen[0].Syscall.Name, "epoll_") {
			return seen[1]
		}
	}
	t.Fatal("the loop does not sleep")
	return procfs.Thread{}
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

func echo(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("sent %q, got %q, %v", text, got, err)
	}
}

func TestLog(t *testing.T) {
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			p := run(t, s.name)
			c := dial(t, p.addr)
			echo(t, c, "hello\n")
			me := c.LocalAddr().String()
			came := regexp.MustCompile(`^` + s.name + `: fd (\d+): ` + regexp.QuoteMeta(me) + ` connected$`).FindStringSubmatch(p.line(t))
			if came == nil {
				t.Fatal("no line that a client has come")
			}
			c.Close()
			if got, want := p.line(t), s.name+": fd "+came[1]+": "+me+" closed: EOF"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			c = dial(t, p.addr)
			echo(t, c, "hello\n")
			p.line(t)
			c.SetLinger(0)
			c.Close()
			if got := p.line(t); !strings.HasSuffix(got, " closed: read: connection reset by peer") {
				t.Errorf("after a RST: %q", got)
			}
		})
	}
}

func TestMisuse(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, s := range steps {
		for _, tt := range []struct {
			args []string
			code int
			want string
		}{
			{[]string{"-addr", "6379"}, 2, `["-addr" "6379"]; want -addr IPv4:PORT`},
			{[]string{"-addr", "localhost:6379"}, 2, "want -addr IPv4:PORT"},
			{[]string{"-addr", "127.0.0.1:65536"}, 2, "want -addr IPv4:PORT"},
			{[]string{"-addr", "[::1]:6379"}, 2, "want -addr IPv4:PORT"},
			{[]string{"127.0.0.1:6379"}, 2, "want -addr IPv4:PORT"},
			{[]string{"-addr", taken.Addr().String()}, 1, "choose another port by -addr; 6379 is Redis's): address already in use"},
		} {
			cmd := exec.Command(filepath.Join(bin, s.name), tt.args...)
			out, _ := cmd.CombinedOutput()
			text := string(out)
			if code := cmd.ProcessState.ExitCode(); code != tt.code {
				t.Errorf("%s %q: exit code %d, want %d", s.name, tt.args, code, tt.code)
			}
			if !strings.HasPrefix(text, s.name+": ") || strings.Count(text, "\n") != 1 || !strings.Contains(text, tt.want) {
				t.Errorf("%s %q: got %q, want one line with %q", s.name, tt.args, text, tt.want)
			}
		}
	}
}

func TestSignals(t *testing.T) {
	for _, s := range steps {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			p := run(t, s.name)
			echo(t, dial(t, p.addr), "a client is connected\n")
			p.cmd.Process.Signal(sig)
			var exit *exec.ExitError
			err := p.cmd.Wait()
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != sig {
				t.Errorf("%s: after %v: %v", s.name, sig, err)
			}
			// Ctrl-C, and at once the same command again.
			echo(t, dial(t, run(t, s.name, "-addr", p.addr).addr), "again\n")
		}
	}
}

// The exercise that all this is about: two terminals, each with nc kept open,
// both answered, in turn, without a restart.
func TestTwoTerminals(t *testing.T) {
	for _, s := range steps[1:] {
		t.Run(s.name, func(t *testing.T) {
			p := run(t, s.name)
			terminal := func() (say func(string), hear func() string) {
				nc := need(t, "nc", "127.0.0.1", p.port)
				in, err := nc.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				out, err := nc.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := nc.Start(); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { nc.Process.Kill(); nc.Wait() })
				lines := bufio.NewReader(out)
				return func(text string) { io.WriteString(in, text) },
					func() string {
						watchdog := time.AfterFunc(10*time.Second, func() { nc.Process.Kill() })
						defer watchdog.Stop()
						text, _ := lines.ReadString('\n')
						return text
					}
			}
			say1, hear1 := terminal()
			say2, hear2 := terminal()
			for i := range 3 {
				for j, nc := range []struct {
					say  func(string)
					hear func() string
				}{{say1, hear1}, {say2, hear2}} {
					text := fmt.Sprintf("terminal %d, line %d\n", j+1, i+1)
					nc.say(text)
					if got := nc.hear(); got != text {
						t.Fatalf("typed %q, saw %q", text, got)
					}
				}
			}
		})
	}
}

// Redis sends a command as an array of strings; an echo server's answer is that
// array. So Redis's own clients can talk to ours.
func TestRedisClients(t *testing.T) {
	for _, s := range steps[1:] {
		t.Run(s.name, func(t *testing.T) {
			p := run(t, s.name)
			out, err := need(t, "redis-cli", "-p", p.port, "ECHO", "hello").CombinedOutput()
			if got := strings.Fields(string(out)); err != nil || !slices.Equal(got, []string{"ECHO", "hello"}) && !slices.Equal(got, []string{"1)", `"ECHO"`, "2)", `"hello"`}) {
				t.Errorf("redis-cli: %v\n%s", err, out)
			}
			out, err = need(t, "redis-benchmark", "-p", p.port, "-t", "ping_mbulk", "-c", "50", "-n", "20000", "--csv").CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte("PING_MBULK")) {
				t.Errorf("redis-benchmark: %v\n%s", err, out)
			}
		})
	}
}

// What a message costs is counted, not timed: the calls that a step makes for
// one message when the client waits for each answer, and 100 others are silent.
func TestCallsPerMessage(t *testing.T) {
	const messages = 50
	for _, tt := range []struct {
		step          string
		reads, writes uint64 // per message
	}{
		{"step3-epoll-lt", 1, 1},
		{"step4-epoll-et", 2, 1}, // the second read proves that there is no more
	} {
		t.Run(tt.step, func(t *testing.T) {
			p := run(t, tt.step)
			for range 100 {
				echo(t, dial(t, p.addr), "then silent\n")
			}
			c := dial(t, p.addr)
			echo(t, c, "hello\n")
			before := p.asleep(t)
			after := before
			for range messages {
				echo(t, c, "hello\n")
				after = p.asleep(t)
			}
			reads, writes := after.Reads-before.Reads, after.Writes-before.Writes
			if reads != tt.reads*messages || writes != tt.writes*messages {
				t.Errorf("%d messages cost %d reads and %d writes, want %d and %d each",
					messages, reads, writes, tt.reads, tt.writes)
			}
		})
	}
}

// From here on it is the source that is tested.

func program(t *testing.T, name string) *source.Program {
	t.Helper()
	p, err := source.Read(filepath.Join(name, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOneFile(t *testing.T) {
	for _, s := range steps {
		files, err := os.ReadDir(s.name)
		if err != nil || len(files) != 1 || files[0].Name() != "main.go" {
			t.Errorf("%s: %v, %v: want main.go and nothing else", s.name, files, err)
		}
	}
}

func TestImportsAndGoroutines(t *testing.T) {
	for _, s := range steps {
		p := program(t, s.name)
		if found := p.Imports(); found != nil {
			t.Errorf("%s imports %v: want the standard library without net and syscall, and golang.org/x/sys/unix", s.name, found)
		}
		if found := p.Concurrency(); found != nil {
			t.Errorf("%s: %v has no place in a step", s.name, found)
		}
	}
}

func TestSize(t *testing.T) {
	for _, s := range steps {
		p := program(t, s.name)
		code := 0
		for i, line := range strings.Split(p.Text, "\n") {
			trimmed := strings.TrimSpace(line)
			if trimmed != "" && !strings.HasPrefix(trimmed, "//") {
				code++
			}
			if n := len(strings.ReplaceAll(line, "\t", "    ")); n > 80 {
				t.Errorf("%s:%d is %d columns wide", s.name, i+1, n)
			}
		}
		if code > s.code {
			t.Errorf("%s has %d lines of code, want at most %d", s.name, code, s.code)
		}
		for _, f := range p.Funcs {
			if f.Lines > 40 {
				t.Errorf("%s: %s has %d lines, want at most 40", s.name, f.Name, f.Lines)
			}
		}
	}
}

func TestDiffs(t *testing.T) {
	for i := 1; i < len(steps); i++ {
		old := strings.Split(program(t, steps[i-1].name).Text, "\n")
		new := strings.Split(program(t, steps[i].name).Text, "\n")
		if n := source.Changed(old, new); n > steps[i].changed {
			t.Errorf("%s differs from %s in %d lines, want at most %d", steps[i].name, steps[i-1].name, n, steps[i].changed)
		}
	}
}

func TestIdenticalCopies(t *testing.T) {
	for _, row := range identical {
		var first, from string
		for _, digit := range row.steps {
			name := steps[digit-'1'].name
			text := program(t, name).Functions()
			switch {
			case text[row.function] == "":
				t.Errorf("%s has no function %s", name, row.function)
			case first == "":
				first, from = text[row.function], name
			case text[row.function] != first:
				t.Errorf("%s: %s is not what it is in %s", name, row.function, from)
			}
		}
	}
}

// A function that is new in a step takes its slot; nothing moves.
func TestOrder(t *testing.T) {
	want := strings.Fields("init main listen setNonblock serve round accept outOfDescriptors turn read write setInterest close addrPort check")
	for _, s := range steps {
		var order []string
		for _, f := range program(t, s.name).Funcs {
			order = append(order, f.Name)
		}
		expected := slices.DeleteFunc(slices.Clone(want), func(f string) bool { return !slices.Contains(order, f) })
		if !slices.Equal(order, expected) {
			t.Errorf("%s: the functions are %v, want %v", s.name, order, expected)
		}
	}
}

// A reader may take a step's folder away and go on from there.
func TestStandsAlone(t *testing.T) {
	dir := t.TempDir()
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	mod = bytes.Replace(mod, []byte("module epoll-step-by-step"), []byte("module elsewhere"), 1)
	sum, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"go.mod": mod, "go.sum": sum} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range steps {
		if err := os.CopyFS(filepath.Join(dir, s.name), os.DirFS(s.name)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "vet", "./...")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestRootModule(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	required := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^(?:require\s+|\s+)([a-z][^\s]*\.[^\s]*) v`).FindAllStringSubmatch(string(mod), -1) {
		required[m[1]] = true
	}
	if got := slices.Sorted(maps.Keys(required)); !slices.Equal(got, []string{"golang.org/x/sys"}) {
		t.Errorf("go.mod requires %v, want golang.org/x/sys alone", got)
	}
}
