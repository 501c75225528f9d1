package exam

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"epoll-step-by-step/internal/procfs"
)

// elsewhere names the addresses that the server listens on instead, as the end of a
// sentence.
func (s *Server) elsewhere() string {
	family, _ := procfs.Descendants(s.cmd.Process.Pid)
	family = append(family, s.cmd.Process.Pid)
	family = append(family, s.marked()...)
	all, _ := listening()
	var found []string
	advice := "give that address with -addr (make: ADDR=), or use {addr} or {port} in the command"
	for _, l := range all {
		if !slices.ContainsFunc(family, func(pid int) bool { return hasOne(pid, []procfs.Socket{l.Socket}) }) {
			continue
		}
		found = append(found, l.Local.String())
		if l.Local.Port() == s.Addr.Port() { // the host is another one
			anyPort := netip.AddrPortFrom(l.Local.Addr(), 0)
			advice = fmt.Sprintf("give the host with -addr: -addr '%s' (make: ADDR='%[1]s'), if the command has {port}", anyPort)
		}
	}
	if found == nil {
		return ""
	}
	return fmt.Sprintf("; it listens on %s: %s", strings.Join(slices.Compact(found), ", "), advice)
}

// attach finds a server that is already running, by its address or its PID.
func attach(addr netip.AddrPort, pid int) (*Server, error) {
	all, err := listening()
	if err != nil {
		return nil, err
	}
	var mine []procfs.Listener
	samePort := "" // where there is a listener with the port, but for another host
	for _, l := range all {
		if addr.IsValid() && !covers(l, addr) {
			if l.Local.Port() == addr.Port() {
				samePort = fmt.Sprintf("; there is a listener on %s", l.Local)
			}
			continue
		}
		if pid == 0 || slices.Contains(Owners([]procfs.Socket{l.Socket}), pid) {
			mine = append(mine, l)
		}
	}
	switch {
	case len(mine) == 0 && pid != 0 && addr.IsValid():
		return nil, &StartError{StatusNeverListened, fmt.Sprintf("process %d has no listening TCP socket that we may see on %s", pid, addr), ""}
	case len(mine) == 0 && pid != 0:
		return nil, &StartError{StatusNeverListened, fmt.Sprintf("process %d has no listening TCP socket that we may see", pid), ""}
	case len(mine) == 0:
		return nil, &StartError{StatusNeverListened, fmt.Sprintf("nobody listens on %s%s: start the server first, or give its command after -- (make: SERVER=)", addr, samePort), ""}
	}
	if !addr.IsValid() {
		var ports []string
		for _, l := range mine {
			if p := strconv.Itoa(int(l.Local.Port())); !slices.Contains(ports, p) {
				ports = append(ports, p)
			}
		}
		if len(ports) > 1 {
			return nil, &StartError{StatusNeverListened, fmt.Sprintf("process %d listens on the ports %s: choose one with -addr (make: ADDR=)", pid, strings.Join(ports, ", ")), ""}
		}
		if addr = mine[0].Local; addr.Addr().IsUnspecified() {
			host := localhost
			if !covers(mine[0], netip.AddrPortFrom(host, addr.Port())) {
				host = netip.IPv6Loopback()
			}
			addr = netip.AddrPortFrom(host, addr.Port())
		}
	}
	if !addr.Addr().IsLoopback() {
		return nil, &StartError{StatusNeverListened, fmt.Sprintf("process %d listens on %s: the examiner talks to 127.0.0.0/8 and ::1 only", pid, addr), ""}
	}
	s := &Server{Addr: addr}
	s.Look()
	return s, nil
}
