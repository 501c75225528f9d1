package walk

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// TestMain also is a tracer that is killed: TestTracerIsKilled runs it.
func TestMain(m *testing.M) {
	if program := os.Getenv("WALK_UNTIL_KILLED"); program != "" {
		s, err := Start([]string{program, "-addr", "127.0.0.1:0"})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(s.PID)
		for {
			s.Next(context.Background())
		}
	}
	os.Chdir("../..")
	os.Exit(m.Run())
}

// begin starts a program of the repository. It returns the command, too.
func begin(t *testing.T, command ...string) (s *Session, args []string) {
	t.Helper()
	args, err := Build(t.Context(), command)
	if err == nil {
		s, err = Start(args)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, args
}

// start starts a program of the repository and walks until it sleeps.
func start(t *testing.T, command ...string) (*Session, Stop) {
	t.Helper()
	s, _ := begin(t, command...)
	return s, until(t, s, func(s Stop) bool { return s.Moment == Asleep })
}

func until(t *testing.T, s *Session, what func(Stop) bool) Stop {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		stop, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("%v; it has printed: %s", err, s.Output())
		}
		if what(stop) {
			return stop
		}
	}
}

func connect(t *testing.T, name string, k Kernel) *Client {
	t.Helper()
	c, err := Connect(name, k.Listening())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// wrappers are the functions that make the calls, in the order in which Go, C and C++
// programs of this repository use them.
var wrappers = map[string][]string{
	"accept4":       {"unix.Accept", "::accept4"},
	"setsockopt":    {"SetsockoptInt", "setsockopt("},
	"getsockopt":    {"unix.Accept", "Getsockname"}, // x/sys looks up the protocol
	"epoll_create1": {"EpollCreate1", "::epoll_create1"},
	"epoll_ctl":     {"EpollCtl", "::epoll_ctl"},
	"epoll_wait":    {"EpollWait", "::epoll_wait"},
	"epoll_pwait":   {"EpollWait", "::epoll_wait"},
	"fcntl":         {"FcntlInt"},
	"write":         {"unix.Write", "log.Print", "fputs", "fwrite", "std::cerr"},
	"sendto":        {"::send"},
	"prlimit64":     {"rlimit"},
}

// At every stop, the line that is shown contains the call.
func TestLineOfEachCall(t *testing.T) {
	programs := [][]string{{"step1-blocking"}, {"step2-nonblocking"}, {"step3-epoll-lt"}, {"step4-epoll-et"}}
	if gxx, err := exec.LookPath("g++"); err == nil {
		for _, level := range []string{"-O0", "-O2"} {
			file := filepath.Join(t.TempDir(), "server_epoll"+level)
			out, err := exec.Command(gxx, "-std=c++20", "-g", level, "-o", file, "docs/server_epoll.cpp").CombinedOutput()
			if err != nil {
				t.Fatalf("%s", out)
			}
			programs = append(programs, []string{file, "-addr", "127.0.0.1:{port}"})
		}
	}
	for _, p := range programs {
		t.Run(filepath.Base(p[0]), func(t *testing.T) {
			s, _ := begin(t, p...)
			seen := make(map[string]bool)
			check := func(stop Stop) {
				if stop.Moment != Before {
					return
				}
				seen[stop.Call.Name] = true
				f := stop.Stack[0]
				text, err := s.Source(f.File)
				if err != nil {
					t.Fatal(err)
				}
				line := strings.Split(text, "\n")[f.Line-1]
				names := wrappers[stop.Call.Name]
				if names == nil {
					names = []string{stop.Call.Name}
				}
				for _, name := range names {
					if strings.Contains(strings.ToLower(line), strings.ToLower(name)) {
						return
					}
				}
				t.Errorf("%s: line %d of %s is %q", stop.Call, f.Line, f.File, line)
			}
			ready := until(t, s, func(stop Stop) bool {
				check(stop)
				return stop.Kernel.Listening().IsValid() && (stop.Moment == Asleep || stop.Call.Error == "EAGAIN")
			})
			c := connect(t, "a", ready.Kernel)
			until(t, s, func(stop Stop) bool {
				check(stop)
				return stop.Moment == Asleep && len(stop.Kernel.Sockets) == 2 || stop.Call.Error == "EAGAIN" && stop.Call.Name == "read"
			})
			if err := c.Send("hello\n"); err != nil {
				t.Fatal(err)
			}
			until(t, s, func(stop Stop) bool {
				check(stop)
				return stop.Moment == After && (stop.Call.Name == "write" || stop.Call.Name == "sendto") && stop.Call.FD > 2
			})
			if text, _, _ := c.Received(); text != "hello\n" {
				t.Errorf("the client received %q", text)
			}
			c.Close()
			until(t, s, func(stop Stop) bool {
				check(stop)
				return stop.Moment == After && stop.Call.Name == "close"
			})
			if !seen["accept4"] || !seen["read"] || !seen["bind"] {
				t.Errorf("stopped at %v only", seen)
			}
		})
	}
}

// asleep waits until the main thread of a process sleeps in epoll_wait.
func asleep(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Microsecond) {
		states, _ := procfs.ThreadStates(pid)
		call, err := procfs.SyscallOf(pid, pid)
		if err == nil && states[pid] == 'S' && strings.HasPrefix(call.Name, "epoll_") {
			return
		}
	}
	states, _ := procfs.ThreadStates(pid)
	call, err := procfs.SyscallOf(pid, pid)
	t.Fatalf("the server does not fall asleep; its main thread is in state %c, in %v (%v)", states[pid], call, err)
}

