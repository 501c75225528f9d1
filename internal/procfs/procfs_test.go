package procfs

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The tests ask about this process and about children, which are this same
// program: roleEnv says what a child does.
const roleEnv = "PROCFS_TEST_ROLE"

// The process's first thread is main's alone: no test changes its name, and
// the runtime never ends it.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "":
		os.Exit(m.Run())
	case "wait": // be there until the parent closes our standard input, or dies
		fmt.Println("ready")
		io.Copy(io.Discard, os.Stdin)
	case "parent": // have a child that waits
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), roleEnv+"=wait")
		cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
		if err := cmd.Run(); err != nil {
			fmt.Println(err)
		}
	}
}

// child starts a process in a role and returns when it (or its child) is
// ready. The test's end kills it, if the test has not.
func child(t *testing.T, role, program string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close() // for the grandchild
		cmd.Process.Kill()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("child %q said %q, %v; want ready", role, line, err)
	}
	return cmd
}

// stop stops a process and returns when all its threads have left the CPU,
// which is a moment after they are in state T.
func stop(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all threads are stopped", func() bool {
		for _, th := range must[[]Thread](t)(Threads(pid)) {
			if th.State != 'T' || th.Syscall.State == SyscallRunning {
				return false
			}
		}
		return true
	})
}

func executable(t testing.TB) string {
	t.Helper()
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// eventually asks again and again until the answer is yes.
func eventually(t testing.TB, what string, yes func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !yes(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func must[T any](t testing.TB) func(v T, err error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// closing closes a descriptor at the test's end.
func closing(t testing.TB, fds ...int) {
	t.Cleanup(func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	})
}

func dup(t testing.TB, fd int) int {
	t.Helper()
	return must[int](t)(unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0))
}

func pipe(t testing.TB) (r, w int) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	closing(t, p[0], p[1])
	return p[0], p[1]
}

func thread(t testing.TB, tid int) Thread {
	t.Helper()
	for _, th := range must[[]Thread](t)(Threads(os.Getpid())) {
		if th.TID == tid {
			return th
		}
	}
	t.Fatalf("thread %d is not in the list", tid)
	return Thread{}
}

func descriptor(t testing.TB, num int) (FD, bool) {
	t.Helper()
	for _, fd := range must[[]FD](t)(FDs(os.Getpid())) {
		if fd.Num == num {
			return fd, true
		}
	}
	return FD{}, false
}

func TestParseStat(t *testing.T) {
	rest := " S 22 33 44 0 -1 4194368 119 63 0 0 0 0 0 0 20 0 5 0 87384 4595712 472\n"
	for _, tt := range []struct{ name, comm string }{
		{"plain", "nginx"},
		{"blank", "tmux: server"},
		{"closing and opening", "a) (b"},
		{"looks like the rest", "x) R 9 9 9 (y"},
		{"newline", "a\nb"},
		{"empty", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := parseStat([]byte("11 (" + tt.comm + ")" + rest))
			want := Process{PID: 11, PPID: 22,
				Name: tt.comm, State: 'S', Threads: 5, StartTime: 87384}
			if !ok || got != want {
				t.Errorf("got %+v, %t; want %+v", got, ok, want)
			}
		})
	}
	for _, bad := range []string{"", "11", "11 (x", "11 )x(" + rest, "11 (x) S 22\n"} {
		if got, ok := parseStat([]byte(bad)); ok {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
}

func TestStat(t *testing.T) {
	ticks := func() uint64 { // 100 a second, as in the file
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
			t.Fatal(err)
		}
		return uint64(ts.Nano() / 1e7)
	}
	// The comm is the file's name: 15 bytes of it.
	program := filepath.Join(t.TempDir(), "a) R 1 (b and more")
	if err := os.Symlink(executable(t), program); err != nil {
		t.Fatal(err)
	}
	before := ticks()
	cmd := child(t, "wait", program)
	after := ticks()

	got := must[Process](t)(Stat(cmd.Process.Pid))
	if got.StartTime < before || got.StartTime > after {
		t.Errorf("StartTime %d, want between %d and %d", got.StartTime, before, after)
	}
	if got.Threads < 2 { // a Go process has several
		t.Errorf("Threads %d, want 2 or more", got.Threads)
	}
	if got.State != 'S' && got.State != 'R' && got.State != 'D' {
		t.Errorf("State %c, want S, R or D", got.State)
	}
	want := Process{
		PID:       cmd.Process.Pid,
		PPID:      os.Getpid(),
		Name:      "a) R 1 (b and m",
		State:     got.State,
		Threads:   got.Threads,
		StartTime: got.StartTime,
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}

	pids := must[[]int](t)(PIDs())
	if !slices.IsSorted(pids) {
		t.Errorf("PIDs are not in order: %v", pids)
	}
	for _, pid := range []int{os.Getpid(), cmd.Process.Pid} {
		if !slices.Contains(pids, pid) {
			t.Errorf("PIDs %v lack %d", pids, pid)
		}
	}
}

func TestCmdline(t *testing.T) {
	want := []string{executable(t), "", "two words", "-x", ""}
	cmd := child(t, "wait", want[0], want[1:]...)
	got := must[[]string](t)(Cmdline(cmd.Process.Pid))
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDescendants(t *testing.T) {
	cmd := child(t, "parent", executable(t))
	below := must[[]int](t)(Descendants(cmd.Process.Pid))
	if len(below) != 1 {
		t.Fatalf("descendants of the child: %v, want one", below)
	}
	ours := must[[]int](t)(Descendants(os.Getpid()))
	if want := []int{cmd.Process.Pid, below[0]}; !slices.Equal(ours, want) {
		t.Errorf("our descendants: %v, want %v", ours, want)
	}
	leaf := must[[]int](t)(Descendants(below[0]))
	if len(leaf) != 0 {
		t.Errorf("descendants of the grandchild: %v, want none", leaf)
	}
}

// everything asks each question about one process.
var everything = map[string]func(pid int) error{
	"Stat":        func(pid int) error { _, err := Stat(pid); return err },
	"Cmdline":     func(pid int) error { _, err := Cmdline(pid); return err },
	"Descendants": func(pid int) error { _, err := Descendants(pid); return err },
	"Threads": func(pid int) error {
		threads, err := Threads(pid)
		if err == nil && len(threads) == 0 {
			err = errors.New("no threads")
		}
		return err
	},
	"ThreadCPU": func(pid int) error {
		cpus, err := ThreadCPU(pid)
		if err == nil && len(cpus) == 0 {
			err = errors.New("no threads")
		}
		return err
	},
	"ThreadStates": func(pid int) error {
		states, err := ThreadStates(pid)
		if err == nil && len(states) == 0 {
			err = errors.New("no threads")
		}
		return err
	},
	"FDs":      func(pid int) error { _, err := FDs(pid); return err },
	"FDCount":  func(pid int) error { _, err := FDCount(pid); return err },
	"MemoryOf": func(pid int) error { _, err := MemoryOf(pid); return err },
	"NOFILE":   func(pid int) error { _, err := NOFILE(pid); return err },
}

func TestExited(t *testing.T) {
	cmd := child(t, "wait", executable(t))
	pid := cmd.Process.Pid
	file, err := os.Open(path(pid, "stat")) // while it is alive
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, ask := range everything {
		if err := ask(pid); err != nil {
			t.Errorf("alive: %s: %v", name, err)
		}
	}

	cmd.Process.Kill()
	eventually(t, "a killed child is a zombie, which counts as one thread", func() bool {
		p := must[Process](t)(Stat(pid))
		return p.State == 'Z' && p.Threads == 1
	})
	if args := must[[]string](t)(Cmdline(pid)); len(args) != 0 {
		t.Errorf("zombie: Cmdline %q, want none", args)
	}
	if m := must[Memory](t)(MemoryOf(pid)); m != (Memory{}) {
		t.Errorf("zombie: %+v, want no memory", m)
	}

	cmd.Wait()
	for name, ask := range everything {
		if err := ask(pid); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("reaped: %s: error %v, want fs.ErrNotExist", name, err)
		}
	}
	if _, err := Interests(pid, 3); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reaped: Interests: error %v, want fs.ErrNotExist", err)
	}
	// The other error of a dead process: opened in time, read too late.
	_, err = io.ReadAll(file)
	if !errors.Is(err, unix.ESRCH) {
		t.Fatalf("reading a dead process: %v, want ESRCH", err)
	}
	if err := notExist(err); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("notExist: %v, want fs.ErrNotExist", err)
	}
}

