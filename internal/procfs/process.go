package procfs

import (
	"bytes"
	"errors"
	"io/fs"
	"strconv"
	"strings"
)

// Process is what proc(5), /proc/pid/stat, tells of a process.
type Process struct {
	PID  int
	PPID int // its parent

	// Name is the "comm": the first 15 bytes of the program's file name, or
	// what prctl(2) PR_SET_NAME made of it. Any byte may be in it.
	Name string

	// State of the first thread, as one letter: R running, S sleeping, D in
	// an uninterruptible sleep, T stopped, t stopped by a tracer, Z zombie.
	State byte

	Threads int // 1 for a zombie

	// StartTime is in clock ticks since boot: sysconf(3) _SC_CLK_TCK, which
	// is 100 a second. PID and StartTime together name one process; a PID
	// alone may be given to another one later.
	StartTime uint64
}

// PIDs returns the processes that we may see, in order. (A /proc mounted with
// hidepid=2 hides those of other users.)
func PIDs() ([]int, error) {
	return numbers("/proc")
}

// Stat returns the state of a process.
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

// parseStat reads the line in /proc/PID/stat, which is also that of
// /proc/PID/task/TID/stat. The comm is in parentheses and may itself contain
// blanks and parentheses, but nothing after it does: the last ")" ends it.
func parseStat(text []byte) (Process, bool) {
	open := bytes.IndexByte(text, '(')
	end := bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return Process{}, false
	}
	// proc(5) counts the fields from 1, and the state is number 3.
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

// Cmdline returns the arguments of a process, its name among them: proc(5),
// /proc/pid/cmdline. It is empty for a zombie and for a kernel thread. A
// process may overwrite it: servers put their state there.
func Cmdline(pid int) ([]string, error) {
	text, err := read(path(pid, "cmdline"))
	if err != nil || len(text) == 0 {
		return nil, err
	}
	// Each argument ends in a NUL, so an empty last one is not lost.
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00"), nil
}

// Descendants returns the children of a process, their children and so on,
// parents before their children. A process whose parent has exited has been
// given another one and is no longer found; it may still be in the same process group.
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
