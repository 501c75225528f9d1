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

// Two goroutines of one examiner, or two examiners, must not choose the same
// port; and clients' ports, which the kernel takes from ip_local_port_range,
// must stay out of the way. Hence below it, at random, and each one only once.
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

// bindable tells whether bind(2) would let a server without SO_REUSEADDR have
// the address.
func bindable(addr netip.AddrPort) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}) == nil
}

// expand fills in the address that the command shall listen on. It reports
// whether the command had a place for it.
func expand(command []string, addr netip.AddrPort) ([]string, bool) {
	r := strings.NewReplacer("{addr}", addr.String(), "{host}", addr.Addr().String(), "{port}", strconv.Itoa(int(addr.Port())))
	out := make([]string, len(command))
	for i, word := range command {
		out[i] = r.Replace(word)
	}
	return out, !slices.Equal(out, command)
}
