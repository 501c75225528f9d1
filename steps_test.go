// Package steps_test tests the four steps: how they behave, which the examiner
// judges, and how their sources are written.
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
	"os/signal"
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

// The budgets keep a step small enough to read in one sitting. Code lines are
// neither blank nor comments; changed lines are added plus removed lines.
var steps = []struct {
	name         string
	codeLines    int // at most
	changedLines int // from the step before, at most
	profile      exam.Profile
	mustFail     string // the checks that its chapter is about
}{
	{"step1-blocking", 125, 0, exam.Echo, "ONE_AT_A_TIME SLOW_READER_BLOCKS STARVED ACCEPT_LOST"},
	{"step2-nonblocking", 170, 80, exam.Echo, "BUSY_LOOP"},
	{"step3-epoll-lt", 230, 120, exam.LT, ""},
	{"step4-epoll-et", 270, 80, exam.ET, ""},
}

// identicalFunctions are copied from step to step, byte by byte, including
// their comments.
var identicalFunctions = []struct{ function, steps string }{
	{"init", "1234"}, {"main", "1234"}, {"addrPort", "1234"}, {"check", "1234"},
	{"turn", "234"}, {"listen", "34"}, {"setInterest", "34"}, {"wait", "34"}, {"read", "23"},
}

var binDir string // the folder of the built steps

// patience limits every wait. Only a step that hangs reaches it: no verdict
// depends on how fast the machine is.
const patience = time.Minute

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		flag.Set("test.parallel", "5") // gradings mostly wait
	}
	os.Exit(func() int {
		var err error
		if binDir, err = os.MkdirTemp("", "steps"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(binDir)
		build := exec.Command("go", "build", "-o", binDir+"/")
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
			grade(t, s.profile, s.mustFail, filepath.Join(binDir, s.name), "-addr", "{addr}")
		})
	}
	t.Run("step2-nonblocking has O_NONBLOCK", func(t *testing.T) {
		t.Parallel()
		report, err := exam.Run(t.Context(), exam.Options{
			Command: []string{filepath.Join(binDir, "step2-nonblocking"), "-addr", "{addr}"},
			Checks:  []exam.Check{made.BlockingFD},
		})
		if err != nil || !report.Passed() {
			t.Error(err, show.Style{Width: 100}.Summary(report))
		}
	})
	t.Run("server_epoll.cpp", func(t *testing.T) {
		t.Parallel()
		server := filepath.Join(t.TempDir(), "server_epoll")
		out, err := installed(t, "g++", "-Wall", "-Wextra", "-Werror", "docs/server_epoll.cpp", "-o", server).CombinedOutput()
		if err != nil {
			t.Fatalf("build error: %v\n%s", err, out)
		}
		if testing.Short() {
			t.Skip("it compiles; graded only with make test ALL=1")
		}
		grade(t, exam.LT, "", server, "-addr", "{addr}")
	})
}

// grade expects exactly the checks in mustFail to fail, and all to be run.
func grade(t *testing.T, profile exam.Profile, mustFail string, command ...string) {
	t.Helper()
	selected, err := checks.Select(profile)
	if err != nil {
		t.Fatal(err)
	}
	report, err := exam.Run(t.Context(), exam.Options{Command: command, As: profile, Checks: selected})
	if err != nil {
		t.Fatal(err)
	}
	if report.Status != exam.StatusGraded {
		t.Fatalf("%s: %s\n%s", report.Status, report.Problem, report.Output)
	}
	for _, r := range report.Results {
		wantFail := slices.Contains(strings.Fields(mustFail), r.ID)
		text := show.Style{Width: 100, Verbose: true}.Text(r)
		switch {
		case r.Verdict == exam.Error:
			t.Errorf("could not be run:\n%s", text)
		case wantFail && r.Verdict != exam.Fail:
			t.Errorf("passed, but should fail:\n%s", text)
		case !wantFail && r.Verdict == exam.Fail:
			t.Errorf("failed:\n%s", text)
		}
	}
}

