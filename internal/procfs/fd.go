package procfs

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FD is an open descriptor of a process: proc(5), /proc/pid/fd and
// /proc/pid/fdinfo.
type FD struct {
	Num    int
	Kind   Kind
	Target string // what readlink(2) says: a path, "socket:[4711]", …
	Inode  uint64 // of a socket or a pipe, 0 for the rest

	// Flags has the O_ bits of open(2) as the kernel keeps them: access mode
	// and status flags, which all duplicates of the descriptor share, and
	// O_CLOEXEC, which is this number's own.
	Flags int
}

// Nonblock says whether O_NONBLOCK is set: read(2) and the like give EAGAIN
// instead of waiting.
func (f FD) Nonblock() bool {
	return f.Flags&unix.O_NONBLOCK != 0
}

// Kind says what a descriptor stands for. There are more kinds than constants:
// whatever X the kernel calls anon_inode:[X], as "io_uring" or "pidfd", and
// the namespaces of namespaces(7), as "net".
type Kind string

const (
	KindSocket    Kind = "socket"
	KindPipe      Kind = "pipe" // pipe(7), a named one (fifo(7)) too
	KindEventpoll Kind = "eventpoll"
	KindEventfd   Kind = "eventfd"
	KindTimerfd   Kind = "timerfd"
	KindSignalfd  Kind = "signalfd"
	KindInotify   Kind = "inotify"
	KindFile      Kind = "file"
	KindDirectory Kind = "directory"
	KindDevice    Kind = "device" // terminals and /dev/null are devices
)

// FDs returns the open descriptors of a process, by number. One that is closed
// meanwhile is left out.
func FDs(pid int) ([]FD, error) {
	var fds []FD
	err := eachFD(pid, func(num int, target string) error {
		fd := FD{Num: num, Target: target}
		fd.Kind, fd.Inode = kind(pid, num, target)
		var err error
		fd.Flags, err = fdFlags(pid, num)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		fds = append(fds, fd)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return fds, nil
}

// Inode returns the inode of whatever file a descriptor stands for: what
// [Interest] has of the file that was registered. (That of an [FD] is 0 unless
// it is a socket's or a pipe's.)
func Inode(pid, num int) (uint64, error) {
	name := path(pid, "fd/"+strconv.Itoa(num))
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return 0, notExist(&fs.PathError{Op: "stat", Path: name, Err: err})
	}
	return st.Ino, nil
}

// Protocol returns what a socket speaks, in the kernel's words: "TCP", "TCPv6",
// "UDP", "UNIX", "UNIX-STREAM", "NETLINK". The kernel tells it as the extended
// attribute (xattr(7)) system.sockprotoname. It is an error if the descriptor
// is something else.
func Protocol(pid, num int) (string, error) {
	name := path(pid, "fd/"+strconv.Itoa(num))
	buf := make([]byte, 64)
	n, err := unix.Getxattr(name, "system.sockprotoname", buf)
	if err != nil {
		return "", notExist(&fs.PathError{Op: "getxattr", Path: name, Err: err})
	}
	return unix.ByteSliceToString(buf[:n]), nil
}

// FDCount returns how many descriptors a process has open. It is far cheaper
// than [FDs] and needs less permission.
//
// (Since Linux 6.2 stat(2) of the directory gives a number in st_size, cheaper
// still, but a wrong one: a thread that sleeps in accept(2) has taken the
// number that the new descriptor will have, and it is counted already.)
func FDCount(pid int) (int, error) {
	nums, err := numbers(path(pid, "fd"))
	if err != nil {
		return 0, err
	}
	if pid == os.Getpid() {
		return len(nums) - 1, nil // the directory itself was open, too
	}
	return len(nums), nil
}

// Owner is a descriptor of some process.
type Owner struct{ PID, FD int }

// Owners returns which descriptors stand for each of these sockets, which it
// knows by inode: those of [Socket] and [FD]. Several may: fork(2) and dup(2)
// copy descriptors. A socket that only processes of other users have open is
// not in the map, since we may not look there.
func Owners(inodes ...uint64) (map[uint64][]Owner, error) {
	owners := make(map[uint64][]Owner)
	if len(inodes) == 0 {
		return owners, nil
	}
	wanted := make(map[uint64]bool, len(inodes))
	for _, inode := range inodes {
		wanted[inode] = true
	}
	pids, err := PIDs()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		err := eachFD(pid, func(num int, target string) error {
			name, inode, ok := cutInode(target)
			if ok && name == "socket" && wanted[inode] {
				owners[inode] = append(owners[inode], Owner{pid, num})
			}
			return nil
		})
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, err
		}
	}
	return owners, nil
}