// Questions race with the death of the process that they are about: there is
// an answer or one of the two documented errors, never another.
func TestDying(t *testing.T) {
	for range 5 {
		cmd := child(t, "wait", executable(t))
		reaped := make(chan struct{})
		go func() {
			cmd.Process.Kill()
			cmd.Wait()
			close(reaped)
		}()
		for alive := true; alive; {
			select {
			case <-reaped:
				alive = false
			default:
			}
			for name, ask := range everything {
				err := ask(cmd.Process.Pid)
				if err != nil && !errors.Is(err, fs.ErrNotExist) &&
					!errors.Is(err, fs.ErrPermission) {
					t.Fatalf("%s of a dying process: %v", name, err)
				}
			}
		}
	}
}

// Threads end and descriptors are closed between the list and its entries.
func TestVanishing(t *testing.T) {
	stop := make(chan struct{})
	var churning sync.WaitGroup
	defer churning.Wait()
	defer close(stop)
	churn := func(f func()) {
		churning.Add(1)
		go func() {
			defer churning.Done()
			for {
				select {
				case <-stop:
					return
				default:
					f()
				}
			}
		}()
	}
	churn(func() {
		if fd, err := unix.Dup(0); err == nil {
			unix.Close(fd)
		}
	})
	churn(func() {
		ended := make(chan struct{})
		go func() {
			runtime.LockOSThread() // and the thread ends with the goroutine
			close(ended)
		}()
		<-ended
	})
	for range 300 {
		for name, ask := range everything {
			if name == "Descendants" {
				continue // which asks about others
			}
			if err := ask(os.Getpid()); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func TestParseSyscall(t *testing.T) {
	call := fmt.Sprintf("%d 0x3 0x7f0000000000 0x80 0x0 0xffffffffffffffff 0x8 0x7ffec 0x7fc7\n", unix.SYS_EPOLL_PWAIT)
	args := [6]uint64{3, 0x7f0000000000, 0x80, 0, math.MaxUint64, 8}
	for _, tt := range []struct {
		text, string string
		want         Syscall
	}{
		{"running\n", "running", Syscall{State: SyscallRunning, Number: -1}},
		{"-1 0x7ffec 0x7fc7\n", "not in a system call", Syscall{State: SyscallNone, Number: -1}},
		{call, "epoll_pwait", Syscall{SyscallBlocked, unix.SYS_EPOLL_PWAIT, "epoll_pwait", args}},
		{"9999 0x0 0x0 0x0 0x0 0x0 0x0 0x1 0x2\n", "syscall 9999", Syscall{State: SyscallBlocked, Number: 9999}},
	} {
		got, err := parseSyscall(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("%q: got %+v, %v; want %+v", tt.text, got, err, tt.want)
		}
		if got.String() != tt.string {
			t.Errorf("%q: String %q, want %q", tt.text, got, tt.string)
		}
	}
	for _, bad := range []string{"", "walking", "0 0x0", "x 0x0 0x0 0x0 0x0 0x0 0x0 0x1 0x2"} {
		if got, err := parseSyscall(bad); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
	if s := (Syscall{}).String(); s != "unknown" {
		t.Errorf("zero value: %q, want unknown", s)
	}
}

// The names are the constants' names: the tables have no slip of the pen.
func TestSyscallNames(t *testing.T) {
	for _, file := range []string{"syscall.go", "syscall_amd64.go"} {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		rows := 0
		ast.Inspect(tree, func(n ast.Node) bool {
			row, ok := n.(*ast.KeyValueExpr)
			if !ok {
				return true
			}
			constant, ok := row.Key.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			rows++
			want := strconv.Quote(strings.ToLower(strings.TrimPrefix(constant.Sel.Name, "SYS_")))
			if got := row.Value.(*ast.BasicLit).Value; got != want {
				t.Errorf("%s: %s is called %s, want %s", file, constant.Sel.Name, got, want)
			}
			return true
		})
		if rows < 10 {
			t.Errorf("%s: %d rows, want 10 or more", file, rows)
		}
	}
	if runtime.GOARCH == "amd64" && syscallNames[232] != "epoll_wait" {
		t.Errorf("amd64: 232 is %q, want epoll_wait", syscallNames[232])
	}
}

// A thread of ours sleeps in a call: Threads names the call.
func TestThreadBlocked(t *testing.T) {
	r, w := pipe(t)
	epfd := must[int](t)(unix.EpollCreate1(unix.EPOLL_CLOEXEC))
	closing(t, epfd)
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(r)}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, r, &ev); err != nil {
		t.Fatal(err)
	}
	wake := func() { unix.Write(w, []byte("x")) }
	var one [1]byte
	for _, tt := range []struct {
		name   string
		names  []string
		arg    int
		call   func()
		finish func()
	}{
		{"read", []string{"read"}, r, func() { unix.Read(r, one[:]) }, wake},
		{"epoll", []string{"epoll_wait", "epoll_pwait"}, epfd, func() {
			for {
				_, err := unix.EpollWait(epfd, make([]unix.EpollEvent, 1), -1)
				if err != unix.EINTR {
					return
				}
			}
		}, wake},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tids, done := make(chan int), make(chan struct{})
			go func() {
				runtime.LockOSThread() // and the thread ends with the goroutine
				name := []byte("t) (" + tt.name + "\x00")
				unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
				tids <- unix.Gettid()
				tt.call()
				close(done)
			}()
			tid := <-tids
			var th Thread
			eventually(t, "the thread is blocked in "+tt.name, func() bool {
				th = thread(t, tid)
				return slices.Contains(tt.names, th.Syscall.Name) && th.State == 'S'
			})
			if th.Syscall.State != SyscallBlocked || th.Syscall.Args[0] != uint64(tt.arg) {
				t.Errorf("got %+v, want it blocked with first argument %d", th.Syscall, tt.arg)
			}
			if th.PID != os.Getpid() || th.Name != "t) ("+tt.name {
				t.Errorf("got PID %d, name %q; want %d, %q", th.PID, th.Name, os.Getpid(), "t) ("+tt.name)
			}
			if th.Wchan == "0" {
				t.Error("Wchan is 0, want it empty or a name")
			}
			tt.finish()
			<-done
			eventually(t, "the thread is gone from the list", func() bool {
				threads := must[[]Thread](t)(Threads(os.Getpid()))
				return !slices.ContainsFunc(threads, func(th Thread) bool { return th.TID == tid })
			})
		})
	}
}

