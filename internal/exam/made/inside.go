package made

import (
	"slices"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/procfs"
)

// These checks look at how the server does it: its descriptors, its interest
// lists and its threads, as /proc has them.

// An accepted is the server's end of one of our connections.
type accepted struct {
	pid      int
	fd       procfs.FD
	epfd     int // the epoll instance that has the listener too; -1 if there is none
	interest procfs.Interest
	watched  bool // it is on that instance's interest list
}

// lookInside connects a client that never says anything and some that are
// answered once and are then silent. If what is asked for may change with
// EAGAIN, it connects one that has not read for a while, too, if the server is up
// to that. It finds the server's ends of the connections.
func lookInside(s *exam.Session, changes bool) ([]accepted, error) {
	const n = 5
	mute, err := s.Dial(0)
	if err != nil {
		return nil, err
	}
	mine := []*exam.Client{mute}
	for range n {
		c, err := s.DialAndPing()
		if err != nil {
			return nil, err
		}
		mine = append(mine, c)
	}
	if changes {
		if c, err := s.DialRecovered(); err != nil {
			return nil, err
		} else if c != nil {
			mine = append(mine, c)
		}
	}
	// The answer has come, and the server may not yet have said what it waits for
	// now. If it sleeps, it has.
	s.AwaitThreads(exam.Sleeping, exam.ReplyTimeout)
	inodes := make(map[uint64]bool)
	for _, c := range mine {
		end, _, err := c.ServerEnd()
		if err != nil {
			return nil, err
		}
		if end.Inode != 0 {
			inodes[end.Inode] = true
		}
	}
	listening, err := exam.Listeners(s.Server.Addr)
	if err != nil {
		return nil, err
	}
	isListener := func(inode uint64) bool {
		return slices.ContainsFunc(listening, func(l procfs.Socket) bool { return l.Inode == inode })
	}
	var found []accepted
	for _, pid := range s.Server.Processes() {
		fds, err := procfs.FDs(pid)
		if err != nil {
			return nil, err
		}
		socket := make(map[int]uint64) // inode by number: older fdinfo has no ino
		for _, fd := range fds {
			socket[fd.Num] = fd.Inode
		}
		inode := func(i procfs.Interest) uint64 {
			if i.Inode != 0 {
				return i.Inode
			}
			return socket[i.FD]
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
			if slices.ContainsFunc(list, func(i procfs.Interest) bool { return isListener(inode(i)) }) {
				epfd, interests = fd.Num, list
			}
		}
		for _, fd := range fds {
			if fd.Kind != procfs.KindSocket || !inodes[fd.Inode] {
				continue
			}
			a := accepted{pid: pid, fd: fd, epfd: epfd}
			for _, i := range interests {
				if inode(i) == fd.Inode {
					a.interest, a.watched = i, true
				}
			}
			found = append(found, a)
		}
	}
	if len(found) == 0 {
		return nil, exam.CannotRun("the server's ends of the connections are not among its descriptors")
	}
	return found, nil
}
