package owed

import (
	"errors"
	"fmt"
	"math"
	"time"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/procfs"
)

const (
	firstClients    = 50  // clients that come and go before the descriptors are counted
	churnClients    = 400 // clients that come and go
	unreadClients   = 150 // clients that leave with unread data
	stallingClients = 12  // clients that leave while they are owed something
	endingClients   = 6   // clients that end their stream while they are owed something: more than maxLeaked
	maxLeaked       = 5   // descriptors that may be open in addition afterwards

	leakWatch = 500 * time.Millisecond // how long CPU time is measured
)

var FDLeak = exam.Check{
	ID: "FD_LEAK", Title: "clients that have gone leave no descriptor behind", For: echoServers, Run: fdLeak, Looks: true,
	Usually: "shutdown(2) without close(2), or an error path without close(2)",
	Reread:  []string{`close(2) "DESCRIPTION"`, `shutdown(2) "DESCRIPTION"`}, Chapter: exam.ChapterBlocking,
}

func fdLeak(s *exam.Session) error {
	err := leaks(s)
	if err != nil {
		// It is luck which of the clients that leave a server does not survive.
		if _, dead := s.Server.AwaitDeath(); dead {
			return exam.CannotRun("the server ended when clients left: see DIED_ON_RESET")
		}
	}
	return err
}

// leaks fails if descriptors are open, or the server spins, when all clients have left.
func leaks(s *exam.Session) error {
	// Some servers keep a few descriptors for the next client, such as the pipes of
	// splice(2). The first clients make them open those.
	for range firstClients {
		if err := errors.Join(visit(s), visitUnread(s)); err != nil {
			return exam.NotPrepared(err)
		}
	}
	idle := s.SustainedCPU(leakWatch)
	before := s.Server.Descriptors()
	for i := range churnClients {
		if err := visit(s); err != nil {
			return leftBehind(s, before, i, exam.SilenceFor(err, exam.ReplyTimeout))
		}
	}
	if after := settledDescriptors(s, before); after-before > churnClients/2 {
		s.Note("clients", "%d came and went", churnClients)
		s.Note("open", "%d descriptors before, %d after", before, after)
		explainLeak(s)
		return exam.ErrFailed // one for each client: no server keeps so many for the next
	}
	more, err := descriptorGrowth(s)
	if err != nil {
		return err
	}
	after := s.Server.Descriptors()
	if after > before+maxLeaked {
		// A leak keeps growing. Descriptors that are kept for the next client do not.
		if more, err = descriptorGrowth(s); err != nil {
			return err
		}
	}
	s.Note("clients", "%d came and went, %d more left with unread data, %d with a RST while they were owed something, %d after shutdown(SHUT_WR)",
		churnClients, unreadClients, stallingClients, endingClients)
	s.Note("open", "%d descriptors before, %d after", before, after)
	if how, dead := s.Server.Died(); dead {
		return s.Fail("server", "died: %s", how)
	}
	if after > before+maxLeaked && more > maxLeaked {
		explainLeak(s)
		return exam.ErrFailed
	}
	if idle >= exam.SpinningCPU {
		return nil // BUSY_LOOP reports that
	}
	if wanted := s.SustainedCPU(leakWatch); wanted >= exam.SpinningCPU {
		return s.Fail("CPU", "wanted %.0f %% of the time, with no client at all", wanted*100)
	}
	return nil
}

// leftBehind is the verdict when a client was not served, after n others had come and
// gone. That is a leak if the server has more descriptors than before.
func leftBehind(s *exam.Session, before, n int, err error) error {
	after := s.Server.Descriptors()
	if after <= before+maxLeaked {
		return exam.NotPrepared(fmt.Errorf("%d came and went, then: %w", n, err))
	}
	s.Note("clients", "%d came and went, then: %v", n, err)
	return s.Fail("open", "%d descriptors before, %d then", before, after)
}

func visit(s *exam.Session) error {
	c, err := s.Dial(0)
	if err != nil {
		return err
	}
	defer s.CloseClient(c)
	return c.Ping(exam.ReplyTimeout)
}

// visitUnread leaves the answer unread.
func visitUnread(s *exam.Session) error {
	c, err := s.Dial(0)
	if err != nil {
		return err
	}
	defer s.CloseClient(c)
	return c.Send(32<<10, exam.ReplyTimeout)
}

// descriptorGrowth returns how many more descriptors are open after clients have
// left in several ways.
func descriptorGrowth(s *exam.Session) (int, error) {
	before := s.Server.Descriptors()
	for i := range unreadClients {
		if err := errors.Join(visit(s), visitUnread(s)); err != nil {
			return 0, leftBehind(s, before, i, err)
		}
	}
	if err := stallAndReset(s, stallingClients); err != nil {
		return 0, err
	}
	stallAndEnd(s, endingClients)
	return settledDescriptors(s, before) - before, nil
}

// settledDescriptors returns how many descriptors stay open. Closing takes time. As
// long as descriptors are being closed, the server gets more.
func settledDescriptors(s *exam.Session, before int) int {
	after := s.Server.Descriptors()
	for closing := true; after > before+maxLeaked && closing; {
		last := after
		closing = s.Await(exam.SilenceTimeout, func() bool {
			after = s.Server.Descriptors()
			return after < last
		})
	}
	return after
}

// explainLeak says in which state the connections are that were not closed.
func explainLeak(s *exam.Session) {
	waiting := 0
	all, _ := exam.Sockets()
	for _, sock := range all {
		if sock.Local == s.Server.Addr && sock.State == procfs.TCPCloseWait && sock.Inode != 0 {
			waiting++
		}
	}
	if waiting <= maxLeaked {
		return
	}
	s.Note("sockets", "%d are in CLOSE_WAIT: their clients have gone, and the server has not closed them", waiting)
	s.Usually = "read(2) returned 0, or was not called until it did, and close(2) did not follow: CLOSE_WAIT lasts until the server closes its end"
}

// stallAndReset connects n clients that read nothing, until the server can write
// nothing more to them, and resets them: the next write(2) fails. Half of them have
// called shutdown(SHUT_WR) before.
func stallAndReset(s *exam.Session, n int) error {
	stalled, errs := make([]*exam.Client, n), make([]error, n)
	var wg exam.WaitGroup
	for i := range n {
		wg.Go(func() {
			if stalled[i], errs[i] = s.Dial(exam.TinyBuffer); errs[i] == nil {
				_, errs[i] = stalled[i].Stall(exam.BigMessage)
			}
		})
	}
	wg.Wait()
	err := errors.Join(errs...)
	if err == nil {
		for _, c := range stalled[:n/2] {
			c.CloseWrite()
		}
		s.AwaitAllRead(stalled[:n/2], exam.StallTime) // if the server reads ahead
	}
	for _, c := range stalled {
		if c != nil {
			c.Reset()
			s.CloseClient(c)
		}
	}
	if err != nil {
		return s.Fail("clients", "were to send until the server takes no more: %v", err)
	}
	return nil
}

// stallAndEnd connects n clients that read nothing until the server can write
// nothing more to them, and that end their stream then and read to the end.
// Other checks report what is missing.
func stallAndEnd(s *exam.Session, n int) {
	var wg exam.WaitGroup
	for range n {
		wg.Go(func() {
			c, err := s.Dial(exam.TinyBuffer)
			if err != nil {
				return
			}
			defer s.CloseClient(c)
			c.Stall(exam.BigMessage)
			c.CloseWrite()
			c.Drain(math.MaxInt, func([]byte) {}) // to the end
		})
	}
	wg.Wait()
}