// A thread that asks about itself is running.
func TestThreadRunning(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	th := thread(t, unix.Gettid())
	if th.State != 'R' || th.Wchan != "" {
		t.Errorf("state %c, wchan %q; want R and none", th.State, th.Wchan)
	}
}

func TestThreadCPU(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, tid := os.Getpid(), unix.Gettid()
	first := must[map[int]time.Duration](t)(ThreadCPU(pid))[tid]
	now := first
	eventually(t, "20 ms of spinning are seen", func() bool {
		for begin := time.Now(); time.Since(begin) < 5*time.Millisecond; {
		}
		now = must[map[int]time.Duration](t)(ThreadCPU(pid))[tid]
		return now-first >= 20*time.Millisecond
	})
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		t.Fatal(err)
	}
	if clock := time.Duration(ts.Nano()); now > clock {
		t.Errorf("this thread: %v, but its clock says %v", now, clock)
	}
	if th := thread(t, tid); th.CPU < now || th.CPU > now+5*time.Second {
		t.Errorf("Threads says %v, ThreadCPU said %v", th.CPU, now)
	}
}

// A thread that sleeps in a call has used at least the CPU time that it took
// to get there: if that is what it was before, it has slept ever since.
func TestCPUOfSleeper(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	const looks = 3000
	var used [looks + 2]atomic.Int64 // when it is about to read so many bytes
	tids, done := make(chan int), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and the thread ends with the goroutine
		tids <- unix.Gettid()
		buf := make([]byte, len(used))
		for n := 1; n < len(used); n++ {
			var ts unix.Timespec
			unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
			used[n].Store(ts.Nano())
			if got, err := unix.Read(p[0], buf[:n]); got == 0 || err != nil && err != unix.EINTR {
				return // the test has ended
			}
		}
	}()
	defer func() { unix.Close(p[1]); <-done; unix.Close(p[0]) }()
	tid, seen := <-tids, 0
	for range looks {
		th := must[Thread](t)(readThread(os.Getpid(), tid))
		if th.Syscall.Name == "read" && th.Syscall.Args[0] == uint64(p[0]) {
			seen++
			if n := th.Syscall.Args[2]; int64(th.CPU) < used[n].Load() {
				t.Fatalf("it had used %v before read %d, and sleeps there with %v", time.Duration(used[n].Load()), n, th.CPU)
			}
		}
		unix.Write(p[1], []byte("x"))
	}
	if seen == 0 {
		t.Errorf("never asleep in %d looks", looks)
	}
}

// Calls are counted for the thread that makes them, and for no other.
func TestReadsAndWrites(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	// Only this thread's files: to read those of all takes more calls the more
	// there are.
	self := func() Thread {
		t.Helper()
		return must[Thread](t)(readThread(os.Getpid(), unix.Gettid()))
	}
	before := self()
	const n = 1000
	var b [1]byte
	for range n {
		unix.Write(p[1], b[:])
		unix.Read(p[0], b[:])
	}
	after := self()
	// The runtime and the reading of /proc may add a few of their own.
	if d := after.Writes - before.Writes; d < n || d > n+100 {
		t.Errorf("%d writes, want %d and a few", d, n)
	}
	if d := after.Reads - before.Reads; d < n || d > n+100 {
		t.Errorf("%d reads, want %d and a few", d, n)
	}
}

// A stopped process is in state T with all its threads, and uses no CPU.
func TestStopped(t *testing.T) {
	cmd := child(t, "wait", executable(t))
	pid := cmd.Process.Pid
	stop(t, pid)
	threads := must[[]Thread](t)(Threads(pid))
	p := must[Process](t)(Stat(pid))
	if p.State != 'T' || p.Threads != len(threads) {
		t.Errorf("Stat: state %c, %d threads; want T, %d", p.State, p.Threads, len(threads))
	}
	before := must[map[int]time.Duration](t)(ThreadCPU(pid))
	states := must[map[int]byte](t)(ThreadStates(pid))
	if len(states) != len(threads) {
		t.Errorf("ThreadStates: %d threads, want %d", len(states), len(threads))
	}
	var sum time.Duration
	for _, th := range threads {
		sum += th.CPU
		if states[th.TID] != th.State {
			t.Errorf("thread %d: ThreadStates %c, Threads %c", th.TID, states[th.TID], th.State)
		}
		if before[th.TID] != th.CPU {
			t.Errorf("thread %d: ThreadCPU %v, Threads %v", th.TID, before[th.TID], th.CPU)
		}
	}
	if len(before) != len(threads) || sum == 0 {
		t.Errorf("%d threads with %v, want %d with more than 0", len(before), sum, len(threads))
	}
	for begin := time.Now(); time.Since(begin) < 20*time.Millisecond; {
	}
	if after := must[map[int]time.Duration](t)(ThreadCPU(pid)); !maps.Equal(before, after) {
		t.Errorf("a stopped process used CPU: %v, then %v", before, after)
	}
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the process goes on", func() bool {
		return must[Process](t)(Stat(pid)).State == 'S'
	})
}

func TestContextSwitches(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	usage := func() (u unix.Rusage) {
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
			t.Fatal(err)
		}
		return u
	}
	// So many that no number of involuntary ones is taken for them.
	for range 200 {
		unix.Nanosleep(&unix.Timespec{Nsec: 1}, nil)
	}
	before := usage()
	th := thread(t, unix.Gettid())
	after := usage()
	if n := int64(th.Voluntary); n < before.Nvcsw || n > after.Nvcsw {
		t.Errorf("voluntary: %d, want between %d and %d", n, before.Nvcsw, after.Nvcsw)
	}
}

