package exam

import (
	"slices"
	"time"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
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
func (s *session) lookInside(changes bool) ([]accepted, error) {
	const n = 5
	mute, err := s.dial(0)
	if err != nil {
		return nil, err
	}
	mine := []*client{mute}
	for range n {
		c, err := s.served()
		if err != nil {
			return nil, err
		}
		mine = append(mine, c)
	}
	if changes {
		if c, err := s.recovered(); err != nil {
			return nil, err
		} else if c != nil {
			mine = append(mine, c)
		}
	}
	// The answer has come, and the server may not yet have said what it waits for
	// now. If it sleeps, it has.
	s.awaitThreads(sleeping, limits.reply)
	inodes := make(map[uint64]bool)
	for _, c := range mine {
		end, _, err := c.serverEnd()
		if err != nil {
			return nil, err
		}
		if end.Inode != 0 {
			inodes[end.Inode] = true
		}
	}
	listening, err := listeners(s.server.addr)
	if err != nil {
		return nil, err
	}
	isListener := func(inode uint64) bool {
		return slices.ContainsFunc(listening, func(l procfs.Socket) bool { return l.Inode == inode })
	}
	var found []accepted
	for _, pid := range s.server.processes() {
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
		return nil, &cannotRun{"the server's ends of the connections are not among its descriptors"}
	}
	return found, nil
}

func blockingFD(s *session) error {
	found, err := s.lookInside(false)
	if err != nil {
		return err
	}
	for _, a := range found {
		if !a.fd.Nonblock() {
			return s.fail("fdinfo", "fd %d of process %d has flags 0%o: no O_NONBLOCK (0%o)", a.fd.Num, a.pid, a.fd.Flags, unix.O_NONBLOCK)
		}
	}
	s.note("fdinfo", "%d accepted sockets, all with O_NONBLOCK", len(found))
	return nil
}

func notEpoll(s *session) error {
	found, err := s.lookInside(false)
	if err != nil {
		return err
	}
	for _, a := range found {
		if a.epfd < 0 {
			return s.fail("fdinfo", "no epoll instance of process %d has the listening socket on its interest list", a.pid)
		}
		if !a.watched {
			return s.fail("fdinfo", "the epoll instance on fd %d has the listener on its interest list, but not the client on fd %d", a.epfd, a.fd.Num)
		}
	}
	s.note("fdinfo", "the epoll instance on fd %d has the listener and %d clients on its interest list", found[0].epfd, len(found))
	return nil
}

// trigger checks how the clients are registered, if they are: if not, NOT_EPOLL
// says so.
func (s *session) trigger(edge bool) error {
	found, err := s.lookInside(true)
	if err != nil {
		return err
	}
	for _, a := range found {
		if !a.watched {
			return &skip{"the clients are not on an interest list: see NOT_EPOLL"}
		}
		if (a.interest.Events&unix.EPOLLET != 0) != edge {
			return s.fail("fdinfo", "the client on fd %d is registered for %v", a.fd.Num, a.interest.Events.Asked())
		}
	}
	s.note("fdinfo", "%d clients are registered for %v", len(found), found[0].interest.Events.Asked())
	return nil
}

func notLevel(s *session) error { return s.trigger(false) }
func notEdge(s *session) error  { return s.trigger(true) }

func epolloutArmed(s *session) error {
	found, err := s.lookInside(true)
	if err != nil {
		return err
	}
	for _, a := range found {
		if a.interest.Events&unix.EPOLLET != 0 {
			return &skip{"the clients are registered edge-triggered: see NOT_LEVEL"}
		}
		if a.watched && a.interest.Events&unix.EPOLLOUT != 0 {
			return s.fail("fdinfo", "the client on fd %d has got all its bytes and is registered for %v", a.fd.Num, a.interest.Events.Asked())
		}
	}
	s.note("fdinfo", "%d idle clients, none registered for EPOLLOUT", len(found))
	return nil
}

func manyThreads(s *session) error {
	var mine []*client
	for range 16 {
		c, err := s.served()
		if err != nil {
			return err
		}
		mine = append(mine, c)
	}
	end := time.Now().Add(limits.load)
	var wg group
	errs := make(chan error, len(mine))
	for _, c := range mine {
		wg.Go(func() {
			var err error
			for err == nil && time.Now().Before(end) && s.ctx.Err() == nil {
				err = c.echo(4<<10, limits.silence)
			}
			errs <- err
		})
	}
	time.Sleep(limits.load / 3) // a runtime's own threads, such as its compiler's, have most to do at first
	before := s.server.threads()
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			s.usually = "what comes back is another matter than threads: see LOST_BYTES and CROSSED_WIRES"
			return err
		}
	}
	// Who serves calls read(2) and write(2). A runtime's own threads do not,
	// however busy they are. If the server prefers recv(2) and send(2), which
	// the kernel does not count, CPU time must do.
	var calls, cpu tally
	for tid, t := range s.server.threads() {
		old := before[tid]
		calls.add(float64(t.Reads - old.Reads + t.Writes - old.Writes))
		cpu.add(float64(t.CPU - old.CPU))
	}
	what, by, enough := "read(2) and write(2) calls", calls, limits.oneThread
	if calls.all < float64(len(mine)) {
		what, by, enough = "CPU time", cpu, limits.oneThreadCPU
	}
	if by.all <= 0 {
		return &cannotRun{"the server's threads used no CPU time at all"}
	}
	s.note("threads", "the busiest of %d had %.0f %% of the %s", by.n, 100*by.most/by.all, what)
	if by.most/by.all < enough {
		return errFailed
	}
	return nil
}

// A tally is how much the threads did of something, and the busiest of them.
type tally struct {
	n         int
	all, most float64
}

func (t *tally) add(x float64) {
	if x > 0 {
		t.n, t.all, t.most = t.n+1, t.all+x, max(t.most, x)
	}
}
