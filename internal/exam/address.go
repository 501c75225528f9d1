package exam

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// freePort chooses a port that no process has, and keeps it from other examiners. It
// is chosen at random below ip_local_port_range, from which the kernel takes the ports
// of clients.
func freePort() (netip.AddrPort, error) {
	for range 1000 {
		port := 10000 + rand.IntN(20000)
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
		if claim(port) && bindable(addr) {
			return addr, nil
		}
	}
	return netip.AddrPort{}, errors.New("no free port between 10000 and 30000")
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

// bindable reports whether bind(2) succeeds without SO_REUSEADDR.
func bindable(addr netip.AddrPort) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}) == nil
}

// expand fills in the address that the command has to listen on. It reports whether
// the command has a place for it.
func expand(command []string, addr netip.AddrPort) ([]string, bool) {
	r := strings.NewReplacer("{addr}", addr.String(), "{host}", addr.Addr().String(), "{port}", strconv.Itoa(int(addr.Port())))
	out := make([]string, len(command))
	for i, word := range command {
		out[i] = r.Replace(word)
	}
	return out, !slices.Equal(out, command)
}
