package walk

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// Kernel is what the kernel holds for a program at one moment.
type Kernel struct {
	Epolls  []Epoll  `json:"epolls,omitempty"`  // those that the program's own code has created
	Sockets []Socket `json:"sockets,omitempty"` // of TCP, by descriptor
}

// An Epoll is an epoll instance: epoll(7).
type Epoll struct {
	FD       int        `json:"fd"`
	Interest []Interest `json:"interest,omitempty"` // by descriptor
}

// An Interest is an entry of an interest list.
type Interest struct {
	FD     int           `json:"fd"`
	Kind   procfs.Kind   `json:"kind"`
	Events procfs.Events `json:"events"` // asked for

	// Level is what poll(2) says of the descriptor, and Ready whether the entry is on the
	// ready list: whether epoll_wait(2) would return it now. For a level-triggered entry
	// the two agree. Known is false if this machine does not allow us to see them.
	Level procfs.Events `json:"level,omitempty"`
	Ready bool          `json:"ready,omitempty"`
	Known bool          `json:"known,omitempty"`
}

// A Socket is a TCP socket of the program.
type Socket struct {
	FD        int            `json:"fd"`
	Listening bool           `json:"listening,omitempty"`
	Local     netip.AddrPort `json:"local"`
	Remote    netip.AddrPort `json:"remote"`
	State     string         `json:"state"` // the kernel's name, as in "ESTABLISHED"

	// Unread is what the program has not read, in bytes; of a listening socket, how many
	// connections wait for accept(2). Unsent is what the program has written and the
	// kernel has not sent, in bytes. A FIN is not counted.
	Unread int `json:"unread,omitempty"`
	Unsent int `json:"unsent,omitempty"`

	// EOF says that the peer's FIN has arrived.
	EOF bool `json:"eof,omitempty"`
}

// A view reads what the kernel holds for one program.
type view struct {
	ready *readiness
	known map[uint64]procfs.Socket // by inode, as it was when first seen
}

func newView() *view {
	return &view{ready: newReadiness(), known: make(map[uint64]procfs.Socket)}
}

// snapshot reads what the kernel holds for t. The thread must stand still or sleep.
func (v *view) snapshot(t *tracee) (Kernel, error) {
	fds, err := procfs.FDs(t.pid)
	if err != nil {
		return Kernel{}, err
	}
	var k Kernel
	k.Sockets, err = v.sockets(t.pid, fds)
	if err != nil {
		return Kernel{}, err
	}
	kinds := make(map[int]procfs.Kind)
	for _, fd := range fds {
		kinds[fd.Num] = fd.Kind
	}
	for _, fd := range fds {
		if fd.Kind != procfs.KindEventpoll || !t.epolls[fd.Num] {
			continue
		}
		interests, err := procfs.Interests(t.pid, fd.Num)
		if errors.Is(err, fs.ErrNotExist) {
			return Kernel{}, err
		}
		e := Epoll{FD: fd.Num}
		for _, in := range interests {
			i := Interest{FD: in.FD, Kind: kinds[in.FD], Events: in.Events.Asked()}
			i.Level, i.Ready, i.Known = v.ready.look(t, fd.Num, in)
			e.Interest = append(e.Interest, i)
		}
		k.Epolls = append(k.Epolls, e)
	}
	v.ready.forget()
	return k, nil
}

// sockets returns the TCP sockets among the descriptors of a process.
func (v *view) sockets(pid int, fds []procfs.FD) ([]Socket, error) {
	var list []Socket
	var listed bool
	var listeners []procfs.Listener
	for _, fd := range fds {
		if fd.Kind != procfs.KindSocket {
			continue
		}
		s, ok := v.known[fd.Inode]
		if !ok && !listed {
			// The whole list takes the kernel milliseconds, so only new sockets are
			// looked up in it.
			all, err := procfs.TCPOf(pid)
			if err != nil {
				return nil, err
			}
			for _, s := range all {
				if s.Inode != 0 {
					v.known[s.Inode] = s
				}
			}
			listed = true
			s, ok = v.known[fd.Inode]
		}
		if ok && s.State == procfs.TCPListen {
			if listeners == nil {
				var err error
				if listeners, err = procfs.Listeners(); err != nil {
					return nil, err
				}
			}
			i := slices.IndexFunc(listeners, func(l procfs.Listener) bool { return l.Inode == fd.Inode })
			if ok = i >= 0; ok {
				s = listeners[i].Socket
			}
		} else if ok {
			var err error
			if s, ok, err = procfs.Connection(s.Local, s.Remote); err != nil {
				return nil, err
			}
		}
		if !ok || s.Inode != fd.Inode {
			// The kernel does not list a socket without a connection: a new one, or
			// one that its peer has reset.
			protocol, err := procfs.Protocol(pid, fd.Num)
			if err == nil && strings.HasPrefix(protocol, "TCP") {
				list = append(list, Socket{FD: fd.Num, State: procfs.TCPClose.String()})
			}
			continue
		}
		list = append(list, describe(fd.Num, s))
	}
	slices.SortFunc(list, func(a, b Socket) int { return cmp.Compare(a.FD, b.FD) })
	return list, nil
}

