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

// The main thread comes first, also when its TID is not the lowest.
func TestMainFirst(t *testing.T) {
	for _, tt := range []struct {
		pid        int
		tids, want []int
	}{
		{7, []int{7}, []int{7}},
		{7, []int{7, 8, 9}, []int{7, 8, 9}},
		{32767, []int{301, 302, 32767, 32768}, []int{32767, 301, 302, 32768}},
		{32767, []int{301, 302, 32767}, []int{32767, 301, 302}},
		{7, []int{8, 9}, []int{8, 9}}, // it has exited
	} {
		got := slices.Clone(tt.tids)
		if mainFirst(got, tt.pid); !slices.Equal(got, tt.want) {
			t.Errorf("process %d with threads %v: got %v, want %v", tt.pid, tt.tids, got, tt.want)
		}
	}
}

// Threads names the call in which a thread of this process sleeps.
func TestThreadBlocked(t *testing.T) {
	r, w := pipe(t)
	epfd := must[int](t)(unix.EpollCreate1(unix.EPOLL_CLOEXEC))
	closeAtEnd(t, epfd)
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
				runtime.LockOSThread() // never unlocked, so the thread exits with the goroutine
				name := []byte("t) (" + tt.name + "\x00")
				unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
				tids <- unix.Gettid()
				tt.call()
				close(done)
			}()
			tid := <-tids
			var th Thread
			eventually(t, "the thread is blocked in "+tt.name, func() bool {
				th = findThread(t, tid)
				return slices.Contains(tt.names, th.Syscall.Name) && th.State == 'S'
			})
			if th.Syscall.State != SyscallBlocked || th.Syscall.Args[0] != uint64(tt.arg) {
				t.Errorf("got %+v, want SyscallBlocked with first argument %d", th.Syscall, tt.arg)
			}
			if th.PID != os.Getpid() || th.Name != "t) ("+tt.name {
				t.Errorf("got PID %d, name %q; want %d, %q", th.PID, th.Name, os.Getpid(), "t) ("+tt.name)
			}
			if th.Wchan == "0" {
				t.Error("got Wchan 0, want it empty or a name")
			}
			tt.finish()
			<-done
			eventually(t, "the thread is no longer in the list", func() bool {
				threads := must[[]Thread](t)(Threads(os.Getpid()))
				return !slices.ContainsFunc(threads, func(th Thread) bool { return th.TID == tid })
			})
		})
	}
}

// A thread that reads its own state is running.
func TestThreadRunning(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	th := findThread(t, unix.Gettid())
	if th.State != 'R' || th.Wchan != "" {
		t.Errorf("got state %c, wchan %q; want R and none", th.State, th.Wchan)
	}
}

func TestThreadCPU(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, tid := os.Getpid(), unix.Gettid()
	first := must[map[int]time.Duration](t)(ThreadCPU(pid))[tid]
	now := first
	eventually(t, "the CPU time has grown by 20 ms", func() bool {
		for begin := time.Now(); time.Since(begin) < 5*time.Millisecond; { // use the CPU
		}
		now = must[map[int]time.Duration](t)(ThreadCPU(pid))[tid]
		return now-first >= 20*time.Millisecond
	})
	clock := func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
			t.Fatal(err)
		}
		return time.Duration(ts.Nano())
	}
	if limit := clock(); now > limit {
		t.Errorf("ThreadCPU: got %v, want at most %v, as on the clock of the thread", now, limit)
	}
	th := findThread(t, tid)
	if limit := clock(); th.CPU < now || th.CPU > limit {
		t.Errorf("Threads: got %v, want between %v and %v", th.CPU, now, limit)
	}
}

// The CPU time of a thread that sleeps in a call includes all the time up to that
// call. So if it has not changed between two looks, the thread has slept all the
// time.
func TestCPUOfSleepingThread(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	const looks = 3000
	var used [looks + 2]atomic.Int64 // used[n] is the CPU time just before the read of n bytes
	tids, done := make(chan int), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked, so the thread exits with the goroutine
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
	tid := <-tids
	sleeps := func() bool {
		th := must[Thread](t)(readThread(os.Getpid(), tid))
		if th.Syscall.Name != "read" || th.Syscall.Args[0] != uint64(p[0]) {
			return false
		}
		n := th.Syscall.Args[2]
		if before := time.Duration(used[n].Load()); th.CPU < before {
			t.Fatalf("the thread sleeps in read %d: got CPU time %v, want at least the %v before that read", n, th.CPU, before)
		}
		return true
	}
	for range looks { // at any moment, in particular while it goes to sleep
		sleeps()
		unix.Write(p[1], []byte("x"))
	}
	eventually(t, "the thread has read all and sleeps", sleeps)
}

