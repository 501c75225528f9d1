package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// A server is a program that takes part.
type server struct {
	Name  string
	Title string

	// One of these is set: the folder of a Go package or a source file in C or C++,
	// relative to the root, or an installed program.
	Go, C, System string
	Link          []string // what a program in C is linked with
	Package       string   // Debian's package that the build or the program needs
	Edits         []edit   // of a Go program, before it is built

	Args      []string // of an installed program; {port} and {root} are replaced
	Env       []string // besides the environment of this process
	Redis     bool     // it answers PING and does not echo
	BusyWaits bool     // it uses CPU time when idle, so it is stopped while others are measured
	OneClient bool     // one client at a time
}

var servers = []server{
	{Name: "step1", Title: "step 1: blocking, one client at a time", Go: "step1-blocking", OneClient: true},
	{Name: "step2", Title: "step 2: nonblocking, asks everybody", Go: "step2-nonblocking", BusyWaits: true},
	{Name: "step3", Title: "step 3: epoll, level-triggered", Go: "step3-epoll-lt"},
	{Name: "step4", Title: "step 4: epoll, edge-triggered", Go: "step4-epoll-et"},
	{Name: "raw", Title: "exercise 19, solved: two calls a message, and raw ones", Go: "exercises/19-raw-syscalls/solution"},
	{Name: "c", Title: "the smallest epoll loop in C", C: "tools/bench/peers/c-epoll/server.c", Package: "g++"},
	{Name: "cpp", Title: "step 3 in C++: docs/server_epoll.cpp", C: "docs/server_epoll.cpp", Package: "g++"},
	{Name: "goroutines", Title: "Go's net, a goroutine for each connection", Go: "tools/bench/peers/goroutines"},
	{Name: "netpoll", Title: "github.com/cloudwego/netpoll", Go: "tools/bench/peers/netpoll"},
	{Name: "libevent", Title: "libevent's bufferevents, in C", C: "tools/bench/peers/libevent/server.c", Link: []string{"-levent_core"}, Package: "libevent-dev"},
	{Name: "redis", Title: "redis-server, PING with an argument", System: "redis-server", Package: "redis-server", Redis: true, Args: []string{
		"--port", "{port}", "--bind", "127.0.0.1", "--tcp-backlog", "4096", "--maxclients", "19950",
		"--protected-mode", "no", "--save", "", "--appendonly", "no", "--daemonize", "no"}},
	{Name: "node", Title: "node, socket.pipe(socket)", System: "node", Package: "nodejs", Args: []string{"{root}/tools/bench/peers/node/server.js", "{port}"}},
}

// These take part only in the comparison of exercise 19.
var (
	short = server{Name: "short", Title: "exercise 14, solved: two calls a message", Go: "exercises/14-short-read/solution"}
	yours = server{Name: "yours", Title: "exercises/19-raw-syscalls/main.go", Go: "exercises/19-raw-syscalls"}
)

// build builds the program and returns its path. The caller skips a C program that
// does not build and a program that is not installed.
func (s server) build(ctx context.Context, root, dir string) (string, error) {
	bin := filepath.Join(dir, s.Name)
	var cmd *exec.Cmd
	switch {
	case s.System != "":
		path, err := exec.LookPath(s.System)
		if err != nil {
			return "", fmt.Errorf("%s is not installed: apt-get install %s", s.System, s.Package)
		}
		return path, nil
	case s.C != "":
		compiler := "gcc"
		if filepath.Ext(s.C) == ".cpp" {
			compiler = "g++"
		}
		cmd = exec.CommandContext(ctx, compiler, append([]string{"-O2", "-o", bin, s.C}, s.Link...)...)
		cmd.Dir = root
	default:
		if s.Name == yours.Name {
			if _, err := os.Stat(filepath.Join(root, s.Go, "main.go")); errors.Is(err, os.ErrNotExist) {
				return "", fmt.Errorf("%s does not exist yet: make exercise N=19 creates it", s.Title)
			}
		}
		overlay, err := s.overlay(root, dir)
		if err != nil {
			return "", err
		}
		cmd = exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", bin, ".")
		cmd.Dir = filepath.Join(root, s.Go)
		cmd.Env = append(os.Environ(), "GOWORK=off")
	}
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return "", errInterrupted
	}
	if err != nil {
		text := strings.TrimSpace(string(out))
		if text == "" {
			text = err.Error()
		}
		if s.C != "" {
			text, _, _ = strings.Cut(text, "\n")
			text += ": make setup BENCH=1 installs " + s.Package
		}
		return "", errors.New(text)
	}
	return bin, nil
}

