package owed

import (
	"errors"
	"math"
	"time"

	"epoll-step-by-step/internal/exam"
)

const (
	churnClients      = 2000 // clients that come and go
	unreadClients     = 150  // clients that leave with unread data
	stallingClients   = 12   // clients that leave while they are owed something
	leakedDescriptors = 5    // descriptors that may be open in addition afterwards
)

var FDLeak = exam.Check{
	ID: "FD_LEAK", Title: "clients that have gone leave no descriptor behind", For: echoServers, Run: fdLeak, Looks: true,
	Usually: "shutdown(2) without close(2), or an error path without close(2)",
	Reread:  []string{`close(2) "DESCRIPTION"`, `shutdown(2) "DESCRIPTION"`}, Chapter: exam.ChapterBlocking,
}

func fdLeak(s *exam.Session) error {
	visit := func() error {
		c, err := s.Dial(0)
		if err != nil {
			return err
		}
		defer s.CloseClient(c)
		return c.Ping(exam.ReplyTimeout)
	}
	leave := func() error { // with unread data
		c, err := s.Dial(0)
		if err != nil {
			return err
		}
		defer s.CloseClient(c)
		return c.Send(32<<10, exam.ReplyTimeout)
	}
	// Some servers keep a few descriptors for the next client, such as the
	// pipes of splice(2). The first clients make them open those.
	const warm = 50
	for range warm {
		if err := errors.Join(visit(), leave()); err != nil {
			return err
		}
	}
	_, idle := s.CPUShare(300 * time.Millisecond)
	before := s.Server.Descriptors()
	for i := range churnClients {
		if err := visit(); err != nil {
			return s.Fail("clients", "%d came and went, then: %v", i, exam.SilenceFor(err, exam.ReplyTimeout))
		}
	}
	grown := func() (int, error) {
		before := s.Server.Descriptors()
		for i := range unreadClients {
			if err := errors.Join(visit(), leave()); err != nil {
				return 0, s.Fail("clients", "%d more came, and went with unread data, then: %v", i, err)
			}
		}
		if err := stallAndReset(s, stallingClients); err != nil {
			return 0, err
		}
		stallAndEnd(s, leakedDescriptors+1)
		after := s.Server.Descriptors()
		for deadline := time.Now().Add(exam.SilenceTimeout); after > before+leakedDescriptors && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
			after = s.Server.Descriptors()
		}
		return after - before, nil
	}
	more, err := grown()
	if err != nil {
		return err
	}
	after := s.Server.Descriptors()
	if after > before+leakedDescriptors {
		// A leak goes on growing. What is kept for the next client does not.
		if more, err = grown(); err != nil {
			return err
		}
	}
	s.Note("clients", "%d came and went, %d more went with unread data, %d by a RST while they were owed something, %d by shutdown(SHUT_WR)",
		churnClients, unreadClients, stallingClients, leakedDescriptors+1)
	s.Note("open", "%d descriptors before, %d after", before, after)
	if how, dead := s.Server.Died(); dead {
		return s.Fail("server", "died: %s", how)
	}
	if after > before+leakedDescriptors && more > leakedDescriptors {
		return exam.ErrFailed
	}
	if _, spin := s.CPUShare(500 * time.Millisecond); idle < exam.SpinningCPU && spin >= exam.SpinningCPU {
		return s.Fail("CPU", "wanted %.0f %% of the time, with no client at all", spin*100)
	}
	return nil
}

// stallAndReset connects n clients that read nothing, until the server can write
// nothing more to them, and then resets them: the next write(2) fails. Half of
// them have called shutdown(SHUT_WR) before.
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
		s.AwaitAllRead(stalled[:n/2], exam.StallTime) // if it reads ahead
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
// nothing more to them, end what they send, and then take what they are owed,
// and the end. That they get it is other checks' matter.
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
