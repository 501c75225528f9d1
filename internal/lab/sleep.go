package lab

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// wakeUp is the signal that interrupts a call that sleeps. Go installs all handlers
// with SA_RESTART, so calls such as read(2) would continue to sleep.
// installHandlers removes SA_RESTART for wakeUp. SIGALRM keeps it, so the lab
// shows what signal(7) describes: SIGALRM interrupts epoll_wait, but not read.
const wakeUp = unix.SIGUSR2

// installHandlers installs handlers for SIGALRM and wakeUp. Go's handlers send to
// a channel, which nobody reads: only the effect on the call matters.
var installHandlers = sync.OnceFunc(func() {
	signal.Notify(make(chan os.Signal, 1), unix.SIGALRM, wakeUp)
	var action struct { // struct kernel_sigaction on amd64 and arm64
		handler, flags, restorer uintptr
		mask                     uint64
	}
	const restart = 0x10000000 // SA_RESTART
	size := unsafe.Sizeof(action.mask)
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(wakeUp), 0, uintptr(unsafe.Pointer(&action)), size, 0, 0)
	if errno == 0 {
		action.flags &^= restart
		_, _, errno = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(wakeUp), uintptr(unsafe.Pointer(&action)), 0, size, 0, 0)
	}
	if errno != 0 {
		panic(os.NewSyscallError("rt_sigaction", errno))
	}
})

var errPatience = errors.New("patience is at its end")

// sleep makes a call that may sleep. When the context is done, the call is
// interrupted, and if it has no timeout of its own, also after the session's
// Patience. If an alarm is set, it runs from the beginning of the call. All other
// signals are blocked, such as SIGURG, which the Go runtime uses to preempt
// goroutines, and SIGCHLD: they would end a write that has written some of its bytes.
func (r *run) sleep(noTimeout bool, call func() (int, error)) (int, error) {
	installHandlers()
	ctx := r.ctx
	if noTimeout && r.Patience > 0 {
		var cancel func()
		ctx, cancel = context.WithTimeoutCause(ctx, r.Patience, errPatience)
		defer cancel()
	}
	runtime.LockOSThread() // the signals are sent to this thread
	defer runtime.UnlockOSThread()
	defer block(^(bit(unix.SIGALRM) | bit(wakeUp) | faults))()
	thread := unix.Gettid()
	stopAlarm := r.startAlarm(thread)
	stopInterrupt := interruptAtEnd(ctx, thread)
	n, err := call()
	stopInterrupt()
	stopAlarm()
	r.interrupted = err == unix.EINTR && ctx.Err() != nil
	r.overslept = r.interrupted && context.Cause(ctx) == errPatience
	return n, err
}

// interruptAtEnd sends wakeUp to the thread when ctx is done. It repeats this until
// it is stopped, because the first signal may come just before the call sleeps.
func interruptAtEnd(ctx context.Context, thread int) (stop func()) {
	stopped, done := make(chan struct{}), make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(done)
		for {
			unix.Tgkill(os.Getpid(), thread, wakeUp)
			select {
			case <-stopped:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	return func() {
		if !unhook() {
			close(stopped)
			<-done
		}
	}
}

// startAlarm sends SIGALRM to the thread after the time that the command alarm has
// set.
func (r *run) startAlarm(thread int) (stop func()) {
	if r.alarm == nil {
		return func() {}
	}
	sent := make(chan struct{})
	timer := time.AfterFunc(*r.alarm, func() {
		unix.Tgkill(os.Getpid(), thread, unix.SIGALRM)
		close(sent)
	})
	r.alarm = nil
	return func() {
		if !timer.Stop() {
			<-sent
			r.signalled = true
		}
	}
}

// epollWait calls epoll_pwait(2), which is epoll_wait(2) with a signal mask during
// the call. The mask blocks all signals but those of the lab, so that SIGURG does not
// interrupt the call. SIGALRM is blocked before the call, so it cannot arrive too
// early and be missed: signal(7), pselect(2).
func epollWait(epfd int, events []unix.EpollEvent, maxevents, timeout int) (int, error) {
	mask := ^(bit(unix.SIGALRM) | bit(wakeUp))
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(&events[0])),
		uintptr(maxevents), uintptr(timeout), uintptr(unsafe.Pointer(&mask)), unsafe.Sizeof(mask))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// bit returns the bit of a signal in a mask.
func bit(s unix.Signal) uint64 { return 1 << (s - 1) }

// faults are the signals of a defect in the program, which cannot wait.
var faults = bit(unix.SIGSEGV) | bit(unix.SIGBUS) | bit(unix.SIGFPE) | bit(unix.SIGILL) | bit(unix.SIGTRAP)

// block blocks the signals of the mask in the calling thread until restore is called.
// The caller must have called runtime.LockOSThread.
func block(mask uint64) (restore func()) {
	var set, old unix.Sigset_t
	set.Val[0] = mask
	unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old)
	return func() { unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil) }
}

// mayBlock makes a call that may sleep if fd does not have O_NONBLOCK.
func (r *run) mayBlock(fd int, call func() (int, error)) (int, error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK != 0 {
		return call()
	}
	return r.sleep(true, call)
}
