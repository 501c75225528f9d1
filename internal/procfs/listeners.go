package procfs

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Listener is a TCP socket that listens.
type Listener struct {
	Socket

	// Backlog is how many connections may wait for accept(2): listen(2)'s
	// argument or, if that is less, /proc/sys/net/core/somaxconn.
	Backlog int
}

// Listeners returns the TCP sockets of our network namespace that listen. It
// asks the kernel in the way that ss(8) does, sock_diag(7): what /proc says of
// sockets leaves the backlog out, and has all connections in it, whose number
// is the time that it takes. A sandbox may forbid that; then see [TCP].
func Listeners() ([]Listener, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket(AF_NETLINK)", err)
	}
	defer unix.Close(fd)
	var all []Listener
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		if all, err = askListeners(all, fd, family); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// askListeners sends a struct nlmsghdr with a struct inet_diag_req_v2, and reads
// answers until the one that says done.
func askListeners(all []Listener, fd int, family byte) ([]Listener, error) {
	const header, size = unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN + 56
	request := make([]byte, size)
	binary.NativeEndian.PutUint32(request[0:], size)
	binary.NativeEndian.PutUint16(request[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request[header], request[header+1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(request[header+4:], 1<<TCPListen)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto(AF_NETLINK)", err)
	}
	for buf := make([]byte, 64<<10); ; {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("read(AF_NETLINK)", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return nil, os.NewSyscallError("netlink", err)
		}
		for _, m := range messages {
			l, done, err := readListener(m)
			if done || err != nil {
				return all, err
			}
			all = append(all, l)
		}
	}
}

// readListener reads a struct inet_diag_msg. What is in network byte order is
// the address, idiag_src and idiag_sport.
func readListener(m syscall.NetlinkMessage) (l Listener, done bool, err error) {
	switch {
	case m.Header.Type == unix.NLMSG_DONE:
		return l, true, nil
	case m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4:
		errno := -int32(binary.NativeEndian.Uint32(m.Data))
		return l, true, os.NewSyscallError("sock_diag", unix.Errno(errno))
	case m.Header.Type != unix.SOCK_DIAG_BY_FAMILY || len(m.Data) < 72:
		return l, true, malformed("sock_diag", m.Data)
	}
	addr, nobody := netip.AddrFrom4([4]byte(m.Data[8:])), netip.IPv4Unspecified()
	if m.Data[0] == unix.AF_INET6 {
		addr, nobody = netip.AddrFrom16([16]byte(m.Data[8:])).Unmap(), netip.IPv6Unspecified()
	}
	number := func(at int) int { return int(binary.NativeEndian.Uint32(m.Data[at:])) }
	l.Local = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(m.Data[4:]))
	l.Remote = netip.AddrPortFrom(nobody, 0)
	l.State = State(m.Data[1])
	l.RxQueue, l.Backlog = number(56), number(60) // idiag_rqueue, idiag_wqueue
	l.UID, l.Inode = number(64), uint64(number(68))
	return l, false, nil
}
