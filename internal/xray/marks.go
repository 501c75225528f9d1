package xray

import (
	"fmt"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// An entry is one line of an interest list with all that is known about it.
type entry struct {
	procfs.Interest
	fd     procfs.FD // what the number means now
	open   bool      // it means something
	reused bool      // but not what was registered

	tcp    bool // what was registered is a TCP socket, and this one:
	socket procfs.Socket
	twins  []int // the other numbers that it has in this process

	asleep bool // somebody sleeps in epoll_wait(2) on this instance
}

// marks has what can be odd about an entry. The IDs are stable; two are those
// of the examiner's checks.
var marks = []struct {
	id    string
	holds func(e entry) bool
	says  func(e entry) string
}{
	{"CLOSED_FD",
		func(e entry) bool { return !e.open },
		func(e entry) string {
			return fmt.Sprintf("fd %d is closed, but what it stood for lives on%s, and is still watched: "+
				`epoll(7), "Questions and answers"`, e.FD, e.home())
		}},
	{"REUSED_FD",
		func(e entry) bool { return e.open && e.reused },
		func(e entry) string {
			return fmt.Sprintf("fd %d is another file now (%s); the one that was registered lives on%s, and is still watched: "+
				`epoll(7), "Questions and answers"`, e.FD, e.fd.Kind, e.home())
		}},
	{"EPOLLOUT_ALWAYS_ARMED",
		func(e entry) bool { return e.tcp && !e.edge() && e.asks(canWrite) && writable(e.socket) },
		func(e entry) string {
			return "asks for EPOLLOUT with nothing to send: epoll_wait will return at once, always, for as long as it asks"
		}},
	{"BLOCKING_FD",
		func(e entry) bool {
			return e.open && !e.reused && e.fd.Kind == procfs.KindSocket && !e.fd.Nonblock()
		},
		func(e entry) string {
			call := "a read or write"
			if e.tcp && e.socket.State == procfs.TCPListen {
				call = "an accept"
			}
			return "without O_NONBLOCK: " + call + " that finds it not ready sleeps, and all others wait"
		}},
	{"EDGE_UNREAD",
		func(e entry) bool {
			return e.tcp && e.edge() && e.asks(canRead) && e.asleep && readable(e.socket) && e.socket.RxQueue > 0 &&
				(e.socket.State == procfs.TCPListen || e.socket.TxQueue == 0)
		},
		func(e entry) string {
			left := "not all has been read"
			if e.socket.State == procfs.TCPListen {
				left = "not all have been accepted"
			}
			return left + ", and edge-triggered epoll_wait says so only once: it sleeps until more comes"
		}},
}

// marked returns the marks that hold for an entry.
func marked(e entry) []Mark {
	found := []Mark{} // in JSON: [], not null
	for _, m := range marks {
		if m.holds(e) {
			found = append(found, Mark{m.id, m.says(e)})
		}
	}
	return found
}

// home says where the file is that was registered under a number that is not
// its own any more.
func (e entry) home() string {
	if len(e.twins) == 0 {
		return " in another process"
	}
	return " as fd " + numbers(e.twins)
}

// Two names for one event each: poll(2).
const (
	canRead  = unix.EPOLLIN | unix.EPOLLRDNORM
	canWrite = unix.EPOLLOUT | unix.EPOLLWRNORM
)

func (e entry) asks(events procfs.Events) bool { return e.Events&events != 0 }
func (e entry) edge() bool                     { return e.asks(unix.EPOLLET) }

// fired says whether an EPOLLONESHOT entry has been reported, and is silent
// until EPOLL_CTL_MOD: only its flags are left.
func (e entry) fired() bool {
	const flags = unix.EPOLLONESHOT | unix.EPOLLET | unix.EPOLLWAKEUP | unix.EPOLLEXCLUSIVE
	return e.asks(unix.EPOLLONESHOT) && e.Events&^flags == 0
}

func (e entry) trigger() string {
	trigger := "level"
	if e.edge() {
		trigger = "edge"
	}
	switch {
	case e.fired():
		return trigger + ", fired"
	case e.asks(unix.EPOLLONESHOT):
		return trigger + ", oneshot"
	}
	return trigger
}

// ready says whether epoll_wait has something to report: see Interest.Ready.
// The queues tell it of TCP sockets. Whoever is asleep in epoll_wait tells it of
// the others: nobody would sleep there if one were ready.
func (e entry) ready() string {
	yes, known := e.happening()
	switch {
	case e.fired():
		return "no"
	case yes && e.edge() && e.asleep:
		return "told"
	case yes && e.edge():
		return "unknown" // whether it has been told of that already
	case yes:
		return "yes"
	case known || e.asleep:
		return "no"
	}
	return "unknown"
}

// happening says whether one of the events is the case now, and if not,
// whether that is certain.
func (e entry) happening() (yes, known bool) {
	if !e.tcp {
		return false, false
	}
	s := e.socket
	yes = e.asks(canRead) && readable(s) ||
		e.asks(canWrite) && writable(s) ||
		e.asks(unix.EPOLLRDHUP) && peerDone(s) ||
		s.State == procfs.TCPClose // EPOLLHUP, which nobody needs to ask for
	// Room for more is an event before all is sent: how much, /proc hides.
	known = !e.asks(canWrite) || s.TxQueue == 0
	return yes, known
}

func readable(s procfs.Socket) bool {
	return s.RxQueue > 0 || peerDone(s)
}

// peerDone says whether the peer has said that it will send no more: a FIN.
func peerDone(s procfs.Socket) bool {
	switch s.State {
	case procfs.TCPCloseWait, procfs.TCPLastAck, procfs.TCPClosing, procfs.TCPTimeWait, procfs.TCPClose:
		return true
	}
	return false
}

// writable is certain of a connection only when it has nothing to send.
func writable(s procfs.Socket) bool {
	switch s.State {
	case procfs.TCPListen, procfs.TCPSynSent, procfs.TCPSynRecv:
		return false
	}
	return s.TxQueue == 0
}
