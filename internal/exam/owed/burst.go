package owed

import (
	"time"

	"epoll-step-by-step/internal/exam"
)

const (
	queuedClients = 2000             // clients that connect while nobody can accept
	burstClients  = 5000             // clients that connect at once
	burstTime     = 14 * time.Second // for all their answers
)

var AcceptLost = exam.Check{
	ID: "ACCEPT_LOST", Title: "5000 clients that connect at once are all served", For: echoServers, Run: acceptLost, Clients: burstClients,
	Usually: "one accept(2) for each edge: several clients in one edge, and all but the first wait",
	Reread:  []string{`epoll(7) "Questions and answers"`, `listen(2) "DESCRIPTION"`}, Chapter: exam.ChapterEdge,
}

func acceptLost(s *exam.Session) error {
	if s.Owned() {
		if err := acceptQueued(s); err != nil {
			return err
		}
	}
	var wg exam.WaitGroup
	errs := make(chan error, burstClients)
	deadline := time.Now().Add(burstTime)
	for range burstClients {
		wg.Go(func() {
			c, err := s.DialUntil(0, deadline)
			if err == nil {
				err = c.Ping(time.Until(deadline))
			}
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	lost := 0
	var why error
	for err := range errs {
		if exam.IsCannotRun(err) {
			return err
		}
		if err != nil {
			lost, why = lost+1, err
		}
	}
	s.Note("clients", "%d connected at once and sent 16 bytes each", burstClients)
	if lost > burstClients/2 && why == exam.ErrSilence && s.Server.Doing() != "running" {
		s.Usually = "clients that stay connected keep others from being served: see ONE_AT_A_TIME"
	}
	if lost > 0 {
		return s.Fail("got back", "%d of them got no answer within %v: %v", lost, burstTime, exam.SilenceFor(why, burstTime))
	}
	return nil
}

// acceptQueued has clients connect while the server is stopped, as many as its
// accept queue has room for: whatever the machine is busy with, they make one
// edge, and wait together.
func acceptQueued(s *exam.Session) error {
	room := s.Server.Backlog()
	var waiting []*exam.Client
	err := s.WhileStopped(func() error {
		for range min(room, queuedClients) {
			c, err := s.Dial(0)
			if err != nil {
				return err
			}
			waiting = append(waiting, c)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range waiting {
		c.Send(exam.PingSize, exam.FirstReplyTimeout)
	}
	for i, c := range waiting {
		err := c.Receive(c.Sent, exam.FirstReplyTimeout, nil)
		if err == nil {
			continue
		}
		if _, dead := s.Server.AwaitDeath(); dead {
			return exam.SkipCheck("the server does not survive SIGSTOP and SIGCONT: see DIED_ON_SIGNAL")
		}
		s.Usually = "there is a limit to how many clients are accepted for each edge: the others wait for the next one"
		if i <= 1 {
			s.Usually = "one accept(2) for each edge; or clients that stay connected keep others from being served: see ONE_AT_A_TIME"
		}
		s.Note("clients", "%d connected while the server was stopped, and then sent 16 bytes each", len(waiting))
		return s.Fail("got back", "%d answers; the next client: %v", i, exam.SilenceFor(err, exam.FirstReplyTimeout))
	}
	s.ResetAll()
	return nil
}