// installed returns a command, or skips the test if its program is missing.
func installed(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed: make setup", name)
	}
	return exec.CommandContext(t.Context(), name, args...)
}

// A process is a running step.
type process struct {
	cmd  *exec.Cmd
	addr string
	port string
	log  chan string // the lines that it prints; closed when it ends
}

// start starts a step, by default on a port that the kernel chooses, and waits
// until it logs its address.
func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	if len(args) == 0 {
		args = []string{"-addr", "127.0.0.1:0"}
	}
	p := &process{cmd: exec.Command(filepath.Join(binDir, name), args...), log: make(chan string, 1000)}
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

// line waits for the next line that the step prints.
func (p *process) line(t *testing.T) string {
	t.Helper()
	select {
	case line, ok := <-p.log:
		if !ok {
			t.Fatalf("%s ended", p.cmd.Path)
		}
		return line
	case <-time.After(patience):
		t.Fatalf("%s printed nothing for %v", p.cmd.Path, patience)
	}
	return ""
}

// awaitSleep waits until the loop sleeps in epoll_wait, and returns the main
// thread with its counts.
func (p *process) awaitSleep(t *testing.T) procfs.Thread {
	t.Helper()
	mainThread := func() procfs.Thread {
		threads, err := procfs.Threads(p.cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		return threads[0]
	}
	seen := mainThread()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if seen = mainThread(); seen.State == 'S' && strings.HasPrefix(seen.Syscall.Name, "epoll_") {
			return mainThread() // again: seen may have older counts than state
		}
	}
	t.Fatalf("the loop does not sleep: %+v", seen)
	return seen
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
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
			p := start(t, s.name)
			c := dial(t, p.addr)
			echo(t, c, "hello\n")
			client := c.LocalAddr().String()
			connected := regexp.MustCompile(`^` + s.name + `: fd (\d+): ` + regexp.QuoteMeta(client) + ` connected$`)
			line := p.line(t)
			match := connected.FindStringSubmatch(line)
			if match == nil {
				t.Fatalf("got %q, want a line that matches %v", line, connected)
			}
			c.Close()
			if got, want := p.line(t), s.name+": fd "+match[1]+": "+client+" closed: EOF"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			c = dial(t, p.addr)
			echo(t, c, "hello\n")
			p.line(t)
			c.SetLinger(0)
			c.Close()
			if got := p.line(t); !strings.HasSuffix(got, " closed: read: connection reset by peer") {
				t.Errorf("after a RST: got %q, want the reason", got)
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
			{[]string{"-addr", taken.Addr().String()}, 1, "choose another port with -addr; 6379 is Redis's): address already in use"},
		} {
			cmd := exec.Command(filepath.Join(binDir, s.name), tt.args...)
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

// A step is started again at the address that it had before, so no other
// process may take the port meanwhile. Nothing else uses this IP address.
func TestSignals(t *testing.T) {
	// A shell lets its background processes ignore SIGINT, and they pass that
	// on to their children, but not if they have a handler.
	handled := make(chan os.Signal, 1)
	signal.Notify(handled, syscall.SIGINT)
	defer signal.Stop(handled)
	pid := os.Getpid()
	own := fmt.Sprintf("127.%d.%d.%d:0", 64+pid>>16&63, pid>>8&255, pid&255)
	for _, s := range steps {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			p := start(t, s.name, "-addr", own)
			echo(t, dial(t, p.addr), "a client is connected\n")
			p.cmd.Process.Signal(sig)
			var exit *exec.ExitError
			watchdog := time.AfterFunc(patience, func() { p.cmd.Process.Kill() })
			err := p.cmd.Wait()
			watchdog.Stop()
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != sig {
				t.Errorf("%s: after %v: %v", s.name, sig, err)
			}
			// The address is free at once, although a client was connected.
			echo(t, dial(t, start(t, s.name, "-addr", p.addr).addr), "again\n")
		}
	}
}

// Two clients stay connected with nc, as in two terminals, and are answered in
// turn.
func TestTwoTerminals(t *testing.T) {
	for _, s := range steps[1:] {
		t.Run(s.name, func(t *testing.T) {
			p := start(t, s.name)
			terminal := func() (send func(string), receive func() string) {
				nc := installed(t, "nc", "127.0.0.1", p.port)
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
						watchdog := time.AfterFunc(patience, func() { nc.Process.Kill() })
						defer watchdog.Stop()
						text, _ := lines.ReadString('\n')
						return text
					}
			}
			send1, receive1 := terminal()
			send2, receive2 := terminal()
			for i := range 3 {
				for j, nc := range []struct {
					send    func(string)
					receive func() string
				}{{send1, receive1}, {send2, receive2}} {
					text := fmt.Sprintf("terminal %d, line %d\n", j+1, i+1)
					nc.send(text)
					if got := nc.receive(); got != text {
						t.Fatalf("typed %q, saw %q", text, got)
					}
				}
			}
		})
	}
}