func describe(fd int, s procfs.Socket) Socket {
	socket := Socket{
		FD: fd, Listening: s.State == procfs.TCPListen, Local: s.Local, Remote: s.Remote,
		State: s.State.String(), Unread: s.RxQueue, Unsent: s.NotSent,
	}
	switch s.State {
	case procfs.TCPCloseWait, procfs.TCPLastAck, procfs.TCPClosing:
		// In RxQueue, the FIN counts as one until read(2) has returned 0.
		socket.EOF = true
		socket.Unread = max(0, s.RxQueue-1)
	case procfs.TCPListen:
		socket.Unsent = 0
	}
	return socket
}

// Socket returns the socket behind a descriptor.
func (k Kernel) Socket(fd int) (Socket, bool) {
	i := slices.IndexFunc(k.Sockets, func(s Socket) bool { return s.FD == fd })
	if i < 0 {
		return Socket{}, false
	}
	return k.Sockets[i], true
}

// A Change is a difference between two snapshots.
type Change struct {
	FD   int    `json:"fd"`
	What string `json:"what"` // as in "unread 0 → 6", without the descriptor
}

// Since returns what has changed since an earlier snapshot, by descriptor.
func (k Kernel) Since(old Kernel) []Change {
	var changes []Change
	add := func(fd int, format string, args ...any) {
		changes = append(changes, Change{fd, fmt.Sprintf(format, args...)})
	}
	for _, s := range k.Sockets {
		o, ok := old.Socket(s.FD)
		closed := procfs.TCPClose.String()
		if ok && o.Remote != s.Remote && o.State != closed && s.State != closed { // the number is used again
			add(s.FD, "closed")
			ok = false
		}
		switch {
		case !ok && s.State == closed:
			add(s.FD, "a TCP socket")
		case s.Listening && !o.Listening:
			add(s.FD, "listening")
		case !ok:
			add(s.FD, "a connection")
		case s.State == closed && o.State != closed:
			add(s.FD, "reset")
			continue
		}
		queue := "unread"
		if s.Listening {
			queue = "accept queue"
		}
		if s.Unread != o.Unread {
			add(s.FD, "%s %s → %s", queue, Bytes(o.Unread), Bytes(s.Unread))
		}
		if s.Unsent != o.Unsent {
			add(s.FD, "unsent %s → %s", Bytes(o.Unsent), Bytes(s.Unsent))
		}
		if s.EOF && !o.EOF {
			add(s.FD, "FIN has arrived")
		}
	}
	for _, o := range old.Sockets {
		if _, ok := k.Socket(o.FD); !ok {
			add(o.FD, "closed")
		}
	}
	for _, e := range k.Epolls {
		changes = append(changes, e.since(old)...)
	}
	return changes
}

func (e Epoll) since(old Kernel) []Change {
	var changes []Change
	before := make(map[int]Interest)
	i := slices.IndexFunc(old.Epolls, func(o Epoll) bool { return o.FD == e.FD })
	if i < 0 {
		changes = append(changes, Change{e.FD, "an epoll instance"})
	} else {
		for _, in := range old.Epolls[i].Interest {
			before[in.FD] = in
		}
	}
	for _, in := range e.Interest {
		o, ok := before[in.FD]
		delete(before, in.FD)
		switch {
		case !ok:
			changes = append(changes, Change{in.FD, "interest list + " + Mask(in.Events)})
		case o.Events != in.Events:
			changes = append(changes, Change{in.FD, "interest " + Mask(o.Events) + " → " + Mask(in.Events)})
		}
		switch {
		case in.Ready && !o.Ready:
			changes = append(changes, Change{in.FD, "ready list +"})
		case !in.Ready && o.Ready:
			changes = append(changes, Change{in.FD, "ready list −"})
		}
	}
	var gone []int
	for fd := range before {
		gone = append(gone, fd)
	}
	slices.Sort(gone)
	for _, fd := range gone {
		changes = append(changes, Change{fd, "interest list −"})
	}
	return changes
}

// Shown returns the events with which epoll_wait(2) would report a ready entry: those of
// Level that were asked for, and EPOLLERR and EPOLLHUP, which need not be.
func Shown(i Interest) procfs.Events {
	return i.Level & (i.Events | unix.EPOLLERR | unix.EPOLLHUP)
}

// Mask returns a mask without the prefix of its names, as in "IN|RDHUP|ET".
func Mask(e procfs.Events) string { return strings.ReplaceAll(e.String(), "EPOLL", "") }

// Bytes returns a number of bytes in at most five columns, as in "512", "64K", "2.5M".
func Bytes(n int) string {
	switch {
	case n < 10_000:
		return fmt.Sprint(n)
	case n < 1<<20:
		return fmt.Sprintf("%dK", n>>10)
	}
	return fmt.Sprintf("%.1fM", float64(n)/(1<<20))
}