// More threads want to run than there are CPUs: they wait for each other.
func TestWaited(t *testing.T) {
	var stop atomic.Bool
	defer stop.Store(true)
	tids := make(chan int)
	n := 2 * runtime.NumCPU()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n + 2))
	for range n {
		go func() {
			runtime.LockOSThread()
			tids <- unix.Gettid()
			for !stop.Load() {
			}
		}()
	}
	tid := 0
	for range n {
		tid = <-tids
	}
	eventually(t, "5 ms of waiting for a CPU are seen", func() bool {
		return thread(t, tid).Waited >= 5*time.Millisecond
	})
}

// What we may not read of another user's process is no error of Threads.
func TestNoPermission(t *testing.T) {
	if _, err := os.ReadFile("/proc/1/syscall"); !errors.Is(err, fs.ErrPermission) {
		t.Skipf("process 1 is not closed to us (%v)", err)
	}
	// An init that a container has put there may be of our user: only what takes
	// PTRACE_MODE_ATTACH is closed then.
	if f, err := os.Open("/proc/1/fd"); err == nil {
		f.Close()
		t.Skip("process 1 is not closed to us: its descriptors can be seen")
	}
	threads, err := Threads(1)
	if err != nil || len(threads) == 0 {
		t.Fatalf("Threads(1): %d, %v; want some", len(threads), err)
	}
	for _, th := range threads {
		if th.Syscall.State != SyscallDenied || th.Syscall.String() != "unknown (no permission)" {
			t.Errorf("thread %d: %+v, want it denied", th.TID, th.Syscall)
		}
		if th.Name == "" || th.State == 0 || th.CPU == 0 {
			t.Errorf("thread %d: %+v, want name, state and CPU", th.TID, th)
		}
	}
	if _, err := FDs(1); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("FDs(1): %v, want fs.ErrPermission", err)
	}
	if _, err := Owners(1); err != nil { // meets process 1 and goes on
		t.Errorf("Owners: %v", err)
	}
}

func TestFDs(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo:[1]") // not to be taken for an inode
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(name string, flags int) int {
		return must[int](t)(unix.Open(name, flags|unix.O_CLOEXEC, 0o600))
	}
	r, w := pipe(t)
	for _, tt := range []struct {
		name  string
		fd    int
		kind  Kind
		inode bool
	}{
		{"eventpoll", must[int](t)(unix.EpollCreate1(unix.EPOLL_CLOEXEC)), KindEventpoll, false},
		{"eventfd", must[int](t)(unix.Eventfd(0, 0)), KindEventfd, false},
		{"timerfd", must[int](t)(unix.TimerfdCreate(unix.CLOCK_MONOTONIC, 0)), KindTimerfd, false},
		{"signalfd", must[int](t)(unix.Signalfd(-1, &unix.Sigset_t{}, 0)), KindSignalfd, false},
		{"inotify", must[int](t)(unix.InotifyInit1(0)), KindInotify, false},
		{"pidfd", must[int](t)(unix.PidfdOpen(os.Getpid(), 0)), "pidfd", false},
		{"namespace", open("/proc/self/ns/net", unix.O_RDONLY), "net", false},
		{"memory", must[int](t)(unix.MemfdCreate("m", 0)), KindFile, false},
		{"file", open(filepath.Join(dir, "socket:[7]"), unix.O_RDWR|unix.O_CREAT), KindFile, false},
		{"directory", open(dir, unix.O_RDONLY), KindDirectory, false},
		{"device", open("/dev/null", unix.O_RDWR), KindDevice, false},
		{"fifo", open(fifo, unix.O_RDWR), KindPipe, true},
		{"pipe read", r, KindPipe, true},
		{"pipe write", w, KindPipe, true},
		{"tcp", must[int](t)(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)), KindSocket, true},
		{"unix", must[int](t)(unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)), KindSocket, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, found := descriptor(t, tt.fd)
			if !found {
				t.Fatalf("descriptor %d is not in the list", tt.fd)
			}
			if got.Kind != tt.kind {
				t.Errorf("%q: kind %q, want %q", got.Target, got.Kind, tt.kind)
			}
			var st unix.Stat_t
			if err := unix.Fstat(tt.fd, &st); err != nil {
				t.Fatal(err)
			}
			want := uint64(0)
			if tt.inode {
				want = st.Ino
			}
			if got.Inode != want {
				t.Errorf("%q: inode %d, want %d", got.Target, got.Inode, want)
			}
			for _, on := range []bool{true, false, true} {
				if err := unix.SetNonblock(tt.fd, on); err != nil {
					t.Fatal(err)
				}
				got, _ := descriptor(t, tt.fd)
				flags := must[int](t)(unix.FcntlInt(uintptr(tt.fd), unix.F_GETFL, 0))
				cloexec := must[int](t)(unix.FcntlInt(uintptr(tt.fd), unix.F_GETFD, 0))
				if cloexec&unix.FD_CLOEXEC != 0 {
					flags |= unix.O_CLOEXEC
				}
				if got.Nonblock() != on || got.Flags != flags {
					t.Errorf("O_NONBLOCK set %t: got %t, flags %#o; want flags %#o",
						on, got.Nonblock(), got.Flags, flags)
				}
			}
			if tt.fd != r && tt.fd != w { // which close themselves
				unix.Close(tt.fd)
				if got, found := descriptor(t, tt.fd); found {
					t.Errorf("closed, and still there: %+v", got)
				}
			}
		})
	}
	fds := must[[]FD](t)(FDs(os.Getpid()))
	if !slices.IsSortedFunc(fds, func(a, b FD) int { return a.Num - b.Num }) {
		t.Errorf("not sorted: %+v", fds)
	}
}

// A stopped child's descriptors are counted exactly, ours too, and so are
// those of a thread that sleeps in accept(2): see FDCount.
func TestFDCount(t *testing.T) {
	count := func(pid int) int { t.Helper(); return must[int](t)(FDCount(pid)) }
	cmd := child(t, "wait", executable(t))
	pid := cmd.Process.Pid
	stop(t, pid)
	if got, want := count(pid), len(must[[]FD](t)(FDs(pid))); got != want || got < 3 {
		t.Errorf("child: FDCount %d, FDs %d; want the same, 3 or more", got, want)
	}
	before := count(os.Getpid())
	if fds := must[[]FD](t)(FDs(os.Getpid())); before != len(fds) {
		t.Errorf("ours: FDCount %d, FDs %d; want the same: %+v", before, len(fds), fds)
	}
	listener, addr := listen(t, "127.0.0.1")
	if got := count(os.Getpid()); got != before+1 {
		t.Errorf("one more open: %d, want %d", got, before+1)
	}
	tids, accepted := make(chan int), make(chan int)
	go func() {
		runtime.LockOSThread()
		tids <- unix.Gettid()
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if err != nil {
			fd = -1
		}
		accepted <- fd
	}()
	tid := <-tids
	eventually(t, "a thread sleeps in accept4", func() bool {
		return thread(t, tid).Syscall.Name == "accept4"
	})
	if got := count(os.Getpid()); got != before+1 {
		t.Errorf("with accept(2) asleep: %d, want %d", got, before+1)
	}
	dial(t, addr)
	closing(t, <-accepted)
	if got := count(os.Getpid()); got != before+3 {
		t.Errorf("with a connection: %d, want %d", got, before+3)
	}
}

