package owed

import (
	"context"
	"sync/atomic"
	"time"

	"epoll-step-by-step/internal/exam"
)

const (
	queuedClients = 2000 // clients that connect while the server is stopped
	burstClients  = 5000 // clients that connect at once

	// The burst is over when no answer has come for so long. A SYN that finds the
	// accept queue full is sent again after 1, 3, 7 and 15 s: tcp(7), tcp_syn_retries.
	burstSilence = 14 * time.Second
	burstMost    = 45 * time.Second // whatever still comes: less than a check may take

	burstPoll = 2 * time.Second // how often a waiting client looks whether the burst is over
)

var AcceptLost = exam.Check{
	ID: "ACCEPT_LOST", Title: "5000 clients that connect at once are all served", For: echoServers, Run: acceptLost, Clients: burstClients,
	Usually: "one accept(2) for each edge: if several clients share an edge, all but the first wait",
	Reread:  []string{`epoll(7) "Questions and answers"`, `listen(2) "DESCRIPTION"`}, Chapter: exam.ChapterEdge,
}

func acceptLost(s *exam.Session) error {
	if err := servesOne(s); err != nil {
		return err
	}
	if s.Owned() {
		if err := acceptQueued(s); err != nil {
			return err
		}
	}
	// How long 5000 answers take depends on the machine. So nothing is lost as long
	// as further answers come.
	ctx, cancel := context.WithTimeout(s.Ctx, burstMost)
	defer cancel()
	var answered atomic.Int64
	go func() {
		for last, since := int64(0), time.Now(); ctx.Err() == nil; time.Sleep(exam.StallTime) {
			if n := answered.Load(); n > last {
				last, since = n, time.Now()
			} else if time.Since(since) > burstSilence {
				cancel()
			}
		}
	}()
	begin := time.Now()
	var wg exam.WaitGroup
	errs := make(chan error, burstClients)
	for range burstClients {
		wg.Go(func() {
			c, err := s.DialContext(ctx, 0)
			if err == nil {
				err = c.Send(s.Dialogue.MessageSize(), burstMost)
			}
			for err == nil && c.Owed() > 0 {
				err = c.Receive(c.Owed(), burstPoll, nil)
				if err == exam.ErrSilence && ctx.Err() == nil {
					err = nil
				}
			}
			if err == nil {
				answered.Add(1)
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
	s.Note("clients", "%d connected at once and sent %s each", burstClients, s.Dialogue.Message())
	if lost > burstClients/2 && why == exam.ErrSilence && s.Server.Doing() != "running" {
		s.Usually = "clients that stay connected keep others from being served: see ONE_AT_A_TIME"
	}
	if lost > 0 {
		took := time.Since(begin).Round(time.Second)
		return s.Fail("got back", "%d of them got no answer within %v: %v", lost, took, exam.SilenceFor(why, took))
	}
	return nil
}

// acceptQueued has clients connect while the server is stopped, as many as its
// accept queue has room for. However busy the machine is, they are one edge.
func acceptQueued(s *exam.Session) error {
	room := s.Server.Backlog()
	var queued []*exam.Client
	err := s.WhileStopped(func() error {
		for range min(room, queuedClients) {
			c, err := s.Dial(0)
			if err != nil {
				return exam.NotPrepared(err)
			}
			queued = append(queued, c)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range queued {
		c.Send(s.Dialogue.MessageSize(), exam.FirstReplyTimeout)
	}
	for i, c := range queued {
		err := c.Receive(c.Owed(), exam.FirstReplyTimeout, nil)
		if err == nil {
			continue
		}
		if _, dead := s.Server.AwaitDeath(); dead {
			return exam.SkipCheck("the server does not survive SIGSTOP and SIGCONT: see DIED_ON_SIGNAL")
		}
		s.Usually = "the server accepts a limited number of clients for each edge: the others wait for the next edge"
		if i <= 1 {
			s.Usually = "one accept(2) for each edge; or clients that stay connected keep others from being served: see ONE_AT_A_TIME"
		}
		s.Note("clients", "%d connected while the server was stopped, and then sent %s each", len(queued), s.Dialogue.Message())
		s.Note("got back", "%d answers; the next client: %v", i, exam.SilenceFor(err, exam.FirstReplyTimeout))
		s.ExplainSilence(c, false)
		return exam.ErrFailed
	}
	s.ResetAll()
	return nil
}
