package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"
)

// Thread is what proc(5), /proc/pid/task, tells of one thread.
type Thread struct {
	PID, TID int
	Name     string // the comm, see [Process]; each thread has its own

	// State is R S D T t or Z, see [Process]. A thread is in a state just
	// before it leaves the CPU for it: that it has left, and that CPU is final,
	// shows when Syscall is not SyscallRunning any more.
	State byte

	// CPU is the time spent on a CPU, in nanoseconds, and Waited the time
	// spent runnable while other threads had the CPU. The kernel adds to them
	// at each clock tick (1 to 10 ms) and when it takes the CPU away: those of
	// a thread that runs right now are behind by that much.
	CPU, Waited time.Duration

	Syscall Syscall

	// Wchan is the kernel function in which the thread sleeps: proc(5),
	// /proc/pid/wchan. It is "" while the thread runs and where the kernel
	// does not tell, by permission or by configuration: the file says 0.
	Wchan string

	// Voluntary context switches, because the thread had to wait: getrusage(2).
	Voluntary uint64

	// Reads and Writes are how many times it has called read(2) and write(2)
	// or their kin (readv, pread, splice …): syscr and syscw of /proc/pid/io.
	// recv(2) and send(2) are not counted.
	Reads, Writes uint64
}

// Threads returns the live threads of a process, by TID. One that exits
// meanwhile is left out. What we may not read is left zero: in another user's
// process that is Syscall (which then says so) and Wchan.
func Threads(pid int) ([]Thread, error) {
	tids, err := numbers(path(pid, "task"))
	if err != nil {
		return nil, err
	}
	threads := make([]Thread, 0, len(tids))
	for _, tid := range tids {
		t, err := readThread(pid, tid)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		threads = append(threads, t)
	}
	if len(threads) == 0 {
		return nil, exited(pid)
	}
	return threads, nil
}

// readThread gives fs.ErrNotExist only for a thread that is gone. A file that
// this kernel was built without gives the same error, so stat, which all
// kernels have, is read last and decides.
func readThread(pid, tid int) (Thread, error) {
	t := Thread{PID: pid, TID: tid}
	var err error
	if t.Syscall, err = readSyscall(pid, tid); err != nil {
		return t, err
	}
	wchan, err := read(taskPath(pid, tid, "wchan"))
	if !ignorable(err) {
		return t, err
	}
	if string(wchan) != "0" {
		t.Wchan = string(wchan)
	}
	// After the call, so that the CPU time has in it all that led there.
	if t.CPU, t.Waited, err = schedstat(pid, tid); !ignorable(err) {
		return t, err
	}

	name := taskPath(pid, tid, "status")
	status, err := read(name)
	if err != nil {
		return t, err
	}
	voluntary, _ := value(status, "voluntary_ctxt_switches")
	t.Voluntary, err = strconv.ParseUint(voluntary, 10, 64)
	if err != nil {
		return t, malformed(name, status)
	}

	if io, err := read(taskPath(pid, tid, "io")); err == nil {
		reads, _ := value(io, "syscr")
		writes, _ := value(io, "syscw")
		t.Reads, _ = strconv.ParseUint(reads, 10, 64)
		t.Writes, _ = strconv.ParseUint(writes, 10, 64)
	} else if !ignorable(err) {
		return t, err
	}

	name = taskPath(pid, tid, "stat")
	text, err := read(name)
	if err != nil {
		return t, err
	}
	stat, ok := parseStat(text)
	if !ok {
		return t, malformed(name, text)
	}
	t.Name, t.State = stat.Name, stat.State
	return t, nil
}

// ignorable says whether an error, or none, leaves a field zero.
func ignorable(err error) bool {
	return err == nil || errors.Is(err, fs.ErrNotExist) ||
		errors.Is(err, fs.ErrPermission)
}

// ThreadCPU returns the time that each live thread of a process has spent on a
// CPU, by TID. Compare two calls to see how busy they were in between. See
// [Thread] for the precision. It reads one small file a thread.
func ThreadCPU(pid int) (map[int]time.Duration, error) {
	tids, err := numbers(path(pid, "task"))
	if err != nil {
		return nil, err
	}
	cpus := make(map[int]time.Duration)
	for _, tid := range tids {
		cpu, _, err := schedstat(pid, tid)
		if errors.Is(err, fs.ErrNotExist) {
			continue // this thread has exited
		}
		if err != nil {
			return nil, err
		}
		cpus[tid] = cpu
	}
	if len(cpus) == 0 {
		return nil, exited(pid)
	}
	return cpus, nil
}

// ThreadStates returns the state of each live thread of a process, by TID. See
// [Thread] for what they are. It reads one small file a thread.
func ThreadStates(pid int) (map[int]byte, error) {
	tids, err := numbers(path(pid, "task"))
	if err != nil {
		return nil, err
	}
	states := make(map[int]byte)
	for _, tid := range tids {
		name := taskPath(pid, tid, "stat")
		text, err := read(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // this thread has exited
		}
		if err != nil {
			return nil, err
		}
		stat, ok := parseStat(text)
		if !ok {
			return nil, malformed(name, text)
		}
		states[tid] = stat.State
	}
	if len(states) == 0 {
		return nil, exited(pid)
	}
	return states, nil
}

// schedstat reads /proc/PID/task/TID/schedstat: time on a CPU, time runnable
// (both in nanoseconds), number of turns. The man pages leave it out; the
// kernel's Documentation/scheduler/sched-stats.rst has it. stat counts the
// same in hundredths of a second. (/proc/PID/schedstat is the first thread's
// alone.)
func schedstat(pid, tid int) (cpu, waited time.Duration, err error) {
	name := taskPath(pid, tid, "schedstat")
	text, err := read(name)
	if err != nil {
		return 0, 0, err
	}
	first, rest, _ := bytes.Cut(text, []byte(" "))
	second, _, _ := bytes.Cut(rest, []byte(" "))
	cpu, err1 := nanoseconds(first)
	waited, err2 := nanoseconds(second)
	if err1 != nil || err2 != nil {
		return 0, 0, malformed(name, text)
	}
	return cpu, waited, nil
}

func taskPath(pid, tid int, name string) string {
	return path(pid, "task/"+strconv.Itoa(tid)+"/"+name)
}

// exited is the error for a process whose threads were listed and then all
// gone.
func exited(pid int) error {
	return fmt.Errorf("process %d has exited (%w)", pid, fs.ErrNotExist)
}
