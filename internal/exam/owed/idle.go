package owed

import (
	"fmt"
	"time"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

const (
	idleClients = 1000            // clients that send nothing
	idleWatch   = 2 * time.Second // how long CPU time is measured with them
	stallWatch  = time.Second     // and with two that read nothing
	settleTime  = time.Second     // before that, for what the server has to do after clients have come
	idleCPU     = 0.02            // share of one CPU that still counts as idle
	idleTries   = 3               // one of so many measurements must be below that

	wakeRest     = 20 * time.Millisecond // then a nap is over
	wakeWatch    = 5 * time.Millisecond  // for two messages and a look: then no nap after the first one is over
	wakePings    = 10                    // looks that were in time
	wakeTries    = 200                   // looks until so many were: a busy machine makes us late
	maxSleptOver = 3                     // of the looks in time, how many may find the server asleep by chance
)

var BusyLoop = exam.Check{
	ID: "BUSY_LOOP", Title: "1000 idle clients cost no CPU time, nor do two that read nothing", For: echoServers, Run: busyLoop, Looks: true, Clients: idleClients,
	Usually: "the loop polls every client instead of sleeping, or EPOLLOUT is requested with nothing to write",
	Reread:  []string{`epoll_wait(2) "DESCRIPTION"`, `epoll(7) "Level-triggered and edge-triggered"`}, Chapter: exam.ChapterLevel,
}

func busyLoop(s *exam.Session) error {
	for i := range idleClients {
		if _, err := s.Dial(0); err != nil {
			return exam.NotPrepared(fmt.Errorf("%d connected, then: %w", i, err))
		}
	}
	recovered, err := s.DialRecovered()
	if err != nil {
		return exam.NotPrepared(err)
	}
	and := ""
	if recovered != nil {
		and = "; and one that had not read for a while, and then read everything"
	}
	s.Note("clients", "%d connected, silent%s", idleClients, and)
	if !isIdle(s, idleWatch) {
		explainSpin(s, append(s.Clients()[:1], recovered)...)
		return exam.ErrFailed
	}
	// If the server closes these two instead, other checks report that.
	stalled, err := s.Dial(0)
	if err != nil {
		return exam.NotPrepared(err)
	}
	stalled.Stall(exam.BigMessage)
	ended, err := s.Dial(exam.TinyBuffer)
	if err != nil {
		return exam.NotPrepared(err)
	}
	sendAllAndEnd(s, ended)
	s.Note("two more", "sent what the server took, and read nothing; the second one has called shutdown(SHUT_WR)")
	if !isIdle(s, stallWatch) {
		s.Usually = "while bytes are pending, an event is requested that the loop does not handle: level-triggered epoll reports it again at once"
		explainSpin(s, stalled, ended)
		return exam.ErrFailed
	}
	if recovered == nil {
		return nil // the server may not answer another client either: other checks report that
	}
	return wakesUp(s)
}

// explainSpin says which event of these clients may keep the server awake: one that is
// level-triggered and that it does not deal with.
func explainSpin(s *exam.Session, clients ...*exam.Client) {
	for _, c := range clients {
		if c == nil {
			continue
		}
		end, _, _ := c.ServerEnd()
		p, seen := s.PlaceOf(c)
		if !seen || p.Runtime || !p.Registered() || p.Mask&unix.EPOLLET != 0 {
			continue
		}
		owed := c.Sent - c.Got
		switch {
		case owed == 0 && p.Mask&unix.EPOLLOUT != 0:
			s.Usually = "EPOLLOUT is requested with nothing to write: there is room, so it is reported again at once. Request it after EAGAIN from write(2), and no longer than bytes are pending"
		case owed > 0 && p.Mask&unix.EPOLLIN != 0 && end.RxQueue > 0:
			s.Usually = "EPOLLIN is requested while bytes are pending and the client is not read: its unread bytes are reported again at once. Request EPOLLOUT alone until all is written"
		case owed > 0 && p.Mask&unix.EPOLLRDHUP != 0 && p.State == procfs.TCPCloseWait:
			s.Usually = "EPOLLRDHUP is requested while bytes are pending: it is reported again at once until the connection is closed"
		default:
			continue
		}
		s.NoteInterest(p)
		return
	}
}

// wakesUp fails if the server sleeps in a call that does not end when there is
// something to do. It does if it sleeps while a client's bytes are in its receive
// queue, before and after we look. A server that naps does so after it has answered,
// so the message that it sleeps over comes right after another one.
func wakesUp(s *exam.Session) error {
	c, err := s.DialAndPing()
	if err != nil {
		return nil // SLOW_READER_BLOCKS reports that
	}
	looks, sleptOver := 0, 0
	for tries := 0; looks < wakePings && tries < wakeTries; tries++ {
		time.Sleep(wakeRest)
		begin := time.Now()
		if err := c.Ping(exam.ReplyTimeout); err != nil {
			return exam.NotPrepared(err)
		}
		if err := c.Send(s.Dialogue.MessageSize(), exam.ReplyTimeout); err != nil {
			return exam.NotPrepared(err)
		}
		slept := hasUnread(c) && s.Asleep() && hasUnread(c)
		if time.Since(begin) < wakeWatch {
			looks++
			if slept {
				sleptOver++
			}
		}
		if err := c.Receive(c.Owed(), exam.ReplyTimeout, nil); err != nil {
			return exam.NotPrepared(err)
		}
	}
	if sleptOver > maxSleptOver {
		s.Usually = "the loop sleeps for a fixed time, and a client's message does not wake it"
		return s.Fail("another", "client sent %s %d times, right after an answer; %d times the server went on sleeping", s.Dialogue.Message(), looks, sleptOver)
	}
	return nil
}

// hasUnread reports whether bytes of c are in the server's receive queue.
func hasUnread(c *exam.Client) bool {
	end, _, err := c.ServerEnd()
	return err == nil && end.RxQueue > 0
}

// isIdle reports whether a server that has nothing to do for d uses no CPU time.
func isIdle(s *exam.Session, d time.Duration) bool {
	// Accepting clients is work, and so is tidying up afterwards.
	for deadline := time.Now().Add(settleTime); time.Now().Before(deadline); {
		if _, wanted := s.CPUShare(exam.StallTime); wanted < idleCPU/2 {
			break
		}
	}
	var used float64
	for range idleTries {
		// A server that spins does so all the time. Less may be the machine's doing.
		if used, _ = s.CPUShare(d); used < idleCPU || used >= exam.SpinningCPU {
			break
		}
	}
	s.Note("CPU", "%.1f %% of one CPU during %v", used*100, d)
	// For the explanation, catch the server at what keeps it busy: it may sleep at
	// this very moment.
	for deadline := time.Now().Add(exam.StallTime); used >= idleCPU && time.Now().Before(deadline) && s.Server.Doing() != "running"; {
		time.Sleep(time.Millisecond)
	}
	return used < idleCPU
}
