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
	Target string // what readlink(2) returns: a path, "socket:[4711]", …
	Inode  uint64 // of a socket or a pipe, otherwise 0

	// Flags holds the O_ bits of open(2) as the kernel keeps them: the access
	// mode and the status flags, which all duplicates of the descriptor share,
	// and O_CLOEXEC, which belongs to this descriptor alone.
	Flags int
}

// Nonblock reports whether O_NONBLOCK is set, so that calls such as read(2) fail
// with EAGAIN instead of blocking.
func (f FD) Nonblock() bool {
	return f.Flags&unix.O_NONBLOCK != 0
}

// Kind is the type of file that a descriptor refers to. There are more kinds
// than constants: any X that the kernel calls anon_inode:[X], such as "io_uring"
// or "pidfd", and the namespaces of namespaces(7), such as "net".
type Kind string

const (
	KindSocket    Kind = "socket"
	KindPipe      Kind = "pipe" // pipe(7), including named pipes, fifo(7)
	KindEventpoll Kind = "eventpoll"
	KindEventfd   Kind = "eventfd"
	KindTimerfd   Kind = "timerfd"
	KindSignalfd  Kind = "signalfd"
	KindInotify   Kind = "inotify"
	KindFile      Kind = "file"
	KindDirectory Kind = "directory"
	KindDevice    Kind = "device" // for example a terminal or /dev/null
)

// FDs returns the open descriptors of a process, sorted by number. It leaves out
// a descriptor that is closed while the list is read.
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

// Inode returns the inode of the file that a descriptor refers to, whatever its
// kind. Compare it with the Inode of an [Interest]. (The Inode of an [FD] is set
// for sockets and pipes only.)
func Inode(pid, num int) (uint64, error) {
	name := path(pid, "fd/"+strconv.Itoa(num))
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return 0, notExist(&fs.PathError{Op: "stat", Path: name, Err: err})
	}
	return st.Ino, nil
}

// Protocol returns the protocol of a socket under its name in the kernel: "TCP",
// "TCPv6", "UDP", "UNIX", "UNIX-STREAM", "NETLINK". The kernel offers it as the
// extended attribute (xattr(7)) system.sockprotoname. Protocol returns an error
// if the descriptor is not a socket.
func Protocol(pid, num int) (string, error) {
	name := path(pid, "fd/"+strconv.Itoa(num))
	buf := make([]byte, 64)
	n, err := unix.Getxattr(name, "system.sockprotoname", buf)
	if err != nil {
		return "", notExist(&fs.PathError{Op: "getxattr", Path: name, Err: err})
	}
	return unix.ByteSliceToString(buf[:n]), nil
}

// FDCount returns the number of open descriptors of a process. It is far cheaper
// than [FDs] and needs less permission.
//
// (Since Linux 6.2 stat(2) of the directory reports a count in st_size. That is
// cheaper still, but wrong: a thread that sleeps in accept(2) has already
// reserved the number of the new descriptor, and st_size includes it.)
func FDCount(pid int) (int, error) {
	nums, err := numbers(path(pid, "fd"))
	if err != nil {
		return 0, err
	}
	if pid == os.Getpid() {
		return len(nums) - 1, nil // without the one that read the directory
	}
	return len(nums), nil
}

// Owner is a descriptor in a process.
type Owner struct{ PID, FD int }

// Owners returns the descriptors that refer to each of some sockets, by inode:
// the Inode of [Socket] and [FD]. One socket may have several, since fork(2) and
// dup(2) copy descriptors. A socket is missing from the map if only processes of
// other users have it open, because we may not read their descriptors.
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

// eachFD calls f for every descriptor, in ascending order, with the text of its
// link. In our own process the descriptor that read the directory is left out,
// because it is closed before the first readlink(2).
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

// kind derives the kind and the inode from the text of a link, such as
// "anon_inode:[eventpoll]", "anon_inode:inotify" or "socket:[4711]". If the text
// is a path, stat(2) decides.
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
		return KindFile, 0 // closed by now, or its file system is gone
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

// cutInode splits "socket:[4711]" into its name and its inode.
func cutInode(target string) (name string, inode uint64, ok bool) {
	name, rest, _ := strings.Cut(target, ":[")
	digits, closed := strings.CutSuffix(rest, "]")
	if !closed || strings.HasPrefix(name, "/") {
		return "", 0, false // "/tmp/a:[1]" is a path
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

// Listening returns the PID of a process that listens on this TCP address, or on
// its port at all addresses. It returns 0 if no process that we may inspect does.
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