func TestEventsString(t *testing.T) {
	for _, tt := range []struct {
		events      Events
		full, asked string
	}{
		{0, "0", "0"},
		{0x8000201d, "EPOLLIN|EPOLLOUT|EPOLLERR|EPOLLHUP|EPOLLRDHUP|EPOLLET", "EPOLLIN|EPOLLOUT|EPOLLRDHUP|EPOLLET"},
		{0x18, "EPOLLERR|EPOLLHUP", "0"},
		{unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET, "EPOLLIN|EPOLLRDHUP|EPOLLET", "EPOLLIN|EPOLLRDHUP|EPOLLET"},
		{unix.EPOLLIN | unix.EPOLLEXCLUSIVE, "EPOLLIN|EPOLLEXCLUSIVE", "EPOLLIN|EPOLLEXCLUSIVE"},
		{unix.EPOLLONESHOT, "EPOLLONESHOT", "EPOLLONESHOT"},
		{0x01000001, "EPOLLIN|0x1000000", "EPOLLIN|0x1000000"},
	} {
		if got := tt.events.String(); got != tt.full {
			t.Errorf("%#x: got %s, want %s", uint32(tt.events), got, tt.full)
		}
		if got := tt.events.Asked().String(); got != tt.asked {
			t.Errorf("%#x: asked %s, want %s", uint32(tt.events), got, tt.asked)
		}
	}
}

func TestParseInterest(t *testing.T) {
	for _, tt := range []struct {
		line string
		want Interest
	}{
		{"tfd:        7 events: 8000201d data:        100000007  pos:0 ino:5e2 sdev:8\n", Interest{7, 0x8000201d, 0x100000007, 0x5e2}},
		{"tfd:      123 events:       19 data: 74253d2500000009\n", Interest{123, 0x19, 0x74253d2500000009, 0}},
		{"tfd:        5 events:       19 data: ffffffffffffffff  pos:-1 ino:a sdev:9\n", Interest{5, 0x19, math.MaxUint64, 10}},
	} {
		if got, err := parseInterest(tt.line); err != nil || got != tt.want {
			t.Errorf("%q: got %+v, %v; want %+v", tt.line, got, err, tt.want)
		}
	}
	if got, err := parseInterest("tfd: 7 events: zz data: 0\n"); err == nil {
		t.Errorf("got %+v, want an error", got)
	}
}

func TestInterests(t *testing.T) {
	epfd := must[int](t)(unix.EpollCreate1(unix.EPOLL_CLOEXEC))
	closing(t, epfd)
	interests := func() []Interest {
		t.Helper()
		return must[[]Interest](t)(Interests(os.Getpid(), epfd))
	}
	if got := interests(); len(got) != 0 {
		t.Errorf("new instance: %+v, want nothing", got)
	}
	ino := func(fd int) uint64 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	ctl := func(op, fd int, events uint32, high int32) Interest {
		t.Helper()
		ev := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: high}
		if err := unix.EpollCtl(epfd, op, fd, &ev); err != nil {
			t.Fatal(err)
		}
		// What the kernel adds: see Events.Asked.
		return Interest{fd, Events(events) | unix.EPOLLERR | unix.EPOLLHUP,
			uint64(high)<<32 | uint64(fd), ino(fd)}
	}
	check := func(when string, want ...Interest) {
		t.Helper()
		slices.SortFunc(want, func(a, b Interest) int { return a.FD - b.FD })
		if got := interests(); !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", when, got, want)
		}
	}

	a := must[int](t)(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	b := must[int](t)(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	r, w := pipe(t)
	closing(t, a)
	inA := ctl(unix.EPOLL_CTL_ADD, a, unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLET, 7)
	inB := ctl(unix.EPOLL_CTL_ADD, b, 0, 0)
	inR := ctl(unix.EPOLL_CTL_ADD, r, unix.EPOLLIN|unix.EPOLLONESHOT|unix.EPOLLET, math.MaxInt32)
	inW := ctl(unix.EPOLL_CTL_ADD, w, unix.EPOLLOUT|unix.EPOLLEXCLUSIVE, 0)
	check("four added", inA, inB, inR, inW)
	if asked := inA.Events.Asked().String(); asked != "EPOLLIN|EPOLLRDHUP|EPOLLET" {
		t.Errorf("asked: %s", asked)
	}

	inB = ctl(unix.EPOLL_CTL_MOD, b, unix.EPOLLIN|unix.EPOLLOUT, 1)
	check("one changed", inA, inB, inR, inW)

	// One shot, fired: what is left is not armed, not even for errors.
	unix.Write(w, []byte("x"))
	for {
		var events [1]unix.EpollEvent
		ready := []unix.PollFd{{Fd: int32(r), Events: unix.POLLIN}}
		if n, _ := unix.Poll(ready, 0); n != 1 {
			t.Fatal("the pipe is not ready")
		}
		_, err := unix.EpollWait(epfd, events[:], -1)
		if err == nil && events[0].Fd == int32(r) {
			break
		}
		if err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
	}
	inR.Events = unix.EPOLLONESHOT | unix.EPOLLET
	check("one shot fired", inA, inB, inR, inW)

	// epoll(7): closing a number whose open file lives on removes nothing.
	twin := dup(t, b)
	if err := unix.Close(b); err != nil {
		t.Fatal(err)
	}
	check("closed, but duplicated before", inA, inB, inR, inW)
	// The number may come to mean something else, and be added once more.
	if err := unix.Dup3(a, b, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	again := ctl(unix.EPOLL_CTL_ADD, b, unix.EPOLLIN, 2)
	same := []Interest{inB, again}
	slices.SortFunc(same, func(x, y Interest) int { return int(x.Inode) - int(y.Inode) })
	got := slices.DeleteFunc(interests(), func(i Interest) bool { return i.FD != b })
	if !slices.Equal(got, same) {
		t.Errorf("number reused: got %+v, want %+v", got, same)
	}
	ctl(unix.EPOLL_CTL_DEL, b, 0, 0)
	unix.Close(b)
	unix.Close(twin)
	check("the last duplicate closed", inA, inR, inW)

	if _, err := Interests(os.Getpid(), a); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a socket: error %v, want one that says so", err)
	}
	if _, err := Interests(os.Getpid(), b); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a closed descriptor: error %v, want fs.ErrNotExist", err)
	}
}

