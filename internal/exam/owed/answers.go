package owed

import (
	"bytes"
	"io"
	"time"

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
	if err := c.Ask(3, exam.ReplyTimeout); err != nil {
		s.Note("sent", "3 bytes, without a line end")
		return s.Fail("got back", "%v", c.Outcome(0, 3, err))
	}
	for i := range singleBytes {
		before := c.Got
		if err := c.Ask(1, exam.ReplyTimeout); err != nil {
			s.Note("sent", "1 byte at a time, each after the previous one had come back; the %s", exam.Ordinal(i+1))
			return s.Fail("got back", "%v", c.Outcome(before, 1, err))
		}
	}
	// And messages that fill a buffer to its last byte.
	for n := 1 << 10; n <= 64<<10; n *= 2 {
		before := c.Got
		if err := c.Ask(n, exam.ReplyTimeout); err != nil {
			s.Note("sent", "%d bytes, and nothing after them", n)
			return s.Fail("got back", "%v", c.Outcome(before, n, err))
		}
	}
	s.Note("sent", "16 bytes, 3 bytes, %d times 1 byte, 1 to 64 KiB: all answered", singleBytes)
	return nil
}

// firstContact finds out whether this is an echo server at all. The text ends in a
// line end, so servers of other protocols answer as well.
func firstContact(s *exam.Session, c *exam.Client) error {
	const hello = "hello, examiner\n"
	s.Note("sent", "%q", hello)
	c.SetWriteDeadline(time.Now().Add(exam.FirstReplyTimeout))
	if _, err := c.Write([]byte(hello)); err != nil {
		return exam.PlainError(err)
	}
	buf := make([]byte, len(hello))
	n, err := io.ReadFull(c.Within(exam.FirstReplyTimeout), buf)
	if n > 0 && !bytes.HasPrefix([]byte(hello), buf[:n]) {
		rest := make([]byte, 256)
		m, _ := c.ReadWithin(rest, exam.StallTime)
		s.Note("got back", "%q", append(buf[:n], rest[:m]...))
		return exam.StopExam(exam.StatusNotEcho, "this is not an echo server: other bytes come back than were sent")
	}
	if n > 0 && err != nil {
		s.Note("got back", "%q, then %v", buf[:n], exam.ReadProblem(err, exam.FirstReplyTimeout))
		return exam.StopExam(exam.StatusNotEcho, "the first message did not come back whole")
	}
	if err != nil {
		s.Note("got back", "nothing: %v", exam.ReadProblem(err, exam.FirstReplyTimeout))
		return exam.StopExam(exam.StatusHang, "it listens and does not answer")
	}
	return nil
}

func wrongBytes(s *exam.Session) error {
	c, err := s.Dial(0)
	if err != nil {
		return err
	}
	ascending, descending := make([]byte, 256), make([]byte, 256)
	for i := range 256 {
		ascending[i], descending[255-i] = byte(i), byte(i)
	}
	for _, msg := range [][]byte{ascending, descending, bytes.Repeat([]byte("\r\n\x00\xff"), 64)} {
		s.Note("sent", "256 bytes: %q …", msg[:8])
		c.SetWriteDeadline(time.Now().Add(exam.ReplyTimeout))
		if _, err := c.Write(msg); err != nil {
			return exam.PlainError(err)
		}
		got := make([]byte, len(msg))
		n, err := io.ReadFull(c.Within(exam.ReplyTimeout), got)
		if i := exam.FirstDifference(got[:n], msg[:n]); i >= 0 {
			return s.Fail("got back", "at byte %d: %q instead of %q", i, exam.Excerpt(got[i:n]), exam.Excerpt(msg[i:n]))
		}
		if err != nil {
			return s.Fail("got back", "%d of them, up to %q, then %v", n, msg[max(0, n-1):n], exam.ReadProblem(err, exam.ReplyTimeout))
		}
	}
	return nil
}

const turnsOfTwo = 20 // of two messages each; every fourth of four

func oneAtATime(s *exam.Session) error {
	a, err := s.Dial(0)
	if err != nil {
		return err
	}
	b, err := s.Dial(0)
	if err != nil {
		return err
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
				return s.Fail("got back", "%v", c.Outcome(before, c.MessageDue(), err))
			}
		}
	}
	s.Note("sent", "%s, 25 times from each of two clients in turn: all answered", s.Dialogue.Message())
	return nil
}
