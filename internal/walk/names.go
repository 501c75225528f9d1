package walk

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Names gives descriptors the names that a reader knows: those of the clients, and
// "listener" and "epfd" as in the steps.
type Names struct {
	byFD   map[int]string
	byAddr map[netip.AddrPort]string
}

// NewNames returns names for a new session.
func NewNames() *Names {
	return &Names{byFD: make(map[int]string), byAddr: make(map[netip.AddrPort]string)}
}

// Learn finds out which descriptors belong to which client. A descriptor that is closed
// keeps its name until the number is used again.
func (n *Names) Learn(k Kernel, clients []ClientState) {
	for _, c := range clients {
		n.byAddr[c.Addr] = c.Name
	}
	for _, s := range k.Sockets {
		name, ok := n.byAddr[s.Remote]
		switch {
		case s.Listening:
			n.byFD[s.FD] = "listener"
		case ok:
			n.byFD[s.FD] = name
		case s.Remote.IsValid() && s.Remote.Port() != 0:
			n.byFD[s.FD] = fmt.Sprint("fd ", s.FD)
		}
	}
	for i, e := range k.Epolls {
		n.byFD[e.FD] = "epfd"
		if i > 0 {
			n.byFD[e.FD] = fmt.Sprint("epfd", i+1)
		}
	}
}

// Of returns the name of a descriptor: "fd 7" if it has none.
func (n *Names) Of(fd int) string {
	if name, ok := n.byFD[fd]; ok {
		return name
	}
	return fmt.Sprint("fd ", fd)
}

// bare returns the name of a descriptor, or its number.
func (n *Names) bare(fd int) string { return strings.TrimPrefix(n.Of(fd), "fd ") }

// Call returns a call as String does, with names in place of descriptors and addresses.
func (n *Names) Call(c Call) string {
	c.Args = slices.Clone(c.Args)
	if c.FD >= 0 && len(c.Args) > 0 {
		c.Args[0] = n.bare(c.FD)
	}
	switch c.Name {
	case "epoll_ctl":
		var fd int
		if _, err := fmt.Sscan(c.Args[2], &fd); err == nil {
			events, _, _ := strings.Cut(c.Args[3], ", ")
			if c.Args[3] == fmt.Sprintf("%s, %d}", events, fd) { // other data stay as they are
				c.Args[3] = events + ", " + n.bare(fd) + "}"
			}
			c.Args[2] = n.bare(fd)
		}
	case "epoll_wait", "epoll_pwait", "epoll_pwait2":
		if c.Done && c.Error == "" {
			c.Args[1] = list(c.Events, n.bare)
		}
	case "accept", "accept4", "getpeername":
		addr, err := netip.ParseAddrPort(strings.Trim(c.Args[1], "{}"))
		if name, ok := n.byAddr[addr]; err == nil && ok {
			c.Args[1] = "{" + name + "}"
		}
	}
	text := c.String()
	if c.Done && c.Error == "" && createsFD(c) {
		text = strings.TrimSuffix(text, fmt.Sprint(c.Result)) + n.bare(int(c.Result))
	}
	return text
}

func createsFD(c Call) bool {
	switch c.Name {
	case "accept", "accept4", "dup", "dup2", "dup3", "epoll_create", "epoll_create1", "eventfd2", "signalfd4", "socket", "timerfd_create":
		return true
	}
	return false
}
