package walk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// A tracee is the main thread of a program, as its tracer sees it: ptrace(2). All
// methods have to be called by the thread that called launch.
type tracee struct {
	pid    int
	pidfd  int // for pidfd_getfd(2)
	memory *os.File
	debug  *debugInfo
	bias   uint64 // address in memory minus address in the file

	running bool // it has not stopped since the last PTRACE_SYSCALL
	signal  int  // to be delivered when it goes on
	inCall  bool
	asleep  bool // reported for this call

	number int // of the call in which it is
	args   [6]uint64
	own    bool // the program's own code makes the call
	call   Call
	stack  []Frame

	// The call has returned an event whose data two entries have.
	ambiguous bool

	epolls map[int]bool // descriptors that the program's own code has created
	end    string
	gone   bool // it is alive, but no longer walked through
}

// launch starts a program with its main thread traced. It stands before its first
// instruction. What it prints goes to output.
func launch(path string, args []string, debug *debugInfo, output *output) (*tracee, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	go output.keep(r)
	pid, err := syscall.ForkExec(path, args, &syscall.ProcAttr{
		Env:   environment(),
		Files: []uintptr{null.Fd(), w.Fd(), w.Fd()},
		// Ctrl-C at the terminal is for the tracer.
		Sys: &syscall.SysProcAttr{Ptrace: true, Setpgid: true},
	})
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("this machine does not allow tracing (ptrace(2)): %w; make doctor has more", err)
	}
	if err != nil {
		return nil, err
	}
	t := &tracee{pid: pid, pidfd: -1, debug: debug, running: true, epolls: make(map[int]bool)}
	if err := t.prepare(); err != nil {
		t.kill()
		return nil, err
	}
	return t, nil
}

// environment turns off the signals with which Go's scheduler interrupts a thread that
// runs for long: runtime, "Environment Variables". A thread that is stopped for minutes
// does look like that, and its epoll_wait would fail with EINTR for no other reason.
func environment() []string {
	debug := "asyncpreemptoff=1"
	if old := os.Getenv("GODEBUG"); old != "" {
		debug = old + "," + debug
	}
	return append(os.Environ(), "GODEBUG="+debug)
}

// An output keeps the end of what a program prints.
type output struct {
	mu   sync.Mutex
	text []byte
	done chan struct{} // nobody has the pipe open any more
}

const keptOutput = 4096 // bytes

