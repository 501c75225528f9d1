package owed

import (
	"fmt"

	"epoll-step-by-step/internal/exam"
)

var EdgeLost = exam.Check{
	ID: "EDGE_LOST", Title: "much data in one edge, then silence: all of it is answered", For: echoServers, Run: edgeLost,
	Usually: "one read(2) for each edge: the bytes that it leaves are read only when more arrive; or the loop sleeps although a connection is still ready",
	Reread:  []string{`epoll(7) "Level-triggered and edge-triggered"`, `epoll(7) "Questions and answers"`}, Chapter: exam.ChapterEdge,
}

const (
	echoesFirst = 16 // messages that make the receive queue grow: tcp(7), tcp_rmem
	edges       = 4  // edges of exam.EdgeSize
	roomyEdges  = 2  // edges as large as the kernel has room for
)

func edgeLost(s *exam.Session) error {
	c, err := s.Dial(0)
	if err != nil {
		return exam.NotPrepared(err)
	}
	for range echoesFirst {
		before := c.Got
		if err := c.Ask(exam.EdgeSize, exam.SilenceTimeout); err != nil {
			due := c.Owed() + c.Got - before
			if end, _, _ := c.ServerEnd(); err != exam.ErrSilence || end.RxQueue == 0 {
				return exam.NotPrepared(fmt.Errorf("of %d bytes, it got %w", exam.EdgeSize, c.Outcome(before, due, err)))
			}
			s.Note("sent", "%d bytes, and nothing after them", exam.EdgeSize)
			s.Note("got back", "%v", c.Outcome(before, due, err))
			s.ExplainSilence(c, false)
			return exam.ErrFailed
		}
	}
	for range edges {
		if err := oneEdge(s, c, exam.EdgeSize); err != nil {
			return err
		}
	}
	s.Note("sent", "%d times %d bytes in one edge, and nothing after them: all came back", edges, exam.EdgeSize)
	if !s.Owned() {
		return nil
	}
	// And as many bytes as one edge can have, for a loop that has a limit of its own.
	s.CloseClient(c) // the server may serve one client at a time
	most := 0
	for range roomyEdges {
		c, err := s.DialRoomy()
		if err == exam.ErrFailed {
			return err // it begins with a large edge
		}
		if err != nil {
			return exam.NotPrepared(err)
		}
		n := max(exam.EdgeSize, min(c.Window(), exam.BigMessage))
		if err := oneEdge(s, c, n); err != nil {
			return err
		}
		s.CloseClient(c)
		most = max(most, n)
	}
	s.Note("then", "on %d more connections, up to %d bytes in one edge", roomyEdges, most)
	return nil
}

// oneEdge sends n bytes and expects them back. They are one edge if we can stop
// the server meanwhile.
func oneEdge(s *exam.Session, c *exam.Client, n int) error {
	before := c.Got
	send := func() error { return c.Send(n, exam.ReplyTimeout) }
	how, err := "in one piece", error(nil)
	if !s.Owned() {
		err = send()
	} else {
		how = "while the server was stopped"
		s.AwaitSleep()
		err = s.WhileStopped(func() error {
			if err := send(); err != nil {
				return err
			}
			s.AwaitArrival(exam.StallTime, c) // bytes that arrive later would be another edge
			return nil
		})
	}
	if err == nil {
		err = c.Receive(c.Owed(), exam.SilenceTimeout, nil)
	}
	if err == nil {
		return nil
	}
	if s.Owned() {
		if _, dead := s.Server.AwaitDeath(); dead {
			return exam.SkipCheck("the server does not survive SIGSTOP and SIGCONT: see DIED_ON_SIGNAL")
		}
	}
	s.Note("sent", "%d bytes %s, and nothing after them", n, how)
	s.Note("got back", "%v", c.Outcome(before, c.Owed()+c.Got-before, err))
	if err == exam.ErrSilence {
		s.ExplainSilence(c, false)
	}
	return exam.ErrFailed
}