// talk lets n clients, one after the other, connect, send a line and close. After each
// of these steps the server has gone back to sleep.
func talk(t *testing.T, pid, n int) {
	t.Helper()
	asleep(t, pid)
	sockets, err := procfs.TCPOf(pid)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := procfs.FDs(pid)
	if err != nil {
		t.Fatal(err)
	}
	addr := ""
	for _, s := range sockets {
		for _, fd := range fds {
			if s.State == procfs.TCPListen && s.Inode == fd.Inode && s.Inode != 0 {
				addr = s.Local.String()
			}
		}
	}
	buf := make([]byte, 16)
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		settled(t, c)
		asleep(t, pid)
		c.Write([]byte("line\n"))
		if _, err := c.Read(buf); err != nil {
			t.Fatal(err)
		}
		asleep(t, pid)
		c.(*net.TCPConn).CloseWrite()
		if n, _ := c.Read(buf); n != 0 {
			t.Fatal("more than was sent")
		}
		c.Close()
		asleep(t, pid)
	}
}

// settled waits until the server's end of a new connection is established, which is
// when its listener is ready.
func settled(t *testing.T, c net.Conn) {
	t.Helper()
	local, remote := c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort()
	for {
		s, found, err := procfs.Connection(remote, local)
		if err != nil {
			t.Fatal(err)
		}
		if found && s.State == procfs.TCPEstablished {
			return
		}
	}
}

var clientCount = flag.Int("clients", 100, "that connect in TestCountsAsStrace")

// For the same clients, walk sees as many calls as strace -c counts.
func TestCountsAsStrace(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed: make setup")
	}
	clients := *clientCount
	for _, step := range []string{"step3-epoll-lt", "step4-epoll-et"} {
		t.Run(step, func(t *testing.T) {
			s, args := begin(t, step)
			ctx, cancel := context.WithCancel(t.Context())
			walked := make(chan int)
			go func() { // on automatic
				befores, afters := 0, 0
				for {
					stop, err := s.Next(ctx)
					if err != nil {
						break
					}
					switch stop.Moment {
					case Before:
						befores++
					case After:
						afters++
					}
				}
				walked <- befores - afters
			}()
			talk(t, s.PID, clients)
			cancel()
			if pending := <-walked; pending != 1 {
				t.Errorf("%d calls began and have not ended; only the last may", pending)
			}
			got := s.Counts()
			got["epoll_wait"]-- // the last; strace counts only calls that have ended

			table := filepath.Join(t.TempDir(), "counts")
			traced := exec.Command(strace, append([]string{"-c", "-U", "calls,name", "-o", table}, args...)...)
			traced.Env = environment()
			if err := traced.Start(); err != nil {
				t.Fatal(err)
			}
			pid := childOf(t, traced.Process.Pid, step)
			talk(t, pid, clients)
			unix.Kill(pid, unix.SIGKILL)
			traced.Wait()
			text, err := os.ReadFile(table)
			if err != nil {
				t.Fatal(err)
			}
			want := make(map[string]int)
			for line := range strings.Lines(string(text)) {
				if fields := strings.Fields(line); len(fields) == 2 {
					n, _ := strconv.Atoi(fields[0])
					want[fields[1]] = n
				}
			}
			for _, name := range []string{
				"socket", "bind", "listen", "accept4", "getsockopt", "read", "write", "close",
				"epoll_create1", "epoll_ctl", "epoll_wait",
			} {
				if got[name] != want[name] {
					t.Errorf("%s: walk saw %d, strace %d", name, got[name], want[name])
				}
			}
			if got["accept4"] < 2*clients { // one that succeeds and one that returns EAGAIN
				t.Errorf("walk saw only %d calls of accept4 for %d clients", got["accept4"], clients)
			}
		})
	}
}

