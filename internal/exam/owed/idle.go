package owed

import (
	"time"

	"epoll-step-by-step/internal/exam"
)

const (
	idleClients = 1000            // clients that send nothing
	idleWatch   = 2 * time.Second // how long CPU time is measured with them
	quietWatch  = time.Second     // and with two that read nothing
	idleCPU     = 0.02            // share of one CPU that still counts as idle

	wakePings = 20 // messages of a client that the server must wake up for
	maxNaps   = 5  // of those, how many may find it still asleep
)

var BusyLoop = exam.Check{
	ID: "BUSY_LOOP", Title: "1000 idle clients cost no CPU time, nor do two that read nothing", For: echoServers, Run: busyLoop, Looks: true, Clients: idleClients,
	Usually: "the loop asks everybody instead of sleeping, or EPOLLOUT is asked for with nothing to write",
	Reread:  []string{`epoll_wait(2) "DESCRIPTION"`, `epoll(7) "Level-triggered and edge-triggered"`}, Chapter: exam.ChapterLevel,
}

func busyLoop(s *exam.Session) error {
	for i := range idleClients {
		if _, err := s.Dial(0); err != nil {
			return s.Fail("clients", "%d connected, then: %v", i, err)
		}
	}
	recovered, err := s.DialRecovered()
	if err != nil {
		return err
	}
	s.Note("clients", "%d connected, silent%s", idleClients, map[bool]string{true: "; and one that had not read for a while, and then all"}[recovered != nil])
	if !idles(s, idleWatch) {
		return exam.ErrFailed
	}
	// That they are closed instead is other checks' matter.
	c, err := s.Dial(0)
	if err != nil {
		return err
	}
	c.Stall(exam.BigMessage)
	if c, err = s.Dial(exam.TinyBuffer); err != nil {
		return err
	}
	offerAll(s, c)
	s.Note("two more", "sent what the server took, and read nothing; the second one has called shutdown(SHUT_WR)")
	if !idles(s, quietWatch) {
		s.Usually = "an event is asked for that nobody serves while a client is owed something: level-triggered, it is reported again at once"
		return exam.ErrFailed
	}
	if recovered == nil {
		return nil // another check's matter; and one more may be waited for in vain
	}
	return wakes(s)
}

// wakes finds out whether the server sleeps in a call that ends when there is
// something to do: if it sleeps, and a client's bytes lie in its receive queue
// before and after, it does not.
func wakes(s *exam.Session) error {
	c, err := s.DialAndPing()
	if err != nil {
		return nil // that others are served meanwhile is SLOW_READER_BLOCKS's matter
	}
	naps := 0
	for range wakePings {
		s.AwaitSleep()
		if err := c.Send(exam.PingSize, exam.ReplyTimeout); err != nil {
			return err
		}
		if waits(c) && s.Asleep() && waits(c) {
			naps++
		}
		if err := c.Receive(exam.PingSize, exam.ReplyTimeout, nil); err != nil {
			return err
		}
	}
	if naps >= maxNaps {
		s.Usually = "the loop sleeps for a time that it has chosen, and a client that speaks does not wake it"
		return s.Fail("another", "client sent 16 bytes %d times; %d times the server went on sleeping", wakePings, naps)
	}
	return nil
}

// waits tells whether bytes of c lie in the server's receive queue.
func waits(c *exam.Client) bool {
	end, _, err := c.ServerEnd()
	return err == nil && end.RxQueue > 0
}

// offerAll makes the server owe c something although it has read all that c
// sends: the end of the stream comes on top of that.
func offerAll(s *exam.Session, c *exam.Client) {
	defer c.CloseWrite()
	for c.Sent < exam.BigMessage {
		n, err := c.Offer(exam.EdgeSize)
		if n < exam.EdgeSize || err != nil || !s.AwaitRead(c, exam.StallTime) {
			return // it reads no more: the end comes behind what is unread
		}
		if taken, err := c.AnswersQueued(); err != nil || c.Sent > taken {
			return
		}
	}
}

// idles measures what a server costs that has nothing to do for a while.
func idles(s *exam.Session, d time.Duration) bool {
	// Accepting clients is work, and so is tidying up after it.
	for deadline := time.Now().Add(exam.NewcomerTimeout); time.Now().Before(deadline); {
		if _, wanted := s.CPUShare(exam.StallTime); wanted < idleCPU/2 {
			break
		}
	}
	used, _ := s.CPUShare(d)
	if used >= idleCPU && used < exam.SpinningCPU { // once more: that may have been the machine's doing
		used, _ = s.CPUShare(d)
	}
	s.Note("CPU", "%.1f %% of one CPU during %v", used*100, d)
	// What keeps it busy may sleep at the very moment when we look.
	for deadline := time.Now().Add(exam.StallTime); used >= idleCPU && time.Now().Before(deadline) && s.Server.Doing() != "running"; {
		time.Sleep(time.Millisecond)
	}
	return used < idleCPU
}