// eachFD calls f for every descriptor, in order, with its link's text. In our
// own process it leaves out the descriptor that reads the directory: that one
// is closed before the first readlink(2).
func eachFD(pid int, f func(num int, target string) error) error {
	nums, err := numbers(path(pid, "fd"))
	if err != nil {
		return err
	}
	for _, num := range nums {
		target, err := readFDLink(pid, num)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := f(num, target); err != nil {
			return err
		}
	}
	return nil
}

func readFDLink(pid, num int) (string, error) {
	target, err := os.Readlink(path(pid, "fd/"+strconv.Itoa(num)))
	return target, notExist(err)
}

// kind reads a link's text: "anon_inode:[eventpoll]", "anon_inode:inotify",
// "socket:[4711]", or a path. For a path, the file must say what it is.
func kind(pid, num int, target string) (Kind, uint64) {
	if name, ok := strings.CutPrefix(target, "anon_inode:"); ok {
		return Kind(strings.Trim(name, "[]")), 0
	}
	if name, inode, ok := cutInode(target); ok {
		k := Kind(name)
		if k != KindSocket && k != KindPipe {
			inode = 0
		}
		return k, inode
	}
	var st unix.Stat_t
	if err := unix.Stat(path(pid, "fd/"+strconv.Itoa(num)), &st); err != nil {
		return KindFile, 0 // closed meanwhile, or on a file system that is gone
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return KindDirectory, 0
	case unix.S_IFCHR, unix.S_IFBLK:
		return KindDevice, 0
	case unix.S_IFIFO:
		return KindPipe, st.Ino
	}
	return KindFile, 0
}

// cutInode takes "socket:[4711]" apart.
func cutInode(target string) (name string, inode uint64, ok bool) {
	name, rest, _ := strings.Cut(target, ":[")
	digits, closed := strings.CutSuffix(rest, "]")
	if !closed || strings.HasPrefix(name, "/") {
		return "", 0, false // "/tmp/a:[1]" is a path like any other
	}
	inode, err := strconv.ParseUint(digits, 10, 64)
	return name, inode, err == nil
}

// fdFlags reads the "flags:" line of fdinfo, which is in octal.
func fdFlags(pid, num int) (int, error) {
	name := path(pid, "fdinfo/"+strconv.Itoa(num))
	text, err := read(name)
	if err != nil {
		return 0, err
	}
	octal, _ := value(text, "flags")
	flags, err := strconv.ParseUint(octal, 8, 32)
	if err != nil {
		return 0, malformed(name, text)
	}
	return int(flags), nil
}

// Listening returns a process that listens on this TCP address, or on its port
// at all addresses, and 0 if there is none that we may see.
func Listening(addr netip.AddrPort) (pid int, err error) {
	sockets, err := TCP()
	if err != nil {
		return 0, err
	}
	for _, s := range sockets {
		ip := s.Local.Addr().Unmap()
		if s.State != TCPListen || s.Local.Port() != addr.Port() || ip != addr.Addr() && !ip.IsUnspecified() {
			continue
		}
		owners, err := Owners(s.Inode)
		if err != nil {
			return 0, err
		}
		for _, o := range owners[s.Inode] {
			return o.PID, nil
		}
	}
	return 0, nil
}
