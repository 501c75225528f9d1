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
	socks, _ := sockets()
	var found []string
	for _, sock := range socks {
		if sock.State != procfs.TCPListen {
			continue
		}
		for _, pid := range Owners([]procfs.Socket{sock}) {
			if slices.Contains(family, pid) {
				found = append(found, sock.Local.String())
			}
		}
	}
	if found == nil {
		return ""
	}
	return fmt.Sprintf("; it listens on %s: give that address with -addr (make: ADDR=), or use {addr} or {port} in the command", strings.Join(found, ", "))
}

// attach finds a server that is already running, by its address or its PID.
func attach(addr netip.AddrPort, pid int) (*Server, error) {
	all, err := sockets()
	if err != nil {
		return nil, err
	}
	var mine []procfs.Socket
	for _, sock := range all {
		if sock.State != procfs.TCPListen || addr.IsValid() && !covers(sock.Local, addr) {
			continue
		}
		if pid == 0 || slices.Contains(Owners([]procfs.Socket{sock}), pid) {
			mine = append(mine, sock)
		}
	}
	switch {
	case len(mine) == 0 && pid != 0 && addr.IsValid():
		return nil, &StartError{StatusNeverListened, fmt.Sprintf("process %d has no listening TCP socket that we may see on %s", pid, addr), ""}
	case len(mine) == 0 && pid != 0:
		return nil, &StartError{StatusNeverListened, fmt.Sprintf("process %d has no listening TCP socket that we may see", pid), ""}
	case len(mine) == 0:
		return nil, &StartError{StatusNeverListened, fmt.Sprintf("nobody listens on %s: start the server first, or give its command after -- (make: SERVER=)", addr), ""}
	}
	if !addr.IsValid() {
		var ports []string
		for _, sock := range mine {
			if p := strconv.Itoa(int(sock.Local.Port())); !slices.Contains(ports, p) {
				ports = append(ports, p)
			}
		}
		if len(ports) > 1 {
			return nil, &StartError{StatusNeverListened, fmt.Sprintf("process %d listens on the ports %s: choose one with -addr (make: ADDR=)", pid, strings.Join(ports, ", ")), ""}
		}
		addr = mine[0].Local
		if addr.Addr().IsUnspecified() {
			addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), addr.Port())
		}
	}
	if !addr.Addr().Is4() || !addr.Addr().IsLoopback() {
		return nil, &StartError{StatusNeverListened, fmt.Sprintf("process %d listens on %s: the examiner talks to 127.0.0.0/8 only", pid, addr), ""}
	}
	s := &Server{Addr: addr}
	s.Look()
	return s, nil
}
