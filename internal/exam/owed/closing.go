package owed

import (
	"errors"
	"fmt"
	"time"

	"epoll-step-by-step/internal/exam"
)

const (
	halfClosers  = 20 // clients that send one message and end their stream
	resetClients = 60 // clients that leave with a RST
)

var HalfCloseLost = exam.Check{
	ID: "HALF_CLOSE_LOST", Title: "after shutdown(SHUT_WR) a client gets all it is owed, then EOF", For: echoServers, Run: halfClose,
	Usually: "read(2) returned 0 and the connection was closed with data still pending",
	Reread:  []string{`shutdown(2) "DESCRIPTION"`, `read(2) "RETURN VALUE"`}, Chapter: exam.ChapterNonblocking,
}

var DiedOnReset = exam.Check{
	ID: "DIED_ON_RESET", Title: "clients that reset their connection harm nobody else", For: echoServers, Run: diedOnReset, Survival: true,
	Usually: "ECONNRESET or EPIPE ends the process, or SIGPIPE does (send(2), MSG_NOSIGNAL)",
	Reread:  []string{`write(2) "ERRORS"`, `send(2) "The flags argument"`, `tcp(7) "Error handling"`}, Chapter: exam.ChapterBlocking,
}

func halfClose(s *exam.Session) error {
	for i := range halfClosers {
		c, err := s.Dial(0)
		if err != nil {
			return err
		}
		if err := c.Send(s.Dialogue.MessageSize(), exam.ReplyTimeout); err != nil {
			return err
		}
		if err := c.CloseWrite(); err != nil {
			return exam.PlainError(err)
		}
		if err := receiveOwed(s, c, exam.ReplyTimeout, nil); err != nil {
			s.Note("sent", "%s, then shutdown(SHUT_WR); the %s of %d clients", s.Dialogue.Message(), exam.Ordinal(i+1), halfClosers)
			return s.Fail("got back", "%v", err)
		}
		c.Close()
	}
	c, err := s.Dial(0)
	if err != nil {
		return err
	}
	offered, err := c.Offer(exam.BigMessage)
	if err != nil {
		return err
	}
	s.Note("sent", "%d bytes without reading, then shutdown(SHUT_WR), then read", offered)
	ended := make(chan error, 1)
	end := func() { ended <- errors.Join(c.Finish(exam.SilenceTimeout), c.CloseWrite()) }
	due := c.OwedWhole()
	if due == c.Owed() {
		end()
	} else {
		go end() // the rest of the last request has no room before we read
	}
	err = receiveToEOF(s, c, due, exam.SilenceTimeout, exam.SlowPace())
	if err == nil {
		return exam.PlainError(<-ended)
	}
	c.Reset() // which ends the sender, too
	<-ended
	return s.Fail("got back", "%v", err)
}

// receiveOwed receives all that c has sent, and then EOF.
func receiveOwed(s *exam.Session, c *exam.Client, d time.Duration, pace func()) error {
	return receiveToEOF(s, c, c.Owed(), d, pace)
}

func receiveToEOF(s *exam.Session, c *exam.Client, due int, d time.Duration, pace func()) error {
	if err := c.Receive(due, d, pace); err != nil {
		if err == exam.ErrSilence {
			s.ExplainUnread(c)
		}
		return c.Outcome(0, c.Owed()+c.Got, err)
	}
	if err := c.AwaitEOF(d); err != nil {
		s.Usually = "read(2) returned 0, or would have: the loop did not call it again, nor close(2)"
		if s.SustainedCPU(leakWatch) >= exam.SpinningCPU {
			s.Usually = "read(2) returns 0, which is not an error, and the loop keeps calling it: it is time for close(2)"
		}
		return fmt.Errorf("all of it, and then no EOF: %w", exam.SilenceFor(err, d))
	}
	return nil
}

func diedOnReset(s *exam.Session) error {
	for i := range resetClients {
		c, err := s.Dial([]int{0, 0, exam.TinyBuffer}[i%3])
		if err != nil {
			return err
		}
		switch i % 3 {
		case 1:
			err = c.Send(64<<10, exam.ReplyTimeout) // the replies stay unread
		case 2:
			c.Send(4<<20, 20*time.Millisecond) // the server may be in the middle of its replies
		}
		if err != nil {
			return err
		}
		c.Reset()
	}
	s.Note("sent", "%d RSTs: at once, with unread data, with data under way", resetClients)
	return serveAnother(s, "afterwards")
}
