package procfs

import (
	"bytes"
	"errors"
	"io/fs"
	"strconv"
	"strings"
)

// Process describes a process as /proc/pid/stat does: proc(5).
type Process struct {
	PID  int
	PPID int // of its parent

	// Name is the "comm": the first 15 bytes of the program's file name, or
	// the name set by prctl(2) PR_SET_NAME. It may contain any byte but NUL.
	Name string

	// State is the state of the first thread: R running, S sleeping, D in
	// an uninterruptible sleep, T stopped, t stopped by a tracer, Z zombie.
	State byte

	Threads int // 1 for a zombie

	// StartTime is in clock ticks since boot: sysconf(3) _SC_CLK_TCK, which
	// is 100 per second. PID and StartTime together identify one process,
	// whereas a PID alone may be reused later.
	StartTime uint64
}

// PIDs returns the processes that we may see, in ascending order. (If /proc is
// mounted with hidepid=2, it hides the processes of other users.)
func PIDs() ([]int, error) {
	return numbers("/proc")
}

// Stat describes a process.
func Stat(pid int) (Process, error) {
	name := path(pid, "stat")
	text, err := read(name)
	if err != nil {
		return Process{}, err
	}
	p, ok := parseStat(text)
	if !ok {
		return Process{}, malformed(name, text)
	}
	return p, nil
}

// parseStat parses /proc/PID/stat or /proc/PID/task/TID/stat. The comm is in
// parentheses and may itself contain blanks and parentheses. No later field
// does, so the last ")" ends the comm.
func parseStat(text []byte) (Process, bool) {
	open := bytes.IndexByte(text, '(')
	end := bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return Process{}, false
	}
	// proc(5) counts the fields from 1. The first one after the comm is number 3.
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) < 20 || len(fields[0]) != 1 {
		return Process{}, false
	}
	pid, err1 := strconv.Atoi(string(bytes.TrimSpace(text[:open])))
	ppid, err2 := strconv.Atoi(fields[4-3])
	threads, err3 := strconv.Atoi(fields[20-3])
	start, err4 := strconv.ParseUint(fields[22-3], 10, 64)
	if errors.Join(err1, err2, err3, err4) != nil {
		return Process{}, false
	}
	return Process{
		PID:       pid,
		PPID:      ppid,
		Name:      string(text[open+1 : end]),
		State:     fields[0][0],
		Threads:   threads,
		StartTime: start,
	}, true
}

// Cmdline returns the arguments of a process, including the program's name:
// proc(5), /proc/pid/cmdline. It is empty for a zombie and for a kernel thread.
// A process may overwrite it, and some servers show their state there.
func Cmdline(pid int) ([]string, error) {
	text, err := read(path(pid, "cmdline"))
	if err != nil || len(text) == 0 {
		return nil, err
	}
	// Each argument ends in a NUL. Removing only the last NUL preserves an empty
	// last argument.
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00"), nil
}

// Descendants returns the children of a process, their children and so on,
// parents before their children. A process whose parent has exited gets another
// parent and is no longer found, though it may still be in the same process
// group.
func Descendants(pid int) ([]int, error) {
	if _, err := Stat(pid); err != nil {
		return nil, err
	}
	pids, err := PIDs()
	if err != nil {
		return nil, err
	}
	children := make(map[int][]int)
	for _, p := range pids {
		process, err := Stat(p)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, err
		}
		children[process.PPID] = append(children[process.PPID], p)
	}
	found := children[pid]
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	return found, nil
}
