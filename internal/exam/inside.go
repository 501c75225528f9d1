package exam

import (
	"slices"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// A Place is where a process keeps a socket: under which descriptor, and on which
// interest list: epoll(7).
type Place struct {
	procfs.Socket
	PID  int
	FD   procfs.FD
	Epfd int           // the epoll instance with the socket on its interest list; -1 if there is none
	Mask procfs.Events // what the socket is registered for there, as the program requested it

	ListenerEpfd int // the epoll instance of the process with the listener on its list; -1 if there is none

	// Runtime reports whether Epfd looks like the instance of a language's runtime:
	// such as Go's or Rust's, which register each socket with the same mask and have
	// an eventfd(2) to wake themselves. Then the program did not choose the mask.
	Runtime bool
}

const runtimeMask = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET

// Registered reports whether the socket is on an interest list.
func (p Place) Registered() bool { return p.Epfd >= 0 }

// Places finds the places of some sockets in the server's processes: none for a
// socket that no process has open, several if fork(2) has copied a descriptor.
func (s *Server) Places(socks ...procfs.Socket) (found []Place, err error) {
	wanted := make(map[uint64]procfs.Socket) // by inode
	for _, sock := range socks {
		if sock.Inode != 0 {
			wanted[sock.Inode] = sock
		}
	}
	listeners, err := Listeners(s.Addr)
	if err != nil {
		return nil, err
	}
	for _, pid := range s.family() {
		more, err := placesIn(pid, wanted, listeners)
		if err != nil && Alive(pid) {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

func placesIn(pid int, wanted map[uint64]procfs.Socket, listeners []procfs.Socket) (found []Place, err error) {
	fds, err := procfs.FDs(pid)
	if err != nil {
		return nil, err
	}
	inodes, kinds := make(map[int]uint64), make(map[int]procfs.Kind) // by descriptor
	for _, fd := range fds {
		inodes[fd.Num], kinds[fd.Num] = fd.Inode, fd.Kind
	}
	inode := func(i procfs.Interest) uint64 {
		if i.Inode != 0 {
			return i.Inode
		}
		return inodes[i.FD] // an older kernel's fdinfo has no ino
	}
	type entry struct {
		epfd int
		mask procfs.Events
	}
	registered, listenerEpfd := make(map[uint64]entry), -1
	wakers := make(map[int]bool) // by descriptor of an epoll instance
	for _, fd := range fds {
		if fd.Kind != procfs.KindEventpoll {
			continue
		}
		list, err := procfs.Interests(pid, fd.Num)
		if err != nil {
			return nil, err
		}
		for _, i := range list {
			wakers[fd.Num] = wakers[fd.Num] || kinds[i.FD] == procfs.KindEventfd || kinds[i.FD] == procfs.KindPipe
			registered[inode(i)] = entry{fd.Num, i.Events.Asked()}
			if slices.ContainsFunc(listeners, func(l procfs.Socket) bool { return l.Inode == inode(i) }) {
				listenerEpfd = fd.Num
			}
		}
	}
	for _, fd := range fds {
		sock, ours := wanted[fd.Inode]
		if fd.Kind != procfs.KindSocket || !ours {
			continue
		}
		p := Place{Socket: sock, PID: pid, FD: fd, Epfd: -1, ListenerEpfd: listenerEpfd}
		if e, ok := registered[fd.Inode]; ok {
			p.Epfd, p.Mask = e.epfd, e.mask
			p.Runtime = wakers[e.epfd] && e.mask == runtimeMask
		}
		found = append(found, p)
	}
	return found, nil
}

// PlacesOf finds the places of the server's ends of the clients' connections.
func (s *Session) PlacesOf(clients ...*Client) ([]Place, error) {
	var ends []procfs.Socket
	for _, c := range clients {
		end, _, err := c.ServerEnd()
		if err != nil {
			return nil, err
		}
		ends = append(ends, end)
	}
	return s.Server.Places(ends...)
}

// PlaceOf returns the first place of the server's end of one client's connection, and
// whether there is one.
func (s *Session) PlaceOf(c *Client) (Place, bool) {
	found, err := s.PlacesOf(c)
	if err != nil || len(found) == 0 {
		return Place{}, false
	}
	return found[0], true
}
