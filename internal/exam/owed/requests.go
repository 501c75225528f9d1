package owed

import (
	"fmt"
	"strings"

	"epoll-step-by-step/internal/exam"
)

// requestsAnswered is NO_REPLY for a server whose requests have several bytes.
func requestsAnswered(s *exam.Session) error {
	c, err := s.Dial(0)
	if err != nil {
		return err
	}
	if err := c.Ping(exam.FirstReplyTimeout); err != nil {
		return notTheReply(s, c, err)
	}
	for i := range singleRequests {
		before := c.Got
		if err := c.Ping(exam.ReplyTimeout); err != nil {
			if closes := c.AwaitEOF(exam.StallTime) == nil; i == 0 && closes {
				s.Note("sent", "%s; it was answered, and the connection was closed", s.Dialogue.Message())
				return exam.StopExam(exam.StatusWrongAnswer, "it closes each connection after one reply, and the examiner's clients need connections that stay open")
			}
			s.Note("sent", "%s, each time after the previous reply; the %s", s.Dialogue.Message(), exam.Ordinal(i+2))
			return s.Fail("got back", "%v", c.Outcome(before, c.MessageDue(), exam.SilenceFor(err, exam.ReplyTimeout)))
		}
	}
	s.Note("sent", "%s, %d times, each after the previous reply: all answered", s.Dialogue.Message(), 1+singleRequests)
	return nil
}

const singleRequests = 256 // one after the other

// notTheReply ends the exam because the first request did not get the reply that is due.
func notTheReply(s *exam.Session, c *exam.Client, err error) error {
	s.Note("sent", "%s", s.Dialogue.Message())
	if c.Got == 0 && err == exam.ErrSilence {
		s.Note("got back", "nothing: silence for %v", exam.FirstReplyTimeout)
		return exam.StopExam(exam.StatusHang, "it listens and does not answer")
	}
	s.CloseClient(c) // the server may serve one client at a time
	if reply, err := s.FirstReply(); err == nil {
		s.Note("got back", "%s", exam.Quote(reply))
	} else {
		s.Note("got back", "%v", c.Outcome(0, c.MessageDue(), err))
	}
	if want := s.Dialogue.Due(); want != "" {
		s.Note("want", "%s", want)
	} else {
		s.Note("saw", "%v", err)
	}
	s.Usually = "the server was made for another request, or its reply differs in a byte, such as a line end: " + speakHint
	return exam.StopExam(exam.StatusWrongAnswer, "this is not the reply that is due")
}

var OneReplyPerRead = exam.Check{
	ID: "ONE_REPLY_PER_READ", Title: "each request is answered once, however its bytes arrive", For: echoServers, Run: oneReplyPerRead, NotEcho: true,
	Usually: "one read(2) is taken for one request, but it returns the bytes that have arrived: a part of a request, or several requests",
	Reread:  []string{`read(2) "RETURN VALUE"`, `tcp(7) "DESCRIPTION"`}, Chapter: exam.ChapterBlocking,
}

const (
	together     = 3    // requests in one piece
	manyTogether = 1000 // and many
	mostSplits   = 64   // places at which a request is split
)

func oneReplyPerRead(s *exam.Session) error {
	c, err := s.Dial(0)
	if err != nil {
		return exam.NotPrepared(err)
	}
	size := s.Dialogue.MessageSize()
	for _, n := range []int{1, together, manyTogether} {
		before := c.Got
		if err := c.Ask(n*size, exam.ReplyTimeout); err != nil {
			what := exam.Plural(n, "request", "requests")
			if n > 1 {
				what += " in one write(2)"
			}
			if n == together {
				what += strings.Replace(strings.Repeat(" "+s.Dialogue.Message(), n), " ", ": ", 1)
			}
			s.Note("sent", "%s", what)
			return s.Fail("got back", "%v", c.Outcome(before, c.Owed()+c.Got-before, exam.SilenceFor(err, exam.ReplyTimeout)))
		}
	}
	step := (size + mostSplits - 1) / mostSplits
	for at := 1; at < size; at += step {
		if err := splitRequest(s, c, at); err != nil {
			return err
		}
	}
	// And a byte at a time.
	for at := 1; at < size; at++ {
		if err := sendPiece(s, c, 1); err != nil {
			s.Note("sent", "a request byte by byte, each when the server had read the previous one; %d of %d bytes", at, size)
			return err
		}
	}
	if err := restOfRequest(s, c, "byte by byte"); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return exam.PlainError(err)
	}
	if err := c.AwaitEOF(exam.ReplyTimeout); err != nil && err != exam.ErrSilence { // HALF_CLOSE_LOST reports the silence
		return s.Fail("then", "after shutdown(SHUT_WR): %v", err)
	}
	s.Note("sent", "requests one at a time, %d and %d at once, in two pieces, byte by byte: each was answered once", together, manyTogether)
	return nil
}

// splitRequest sends a request in two pieces, the second one when the server has read the
// first.
func splitRequest(s *exam.Session, c *exam.Client, at int) error {
	if err := sendPiece(s, c, at); err != nil {
		s.Note("sent", "the first %s of a request", exam.Plural(at, "byte", "bytes"))
		return err
	}
	return restOfRequest(s, c, fmt.Sprintf("in two pieces, of which the first had %s", exam.Plural(at, "byte", "bytes")))
}

// sendPiece sends n bytes of a request, but not its last byte, and waits until the server
// has read them. It fails if a reply comes.
func sendPiece(s *exam.Session, c *exam.Client, n int) error {
	if err := c.SendPart(n, exam.ReplyTimeout); err != nil {
		return err
	}
	if !s.AwaitRead(c, exam.FirstReplyTimeout) {
		return s.Fail("server", "did not read them within %v", exam.FirstReplyTimeout)
	}
	s.AwaitSleep()
	if n, err := c.Arrived(); err == nil && n > 0 {
		return s.Fail("got back", "%s already, although the request was not complete", exam.Plural(n, "byte", "bytes"))
	}
	return nil
}

func restOfRequest(s *exam.Session, c *exam.Client, how string) error {
	before := c.Got
	err := c.Finish(exam.ReplyTimeout)
	if err == nil {
		err = c.Receive(c.Owed(), exam.ReplyTimeout, nil)
	}
	if err != nil {
		s.Note("sent", "%s %s, each piece when the server had read the previous one", s.Dialogue.Message(), how)
		return s.Fail("got back", "%v", c.Outcome(before, c.MessageDue(), exam.SilenceFor(err, exam.ReplyTimeout)))
	}
	return nil
}