// listen returns a socket that listens on a port of the kernel's choice.
func listen(t testing.TB, ip string) (int, netip.AddrPort) {
	t.Helper()
	addr := netip.AddrPortFrom(netip.MustParseAddr(ip), 0)
	family := unix.AF_INET
	if addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		closing(t, fd)
		if family == unix.AF_INET6 { // whatever /proc/sys/net/ipv6/bindv6only says
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
		}
	}
	if err == nil {
		err = unix.Bind(fd, sockaddr(addr))
	}
	if family == unix.AF_INET6 && (err == unix.EAFNOSUPPORT || err == unix.EADDRNOTAVAIL) {
		t.Skip("no IPv6 here")
	}
	if err == nil {
		err = unix.Listen(fd, 4096)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd, local(t, fd)
}

func sockaddr(addr netip.AddrPort) unix.Sockaddr {
	if addr.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}
	}
	return &unix.SockaddrInet6{Addr: addr.Addr().As16(), Port: int(addr.Port())}
}

// local returns a socket's address, from the kernel by another way.
func local(t testing.TB, fd int) netip.AddrPort {
	t.Helper()
	sa, err := unix.Getsockname(fd)
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	t.Fatalf("getsockname: %v, %v", sa, err)
	return netip.AddrPort{}
}

func dial(t testing.TB, addr netip.AddrPort) int {
	t.Helper()
	family := unix.AF_INET
	if addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd := must[int](t)(unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	closing(t, fd)
	for {
		err := unix.Connect(fd, sockaddr(addr))
		if err == nil || err == unix.EISCONN { // a signal came, and it went on
			return fd
		}
		if err != unix.EINTR && err != unix.EALREADY {
			t.Fatalf("connect: %v", err)
		}
	}
}

func accept(t testing.TB, listener int) int {
	t.Helper()
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		closing(t, fd)
		return fd
	}
}

// socket returns the one TCP socket with these two addresses.
func socket(t testing.TB, local, remote netip.AddrPort) (Socket, bool) {
	t.Helper()
	for _, s := range must[[]Socket](t)(TCP()) {
		if s.Local == local && s.Remote == remote {
			return s, true
		}
	}
	return Socket{}, false
}

