package made

import (
	"slices"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/procfs"
)

// An accepted is the server's end of one of our connections.
type accepted struct {
	pid        int
	fd         procfs.FD
	epfd       int // the epoll instance that has the listener on its interest list; -1 if there is none
	interest   procfs.Interest
	registered bool // on the interest list of epfd
}

const answeredClients = 5 // clients that are answered once and are silent then

// acceptedSockets connects a client that sends nothing and some that are answered
// once, and finds the server's ends of the connections. withStalled adds a client
// that did not read for a while, if the server can deal with it: EAGAIN may have
// changed how that one is registered.
func acceptedSockets(s *exam.Session, withStalled bool) ([]accepted, error) {
	silent, err := s.Dial(0)
	if err != nil {
		return nil, err
	}
	clients := []*exam.Client{silent}
	for range answeredClients {
		c, err := s.DialAndPing()
		if err != nil {
			return nil, err
		}
		clients = append(clients, c)
	}
	if withStalled {
		if c, err := s.DialRecovered(); err != nil {
			return nil, err
		} else if c != nil {
			clients = append(clients, c)
		}
	}
	// The answer may come before the server calls epoll_ctl(2). When the server
	// sleeps, it has called it.
	s.AwaitThreads(exam.Sleeping, exam.ReplyTimeout)
	ours := make(map[uint64]bool) // by inode
	for _, c := range clients {
		end, _, err := c.ServerEnd()
		if err != nil {
			return nil, err
		}
		if end.Inode != 0 {
			ours[end.Inode] = true
		}
	}
	listeners, err := exam.Listeners(s.Server.Addr)
	if err != nil {
		return nil, err
	}
	var found []accepted
	for _, pid := range s.Server.Processes() {
		more, err := acceptedBy(pid, ours, listeners)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	if len(found) == 0 {
		return nil, exam.CannotRun("the server's ends of the connections are not among its descriptors")
	}
	return found, nil
}

// acceptedBy finds the sockets of process pid that are among ours.
func acceptedBy(pid int, ours map[uint64]bool, listeners []procfs.Socket) (found []accepted, err error) {
	fds, err := procfs.FDs(pid)
	if err != nil {
		return nil, err
	}
	inodes := make(map[int]uint64) // by descriptor
	for _, fd := range fds {
		inodes[fd.Num] = fd.Inode
	}
	inode := func(i procfs.Interest) uint64 {
		if i.Inode != 0 {
			return i.Inode
		}
		return inodes[i.FD] // an older kernel's fdinfo has no ino
	}
	hasListener := func(list []procfs.Interest) bool {
		return slices.ContainsFunc(list, func(i procfs.Interest) bool {
			return slices.ContainsFunc(listeners, func(l procfs.Socket) bool { return l.Inode == inode(i) })
		})
	}
	epfd, interests := -1, []procfs.Interest(nil)
	for _, fd := range fds {
		if fd.Kind != procfs.KindEventpoll {
			continue
		}
		list, err := procfs.Interests(pid, fd.Num)
		if err != nil {
			return nil, err
		}
		if hasListener(list) {
			epfd, interests = fd.Num, list
		}
	}
	for _, fd := range fds {
		if fd.Kind != procfs.KindSocket || !ours[fd.Inode] {
			continue
		}
		a := accepted{pid: pid, fd: fd, epfd: epfd}
		for _, i := range interests {
			if inode(i) == fd.Inode {
				a.interest, a.registered = i, true
			}
		}
		found = append(found, a)
	}
	return found, nil
}
