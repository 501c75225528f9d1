// Package procfs reads /proc and answers typed questions about processes: this
// one or others, without stopping or tracing them.
//
// It rests on proc(5), which newer collections of man pages have split: what is
// /proc/pid/stat there is proc_pid_stat(5) now. Names are theirs. It expects
// Linux 5.10 or newer.
//
// # Errors
//
// Every error names its file. Two of them are part of the interface:
//
//   - errors.Is(err, fs.ErrNotExist): there is no such process (any more).
//     A child that has exited and has not been waited for is still there: its
//     State is 'Z', and it has no memory and no descriptors.
//   - errors.Is(err, fs.ErrPermission): the process is somebody else's.
//     ptrace(2), "Ptrace access mode checking", says what may be read of whom;
//     a zombie's descriptors are root's.
//
// # Not a snapshot
//
// The kernel writes these files while they are read. Two fields of one answer
// may be microseconds apart, and a process may die between them. What must
// hold at one instant (an exam's verdict, say) has to be asked until it holds.
package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// path returns the name of a file of one process: path(7, "stat") is
// /proc/7/stat.
func path(pid int, name string) string {
	return "/proc/" + strconv.Itoa(pid) + "/" + name
}

// read returns the whole of a file.
func read(name string) ([]byte, error) {
	text, err := os.ReadFile(name)
	return text, notExist(err)
}

// notExist makes one error of the two that a dead process gives: its files
// cannot be opened (ENOENT), but one that was opened in time cannot be read
// (ESRCH), and fs.ErrNotExist knows only the first.
func notExist(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%w (%w)", err, fs.ErrNotExist)
	}
	return err
}

// numbers returns the names in a directory that are numbers, in order.
func numbers(dir string) ([]int, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, notExist(err)
	}
	list := make([]int, 0, len(names))
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list, nil
}

// value returns what follows "key:" on a line of its own, without the blanks
// around it. status and fdinfo are written like that.
func value(text []byte, key string) (string, bool) {
	for line := range bytes.Lines(text) {
		rest, found := bytes.CutPrefix(line, []byte(key))
		if found && len(rest) > 0 && rest[0] == ':' {
			return string(bytes.TrimSpace(rest[1:])), true
		}
	}
	return "", false
}

// malformed is the error for text that no kernel we know writes.
func malformed(name string, text []byte) error {
	return fmt.Errorf("%s: unexpected format: %.200q", name, text)
}

// nanoseconds reads a duration as the scheduler writes it.
func nanoseconds(text []byte) (time.Duration, error) {
	n, err := strconv.ParseInt(string(text), 10, 64)
	return time.Duration(n), err
}