func TestParseTCP(t *testing.T) {
	// Addresses are words of this machine: write them as its kernel would.
	hex := func(ip string) string {
		b := netip.MustParseAddr(ip).AsSlice()
		text := ""
		for ; len(b) > 0; b = b[4:] {
			text += fmt.Sprintf("%08X", binary.NativeEndian.Uint32(b))
		}
		return text
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 && hex("127.0.0.1") != "0100007F" {
		t.Fatalf("127.0.0.1 is %s", hex("127.0.0.1"))
	}
	for _, tt := range []struct{ name, local, remote, wantLocal, wantRemote string }{
		{"IPv4", "127.0.0.1", "10.1.2.3", "127.0.0.1:6379", "10.1.2.3:50000"},
		{"IPv6", "2001:db8:1:2:3:4:5:6", "::1", "[2001:db8:1:2:3:4:5:6]:6379", "[::1]:50000"},
		{"mapped", "::ffff:192.0.2.1", "::ffff:127.0.0.1", "192.0.2.1:6379", "127.0.0.1:50000"},
		{"any", "0.0.0.0", "255.255.255.255", "0.0.0.0:6379", "255.255.255.255:50000"},
		{"any IPv6", "::", "::", "[::]:6379", "[::]:50000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// The first field is wider from the 10,000th socket on, and the
			// UID from the 100,000th user on.
			text := "  sl  local_address …\n" + "12345: " + hex(tt.local) + ":18EB " + hex(tt.remote) +
				":C350 08 0000001F:0010FFFF 00:00000000 00000000 1234567        0 987654321 1 0000000000000000 20 4 30 10 -1\n"
			got, err := parseTCP(nil, "test", strings.NewReader(text))
			want := []Socket{{
				Local:   netip.MustParseAddrPort(tt.wantLocal),
				Remote:  netip.MustParseAddrPort(tt.wantRemote),
				State:   TCPCloseWait,
				TxQueue: 0x1f,
				RxQueue: 0x10ffff,
				Inode:   987654321,
				UID:     1234567,
			}}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
		})
	}
	for _, bad := range []string{"0: 0100007F:18EB", "0: 7F:18EB 0100007F:C350 01 0:0 0:0 0 0 0 1 1"} {
		if got, err := parseTCP(nil, "test", strings.NewReader("headings\n"+bad+"\n")); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
	if got, err := parseTCP(nil, "test", strings.NewReader("headings\n")); err != nil || len(got) != 0 {
		t.Errorf("no sockets: got %+v, %v", got, err)
	}
}

func TestStateString(t *testing.T) {
	for state, want := range map[State]string{
		TCPEstablished: "ESTABLISHED", unix.BPF_TCP_LISTEN: "LISTEN",
		unix.BPF_TCP_CLOSE_WAIT: "CLOSE_WAIT", unix.BPF_TCP_CLOSING: "CLOSING",
		unix.BPF_TCP_TIME_WAIT: "TIME_WAIT", 0: "state 0", 77: "state 77",
	} {
		if got := state.String(); got != want {
			t.Errorf("%d: got %s, want %s", state, got, want)
		}
	}
}

// The life of a connection, over IPv4, IPv6, and IPv4 to an IPv6 socket.
func TestTCP(t *testing.T) {
	for _, tt := range []struct{ name, listen, dial, remote string }{
		{"IPv4", "127.0.0.1", "127.0.0.1", "0.0.0.0"},
		{"IPv6", "::1", "::1", "::"},
		{"mapped", "::", "127.0.0.1", "::"},
	} {
		t.Run(tt.name, func(t *testing.T) { testTCP(t, tt.listen, tt.dial, tt.remote) })
	}
}

func testTCP(t *testing.T, listenIP, dialIP, anyIP string) {
	listener, listening := listen(t, listenIP)
	addr := netip.AddrPortFrom(netip.MustParseAddr(dialIP), listening.Port())
	nobody := netip.AddrPortFrom(netip.MustParseAddr(anyIP), 0)
	get := func(local, remote netip.AddrPort) Socket {
		t.Helper()
		s, found := socket(t, local, remote)
		if !found {
			t.Fatalf("no socket %v - %v", local, remote)
		}
		if remote != nobody {
			same, found, err := Connection(local, remote)
			if again, _ := socket(t, local, remote); again != s {
				return again // it is changing
			}
			if same != s || !found || err != nil {
				t.Errorf("sock_diag(7) says %+v, %v, %v, and /proc %+v", same, found, err, s)
			}
		}
		return s
	}
	inode := func(fd int) uint64 {
		t.Helper()
		fdInfo, _ := descriptor(t, fd)
		if fdInfo.Inode == 0 {
			t.Fatalf("descriptor %d: %+v, want a socket", fd, fdInfo)
		}
		return fdInfo.Inode
	}

	if s, found, err := Connection(addr, netip.AddrPortFrom(addr.Addr(), 1)); found || err != nil {
		t.Errorf("nobody is connected: got %+v, %v, %v", s, found, err)
	}
	if s, found, err := Connection(netip.AddrPortFrom(addr.Addr(), 1), addr); found || err != nil {
		t.Errorf("nobody is there: got %+v, %v, %v", s, found, err)
	}
	want := Socket{Local: listening, Remote: nobody, State: TCPListen, Inode: inode(listener), UID: os.Getuid()}
	if got := get(listening, nobody); got != want {
		t.Errorf("listener: got %+v, want %+v", got, want)
	}

	// Connected, not accepted: two wait, and they have no inode.
	client := dial(t, addr)
	second := dial(t, addr)
	eventually(t, "two connections wait", func() bool { return get(listening, nobody).RxQueue == 2 })
	near := local(t, client)
	if got := get(addr, near); got.State != TCPEstablished || got.Inode != 0 {
		t.Errorf("not accepted: %+v, want ESTABLISHED without inode", got)
	}
	if got := get(near, addr); got.State != TCPEstablished || got.Inode != inode(client) || got.UID != os.Getuid() {
		t.Errorf("client: %+v, want ESTABLISHED, inode %d, UID %d", got, inode(client), os.Getuid())
	}

	server := accept(t, listener)
	if got := get(listening, nobody); got.RxQueue != 1 {
		t.Errorf("one accepted: %d wait, want 1", got.RxQueue)
	}
	if got := get(addr, near); got.Inode != inode(server) {
		t.Errorf("accepted: inode %d, want %d", got.Inode, inode(server))
	}

	// The client writes until nothing fits any more; the server reads nothing.
	if err := unix.SetNonblock(client, true); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	var sent, read int
	eventually(t, "bytes are unread here and unsent there", func() bool {
		for {
			n, err := unix.Write(client, buf)
			if err != nil {
				break
			}
			sent += n
		}
		rx, tx := get(addr, near).RxQueue, get(near, addr).TxQueue
		return rx > 0 && tx > 0 && rx+tx == sent &&
			rx == must[int](t)(unix.IoctlGetInt(server, unix.SIOCINQ)) &&
			tx == must[int](t)(unix.IoctlGetInt(client, unix.SIOCOUTQ))
	})

	for read < sent {
		n, err := unix.Read(server, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			t.Fatalf("read %d of %d bytes, then %d, %v", read, sent, n, err)
		}
		read += n
	}

	// All is read. The client's FIN counts as one byte until that is, too.
	if got := get(addr, near); got.RxQueue != 0 {
		t.Errorf("all read: RxQueue %d, want 0", got.RxQueue)
	}
	if err := unix.Shutdown(client, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the FIN has come", func() bool { return get(addr, near).State == TCPCloseWait })
	if got := get(addr, near); got.RxQueue != 1 {
		t.Errorf("FIN not read: RxQueue %d, want 1", got.RxQueue)
	}
	if n, err := unix.Read(server, buf); n != 0 || err != nil {
		t.Errorf("read gave %d, %v; want end of file", n, err)
	}
	if got := get(addr, near); got.RxQueue != 0 {
		t.Errorf("FIN read: RxQueue %d, want 0", got.RxQueue)
	}
	eventually(t, "the FIN is acknowledged", func() bool {
		got := get(near, addr)
		return got.State == TCPFinWait2 && got.TxQueue == 0
	})

	// The end that closes first is left in TIME_WAIT, without owner.
	if err := unix.Shutdown(server, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	eventually(t, "TIME_WAIT without inode", func() bool {
		got := get(near, addr)
		return got.State == TCPTimeWait && got.Inode == 0
	})
	if got, found := socket(t, local(t, second), addr); !found || got.State != TCPEstablished {
		t.Errorf("the other connection: %+v, %t; want ESTABLISHED", got, found)
	}
}

func TestOwners(t *testing.T) {
	listener, addr := listen(t, "127.0.0.1")
	client := dial(t, addr)
	twin := dup(t, client)
	defer unix.Close(twin)
	inode := func(fd int) uint64 { info, _ := descriptor(t, fd); return info.Inode }

	// A child that inherits the listener owns it as well, as its descriptor 3.
	file := os.NewFile(uintptr(dup(t, listener)), "listener")
	defer file.Close()
	cmd := exec.Command(executable(t))
	cmd.Env = append(os.Environ(), roleEnv+"=wait")
	cmd.ExtraFiles = []*os.File{file}
	stdin := must[io.WriteCloser](t)(cmd.StdinPipe())
	stdout := must[io.ReadCloser](t)(cmd.StdoutPipe())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stdin.Close(); cmd.Process.Kill(); cmd.Wait() }()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("child said %q, %v", line, err)
	}

	pid := os.Getpid()
	none := uint64(math.MaxUint64)
	got := must[map[uint64][]Owner](t)(Owners(inode(listener), inode(client), none))
	for _, tt := range []struct {
		name  string
		inode uint64
		want  []Owner
	}{
		{"listener", inode(listener), []Owner{{pid, listener}, {pid, int(file.Fd())}, {cmd.Process.Pid, 3}}},
		{"client", inode(client), []Owner{{pid, client}, {pid, twin}}},
	} {
		sorted := func(owners []Owner) []Owner {
			return slices.SortedFunc(slices.Values(owners), func(a, b Owner) int {
				return (a.PID-b.PID)<<20 + a.FD - b.FD
			})
		}
		if !slices.Equal(sorted(got[tt.inode]), sorted(tt.want)) {
			t.Errorf("%s: got %v, want %v", tt.name, got[tt.inode], tt.want)
		}
	}
	if len(got) != 2 {
		t.Errorf("got %v, want two inodes", got)
	}
	if got := must[map[uint64][]Owner](t)(Owners()); len(got) != 0 {
		t.Errorf("nothing asked: got %v", got)
	}
}

func TestTCPOf(t *testing.T) {
	_, addr := listen(t, "127.0.0.1")
	listens := func(s Socket) bool { return s.Local == addr && s.State == TCPListen }
	if got := must[[]Socket](t)(TCPOf(os.Getpid())); !slices.ContainsFunc(got, listens) {
		t.Errorf("of this process: no listener on %v among %d sockets", addr, len(got))
	}
	if _, err := TCPOf(math.MaxInt32); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of nobody: %v, want fs.ErrNotExist", err)
	}
}

