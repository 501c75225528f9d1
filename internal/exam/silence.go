package exam

import (
	"fmt"
	"slices"
	"strings"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// The bits of a mask that say how events are reported, and not which.
const flagBits = unix.EPOLLET | unix.EPOLLONESHOT | unix.EPOLLEXCLUSIVE | unix.EPOLLWAKEUP

// ExplainSilence sets Usually if /proc shows why nothing comes back to c, and reports
// whether it does. A client that has stalled did not read for a while, so write(2) may
// have met EAGAIN.
func (s *Session) ExplainSilence(c *Client, stalled bool) bool {
	usually := s.whySilent(c, stalled)
	if usually != "" {
		s.Usually = usually
	}
	return usually != ""
}

func (s *Session) whySilent(c *Client, stalled bool) string {
	end, found, err := c.ServerEnd()
	if err != nil || !found {
		return ""
	}
	if unaccepted(end) {
		return s.whyUnaccepted()
	}
	p, seen := s.PlaceOf(c)
	doing := s.Server.Doing()
	inEpoll := strings.HasPrefix(doing, "asleep in epoll")
	switch {
	case !seen:
		return ""
	case end.RxQueue > 0 && doing == "running":
		if stalled {
			return "it is awake and does not read the bytes that have come: after EAGAIN, it did not resume writing, or reading"
		}
		return ""
	case end.RxQueue > 0 && !inEpoll:
		return s.whyBlocked(p)
	case !inEpoll || p.Runtime:
		return ""
	}
	s.NoteInterest(p)
	switch {
	case !p.Registered():
		return "the client's descriptor is on no interest list: EPOLL_CTL_ADD failed or was not called, or EPOLL_CTL_DEL was"
	case p.Mask&unix.EPOLLONESHOT != 0 && p.Mask&^flagBits == 0:
		return "EPOLLONESHOT disables a registration after one event: EPOLL_CTL_MOD has to arm it again, and did not"
	case end.RxQueue > 0 && p.Mask&unix.EPOLLIN == 0:
		return "EPOLLIN is not requested, so nothing reports the unread bytes: request it again when the last pending byte is written"
	case end.RxQueue > 0 && stalled && p.Mask&unix.EPOLLOUT == 0:
		return "after EAGAIN from write(2), no event reports that there is room again: EPOLLOUT is not requested. " +
			"Or one read(2) for each edge: EPOLLET reports unread bytes only once"
	case end.RxQueue > 0 && p.Mask&unix.EPOLLET != 0:
		return "one read(2) for each edge: EPOLLET reports the bytes only once, so those that it leaves wait until more arrive. Call read(2) until EAGAIN"
	}
	return ""
}

// NoteInterest notes what a descriptor is registered for.
func (s *Session) NoteInterest(p Place) {
	if !p.Registered() {
		s.Note("interest", "fd %d is on no interest list", p.FD.Num)
		return
	}
	s.Note("interest", "fd %d is registered for %v", p.FD.Num, p.Mask)
}

// whyUnaccepted says why a connection waits for accept(2).
func (s *Session) whyUnaccepted() string {
	listeners, err := Listeners(s.Server.Addr)
	if err != nil {
		return ""
	}
	p, ok := s.listenerPlace(listeners)
	if !ok {
		return ""
	}
	if !strings.HasPrefix(s.Server.Doing(), "asleep in epoll") {
		return s.whyBlocked(Place{})
	}
	if p.Runtime {
		return ""
	}
	waiting := 0
	for _, l := range listeners {
		waiting += l.RxQueue
	}
	if p.Registered() {
		s.Note("interest", "the listener, fd %d, is registered for %v; in its queue: %s", p.FD.Num, p.Mask, Plural(waiting, "client", "clients"))
	}
	switch {
	case !p.Registered():
		return ""
	case p.Mask&unix.EPOLLIN == 0:
		return "EPOLLIN is not requested for the listener, or EPOLLONESHOT has used it up: nothing reports the clients in its queue"
	case p.Mask&unix.EPOLLET != 0 && p.Mask&unix.EPOLLEXCLUSIVE != 0:
		return "too few accept(2) for one edge: with EPOLLEXCLUSIVE, the edge wakes one epoll_wait(2) and not the others. Call accept(2) there until EAGAIN"
	case p.Mask&unix.EPOLLET != 0:
		return "too few accept(2) for one edge: EPOLLET reports the clients in the listener's queue only once. Call accept(2) until EAGAIN"
	}
	return ""
}

// listenerPlace returns a place of the listener, on an interest list if there is one.
func (s *Session) listenerPlace(listeners []procfs.Socket) (Place, bool) {
	places, err := s.Server.Places(listeners...)
	if err != nil || len(places) == 0 {
		return Place{}, false
	}
	return places[max(0, slices.IndexFunc(places, Place.Registered))], true
}

// ExplainSpinning says what keeps waking a server whose clients cannot be accepted, if
// the listener's registration shows it.
func (s *Session) ExplainSpinning() {
	listeners, err := Listeners(s.Server.Addr)
	if err != nil {
		return
	}
	p, ok := s.listenerPlace(listeners)
	if !ok || p.Runtime || !p.Registered() || p.Mask&unix.EPOLLIN == 0 {
		return
	}
	s.NoteInterest(p)
	if p.Mask&unix.EPOLLEXCLUSIVE != 0 {
		s.Usually = "EPOLL_CTL_MOD fails with EINVAL for a registration with EPOLLEXCLUSIVE, so the listener stays registered: use EPOLL_CTL_DEL, and later EPOLL_CTL_ADD"
	}
}

// The calls that wait for one descriptor, which is their first argument.
var blockingCalls = map[string]string{
	"read": "read(2)", "readv": "readv(2)", "recvfrom": "recv(2)", "recvmsg": "recvmsg(2)",
	"write": "write(2)", "writev": "writev(2)", "sendto": "send(2)", "sendmsg": "sendmsg(2)",
	"sendfile": "sendfile(2)",
}

// A Blocked is a call in which the server's thread sleeps until one descriptor is
// ready.
type Blocked struct {
	Call     string // with its section
	PID, FD  int
	Nonblock bool    // the descriptor has O_NONBLOCK, so the call must have waited in another way
	Client   *Client // whose connection it is; nil if that is not known
}

// Blocked returns the call in which the thread that does the server's work sleeps, and
// whether it is one that waits for a single descriptor.
func (s *Session) Blocked() (b Blocked, ok bool) {
	t, seen := s.Server.servingThread()
	if !seen || t.Syscall.State != procfs.SyscallBlocked {
		return b, false
	}
	call, waits := blockingCalls[t.Syscall.Name]
	if !waits {
		return b, false
	}
	b = Blocked{Call: call, PID: t.PID, FD: int(int32(t.Syscall.Args[0]))}
	fds, _ := procfs.FDs(t.PID)
	i := slices.IndexFunc(fds, func(fd procfs.FD) bool { return fd.Num == b.FD })
	if i < 0 || fds[i].Kind != procfs.KindSocket {
		return b, false
	}
	b.Nonblock = fds[i].Nonblock()
	for _, c := range s.Clients() {
		if end, found, err := c.ServerEnd(); err == nil && found && end.Inode == fds[i].Inode {
			b.Client = c
		}
	}
	return b, true
}

// whyBlocked says on which other descriptor the server sleeps while it should serve
// the one at p.
func (s *Session) whyBlocked(p Place) string {
	b, blocked := s.Blocked()
	if !blocked || b.Nonblock || b.PID == p.PID && b.FD == p.FD.Num {
		return ""
	}
	return fmt.Sprintf("the server sleeps in %s on %s, and serves nobody else meanwhile: fd %d has no O_NONBLOCK", b.Call, s.whose(b), b.FD)
}

// whose names the connection on which the server sleeps.
func (s *Session) whose(b Blocked) string {
	if b.Client != nil {
		return "another client's connection"
	}
	return fmt.Sprintf("fd %d", b.FD)
}