// Reads and Writes count the calls of their own thread only.
func TestReadsAndWrites(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	// This reads the files of this thread only, because the number of calls must
	// not depend on the number of threads.
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
	// The runtime and the code that reads /proc may add a few calls.
	if d := after.Writes - before.Writes; d < n || d > n+100 {
		t.Errorf("got %d writes, want %d to %d", d, n, n+100)
	}
	if d := after.Reads - before.Reads; d < n || d > n+100 {
		t.Errorf("got %d reads, want %d to %d", d, n, n+100)
	}
}

// All threads of a stopped process are in state T and use no CPU time.
func TestStopped(t *testing.T) {
	cmd := startChild(t, "wait", executable(t))
	pid := cmd.Process.Pid
	stopProcess(t, pid)
	threads := must[[]Thread](t)(Threads(pid))
	p := must[Process](t)(Stat(pid))
	if p.State != 'T' || p.Threads != len(threads) {
		t.Errorf("Stat: got state %c, %d threads; want T, %d", p.State, p.Threads, len(threads))
	}
	before := must[map[int]time.Duration](t)(ThreadCPU(pid))
	states := must[map[int]byte](t)(ThreadStates(pid))
	if len(states) != len(threads) {
		t.Errorf("ThreadStates: got %d threads, want %d", len(states), len(threads))
	}
	var sum time.Duration
	for _, th := range threads {
		sum += th.CPU
		if states[th.TID] != th.State {
			t.Errorf("thread %d: got ThreadStates %c, Threads %c; want the same", th.TID, states[th.TID], th.State)
		}
		if before[th.TID] != th.CPU {
			t.Errorf("thread %d: got ThreadCPU %v, Threads %v; want the same", th.TID, before[th.TID], th.CPU)
		}
	}
	if len(before) != len(threads) || sum == 0 {
		t.Errorf("got %d threads with %v of CPU time, want %d with more than 0", len(before), sum, len(threads))
	}
	for begin := time.Now(); time.Since(begin) < 20*time.Millisecond; {
	}
	if after := must[map[int]time.Duration](t)(ThreadCPU(pid)); !maps.Equal(before, after) {
		t.Errorf("the stopped process used CPU time: first %v, then %v", before, after)
	}
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the process sleeps again", func() bool {
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
	// So many that the number of involuntary switches cannot be mistaken for it.
	for range 200 {
		unix.Nanosleep(&unix.Timespec{Nsec: 1}, nil)
	}
	before := usage()
	th := findThread(t, unix.Gettid())
	after := usage()
	if n := int64(th.Voluntary); n < before.Nvcsw || n > after.Nvcsw {
		t.Errorf("voluntary: got %d, want between %d and %d", n, before.Nvcsw, after.Nvcsw)
	}
}

// If more threads are runnable than there are CPUs, they wait for each other.
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
	eventually(t, "a thread has waited 5 ms for a CPU", func() bool {
		return findThread(t, tid).Waited >= 5*time.Millisecond
	})
}

// Threads returns no error for files of another user that we may not read.
func TestNoPermission(t *testing.T) {
	if _, err := os.ReadFile("/proc/1/syscall"); !errors.Is(err, fs.ErrPermission) {
		t.Skipf("we may read /proc/1/syscall (%v)", err)
	}
	// In a container, process 1 may belong to our user. Then we may not read the
	// files that need PTRACE_MODE_ATTACH, but all others.
	if f, err := os.Open("/proc/1/fd"); err == nil {
		f.Close()
		t.Skip("we may read the descriptors of process 1")
	}
	threads, err := Threads(1)
	if err != nil || len(threads) == 0 {
		t.Fatalf("Threads(1): got %d threads, error %v; want some threads", len(threads), err)
	}
	for _, th := range threads {
		if th.Syscall.State != SyscallDenied || th.Syscall.String() != "unknown (no permission)" {
			t.Errorf("thread %d: got %+v, want SyscallDenied", th.TID, th.Syscall)
		}
		if th.Name == "" || th.State == 0 || th.CPU == 0 {
			t.Errorf("thread %d: got %+v, want a name, a state and CPU time", th.TID, th)
		}
	}
	if _, err := FDs(1); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("FDs(1): got error %v, want fs.ErrPermission", err)
	}
	if _, err := Owners(1); err != nil { // skips process 1
		t.Errorf("Owners: %v", err)
	}
}
