package exam

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ports are those that servers have got. Two goroutines or two examiners must not
// choose the same port, and neither may the kernel, which takes the ports of clients
// from ip_local_port_range. So a port is chosen below that range, at random, and only
// once.
var ports struct {
	sync.Mutex
	used map[int]bool
}

func freePort() (netip.AddrPort, error) {
	ports.Lock()
	defer ports.Unlock()
	if ports.used == nil {
		ports.used = make(map[int]bool)
	}
	for range 1000 {
		port := 10000 + rand.IntN(20000)
		if ports.used[port] {
			continue
		}
		ports.used[port] = true
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
		if bindable(addr) {
			return addr, nil
		}
	}
	return netip.AddrPort{}, errors.New("no free port between 10000 and 30000")
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
