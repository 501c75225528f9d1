package procfs

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// What the kernel says of sockets when it is asked in the way that ss(8) does,
// sock_diag(7): for some of them, or for a single one. /proc has only all of
// them, whose number is the time that it takes. A sandbox may forbid to ask; then
// see [TCP].

// A Listener is a TCP socket that listens.
type Listener struct {
	Socket

	// Backlog is how many connections may wait for accept(2): listen(2)'s
	// argument or, if that is less, /proc/sys/net/core/somaxconn.
	Backlog int
}

// Listeners returns the TCP sockets of our network namespace that listen, by
// sock_diag(7): what [TCP] knows of them leaves the backlog out.
func Listeners() ([]Listener, error) {
	var all []Listener
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		found, err := ask(request{family: family, states: 1 << TCPListen})
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			all = append(all, Listener{d.Socket, d.wqueue})
		}
	}
	return all, nil
}

// Connection finds a connection of our network namespace by its addresses, and
// tells whether it is there, by sock_diag(7). The other end, if it is ours, has
// them the other way round.
func Connection(local, remote netip.AddrPort) (s Socket, found bool, err error) {
	family := byte(unix.AF_INET)
	if local.Addr().Is6() {
		family = unix.AF_INET6
	}
	answers, err := ask(request{family: family, local: local, remote: remote})
	if errors.Is(err, unix.ENOENT) {
		return s, false, nil
	}
	if err != nil || len(answers) == 0 {
		return s, false, err
	}
	s = answers[0].Socket
	s.TxQueue = answers[0].wqueue
	// For want of a connection the kernel finds who listens at local.
	return s, s.State != TCPListen, nil
}

// A request is for all sockets in some states, or for one connection.
type request struct {
	family        byte
	states        uint32 // a bit for each
	local, remote netip.AddrPort
}

// bytes is a struct nlmsghdr with a struct inet_diag_req_v2. What is in network
// byte order is the addresses: idiag_sport, idiag_dport, idiag_src and idiag_dst.
func (r request) bytes() []byte {
	const header, size = unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN + 56
	p := make([]byte, size)
	binary.NativeEndian.PutUint32(p[0:], size)
	binary.NativeEndian.PutUint16(p[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(p[6:], unix.NLM_F_REQUEST)
	p[header], p[header+1] = r.family, unix.IPPROTO_TCP
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
	binary.NativeEndian.PutUint64(id[40:], 1<<64-1) // INET_DIAG_NOCOOKIE, twice
	return p
}

// ask reads answers until the one that says done; or one, if there is only one.
func ask(r request) ([]answer, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket(AF_NETLINK)", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, r.bytes(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto(AF_NETLINK)", err)
	}
	var all []answer
	for buf := make([]byte, 32<<10); ; { // the kernel's largest piece, but for older ones: 16 KiB
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

// An answer is a socket. What wqueue means depends on its state.
type answer struct {
	Socket
	wqueue int
}

// readAnswer reads a struct inet_diag_msg, whose addresses are as in a request.
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
	return a, false, nil
}