func TestListeners(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		listener, _ := listen(t, ip)
		inode := must[uint64](t)(Inode(os.Getpid(), listener))
		for _, want := range []int{5, 0, 1} { // a second listen(2) changes it
			if err := unix.Listen(listener, want); err != nil {
				t.Fatal(err)
			}
			all := must[[]Listener](t)(Listeners())
			i := slices.IndexFunc(all, func(l Listener) bool { return l.Inode == inode })
			if i < 0 || all[i].Backlog != want {
				t.Fatalf("%s: want backlog %d among %+v", ip, want, all)
			}
			// For the rest, /proc must say the same.
			if inProc := must[[]Socket](t)(TCP()); !slices.Contains(inProc, all[i].Socket) {
				t.Errorf("%s: /proc does not have %+v", ip, all[i].Socket)
			}
		}
	}
}

func TestInodeAndProtocol(t *testing.T) {
	open := func(family, kind int) int {
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
		if family == unix.AF_INET6 && err == unix.EAFNOSUPPORT {
			return -1
		}
		if err != nil {
			t.Fatal(err)
		}
		closing(t, fd)
		return fd
	}
	r, _ := pipe(t)
	null := must[int](t)(unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0))
	closing(t, null)
	for _, tt := range []struct {
		fd       int
		protocol string
	}{
		{open(unix.AF_INET, unix.SOCK_STREAM), "TCP"},
		{open(unix.AF_INET6, unix.SOCK_STREAM), "TCPv6"},
		{open(unix.AF_INET, unix.SOCK_DGRAM), "UDP"},
		{open(unix.AF_UNIX, unix.SOCK_STREAM), "UNIX"},
		{r, ""},
		{null, ""},
	} {
		if tt.fd < 0 {
			t.Logf("%s: there is none here", tt.protocol)
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstat(tt.fd, &st); err != nil {
			t.Fatal(err)
		}
		if got, err := Inode(os.Getpid(), tt.fd); got != st.Ino || err != nil {
			t.Errorf("%q: inode %d, %v; want %d", tt.protocol, got, err, st.Ino)
		}
		got, err := Protocol(os.Getpid(), tt.fd)
		if !strings.HasPrefix(got, tt.protocol) || (err == nil) != (tt.protocol != "") {
			t.Errorf("got protocol %q, %v; want %q", got, err, tt.protocol)
		}
	}
	if _, err := Inode(os.Getpid(), 1<<20); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("inode of a closed descriptor: %v, want fs.ErrNotExist", err)
	}
	if _, err := Protocol(os.Getpid(), 1<<20); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("protocol of a closed descriptor: %v, want fs.ErrNotExist", err)
	}
}

func TestMemory(t *testing.T) {
	before := must[Memory](t)(MemoryOf(os.Getpid()))
	if before.Anon <= 0 || before.RSS <= before.Anon {
		t.Errorf("got %+v, want 0 < Anon < RSS", before)
	}
	for _, n := range []int64{before.RSS, before.Anon} {
		if n%int64(os.Getpagesize()) != 0 { // so the unit is right
			t.Errorf("%d bytes are not whole pages", n)
		}
	}
	const size, slack = 64 << 20, 16 << 20
	m := must[[]byte](t)(unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON))
	for i := 0; i < len(m); i += 4096 {
		m[i] = 1
	}
	during := must[Memory](t)(MemoryOf(os.Getpid()))
	for name, grown := range map[string]int64{"RSS": during.RSS - before.RSS, "Anon": during.Anon - before.Anon} {
		if grown < size-slack || grown > size+slack {
			t.Errorf("%s has grown by %d, want about %d", name, grown, size)
		}
	}
	if err := unix.Munmap(m); err != nil {
		t.Fatal(err)
	}
	after := must[Memory](t)(MemoryOf(os.Getpid()))
	if after.Anon > during.Anon-size+slack {
		t.Errorf("unmapped: %+v after %+v, want Anon down", after, during)
	}
}

func TestNOFILE(t *testing.T) {
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		t.Fatal(err)
	}
	if got, want := must[Limit](t)(NOFILE(os.Getpid())), (Limit{own.Cur, own.Max}); got != want {
		t.Errorf("ours: got %+v, want %+v", got, want)
	}
	cmd := child(t, "wait", executable(t))
	set := unix.Rlimit{Cur: 33, Max: 44}
	if err := unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_NOFILE, &set, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := must[Limit](t)(NOFILE(cmd.Process.Pid)), (Limit{33, 44}); got != want {
		t.Errorf("child's: got %+v, want %+v", got, want)
	}

	text := "Limit     Soft Limit   Hard Limit   Units\n" +
		"Max open files            1024                 unlimited            files     \n" +
		"Max nice priority         0                    0                    \n"
	want := Limit{1024, math.MaxUint64}
	if got, ok := parseLimit(text, "Max open files"); !ok || got != want {
		t.Errorf("got %+v, %t; want %+v", got, ok, want)
	}
	if got, ok := parseLimit(text, "Max file size"); ok {
		t.Errorf("a line that is not there: %+v", got)
	}
}

// manySockets opens 5,000 connections, both ends in this process: with
// TIME_WAIT left out, 10,000 sockets.
func manySockets(b *testing.B) {
	b.Helper()
	const connections = 5000
	if limit := must[Limit](b)(NOFILE(os.Getpid())); limit.Soft < 2*connections+100 {
		b.Skipf("RLIMIT_NOFILE is %d", limit.Soft)
	}
	listener, addr := listen(b, "127.0.0.1")
	for range connections {
		dial(b, addr)
		accept(b, listener)
	}
}

func BenchmarkTCP(b *testing.B) {
	manySockets(b)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n = len(must[[]Socket](b)(TCP()))
	}
	b.ReportMetric(float64(n), "sockets")
}

func BenchmarkFDs(b *testing.B) {
	manySockets(b)
	b.Run("FDs", func(b *testing.B) {
		for b.Loop() {
			must[[]FD](b)(FDs(os.Getpid()))
		}
	})
	b.Run("FDCount", func(b *testing.B) {
		for b.Loop() {
			must[int](b)(FDCount(os.Getpid()))
		}
	})
	b.Run("Owners", func(b *testing.B) {
		for b.Loop() {
			must[map[uint64][]Owner](b)(Owners(1))
		}
	})
}

func BenchmarkThreadCPU(b *testing.B) {
	threads := len(must[[]Thread](b)(Threads(os.Getpid())))
	b.ReportAllocs()
	for b.Loop() {
		must[map[int]time.Duration](b)(ThreadCPU(os.Getpid()))
	}
	b.ReportMetric(float64(threads), "threads")
}

func BenchmarkThreads(b *testing.B) {
	for b.Loop() {
		must[[]Thread](b)(Threads(os.Getpid()))
	}
}
