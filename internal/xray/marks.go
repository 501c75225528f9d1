package xray

import (
	"fmt"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// An entry is an entry of an interest list with everything that is known about it.
type entry struct {
	procfs.Interest
	fd     procfs.FD // the file that the number refers to now
	open   bool      // the number refers to a file
	reused bool      // it is another file than the registered one

	tcp        bool // the registered file is this TCP socket
	socket     procfs.Socket
	duplicates []int // other descriptors of the registered file in this process

	asleep bool // a thread sleeps in epoll_wait(2) on this instance
}

// marks lists what can be wrong with an entry. The IDs never change. The examiner has
// checks with two of them.
var marks = []struct {
	id    string
	holds func(e entry) bool
	says  func(e entry) string
}{
	{"CLOSED_FD",
		func(e entry) bool { return !e.open },
		func(e entry) string {
			return fmt.Sprintf("fd %d is closed, but what it stood for lives on%s, and is still watched: "+
				`epoll(7), "Questions and answers"`, e.FD, e.stillOpenAt())
		}},
	{"REUSED_FD",
		func(e entry) bool { return e.open && e.reused },
		func(e entry) string {
			return fmt.Sprintf("fd %d is another file now (%s); the one that was registered lives on%s, and is still watched: "+
				`epoll(7), "Questions and answers"`, e.FD, e.fd.Kind, e.stillOpenAt())
		}},
	{"EPOLLOUT_ALWAYS_ARMED",
		func(e entry) bool { return e.tcp && !e.edge() && e.asks(canWrite) && writable(e.socket) },
		func(e entry) string {
			return "asks for EPOLLOUT with nothing to send: every epoll_wait returns at once"
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
			return "without O_NONBLOCK: " + call + " that finds it not ready blocks, and all other clients wait"
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

// marksOf returns the marks that hold for an entry.
func marksOf(e entry) []Mark {
	found := []Mark{} // in JSON: [], not null
	for _, m := range marks {
		if m.holds(e) {
			found = append(found, Mark{m.id, m.says(e)})
		}
	}
	return found
}

// stillOpenAt describes where the registered file is open, after its number was closed.
func (e entry) stillOpenAt() string {
	if len(e.duplicates) == 0 {
		return " in another process"
	}
	return " as fd " + joinNumbers(e.duplicates)
}

// Each event has two names: poll(2).
const (
	canRead  = unix.EPOLLIN | unix.EPOLLRDNORM
	canWrite = unix.EPOLLOUT | unix.EPOLLWRNORM
)

func (e entry) asks(events procfs.Events) bool { return e.Events&events != 0 }
func (e entry) edge() bool                     { return e.asks(unix.EPOLLET) }

// fired reports whether an EPOLLONESHOT entry was reported and is disabled until
// EPOLL_CTL_MOD: only its flags are left.
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

// ready returns the value of Interest.Ready. For TCP sockets it depends on their queues.
// Other files are not ready if a thread sleeps in epoll_wait, because the call would have
// returned.
func (e entry) ready() string {
	yes, known := e.eventNow()
	switch {
	case e.fired():
		return "no"
	case yes && e.edge() && e.asleep:
		return "told"
	case yes && e.edge():
		return "unknown" // this event may have been reported already
	case yes:
		return "yes"
	case known || e.asleep:
		return "no"
	}
	return "unknown"
}

// eventNow reports whether a registered event holds now. If not, known tells whether that
// is certain.
func (e entry) eventNow() (yes, known bool) {
	if !e.tcp {
		return false, false
	}
	s := e.socket
	yes = e.asks(canRead) && readable(s) ||
		e.asks(canWrite) && writable(s) ||
		e.asks(unix.EPOLLRDHUP) && peerDone(s) ||
		s.State == procfs.TCPClose // EPOLLHUP is always reported
	// A socket can be writable with unsent bytes, but /proc does not show how much room
	// its buffer has.
	known = !e.asks(canWrite) || s.TxQueue == 0
	return yes, known
}

func readable(s procfs.Socket) bool {
	return s.RxQueue > 0 || peerDone(s)
}

// peerDone reports whether the peer has sent a FIN.
func peerDone(s procfs.Socket) bool {
	switch s.State {
	case procfs.TCPCloseWait, procfs.TCPLastAck, procfs.TCPClosing, procfs.TCPTimeWait, procfs.TCPClose:
		return true
	}
	return false
}

// writable reports whether a connection certainly has room in its send buffer: it has
// nothing to send.
func writable(s procfs.Socket) bool {
	switch s.State {
	case procfs.TCPListen, procfs.TCPSynSent, procfs.TCPSynRecv:
		return false
	}
	return s.TxQueue == 0
}
