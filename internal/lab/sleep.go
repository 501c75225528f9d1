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

// wakeUp ends a call that sleeps. Go catches every signal with SA_RESTART, so
// that read(2) and its like would sleep on: catch takes that away from this
// one. SIGALRM keeps it, so that the lab shows what signal(7) says: epoll_wait
// is interrupted nevertheless, read is not.
const wakeUp = unix.SIGUSR2

// catch sees to it that SIGALRM and wakeUp have handlers. Go's hand the signal
// to a channel, which nobody reads: what counts is the call.
var catch = sync.OnceFunc(func() {
	signal.Notify(make(chan os.Signal, 1), unix.SIGALRM, wakeUp)
	var action struct { // as the kernel has it on amd64 and arm64
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

// sleep makes a call that may sleep. What may sleep for ever ends with the
// session's patience, and everything with the context. If an alarm is set, it
// comes during the call.
func (r *run) sleep(forever bool, call func() (int, error)) (int, error) {
	catch()
	ctx := r.ctx
	if forever && r.Patience > 0 {
		var cancel func()
		ctx, cancel = context.WithTimeoutCause(ctx, r.Patience, errPatience)
		defer cancel()
	}
	runtime.LockOSThread() // a signal is sent to a thread, and must not miss it
	defer runtime.UnlockOSThread()
	thread := unix.Gettid()
	stopAlarm := r.startAlarm(thread)
	stopInterrupt := interruptAtEnd(ctx, thread)
	n, err := call()
	stopInterrupt()
	stopAlarm()
	r.ended = err == unix.EINTR && ctx.Err() != nil
	r.overslept = r.ended && context.Cause(ctx) == errPatience
	return n, err
}

// interruptAtEnd sends the thread wakeUp when ctx ends. It does so until it is
// stopped, since the first may come just before the call begins to sleep.
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

// startAlarm sends the thread SIGALRM when the time has come that alarm set.
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

// epollWait is epoll_pwait(2): the same as epoll_wait(2), with a signal mask
// for as long as it sleeps. Ours lets only the lab's signals through. So Go's
// SIGURG, by which the runtime preempts goroutines, is not seen as an EINTR;
// and SIGALRM, blocked until then, cannot come too early and be missed:
// signal(7), pselect(2).
func epollWait(epfd int, events []unix.EpollEvent, maxevents, timeout int) (int, error) {
	bit := func(s unix.Signal) uint64 { return 1 << (s - 1) }
	mask := ^(bit(unix.SIGALRM) | bit(wakeUp))
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(&events[0])),
		uintptr(maxevents), uintptr(timeout), uintptr(unsafe.Pointer(&mask)), unsafe.Sizeof(mask))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// blockAlarm keeps SIGALRM from the calling thread, until epollWait lets it
// through. The caller has locked the thread.
func blockAlarm() (restore func()) {
	var set, old unix.Sigset_t
	set.Val[0] = 1 << (unix.SIGALRM - 1)
	unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old)
	return func() { unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil) }
}

// mayBlock calls what may sleep if fd has no O_NONBLOCK.
func (r *run) mayBlock(fd int, call func() (int, error)) (int, error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK != 0 {
		return call()
	}
	return r.sleep(true, call)
}
