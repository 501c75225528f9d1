package procfs

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file asks the kernel about sockets through sock_diag(7), as ss(8) does.
// sock_diag can select sockets or look up a single one, whereas /proc always
// lists all of them, which takes time in proportion to their number. A sandbox
// may forbid sock_diag; [TCP] works without it.

// A Listener is a listening TCP socket.
type Listener struct {
	Socket

	// Backlog is how many connections may wait for accept(2): listen(2)'s
	// argument or, if that is less, /proc/sys/net/core/somaxconn.
	Backlog int

	// V6Only reports whether IPv4 connections cannot reach a socket that listens on
	// [::]: ipv6(7), IPV6_V6ONLY.
	V6Only bool
}

// Listeners returns the listening TCP sockets of our network namespace. It uses
// sock_diag(7), because the files that [TCP] reads do not contain the backlog.
func Listeners() ([]Listener, error) {
	var all []Listener
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		found, err := query(request{family: family, states: 1 << TCPListen})
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			all = append(all, Listener{d.Socket, d.wqueue, d.v6only})
		}
	}
	return all, nil
}

// Connection looks up a connection of our network namespace by its addresses
// with sock_diag(7) and reports whether it exists. If the other end is in this
// namespace, too, it is a socket of its own, with local and remote swapped.
func Connection(local, remote netip.AddrPort) (s Socket, found bool, err error) {
	family := byte(unix.AF_INET)
	if local.Addr().Is6() {
		family = unix.AF_INET6
	}
	answers, err := query(request{family: family, local: local, remote: remote})
	if errors.Is(err, unix.ENOENT) {
		return s, false, nil
	}
	if err != nil || len(answers) == 0 {
		return s, false, err
	}
	s = answers[0].Socket
	s.TxQueue, s.NotSent = answers[0].wqueue, answers[0].notSent
	// If there is no such connection, the kernel returns the socket that
	// listens at local.
	return s, s.State != TCPListen, nil
}

// A request asks for one connection, or, if local is not set, for all sockets
// in some states.
type request struct {
	family        byte
	states        uint32 // bit 1<<State for each wanted state
	local, remote netip.AddrPort
}

// bytes returns a struct nlmsghdr followed by a struct inet_diag_req_v2. Only
// the ports and addresses are in network byte order: idiag_sport, idiag_dport,
// idiag_src and idiag_dst.
func (r request) bytes() []byte {
	const header, size = unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN + 56
	p := make([]byte, size)
	binary.NativeEndian.PutUint32(p[0:], size)
	binary.NativeEndian.PutUint16(p[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(p[6:], unix.NLM_F_REQUEST)
	p[header], p[header+1] = r.family, unix.IPPROTO_TCP
	p[header+2] = 1 << (inetDiagInfo - 1) // idiag_ext: the attributes that we want
	if !r.local.IsValid() {
		binary.NativeEndian.PutUint16(p[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
		binary.NativeEndian.PutUint32(p[header+4:], r.states)
		return p
	}
	id := p[header+8:]
	binary.BigEndian.PutUint16(id[0:], r.local.Port())
	binary.BigEndian.PutUint16(id[2:], r.remote.Port())
	copy(id[4:], r.local.Addr().AsSlice())
	copy(id[20:], r.remote.Addr().AsSlice())
	binary.NativeEndian.PutUint64(id[40:], 1<<64-1) // INET_DIAG_NOCOOKIE in both words of idiag_cookie
	return p
}

// query sends a request and reads the answers: one for a single connection,
// otherwise all of them up to NLMSG_DONE.
func query(r request) ([]answer, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket(AF_NETLINK)", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, r.bytes(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto(AF_NETLINK)", err)
	}
	var all []answer
	for buf := make([]byte, 32<<10); ; { // the kernel sends at most 32 KiB at a time
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
			a, done, err := readAnswer(m)
			if done || err != nil {
				return all, err
			}
			all = append(all, a)
		}
		if r.local.IsValid() {
			return all, nil
		}
	}
}

// An answer describes one socket. wqueue is idiag_wqueue: the backlog of a
// listening socket, and the unacknowledged bytes of a connection. v6only is known
// of listening sockets only.
type answer struct {
	Socket
	wqueue  int
	notSent int
	v6only  bool
}

// Attributes of linux/inet_diag.h; x/sys/unix lacks their names.
const (
	inetDiagInfo     = 2 // INET_DIAG_INFO
	inetDiagSKV6Only = 11
)

// readAnswer parses a struct inet_diag_msg and the attributes behind it. As in a
// request, only its ports and addresses are in network byte order.
func readAnswer(m syscall.NetlinkMessage) (a answer, done bool, err error) {
	switch {
	case m.Header.Type == unix.NLMSG_DONE:
		return a, true, nil
	case m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4:
		errno := -int32(binary.NativeEndian.Uint32(m.Data))
		return a, true, os.NewSyscallError("sock_diag", unix.Errno(errno))
	case m.Header.Type != unix.SOCK_DIAG_BY_FAMILY || len(m.Data) < 72:
		return a, true, malformed("sock_diag", m.Data)
	}
	addrPort := func(port, addr int) netip.AddrPort {
		ip := netip.AddrFrom4([4]byte(m.Data[addr:]))
		if m.Data[0] == unix.AF_INET6 {
			ip = netip.AddrFrom16([16]byte(m.Data[addr:])).Unmap()
		}
		return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(m.Data[port:]))
	}
	number := func(at int) int { return int(binary.NativeEndian.Uint32(m.Data[at:])) }
	a.Local, a.Remote = addrPort(4, 8), addrPort(6, 24)
	a.State = State(m.Data[1])
	a.RxQueue, a.wqueue = number(56), number(60) // idiag_rqueue, idiag_wqueue
	a.UID, a.Inode = number(64), uint64(number(68))
	// Each attribute is a struct nlattr, its value, and padding: netlink(7).
	for rest := m.Data[72:]; len(rest) > unix.NLA_HDRLEN; {
		size := int(binary.NativeEndian.Uint16(rest))
		if size <= unix.NLA_HDRLEN || size > len(rest) {
			break
		}
		value := rest[unix.NLA_HDRLEN:size]
		switch binary.NativeEndian.Uint16(rest[2:]) {
		case inetDiagSKV6Only:
			a.v6only = value[0] != 0
		case inetDiagInfo:
			if at := int(unsafe.Offsetof(unix.TCPInfo{}.Notsent_bytes)); len(value) >= at+4 {
				a.notSent = int(binary.NativeEndian.Uint32(value[at:]))
			}
		}
		rest = rest[min((size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1), len(rest)):]
	}
	return a, false, nil
}
