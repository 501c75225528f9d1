package procfs

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

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
