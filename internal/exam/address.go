package exam

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// localhost is where a server is to listen if nobody says otherwise.
var localhost = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// freePort chooses a port of the host that no process has, and keeps it from other
// examiners. It is chosen at random below ip_local_port_range, from which the kernel
// takes the ports of clients.
func freePort(host netip.Addr) (netip.AddrPort, error) {
	for range 1000 {
		port := 10000 + rand.IntN(20000)
		addr := netip.AddrPortFrom(host, uint16(port))
		if claim(port) && bind(addr) == nil {
			return addr, nil
		}
	}
	return netip.AddrPort{}, fmt.Errorf("%s has no free port between 10000 and 30000", host)
}

// claim reports whether no examiner has claimed the port before, in this process or in
// another one that is running. Until the server listens, and while it is restarted, its
// port looks free. So each claimed port has an abstract name of unix(7), which can be
// bound only once and is free again when this process ends.
func claim(port int) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	if unix.Bind(fd, &unix.SockaddrUnix{Name: "@epoll-step-by-step/port/" + strconv.Itoa(port)}) != nil {
		unix.Close(fd)
		return false
	}
	return true
}

// bind reports why bind(2) fails without SO_REUSEADDR, if it does. With port 0 the
// host is the reason: a machine may have no IPv6.
func bind(addr netip.AddrPort) error {
	family, sa := Sockaddr(addr)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	return os.NewSyscallError("bind", unix.Bind(fd, sa))
}

// Sockaddr returns an address as bind(2) and connect(2) take it, and the address
// family of such a socket.
func Sockaddr(addr netip.AddrPort) (family int, sa unix.Sockaddr) {
	if addr.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
}

// SocketName returns the address of a TCP socket: getsockname(2).
func SocketName(fd int) (netip.AddrPort, error) {
	name, err := unix.Getsockname(fd)
	switch sa := name.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, os.NewSyscallError("getsockname", err)
}

// TakesAddr reports whether a word of the command has a place for the address that it
// has to listen on.
func TakesAddr(command []string) bool {
	return !slices.Equal(expand(command, netip.AddrPort{}), command)
}

// expand fills in the address that the command has to listen on.
func expand(command []string, addr netip.AddrPort) []string {
	r := strings.NewReplacer("{addr}", addr.String(), "{host}", addr.Addr().String(), "{port}", strconv.Itoa(int(addr.Port())))
	out := make([]string, len(command))
	for i, word := range command {
		out[i] = r.Replace(word)
	}
	return out
}
