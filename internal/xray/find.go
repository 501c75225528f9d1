package xray

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"epoll-step-by-step/internal/procfs"
)

// addresses accepts what people type: 127.0.0.1:6379, [::1]:6379,
// localhost:6379, :6379. The last two are each of two addresses.
func addresses(text string) ([]netip.AddrPort, error) {
	host, local := text, false
	for _, name := range []string{"localhost:", ":"} {
		if port, found := strings.CutPrefix(text, name); found {
			host, local = "127.0.0.1:"+port, true
		}
	}
	addr, err := netip.ParseAddrPort(host)
	if err != nil || addr.Port() == 0 {
		return nil, fmt.Errorf("-addr %s: want HOST:PORT, such as 127.0.0.1:6379, localhost:6379 or [::1]:6379", text)
	}
	found := []netip.AddrPort{netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())}
	if local {
		found = append(found, netip.AddrPortFrom(netip.IPv6Loopback(), addr.Port()))
	}
	return found, nil
}

// find returns the process that listens on the first of these addresses where
// somebody does. If several do, the note says so.
func find(addrs []netip.AddrPort) (pid int, note string, err error) {
	sockets, err := procfs.TCP()
	if err != nil {
		return 0, "", err
	}
	for _, addr := range addrs {
		listeners := reaches(sockets, addr)
		if len(listeners) == 0 {
			continue
		}
		return choose(addr, listeners, sockets)
	}
	return 0, "", fmt.Errorf("nobody listens on %s: start a server first, or say where by -addr or -pid (make: ADDR= or PID=)", addrs[0])
}

// choose takes the process with most connections there; if there are none, one
// that waits for any; and if that is no help, the one with the lowest number.
func choose(addr netip.AddrPort, listeners, sockets []procfs.Socket) (int, string, error) {
	mine := make(map[uint64]bool) // the inodes of listeners
	var inodes []uint64
	for _, l := range listeners {
		mine[l.Inode] = true
		inodes = append(inodes, l.Inode)
	}
	for _, s := range sockets {
		if s.Inode != 0 && s.State != procfs.TCPListen && s.Local.Port() == addr.Port() {
			inodes = append(inodes, s.Inode)
		}
	}
	owners, err := procfs.Owners(inodes...)
	if err != nil {
		return 0, "", err
	}
	connections := make(map[int]int)
	var pids []int
	for inode, list := range owners {
		for _, o := range list {
			if !mine[inode] {
				connections[o.PID]++
			} else if !slices.Contains(pids, o.PID) {
				pids = append(pids, o.PID)
			}
		}
	}
	if len(pids) == 0 {
		return 0, "", fmt.Errorf("a process of the user with number %d listens on %s, but which one is not for us to see:\n"+
			`ptrace(2), "Ptrace access mode checking"; root may look (sudo)`, listeners[0].UID, addr)
	}
	slices.SortFunc(pids, func(a, b int) int {
		return cmp.Or(cmp.Compare(connections[b], connections[a]), cmp.Compare(waiting(b), waiting(a)), cmp.Compare(a, b))
	})
	if len(pids) == 1 {
		return pids[0], "", nil
	}
	others := slices.Sorted(slices.Values(pids[1:]))
	return pids[0], fmt.Sprintf("%d processes listen on %s; this is %d, with %s there; for another: -pid, with one of %s",
		len(pids), addr, pids[0], plural(connections[pids[0]], "connection"), numbers(others)), nil
}

// waiting is 1 if a thread of a process waits for descriptors, and so possibly
// for clients; a parent that only minds its workers does not.
func waiting(pid int) int {
	threads, _ := procfs.Threads(pid)
	for _, t := range threads {
		switch name, _ := call(t); {
		case waits(name), name == "accept", name == "accept4", name == "poll", name == "ppoll",
			name == "select", name == "pselect6", name == "io_uring_enter":
			return 1
		}
	}
	return 0
}

func numbers(list []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ", "), "[]")
}
