package exam

import (
	"fmt"
	"slices"
	"time"

	"epoll-step-by-step/internal/procfs"
)

// explain adds what the server is doing, or how it died.
func (s *Session) explain() {
	how, dead := s.Server.Died()
	said := slices.ContainsFunc(s.facts, func(f Fact) bool { return f.Label == "server" })
	if !dead {
		if !said {
			s.Note("server", "%s", s.DescribeServer())
		}
		return
	}
	if !said {
		s.Note("server", "died: %s", how)
	}
	if out := s.Server.lastOutput(); out != "" {
		s.Note("it said", "%s", out)
	}
}

// state is what the server is doing, and what lies in the queues of the
// connections that have any.
func (s *Session) DescribeServer() string {
	text := s.Server.Doing()
	pids := s.Server.Processes()
	if len(pids) == 0 {
		return text
	}
	holder := make(map[uint64]string) // by inode
	for _, pid := range pids {
		fds, _ := procfs.FDs(pid)
		for _, fd := range fds {
			holder[fd.Inode] = fmt.Sprintf("fd %d", fd.Num)
			if len(pids) > 1 {
				holder[fd.Inode] += fmt.Sprintf(" of process %d", pid)
			}
		}
	}
	shown := 0
	for begin, i := time.Now(), 0; i < len(s.clients) && time.Since(begin) < ReplyTimeout; i++ {
		if shown == 2 {
			break // one would do to understand
		}
		c := s.clients[i]
		sock, found, _ := c.ServerEnd()
		if !found || len(s.clients) > 1 && sock.RxQueue+sock.TxQueue == 0 {
			continue
		}
		shown++
		where := "a connection that it has closed"
		if unaccepted(sock) {
			where = "a connection that was never accepted"
		}
		if fd := holder[sock.Inode]; fd != "" && sock.Inode != 0 {
			where = fd
		}
		text += fmt.Sprintf("; %d bytes unread, %d unsent on %s", sock.RxQueue, sock.TxQueue, where)
	}
	return text
}

// doing says in words what the server's main threads are at.
func (s *Server) Doing() string {
	if how, dead := s.Died(); dead {
		return "died: " + how
	}
	// The process and the thread that have worked most are the ones to ask; but
	// for a parent, who may have had to start the others.
	var threads []procfs.Thread
	most := time.Duration(-1)
	pids := s.Processes()
	_, parent := s.Members()
	for _, pid := range pids {
		if pid == parent && len(pids) > 1 {
			continue
		}
		list, err := procfs.Threads(pid)
		var sum time.Duration
		for _, t := range list {
			sum += t.CPU
		}
		if err == nil && len(list) > 0 && sum > most {
			threads, most = list, sum
		}
	}
	if threads == nil {
		return "cannot be seen from here"
	}
	t := slices.MaxFunc(threads, func(a, b procfs.Thread) int { return int(a.CPU - b.CPU) })
	if main := threads[0]; main.Syscall.Name != "futex" && main.State != 'R' {
		t = main
	}
	switch {
	case t.State == 'R':
		return "running"
	case t.State == 'T' || t.State == 't':
		return "stopped"
	case t.Syscall.State == procfs.SyscallBlocked:
		return "asleep in " + t.Syscall.String()
	}
	return "asleep"
}