// childOf waits until a process has a child that runs a program.
func childOf(t *testing.T, pid int, program string) int {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		children, _ := procfs.Descendants(pid)
		for _, child := range children {
			if words, _ := procfs.Cmdline(child); len(words) > 0 && filepath.Base(words[0]) == program {
				return child
			}
		}
	}
	t.Fatalf("%s does not start", program)
	return 0
}

func gone(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		p, err := procfs.Stat(pid)
		if errors.Is(err, fs.ErrNotExist) || p.State == 'Z' {
			return
		}
	}
	t.Errorf("process %d is still there", pid)
}

func TestProgramIsKilled(t *testing.T) {
	s, _ := start(t, "step3-epoll-lt")
	unix.Kill(s.PID, unix.SIGKILL)
	end := until(t, s, func(s Stop) bool { return s.Moment == Ended })
	if end.End != "killed by SIGKILL" {
		t.Errorf("it ended thus: %q", end.End)
	}
	if _, err := s.Next(t.Context()); !errors.Is(err, ErrEnded) {
		t.Errorf("Next after the end: %v", err)
	}
	gone(t, s.PID)
}

func TestTracerIsKilled(t *testing.T) {
	args, err := Build(t.Context(), []string{"step3-epoll-lt"})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tracer := exec.Command(self)
	tracer.Env = append(os.Environ(), "WALK_UNTIL_KILLED="+args[0])
	out, err := tracer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tracer.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tracer.Process.Kill(); tracer.Wait() })
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	asleep(t, pid)
	tracer.Process.Kill()
	gone(t, pid)
}

func TestClose(t *testing.T) {
	s, _ := start(t, "step4-epoll-et")
	waiting := make(chan error)
	go func() {
		_, err := s.Next(context.Background())
		waiting <- err
	}()
	s.Close()
	if err := <-waiting; err == nil {
		t.Error("a Next that waited has returned a stop")
	}
	gone(t, s.PID)
}

// Next gives up when its context ends, and the program goes on.
func TestNextGivesUp(t *testing.T) {
	s, stop := start(t, "step3-epoll-lt")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("Next with an ended context: %v", err)
	}
	connect(t, "a", stop.Kernel)
	next := until(t, s, func(Stop) bool { return true })
	if next.Moment != After || next.Call.Number != stop.Call.Number {
		t.Errorf("the next stop is %s of %s", next.Moment, next.Call)
	}
}

func TestStartFails(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	os.WriteFile(script, []byte("#!/bin/sh\nexit\n"), 0o755)
	for _, row := range []struct{ program, want string }{
		{"/no/such/program", "no such file"},
		{script, "no executable of this machine"},
		{"./README.md", "permission denied"},
		{"./docs", "is a directory"},
		{"no-such-program", "not found"},
	} {
		s, err := Start([]string{row.program})
		if err == nil {
			s.Close()
			t.Errorf("%s: started", row.program)
		} else if !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v; want %q", row.program, err, row.want)
		}
	}
}

// A program that ends by itself is an end with its status and its last words.
func TestProgramEnds(t *testing.T) {
	s, _ := begin(t, "step3-epoll-lt", "-addr", "nonsense")
	end := until(t, s, func(s Stop) bool { return s.Moment == Ended })
	if end.End != "exit status 2" || !strings.Contains(s.Output(), "want -addr") {
		t.Errorf("%s; it has printed %q", end.End, s.Output())
	}
}

func TestRecording(t *testing.T) {
	s, stop := start(t, "step3-epoll-lt")
	file := filepath.Join(t.TempDir(), "walk.json")
	w, err := Create(file, s.Header("step3-epoll-lt"))
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, "a", stop.Kernel)
	first := Step{Stop: stop, Did: "a connects", Clients: []ClientState{c.State()}}
	if err := errors.Join(w.Add(first), w.Add(Step{Stop: stop}), w.Close()); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name  string
		cut   int // bytes from the end
		steps int
	}{{"whole", 0, 2}, {"its writer was killed", 10, 1}} {
		text, _ := os.ReadFile(file)
		os.WriteFile(file, text[:len(text)-row.cut], 0o644)
		r, err := ReadRecording(file)
		if err != nil || len(r.Steps) != row.steps {
			t.Errorf("%s: %d steps, %v", row.name, len(r.Steps), err)
			continue
		}
		if got := r.Steps[0]; got.Call.String() != stop.Call.String() || got.Did != first.Did ||
			got.Clients[0] != first.Clients[0] || len(got.Kernel.Since(stop.Kernel)) > 0 {
			t.Errorf("%s: %+v; want %+v", row.name, got, first)
		}
		if !strings.Contains(r.Sources["main.go"], "func (s *server) serve()") {
			t.Errorf("%s: the source is missing", row.name)
		}
	}
	os.WriteFile(file, []byte("no recording"), 0o644)
	if _, err := ReadRecording(file); err == nil || !strings.Contains(err.Error(), "is no recording") {
		t.Errorf("another file: %v", err)
	}
}

