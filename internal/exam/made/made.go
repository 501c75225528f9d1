// Package made has the checks of how an epoll server is made, as /proc shows it:
// blocking or not, which trigger, how many threads.
package made

import (
	"slices"
	"strings"

	"epoll-step-by-step/internal/exam"

	"golang.org/x/sys/unix"
)

var BlockingFD = exam.Check{
	ID: "BLOCKING_FD", Title: "every accepted socket has O_NONBLOCK", For: epollServers, Run: blockingFD, Looks: true,
	Usually: "O_NONBLOCK was set on the listener alone, and accept(2) does not inherit it",
	Reread:  []string{`accept(2) "STANDARDS"`, `fcntl(2) "File status flags"`}, Chapter: exam.ChapterNonblocking,
}

var NotEpoll = exam.Check{
	ID: "NOT_EPOLL", Title: "the listener and the clients are in one epoll instance", For: epollServers, Run: notEpoll, Looks: true,
	Usually: "a call other than epoll_wait(2) waits for the clients",
	Reread:  []string{`epoll_create1(2) "epoll_create1()"`, `epoll_ctl(2) "DESCRIPTION"`}, Chapter: exam.ChapterLevel,
}

var NotLevel = exam.Check{
	ID: "NOT_LEVEL", Title: "clients are registered level-triggered", For: []exam.Profile{exam.LT}, Run: notLevel, Looks: true,
	Usually: "EPOLLET is in the events",
	Reread:  []string{`epoll(7) "Level-triggered and edge-triggered"`}, Chapter: exam.ChapterLevel,
}

var NotEdge = exam.Check{
	ID: "NOT_EDGE", Title: "clients are registered edge-triggered", For: []exam.Profile{exam.ET}, Run: notEdge, Looks: true,
	Usually: "EPOLLET is not in the events",
	Reread:  []string{`epoll(7) "Level-triggered and edge-triggered"`}, Chapter: exam.ChapterEdge,
}

var EpolloutAlwaysArmed = exam.Check{
	ID: "EPOLLOUT_ALWAYS_ARMED", Title: "EPOLLOUT is requested only while bytes are pending", For: []exam.Profile{exam.LT}, Run: epolloutArmed, Looks: true,
	Usually: "EPOLLOUT was not removed after the last byte was written",
	Reread:  []string{`epoll_ctl(2) "DESCRIPTION"`}, Chapter: exam.ChapterLevel,
}

func blockingFD(s *exam.Session) error {
	found, err := acceptedSockets(s)
	if err != nil {
		return err
	}
	for _, p := range found {
		if !p.FD.Nonblock() {
			if !listenerNonblock(s) {
				s.Usually = "O_NONBLOCK is set nowhere, not even on the listener: set it for each socket, as accept4(2) with SOCK_NONBLOCK does"
			}
			return s.Fail("fdinfo", "fd %d of process %d has flags 0%o: no O_NONBLOCK (0%o)", p.FD.Num, p.PID, p.FD.Flags, unix.O_NONBLOCK)
		}
	}
	s.Note("fdinfo", "%d accepted sockets, all with O_NONBLOCK", len(found))
	return nil
}

// listenerNonblock reports whether the listening socket has O_NONBLOCK.
func listenerNonblock(s *exam.Session) bool {
	listeners, _ := exam.Listeners(s.Server.Addr)
	places, _ := s.Server.Places(listeners...)
	return slices.ContainsFunc(places, func(p exam.Place) bool { return p.FD.Nonblock() })
}

func notEpoll(s *exam.Session) error {
	found, err := registeredSockets(s, false)
	if err != nil {
		return err
	}
	for _, p := range found {
		switch {
		case p.ListenerEpfd < 0:
			if doing := s.Server.Doing(); strings.HasPrefix(doing, "asleep in ") && !strings.HasPrefix(doing, "asleep in epoll") {
				s.Usually = "a call other than epoll_wait(2) waits for the clients: the server is " + doing
			}
			return s.Fail("fdinfo", "no epoll instance of process %d has the listening socket on its interest list", p.PID)
		case p.Registered() && p.Epfd != p.ListenerEpfd:
			s.Usually = "there are two epoll instances, and one epoll_wait(2) reports the events of one of them"
			return s.Fail("fdinfo", "the epoll instance on fd %d has the listener on its interest list, and the one on fd %d has the client on fd %d", p.ListenerEpfd, p.Epfd, p.FD.Num)
		case !p.Registered():
			return s.Fail("fdinfo", "the epoll instance on fd %d has the listener on its interest list, but not the client on fd %d", p.ListenerEpfd, p.FD.Num)
		}
	}
	s.Note("fdinfo", "the epoll instance on fd %d has the listener and %d clients on its interest list", found[0].Epfd, len(found))
	return nil
}

// trigger fails if a client is registered the other way. A client that is not
// registered at all is reported by NOT_EPOLL.
func trigger(s *exam.Session, edge bool) error {
	found, err := registeredSockets(s, true)
	if err != nil {
		return err
	}
	isEdge := func(p exam.Place) bool { return p.Mask&unix.EPOLLET != 0 }
	for _, p := range found {
		if !watched(p) {
			return exam.SkipCheck("the clients are not on an interest list: see NOT_EPOLL")
		}
		if isEdge(p) != edge {
			if edge && slices.ContainsFunc(found, isEdge) {
				s.Usually = "EPOLL_CTL_MOD replaces the whole mask: EPOLLET has to be in it each time, or the client is level-triggered from then on"
			}
			return s.Fail("fdinfo", "the client on fd %d is registered for %v", p.FD.Num, p.Mask)
		}
	}
	s.Note("fdinfo", "%d clients are registered for %v", len(found), found[0].Mask)
	return nil
}

func notLevel(s *exam.Session) error { return trigger(s, false) }

func notEdge(s *exam.Session) error { return trigger(s, true) }

func epolloutArmed(s *exam.Session) error {
	found, err := registeredSockets(s, true)
	if err != nil {
		return err
	}
	for _, p := range found {
		if p.Mask&unix.EPOLLET != 0 {
			return exam.SkipCheck("the clients are registered edge-triggered: see NOT_LEVEL")
		}
	}
	armed := slices.DeleteFunc(slices.Clone(found), func(p exam.Place) bool { return !watched(p) || p.Mask&unix.EPOLLOUT == 0 })
	if len(armed) > 1 { // not only the one that did not read
		s.Usually = "EPOLLOUT is requested although write(2) has not met EAGAIN: request it then, and no longer than bytes are pending"
	}
	if len(armed) > 0 {
		return s.Fail("fdinfo", "the client on fd %d has received all its bytes and is registered for %v", armed[0].FD.Num, armed[0].Mask)
	}
	s.Note("fdinfo", "%d idle clients, none registered for EPOLLOUT", len(found))
	return nil
}

var epollServers = []exam.Profile{exam.LT, exam.ET}
