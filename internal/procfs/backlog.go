package procfs

import (
	"encoding/binary"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Backlogs returns the backlog of each TCP socket of our network namespace that
// listens, by inode: how many connections may wait for accept(2), which is
// listen(2)'s argument or, if that is less, /proc/sys/net/core/somaxconn. What
// /proc says of sockets leaves it out, so this asks the kernel in the way that
// ss(8) does: sock_diag(7). A sandbox may forbid that.
func Backlogs() (map[uint64]int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket(AF_NETLINK)", err)
	}
	defer unix.Close(fd)
	backlogs := make(map[uint64]int)
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		if err := askBacklogs(fd, family, backlogs); err != nil {
			return nil, err
		}
	}
	return backlogs, nil
}

// askBacklogs sends a struct nlmsghdr with a struct inet_diag_req_v2, and reads
// answers until the one that says done.
func askBacklogs(fd int, family byte, backlogs map[uint64]int) error {
	const header, size = unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN + 56
	request := make([]byte, size)
	binary.NativeEndian.PutUint32(request[0:], size)
	binary.NativeEndian.PutUint16(request[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request[header], request[header+1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(request[header+4:], 1<<TCPListen)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto(AF_NETLINK)", err)
	}
	for buf := make([]byte, 64<<10); ; {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("read(AF_NETLINK)", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return os.NewSyscallError("netlink", err)
		}
		for _, m := range messages {
			if done, err := readBacklog(m, backlogs); done || err != nil {
				return err
			}
		}
	}
}

// readBacklog reads a struct inet_diag_msg: idiag_wqueue, idiag_inode.
func readBacklog(m syscall.NetlinkMessage, backlogs map[uint64]int) (done bool, err error) {
	switch {
	case m.Header.Type == unix.NLMSG_DONE:
		return true, nil
	case m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4:
		errno := -int32(binary.NativeEndian.Uint32(m.Data))
		return true, os.NewSyscallError("sock_diag", unix.Errno(errno))
	case m.Header.Type != unix.SOCK_DIAG_BY_FAMILY || len(m.Data) < 72:
		return true, malformed("sock_diag", m.Data)
	}
	inode := binary.NativeEndian.Uint32(m.Data[68:])
	backlogs[uint64(inode)] = int(binary.NativeEndian.Uint32(m.Data[60:]))
	return false, nil
}
