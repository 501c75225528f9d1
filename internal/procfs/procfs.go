// Package procfs reads /proc and returns what it says about processes and
// sockets as Go values. It neither stops nor traces a process.
//
// Comments refer to proc(5) and its names. Newer man-pages have split that page:
// its section /proc/pid/stat is now proc_pid_stat(5). The package expects Linux
// 5.10 or newer.
//
// # Errors
//
// Every error names its file. Two kinds are part of the interface:
//
//   - errors.Is(err, fs.ErrNotExist): the process does not exist, or no longer
//     does. A child that has exited but has not been waited for still exists:
//     its State is 'Z', and it has no memory and no descriptors.
//   - errors.Is(err, fs.ErrPermission): we may not read this, usually because
//     the process belongs to another user. ptrace(2), "Ptrace access mode
//     checking", has the rules. A zombie's descriptors belong to root.
//
// # Not a snapshot
//
// The kernel generates these files while they are read. Two fields of one result
// may be microseconds apart, and a process may exit between them. A caller that
// waits for a state (as the examiner does) has to repeat the call until the
// state holds.
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

// read returns the content of a file.
func read(name string) ([]byte, error) {
	text, err := os.ReadFile(name)
	return text, notExist(err)
}

// notExist turns both errors of an exited process into fs.ErrNotExist. open(2)
// of its files fails with ENOENT, which is fs.ErrNotExist already; read(2) of a
// file that was opened before fails with ESRCH, which is not.
func notExist(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%w (%w)", err, fs.ErrNotExist)
	}
	return err
}

// numbers returns the names in a directory that are numbers, in ascending order.
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

// value returns the text after "key:" at the beginning of a line, without the
// blanks around it. This is the format of status, io and fdinfo.
func value(text []byte, key string) (string, bool) {
	for line := range bytes.Lines(text) {
		rest, found := bytes.CutPrefix(line, []byte(key))
		if found && len(rest) > 0 && rest[0] == ':' {
			return string(bytes.TrimSpace(rest[1:])), true
		}
	}
	return "", false
}

// malformed returns the error for a text that no known kernel writes.
func malformed(name string, text []byte) error {
	return fmt.Errorf("%s: unexpected format: %.200q", name, text)
}

// nanoseconds parses a duration in schedstat.
func nanoseconds(text []byte) (time.Duration, error) {
	n, err := strconv.ParseInt(string(text), 10, 64)
	return time.Duration(n), err
}
