package exam

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"epoll-step-by-step/internal/procfs"
)

// Sockets returns all TCP sockets. The kernel walks its whole table for that and
// writes a line for each socket, which takes 10 ms or more. A caller that polls must
// not keep a processor from the server, so half of the time is a pause.
func Sockets() ([]procfs.Socket, error) {
	time.Sleep(min(time.Duration(socketsTook.Load()), 20*time.Millisecond))
	begin := time.Now()
	all, err := procfs.TCP()
	socketsTook.Store(int64(time.Since(begin)))
	return all, err
}

var socketsTook atomic.Int64 // ns

// Connection returns one end of a connection, and whether it exists. The kernel looks
// it up by its hash, which takes no time.
func Connection(local, remote netip.AddrPort) (procfs.Socket, bool, error) {
	s, found, err := procfs.Connection(local, remote)
	if err == nil {
		return s, found, nil
	}
	all, err := Sockets() // a sandbox
	i := slices.IndexFunc(all, func(s procfs.Socket) bool { return s.Local == local && s.Remote == remote })
	if i < 0 {
		return procfs.Socket{}, false, err
	}
	return all[i], true, nil
}

// Listeners returns the listening sockets that a client of addr would reach.
func Listeners(addr netip.AddrPort) ([]procfs.Socket, error) {
	all, err := listening()
	var found []procfs.Socket
	for _, l := range all {
		if covers(l, addr) {
			found = append(found, l.Socket)
		}
	}
	return found, err
}

// listening returns all listening sockets. In a sandbox that forbids sock_diag(7) their
// backlogs are 0, and those that listen on [::] seem to take IPv4 connections, too.
func listening() ([]procfs.Listener, error) {
	all, err := procfs.Listeners()
	if err == nil {
		return all, nil
	}
	socks, err := Sockets()
	for _, s := range socks {
		if s.State == procfs.TCPListen {
			all = append(all, procfs.Listener{Socket: s})
		}
	}
	return all, err
}

// Backlog returns how many connections fit into the server's accept queue, or 0 if
// that cannot be seen.
func (s *Server) Backlog() int {
	room := 0
	all, _ := listening()
	for _, l := range all {
		if covers(l, s.Addr) {
			room = l.Backlog
		}
	}
	return room
}

// covers reports whether a listening socket gets connections to addr.
func covers(l procfs.Listener, addr netip.AddrPort) bool {
	if l.Local.Port() != addr.Port() {
		return false
	}
	switch l.Local.Addr() {
	case addr.Addr():
		return true
	case netip.IPv4Unspecified():
		return addr.Addr().Is4()
	case netip.IPv6Unspecified(): // which gets IPv4 connections, too: ipv6(7)
		return addr.Addr().Is6() || !l.V6Only
	}
	return false
}

// Owners returns the processes that have any of the sockets open, in order.
func Owners(socks []procfs.Socket) []int {
	var inodes []uint64
	for _, s := range socks {
		inodes = append(inodes, s.Inode)
	}
	owners, _ := procfs.Owners(inodes...)
	var pids []int
	for _, list := range owners {
		for _, o := range list {
			pids = append(pids, o.PID)
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}

// holders says which process has the sockets open, as the end of a sentence.
func holders(socks []procfs.Socket) string {
	for _, pid := range Owners(socks) {
		if args, err := procfs.Cmdline(pid); err == nil && len(args) > 0 {
			return fmt.Sprintf(" by process %d (%s)", pid, strings.Join(args, " "))
		}
	}
	return ""
}
