package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"time"
)

// Thread describes a thread as /proc/pid/task does: proc(5).
type Thread struct {
	PID, TID int
	Name     string // the comm, see [Process]; every thread has its own

	// State is R, S, D, T, t or Z: see [Process]. A thread enters a state
	// shortly before it leaves the CPU. Once Syscall is no longer
	// SyscallRunning, the thread has left the CPU, and CPU is final.
	State byte

	// CPU is the time spent on a CPU, and Waited the time spent runnable while
	// other threads had the CPU. The kernel updates them at each clock tick
	// (every 1 to 10 ms) and when the thread leaves the CPU. For a thread that
	// is running they are therefore up to one tick behind.
	CPU, Waited time.Duration

	Syscall Syscall

	// Wchan is the kernel function in which the thread sleeps: proc(5),
	// /proc/pid/wchan. It is "" while the thread runs, and if the file contains
	// 0, for lack of permission or because of the kernel's configuration.
	Wchan string

	// Voluntary counts the context switches because the thread had to wait:
	// ru_nvcsw of getrusage(2).
	Voluntary uint64

	// Reads and Writes count the calls of read(2) and write(2) and of related
	// calls (readv, pread, splice …): syscr and syscw of /proc/pid/io. They do
	// not include recv(2) and send(2).
	Reads, Writes uint64
}

// Threads returns the live threads of a process: the main thread, then the others
// sorted by TID. It leaves out a thread that exits while the list is read. Fields
// that we may not read have their zero value. In the process of another user these
// are Wchan and Syscall, whose State is then SyscallDenied.
func Threads(pid int) ([]Thread, error) {
	tids, err := numbers(path(pid, "task"))
	if err != nil {
		return nil, err
	}
	mainFirst(tids, pid)
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

// mainFirst moves the main thread of a process to the front. Its TID is the PID,
// which need not be the lowest: IDs begin again when they reach
// /proc/sys/kernel/pid_max.
func mainFirst(tids []int, pid int) {
	if i := slices.Index(tids, pid); i > 0 {
		copy(tids[1:], tids[:i])
		tids[0] = pid
	}
}

// readThread returns fs.ErrNotExist only for a thread that has exited. A missing
// file may also be one that this kernel was built without. All kernels have
// stat, so it is read last and decides.
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
	// schedstat is read after syscall, so that the CPU time includes everything
	// up to the call in which the thread sleeps.
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

// ignorable reports whether there is no error, or one that merely leaves a field
// at its zero value.
func ignorable(err error) bool {
	return err == nil || errors.Is(err, fs.ErrNotExist) ||
		errors.Is(err, fs.ErrPermission)
}

// ThreadCPU returns the time that each live thread of a process has spent on a
// CPU, by TID. The difference of two results shows how busy a thread was between
// them. See [Thread] for the precision. It reads one small file per thread.
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

// ThreadStates returns the State of each live thread of a process, by TID: see
// [Thread]. It reads one small file per thread.
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

// schedstat reads /proc/PID/task/TID/schedstat, whose fields are the time on a
// CPU, the time runnable without one (both in nanoseconds) and the number of
// timeslices. No man page describes it, but the kernel's
// Documentation/scheduler/sched-stats.rst does. stat has the same times in
// hundredths of a second only. (/proc/PID/schedstat covers the first thread
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

// exited returns the error for a process whose threads were listed but had all
// exited before they could be read.
func exited(pid int) error {
	return fmt.Errorf("process %d has exited (%w)", pid, fs.ErrNotExist)
}
