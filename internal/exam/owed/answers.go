package owed

import (
	"strings"

	"epoll-step-by-step/internal/exam"
)

var NoReply = exam.Check{
	ID: "NO_REPLY", Title: "every message is answered, even a single byte", For: allEchoServers, Run: noReply,
	Usually: "read(2) is called until a buffer or a line is full, but a client may send less and wait",
	Reread:  []string{`read(2) "RETURN VALUE"`}, Chapter: exam.ChapterBlocking,
}

var WrongBytes = exam.Check{
	ID: "WRONG_BYTES", Title: "the bytes that come back are those that were sent, whatever their values", For: echoServers, Run: wrongBytes, EchoOnly: true,
	Usually: "data is treated as text: a NUL ends it, or a line end is changed",
	Reread:  []string{`read(2) "RETURN VALUE"`, `write(2) "DESCRIPTION"`}, Chapter: exam.ChapterBlocking,
}

var OneAtATime = exam.Check{
	ID: "ONE_AT_A_TIME", Title: "two clients, both open, are answered in turn", For: echoServers, Run: oneAtATime,
	Usually: "the server sleeps in read(2) on one client and does not see the other",
	Reread:  []string{`epoll(7) "DESCRIPTION"`, `accept(2) "DESCRIPTION"`}, Chapter: exam.ChapterNonblocking,
}

const singleBytes = 256 // messages of one byte

func noReply(s *exam.Session) error {
	if !s.Dialogue.IsEcho() {
		return requestsAnswered(s)
	}
	c, err := s.Dial(0)
	if err != nil {
		return err
	}
	if err := firstContact(s, c); err != nil {
		return err
	}
	for i := range singleBytes {
		before := c.Got
		if err := c.Ask(1, exam.ReplyTimeout); err != nil {
			s.Note("sent", "1 byte at a time, each after the previous one had come back; the %s", exam.Ordinal(i+1))
			return unanswered(s, c, before, 1, err)
		}
	}
	// And messages that fill a buffer to its last byte.
	for n := 1 << 10; n <= 64<<10; n *= 2 {
		before := c.Got
		if err := c.Ask(n, exam.ReplyTimeout); err != nil {
			s.Note("sent", "%d bytes, and nothing after them", n)
			return unanswered(s, c, before, n, err)
		}
	}
	s.Note("sent", "16 bytes, 3 bytes, %d times 1 byte, 1 to 64 KiB: all answered", singleBytes)
	return nil
}

// unanswered fails the check for a message of n bytes that did not come back whole.
func unanswered(s *exam.Session, c *exam.Client, before, n int, err error) error {
	s.Note("got back", "%v", c.Outcome(before, n, err))
	if err == exam.ErrSilence {
		explainWait(s, c, c.Sent-c.Got)
	}
	return exam.ErrFailed
}

func wrongBytes(s *exam.Session) error {
	c, err := s.Dial(0)
	if err != nil {
		return exam.NotPrepared(err)
	}
	ascending, descending := make([]byte, 256), make([]byte, 256)
	for i := range 256 {
		ascending[i], descending[255-i] = byte(i), byte(i)
	}
	for _, message := range []string{string(ascending), string(descending), strings.Repeat("\r\n\x00\xff", 64)} {
		s.Note("sent", "256 bytes: %q …", message[:8])
		got, err := exchange(s, c, message, exam.ReplyTimeout)
		f := flawOf("", message, string(got))
		if f == nil {
			continue
		}
		if f.name != otherBytes {
			s.Usually = f.usually
		}
		s.Note("got back", "%s", f.saw)
		if err != nil {
			s.Note("then", "%v", exam.ReadProblem(err, exam.ReplyTimeout))
		}
		if err == exam.ErrSilence {
			s.ExplainSilence(c, false)
		}
		return exam.ErrFailed
	}
	return nil
}

const turnsOfTwo = 20 // of two messages each; every fourth of four

func oneAtATime(s *exam.Session) error {
	a, err := s.DialAndPing()
	if err != nil {
		return exam.NotPrepared(err)
	}
	b, err := s.Dial(0)
	if err != nil {
		return exam.NotPrepared(err)
	}
	for i := range turnsOfTwo {
		turns := []*exam.Client{a, b}
		if i%4 == 3 {
			// A server that waits for each client in turn would pass without this.
			turns = []*exam.Client{a, a, b, b}
		}
		for _, c := range turns {
			before := c.Got
			if err := c.Ping(exam.ReplyTimeout); err != nil {
				s.Note("sent", "%s from each of two clients in turn, both open; turn %d, %s client", s.Dialogue.Message(), i+1, map[*exam.Client]string{a: "1st", b: "2nd"}[c])
				s.Note("got back", "%v", c.Outcome(before, c.MessageDue(), err))
				s.ExplainSilence(c, false)
				return exam.ErrFailed
			}
		}
	}
	s.Note("sent", "%s, 25 times from each of two clients in turn: all answered", s.Dialogue.Message())
	return nil
}
