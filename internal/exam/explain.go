package exam

import (
	"fmt"
	"slices"
	"time"

	"epoll-step-by-step/internal/procfs"
)

// explain notes what the server is doing, or how it died.
func (s *Session) explain() {
	how, dead := s.Server.Died()
	noted := slices.ContainsFunc(s.facts, func(f Fact) bool { return f.Label == "server" })
	if !dead {
		if !noted {
			s.Note("server", "%s", s.DescribeServer())
		}
		return
	}
	if !noted {
		s.Note("server", "died: %s", how)
	}
	if out := s.Server.lastOutput(); out != "" {
		s.Note("it said", "%s", out)
	}
}

// DescribeServer says what the server is doing, and how many bytes are in the queues
// of its connections, for two of those that have any.
func (s *Session) DescribeServer() string {
	text := s.Server.Doing()
	pids := s.Server.Processes()
	if len(pids) == 0 {
		return text
	}
	descriptor := make(map[uint64]string) // by inode
	for _, pid := range pids {
		fds, _ := procfs.FDs(pid)
		for _, fd := range fds {
			descriptor[fd.Inode] = fmt.Sprintf("fd %d", fd.Num)
			if len(pids) > 1 {
				descriptor[fd.Inode] += fmt.Sprintf(" of process %d", pid)
			}
		}
	}
	clients, shown := s.Clients(), 0
	for begin, i := time.Now(), 0; i < len(clients) && shown < 2 && time.Since(begin) < ReplyTimeout; i++ {
		c := clients[i]
		sock, found, _ := c.ServerEnd()
		if !found || len(clients) > 1 && sock.RxQueue+sock.TxQueue == 0 {
			continue
		}
		shown++
		where := "a connection that it has closed"
		if unaccepted(sock) {
			where = "a connection that was never accepted"
		}
		if fd := descriptor[sock.Inode]; fd != "" && sock.Inode != 0 {
			where = fd
		}
		text += fmt.Sprintf("; %d bytes unread, %d unsent on %s", sock.RxQueue, sock.TxQueue, where)
	}
	return text
}

// Doing says what the thread that does the server's work is doing: "running",
// "stopped", "asleep in" a call, or "died: " and how.
func (s *Server) Doing() string {
	if how, dead := s.Died(); dead {
		return "died: " + how
	}
	t, seen := s.servingThread()
	switch {
	case !seen:
		return "cannot be seen from here"
	case t.State == 'R':
		return "running"
	case t.State == 'T' || t.State == 't':
		return "stopped"
	case t.Syscall.State == procfs.SyscallBlocked:
		return "asleep in " + t.Syscall.String()
	}
	return "asleep"
}

// servingThread returns the thread that does the server's work: the one with the most
// CPU time, of the process with the most. A parent may have used much to start the
// others, and does not count.
func (s *Server) servingThread() (t procfs.Thread, seen bool) {
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
		return t, false
	}
	t = slices.MaxFunc(threads, func(a, b procfs.Thread) int { return int(a.CPU - b.CPU) })
	if main := threads[0]; main.Syscall.Name != "futex" && main.State != 'R' {
		t = main
	}
	return t, true
}