func (o *output) keep(r *os.File) {
	defer close(o.done)
	defer r.Close()
	buf := make([]byte, keptOutput)
	for {
		n, err := r.Read(buf)
		o.mu.Lock()
		o.text = append(o.text, buf[:n]...)
		o.text = o.text[max(0, len(o.text)-keptOutput):]
		o.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// prepare waits for the stop after execve(2) and sets up what step needs.
func (t *tracee) prepare() error {
	var status unix.WaitStatus
	if _, err := retry(func() (int, error) { return unix.Wait4(t.pid, &status, unix.WALL, nil) }); err != nil {
		return os.NewSyscallError("wait4", err)
	}
	if !status.Stopped() {
		return fmt.Errorf("the program ended before its first instruction: %s", describeEnd(status))
	}
	t.running = false
	err := unix.PtraceSetOptions(t.pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_EXITKILL|unix.PTRACE_O_TRACEEXEC)
	if err != nil {
		return os.NewSyscallError("ptrace(PTRACE_SETOPTIONS)", err)
	}
	if t.memory, err = os.Open(fmt.Sprintf("/proc/%d/mem", t.pid)); err != nil {
		return err
	}
	if t.bias, err = t.debug.biasIn(t.pid); err != nil {
		return err
	}
	t.pidfd, err = unix.PidfdOpen(t.pid, 0)
	return os.NewSyscallError("pidfd_open", err)
}

// kill ends the process and waits until it is gone.
func (t *tracee) kill() {
	if t.memory != nil {
		t.memory.Close()
	}
	if t.pidfd >= 0 {
		unix.Close(t.pidfd)
	}
	unix.Kill(-t.pid, unix.SIGKILL) // its children, too: launch made a process group
	if t.end != "" && !t.gone {
		return
	}
	for {
		var status unix.WaitStatus
		_, err := retry(func() (int, error) { return unix.Wait4(t.pid, &status, unix.WALL, nil) })
		if err != nil || status.Exited() || status.Signaled() {
			return
		}
	}
}

// Between two looks at a thread that neither stops nor sleeps, and at one that sleeps.
const (
	lookAwake  = 20 * time.Microsecond
	lookAsleep = 500 * time.Microsecond
)

// step lets the thread go on until it enters a call, sleeps in one, returns from one,
// or has ended.
func (t *tracee) step(ctx context.Context) (Moment, error) {
	for {
		if !t.running {
			if err := unix.PtraceSyscall(t.pid, t.signal); err != nil && err != unix.ESRCH { // ESRCH: killed
				return "", os.NewSyscallError("ptrace(PTRACE_SYSCALL)", err)
			}
			t.running, t.signal = true, 0
		}
		var status unix.WaitStatus
		pid, err := retry(func() (int, error) { return unix.Wait4(t.pid, &status, unix.WALL|unix.WNOHANG, nil) })
		if err != nil {
			return "", os.NewSyscallError("wait4", err)
		}
		if pid == 0 {
			if t.inCall && !t.asleep && t.sleeps() {
				t.asleep = true
				return Asleep, nil
			}
			pause := lookAwake
			if t.asleep {
				pause = lookAsleep
			}
			select {
			case <-ctx.Done():
				return "", ctx.Err()
			case <-time.After(pause):
			}
			continue
		}
		t.running = false
		switch {
		case status.Exited(), status.Signaled():
			t.end = describeEnd(status)
			return Ended, nil
		case status.TrapCause() == unix.PTRACE_EVENT_EXEC:
			// Lines and addresses are those of the old program.
			t.end = "it has called execve(2), and is another program now"
			t.gone = true
			return Ended, nil
		case status.StopSignal() == unix.SIGTRAP|0x80:
			return t.atCall()
		case !t.groupStop(status.StopSignal()):
			t.signal = int(status.StopSignal())
		}
	}
}

// groupStop reports whether the stop is one that a stopping signal has caused, and not
// the arrival of the signal: ptrace(2), "Group-stop". The program goes on regardless.
func (t *tracee) groupStop(signal unix.Signal) bool {
	switch signal {
	case unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
		var info [128]byte
		_, _, err := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GETSIGINFO, uintptr(t.pid), 0,
			uintptr(unsafe.Pointer(&info)), 0, 0)
		return err == unix.EINVAL
	}
	return false
}

// sleeps reports whether the thread sleeps in its call.
func (t *tracee) sleeps() bool {
	thread, err := procfs.ThreadStates(t.pid)
	if err != nil || thread[t.pid] != 'S' {
		return false
	}
	call, err := procfs.SyscallOf(t.pid, t.pid)
	return err == nil && call.State == procfs.SyscallBlocked && call.Number == t.number
}

// settle waits until a thread that has slept in a call sleeps still or has returned from
// it: until it has reached its next stop.
func (t *tracee) settle() {
	const limit = time.Second // for a call that neither sleeps nor returns
	for start := time.Now(); t.running && time.Since(start) < limit; time.Sleep(lookAwake) {
		switch states, _ := procfs.ThreadStates(t.pid); states[t.pid] {
		case 'R', 'D':
		default:
			return
		}
	}
}

// callInfo is ptrace_syscall_info of ptrace(2), PTRACE_GET_SYSCALL_INFO.
type callInfo struct {
	op   uint8 // 1: before the call, 2: after it
	_    [3]uint8
	arch uint32
	pc   uint64
	sp   uint64

	// Before: the number and six arguments. After: the result, and in the first byte
	// of the second whether it is an error.
	data [8]uint64
}

// atCall reads the registers of a thread that is at the beginning or the end of a call.
func (t *tracee) atCall() (Moment, error) {
	var info callInfo
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(t.pid),
		unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno == unix.ESRCH {
		return t.step(context.Background()) // it has just been killed
	}
	if errno != 0 {
		return "", os.NewSyscallError("ptrace(PTRACE_GET_SYSCALL_INFO)", errno)
	}
	if info.op == 1 {
		t.inCall, t.asleep = true, false
		t.number = int(info.data[0])
		copy(t.args[:], info.data[1:])
		t.stack, t.own = t.unwind(info.pc, info.sp)
		t.call = t.decode()
		return Before, nil
	}
	t.inCall = false
	t.finish(int64(info.data[0]), info.data[1]&0xff != 0)
	return After, nil
}

// read reads the program's memory.
func (t *tracee) read(addr uint64, b []byte) bool {
	n, _ := t.memory.ReadAt(b, int64(addr))
	return n == len(b)
}

func (t *tracee) word(addr uint64) (uint64, bool) {
	var b [8]byte
	ok := t.read(addr, b[:])
	return native.Uint64(b[:]), ok
}

func describeEnd(status unix.WaitStatus) string {
	if status.Signaled() {
		return "killed by " + unix.SignalName(status.Signal())
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}

// retry repeats a call that a signal has interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}