func TestScripts(t *testing.T) {
	if err := Possible(); err != nil {
		t.Skip(err)
	}
	for _, row := range []struct {
		name, script string
		want         []string // in this order
	}{
		{"an entry is ready until it is read", "start step3-epoll-lt\nskip asleep\na connect\nskip asleep\na send x\nuntil asleep", []string{
			"a: unread 0 → 2 · a: ready list +", "[{EPOLLIN, a}]", "read(a, \"x\\n\", 65536) = 2", "a: unread 2 → 0 · a: ready list −", "…asleep"}},
		{"an edge is used up", "start step4-epoll-et\nskip asleep\na connect\nskip asleep\na send x\nskip epoll_wait\nshow\nb connect", []string{
			"a: ready list +", "IN|OUT|RDHUP|ET\n", "unread 2", "listener: ready list +"}},
		{"a lost edge", "start exercises/11-lost-edge/starter\nskip asleep\na connect\nskip epoll_ctl\na send 72K\nskip asleep\nshow", []string{
			"a         IN|OUT|RDHUP|ET\n", "unread 8192"}},
		{"three clients, one edge, one accept", "start exercises/12-accept-drain/starter\nskip getsockname\na connect\nb connect\nc connect\nskip epoll_ctl\nuntil asleep\nshow", []string{
			"accept queue 2 → 3", "[{EPOLLIN, listener}]", "listener: ready list −", "accept queue 3 → 2", "…asleep", "accept queue 2\n"}},
		{"a reset", "start step3-epoll-lt\nskip asleep\na connect\nskip asleep\na reset\nuntil asleep", []string{
			"a: reset", "EPOLLERR|EPOLLHUP, a}", "= -1 ECONNRESET", "close(a) = 0", "interest list −"}},
		{"a half-close", "start step3-epoll-lt\nskip asleep\na connect\nskip asleep\na shutdown\nuntil asleep\na received", []string{
			"a: FIN has arrived", "read(a, \"\", 65536) = 0", "a has received EOF"}},
		{"a client that does not read", "start step3-epoll-lt\nskip asleep\na connect\nskip asleep\na stop\na send 9M\nskip asleep\nshow\na go\nskip asleep\nshow", []string{
			"a         OUT", "unsent 3.", "a         IN", "unread 0"}},
		{"the end", "start step3-epoll-lt -addr 127.0.0.1:1\nuntil end", []string{
			"bind(5, {127.0.0.1:1}, 16)", "the program has ended: exit status 1"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.name == "the end" && os.Geteuid() == 0 {
				row.script = strings.ReplaceAll(row.script, "127.0.0.1:1\n", "192.0.2.1:1\n") // an address that is not ours
				row.want[0] = "bind("
			}
			var out bytes.Buffer
			s := Script{Build: Build}
			if err := s.Run(t.Context(), row.script, &out); err != nil {
				t.Fatalf("%v\n%s", err, &out)
			}
			rest := out.String()
			for _, want := range row.want {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Fatalf("%q is missing, or comes too early:\n%s", want, &out)
				}
				rest = after
			}
			for line := range strings.Lines(out.String()) {
				if n := len([]rune(line)) - 1; n > Width {
					t.Errorf("%d columns: %s", n, line)
				}
			}
		})
	}
}

func TestScriptErrors(t *testing.T) {
	for _, row := range []struct{ script, want string }{
		{"next", "begin with start"},
		{"start step3-epoll-lt\nfly", "no such command"},
		{"start step3-epoll-lt\nnext 0", "want a number"},
		{"start step3-epoll-lt\na send x", "connect it first"},
		{"start step3-epoll-lt\na connect", "does not listen yet"},
		{"start step3-epoll-lt\nstart step3-epoll-lt", "running already"},
		{"start no-such-step", "not found"},
		{"start step3-epoll-lt -addr nonsense\nuntil asleep", "the program has ended; it has printed"},
		{"start step3-epoll-lt\nskip asleep\na connect\na connect", "a client a already"},
		{"start step3-epoll-lt\nuntil", "no such command"},
	} {
		s := Script{Build: Build}
		err := s.Run(t.Context(), row.script, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q: %v; want %q", row.script, err, row.want)
		}
	}
}