// A process is a running server.
type process struct {
	server
	port int
	pid  int
	cmd  *exec.Cmd
}

// start runs a built server and waits until it accepts a connection. Its standard
// error is /dev/null: the cost of writing the log stays part of the measurement.
func (s server) start(bin, root string) (*process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	p := &process{server: s, port: port}
	fill := strings.NewReplacer("{port}", strconv.Itoa(port), "{root}", root)
	args := s.Args
	switch {
	case s.System == "" && !strings.HasPrefix(s.Go+s.C, "tools/bench/"):
		args = []string{"-addr", "127.0.0.1:{port}"}
	case s.System == "":
		args = []string{"{port}"}
	}
	for i := range args {
		if i == 0 {
			args = append([]string(nil), args...)
		}
		args[i] = fill.Replace(args[i])
	}
	p.cmd = exec.Command(bin, args...)
	p.cmd.Dir = os.TempDir()
	p.cmd.Env = append(os.Environ(), s.Env...)
	// Ctrl-C must reach only this process. It ends the servers, or the kernel does
	// when this process has ended.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	if err := onAllCPUs(p.cmd.Start); err != nil {
		return nil, err
	}
	p.pid = p.cmd.Process.Pid
	for deadline := time.Now().Add(answerTimeout); ; time.Sleep(2 * time.Millisecond) {
		fd, err := dial(port, 0)
		if err == nil {
			closeWithReset(fd)
			if err := p.confine(); err != nil {
				p.kill()
				return nil, err
			}
			return p, nil
		}
		var status unix.WaitStatus
		if pid, _ := unix.Wait4(p.pid, &status, unix.WNOHANG, nil); pid == p.pid {
			return nil, fmt.Errorf("the server exited at once with status %d", status.ExitStatus())
		}
		if time.Now().After(deadline) || interrupted.Load() {
			p.kill()
			return nil, fmt.Errorf("the server does not listen on port %d: %w", port, err)
		}
	}
}

// onAllCPUs starts a child that may use all CPUs, although this thread may use
// only one.
func onAllCPUs(start func() error) error {
	if err := unix.SchedSetaffinity(0, &allCPUs); err != nil {
		return err
	}
	return errors.Join(start(), unix.SchedSetaffinity(0, &generatorCPU))
}

func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (p *process) signal(sig unix.Signal) { unix.Kill(p.pid, sig) }

func (p *process) kill() {
	p.signal(unix.SIGKILL)
	p.cmd.Wait()
}

// cpu waits until the process rests and returns the CPU time of each thread. For a
// running thread, the kernel's figure is up to a clock tick old.
func (p *process) cpu() (map[int]time.Duration, error) {
	last, err := procfs.ThreadCPU(p.pid)
	for i := 0; i < 20 && err == nil && !p.BusyWaits; i++ {
		time.Sleep(time.Millisecond)
		var now map[int]time.Duration
		if now, err = procfs.ThreadCPU(p.pid); maps.Equal(now, last) {
			break
		}
		last = now
	}
	return last, err
}

// calls returns how many calls such as read(2) and write(2) the threads have made:
// proc(5), /proc/pid/io.
func (p *process) calls() (uint64, error) {
	threads, err := procfs.Threads(p.pid)
	var sum uint64
	for _, t := range threads {
		sum += t.Reads + t.Writes
	}
	return sum, err
}

// sleeps returns how often each thread has gone to sleep: voluntary_ctxt_switches of
// proc(5), /proc/pid/status.
func (p *process) sleeps() (map[int]uint64, error) {
	threads, err := procfs.Threads(p.pid)
	n := make(map[int]uint64, len(threads))
	for _, t := range threads {
		n[t.TID] = t.Voluntary
	}
	return n, err
}
