package xray

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"epoll-step-by-step/internal/procfs"
)

// parseAddresses accepts 127.0.0.1:6379, [::1]:6379, localhost:6379 and :6379. The last
// two stand for two addresses each, one of IPv4 and one of IPv6.
func parseAddresses(text string) ([]netip.AddrPort, error) {
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

// findListener returns the process that listens on the first address that has a
// listener. If several processes have it, the note lists them.
func findListener(addrs []netip.AddrPort) (pid int, note string, err error) {
	sockets, err := procfs.TCP()
	if err != nil {
		return 0, "", err
	}
	for _, addr := range addrs {
		listeners := listenersFor(sockets, addr)
		if len(listeners) == 0 {
			continue
		}
		return chooseOwner(addr, listeners, sockets)
	}
	return 0, "", fmt.Errorf("nobody listens on %s: start a server first, or choose one with -addr or -pid (make: ADDR= or PID=)", addrs[0])
}

// chooseOwner returns the process that has the most connections through the listener.
// Among equals it prefers one that waits for clients, then the lowest process number.
func chooseOwner(addr netip.AddrPort, listeners, sockets []procfs.Socket) (int, string, error) {
	isListener := make(map[uint64]bool) // by inode
	var inodes []uint64
	for _, l := range listeners {
		isListener[l.Inode] = true
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
			if !isListener[inode] {
				connections[o.PID]++
			} else if !slices.Contains(pids, o.PID) {
				pids = append(pids, o.PID)
			}
		}
	}
	if len(pids) == 0 {
		return 0, "", fmt.Errorf("a process of user %d listens on %s, but only root or that user may see which one:\n"+
			`ptrace(2), "Ptrace access mode checking"; try sudo`, listeners[0].UID, addr)
	}
	slices.SortFunc(pids, func(a, b int) int {
		return cmp.Or(cmp.Compare(connections[b], connections[a]), cmp.Compare(mayWaitForClients(b), mayWaitForClients(a)), cmp.Compare(a, b))
	})
	if len(pids) == 1 {
		return pids[0], "", nil
	}
	others := slices.Sorted(slices.Values(pids[1:]))
	return pids[0], fmt.Sprintf("%d processes listen on %s; this is %d, with %s there; for another: -pid, with one of %s",
		len(pids), addr, pids[0], plural(connections[pids[0]], "connection"), joinNumbers(others)), nil
}

// mayWaitForClients returns 1 if a thread of the process waits for descriptors, else 0.
// A parent that only supervises its workers does not.
func mayWaitForClients(pid int) int {
	threads, _ := procfs.Threads(pid)
	for _, t := range threads {
		switch name, _ := call(t); {
		case isEpollWait(name), name == "accept", name == "accept4", name == "poll", name == "ppoll",
			name == "select", name == "pselect6", name == "io_uring_enter":
			return 1
		}
	}
	return 0
}

func joinNumbers(list []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ", "), "[]")
}
