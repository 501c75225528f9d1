package owed

import (
	"bytes"

	"epoll-step-by-step/internal/exam"
)

var CrossedWires = exam.Check{
	ID: "CROSSED_WIRES", Title: "each client gets its own bytes and no others", For: echoServers, Run: crossedWires,
	Usually: "state kept by descriptor number outlives the connection, and the number is used again",
	Reread:  []string{`close(2) "DESCRIPTION"`, `epoll(7) "Possible pitfalls and ways to avoid them"`}, Chapter: exam.ChapterLevel,
}

const (
	rounds  = 3
	leavers = 4 // clients that leave in each round, with data under way
)

func crossedWires(s *exam.Session) error {
	if err := servesOne(s); err != nil {
		return err
	}
	if s.Dialogue.IsEcho() {
		if err := stallTogether(s); err != nil {
			return err
		}
	}
	for range rounds {
		var going []*exam.Client
		var wg exam.WaitGroup
		for range leavers {
			c, err := s.Dial(exam.TinyBuffer)
			if err != nil {
				return err
			}
			going = append(going, c)
			wg.Go(func() { c.Stall(exam.BigMessage) })
		}
		wg.Wait()
		for i, c := range going {
			if i%2 == 0 {
				c.SetLinger(0)
			}
			c.Close()
		}
		// Each of the new ones is likely to get a number that was just freed.
		for range 2 * leavers {
			c, err := s.Dial(0)
			if err != nil {
				return err
			}
			before := c.Got
			if err := c.Ping(exam.NewcomerTimeout); err != nil {
				s.Note("sent", "%s from a new client, just after others had left with data under way", s.Dialogue.Message())
				return s.Fail("got back", "%v", c.Outcome(before, c.MessageDue(), err))
			}
			c.CloseWrite()
			if err := c.AwaitEOF(exam.StallTime); err != nil && err != exam.ErrSilence {
				s.Note("sent", "%s from a new client, just after others had left with data under way", s.Dialogue.Message())
				return s.Fail("got back", "the reply, and then: %v", err)
			}
			c.Reset()
		}
	}
	// And one after the other. The RST wakes the server; when it sleeps again, it has
	// dealt with the client.
	for range 2 * leavers {
		c, err := s.Dial(0)
		if err == nil {
			err = c.Ping(exam.NewcomerTimeout)
		}
		if err != nil {
			s.Note("sent", "%s from a new client, after another one had sent a RST and the server slept again", s.Dialogue.Message())
			return s.Fail("got back", "%v", c.Outcome(0, c.MessageDue(), exam.SilenceFor(err, exam.NewcomerTimeout)))
		}
		c.Reset()
		s.AwaitSleep()
	}
	s.Note("clients", "%d left with data under way, %d with a RST; the new ones after them got only their own bytes", rounds*leavers, 2*leavers)
	return nil
}

// stallTogether has two clients stop reading at the same time, and fails if bytes
// that are pending for one reach the other. Other checks report missing bytes.
func stallTogether(s *exam.Session) error {
	const letters = "AB"
	var two []*exam.Client
	for i := range letters {
		c, err := s.Dial(exam.TinyBuffer)
		if err != nil {
			return exam.NotPrepared(err)
		}
		c.StallWith(letters[i], exam.BigMessage)
		two = append(two, c)
	}
	for i, c := range two {
		got, foreign := 0, 0
		c.Drain(c.Sent, func(p []byte) {
			got, foreign = got+len(p), foreign+len(p)-bytes.Count(p, []byte{letters[i]})
		})
		if foreign > 0 {
			s.Note("sent", "%q without end from one client, %q from another; when the server took neither, both read", letters[:1], letters[1:])
			s.Usually = "pending bytes of all clients are kept in one place"
			return s.Fail("got back", "%d bytes for the %s client, and %d of them were not its own", got, exam.Ordinal(i+1), foreign)
		}
		c.Reset() // so that a server of one client at a time serves the next one
	}
	return nil
}