// A Redis client sends a command as an array of strings. An echo server returns
// that array, which is a valid reply. So Redis's own clients can talk to a step.
func TestRedisClients(t *testing.T) {
	for _, s := range steps[1:] {
		t.Run(s.name, func(t *testing.T) {
			p := start(t, s.name)
			out, err := installed(t, "redis-cli", "-p", p.port, "ECHO", "hello").CombinedOutput()
			if got := strings.Fields(string(out)); err != nil || !slices.Equal(got, []string{"ECHO", "hello"}) && !slices.Equal(got, []string{"1)", `"ECHO"`, "2)", `"hello"`}) {
				t.Errorf("redis-cli: %v\n%s", err, out)
			}
			out, err = installed(t, "redis-benchmark", "-p", p.port, "-t", "ping_mbulk", "-c", "50", "-n", "2000", "--csv").CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte("PING_MBULK")) {
				t.Errorf("redis-benchmark: %v\n%s", err, out)
			}
		})
	}
}

// The cost of a message is counted, not timed: the reads and writes of a step
// for each message when the client waits for every answer and 100 others are
// silent.
func TestCallsPerMessage(t *testing.T) {
	const messages = 50
	for _, tt := range []struct {
		step          string
		reads, writes uint64 // per message
	}{
		{"step3-epoll-lt", 1, 1},
		{"step4-epoll-et", 2, 1}, // the second read fails with EAGAIN
	} {
		t.Run(tt.step, func(t *testing.T) {
			p := start(t, tt.step)
			for range 100 {
				echo(t, dial(t, p.addr), "then silent\n")
			}
			c := dial(t, p.addr)
			echo(t, c, "hello\n")
			before := p.awaitSleep(t)
			after := before
			for range messages {
				echo(t, c, "hello\n")
				after = p.awaitSleep(t)
			}
			reads, writes := after.Reads-before.Reads, after.Writes-before.Writes
			if reads != tt.reads*messages || writes != tt.writes*messages {
				t.Errorf("%d messages cost %d reads and %d writes, want %d and %d each",
					messages, reads, writes, tt.reads, tt.writes)
			}
		})
	}
}

// The tests from here on read the sources.

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
			t.Errorf("%s: %v: a step uses neither goroutines nor channels", s.name, found)
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
		if code > s.codeLines {
			t.Errorf("%s has %d lines of code, want at most %d", s.name, code, s.codeLines)
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
		before := strings.Split(program(t, steps[i-1].name).Text, "\n")
		after := strings.Split(program(t, steps[i].name).Text, "\n")
		if n := source.Changed(before, after); n > steps[i].changedLines {
			t.Errorf("%s differs from %s in %d lines, want at most %d", steps[i].name, steps[i-1].name, n, steps[i].changedLines)
		}
	}
}

func TestIdenticalCopies(t *testing.T) {
	for _, row := range identicalFunctions {
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
				t.Errorf("%s: %s differs from the one in %s", name, row.function, from)
			}
		}
	}
}

// A new function has a fixed place in the order; the others do not move.
func TestOrder(t *testing.T) {
	want := strings.Fields("init main listen setNonblock serve wait round accept outOfDescriptors turn read write setInterest close addrPort check")
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

// A reader may copy a step's folder into a module of their own.
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
