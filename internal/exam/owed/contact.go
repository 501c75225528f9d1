package owed

import (
	"strings"
	"time"

	"epoll-step-by-step/internal/exam"
)

// The first messages. hello is text with a line end, so that servers of other
// protocols answer as well, and has small and capital letters. brief is shorter and has
// no line end.
const (
	hello = "Hello, Examiner\n"
	brief = "abc"
)

// firstContact finds out whether this is an echo server at all. A server that changes
// what it sends back would fail every check for this one reason, slowly, so it ends the
// grading.
func firstContact(s *exam.Session, c *exam.Client) error {
	got, err := exchange(s, c, hello, exam.FirstReplyTimeout)
	if err != nil && len(got) == 0 {
		s.Note("sent", "%q", hello)
		s.Note("got back", "nothing: %v", exam.ReadProblem(err, exam.FirstReplyTimeout))
		explainWait(s, c, len(hello))
		return exam.StopExam(exam.StatusHang, "it listens and does not answer")
	}
	if f := flawOf("", hello, string(got)); f != nil {
		s.Note("sent", "%q", hello)
		return f.stop(s, c, got, err)
	}
	got, err = exchange(s, c, brief, exam.ReplyTimeout)
	if len(got) == 0 && err != exam.ErrSilence && err != nil {
		s.Note("sent", "%q, and it came back; then %q", hello, brief)
		s.Note("got back", "nothing: %v", exam.ReadProblem(err, exam.ReplyTimeout))
		s.Usually = "close(2) follows the first answer: a client may have more to say, so read(2) again until it returns 0"
		return exam.StopExam(exam.StatusWrongAnswer, "the connection was closed after the first answer")
	}
	if len(got) == 0 {
		s.Note("sent", "%q, and it came back; then %q, without a line end", hello, brief)
		s.Note("got back", "nothing, then silence")
		if explainWait(s, c, len(brief)) {
			return exam.ErrFailed
		}
		return exam.StopExam(exam.StatusHang, "it answers a client's first message, and not the second one")
	}
	if f := flawOf(hello, brief, string(got)); f != nil {
		s.Note("sent", "%q, and it came back; then %q", hello, brief)
		return f.stop(s, c, got, err)
	}
	return nil
}

// speakHint says how to grade a server that is no echo server.
const speakHint = "give what it speaks with -speaks (make: SPEAKS=redis), or a request and its reply with -ask and -reply (ASK=, REPLY=)"

// stop ends the grading because of the flaw.
func (f *flaw) stop(s *exam.Session, c *exam.Client, got []byte, err error) error {
	saw := f.saw
	if f.name == textBefore && greets(s, c) {
		f = &flaw{usually: "a greeting is sent before the client has said anything: an echo server sends back the client's bytes and nothing else"}
	}
	s.Note("got back", "%s", saw)
	if err != nil {
		s.Note("then", "%v", exam.ReadProblem(err, exam.ReplyTimeout))
	}
	if f.name == otherBytes {
		s.Usually = "the server answers requests of another kind: " + speakHint
		return exam.StopExam(exam.StatusNotEcho, "this is not an echo server: other bytes come back than were sent")
	}
	s.Usually = f.usually
	return exam.StopExam(exam.StatusWrongAnswer, "the first answers are wrong: "+saw)
}

// greets reports whether the server sends a second message back as it is: then the
// text before the first one was a greeting.
func greets(s *exam.Session, c *exam.Client) bool {
	got, _ := exchange(s, c, hello, exam.ReplyTimeout)
	return string(got) == hello
}

// exchange sends a message and returns what comes back: as many bytes at least, if
// there is no error, and all that the server has written by then.
func exchange(s *exam.Session, c *exam.Client, message string, d time.Duration) (got []byte, err error) {
	c.SetWriteDeadline(time.Now().Add(d))
	if _, err := c.Write([]byte(message)); err != nil {
		return nil, exam.PlainError(err)
	}
	buf := make([]byte, 64<<10)
	for len(got) < len(message) {
		n, err := c.ReadWithin(buf, d)
		got = append(got, buf[:n]...)
		if err != nil {
			return got, err
		}
	}
	for len(got) < mostNudges {
		settle(s, c)
		n, _ := c.ReadArrived(buf)
		if n == 0 {
			break
		}
		got = append(got, buf[:n]...)
	}
	return got, nil
}

// settle waits until the server has read all that c sent and sleeps: then no further
// answer will come. For a server that never sleeps, it waits for a moment.
func settle(s *exam.Session, c *exam.Client) {
	s.AwaitRead(c, exam.StallTime)
	s.AwaitSleep()
}

const mostNudges = 64 << 10 // bytes that are sent to a server that waits for more

// explainWait finds out why n bytes do not come back: whether the server waits for a
// line end or for more bytes. It reports whether anything comes back then.
func explainWait(s *exam.Session, c *exam.Client, n int) bool {
	if s.ExplainSilence(c, false) || !s.AwaitRead(c, exam.StallTime) {
		return false
	}
	more := "\r\n" // enough for a server that waits for a line
	for added := 0; added < mostNudges; more = strings.Repeat("\n", 3*(n+added)) {
		added += len(more)
		got, err := nudge(s, c, more)
		switch {
		case err != nil:
			s.Note("then", "%s: %v", exam.Plural(added, "extra byte", "extra bytes"), err)
			return false
		case got == 0:
			continue
		case added == len(more) && got >= n && n <= len(hello):
			s.Note("then", "a line end: %d bytes came back", got)
			s.Usually = waitsForLine
		default:
			s.Note("then", "%d extra bytes: %d bytes came back", added, got)
			s.Usually = "a buffer has to be full before it is answered, as with fread(3), io.ReadFull or MSG_WAITALL. A client may send less and wait: send back what read(2) returned"
			if added == len(more) {
				s.Usually = "a read(2) that fills its buffer is taken for a part of a message, and the rest is waited for. It may be all there is: send back what read(2) returned"
			}
		}
		return true
	}
	return false
}

// nudge sends a message, and counts the bytes that come back until the server has
// settled. It fails if the connection ends.
func nudge(s *exam.Session, c *exam.Client, message string) (got int, err error) {
	c.SetWriteDeadline(time.Now().Add(exam.ReplyTimeout))
	if _, err := c.Write([]byte(message)); err != nil {
		return 0, exam.PlainError(err)
	}
	buf := make([]byte, 64<<10)
	for got < 2*mostNudges {
		settle(s, c)
		n, err := c.ReadArrived(buf)
		if err != nil && got == 0 {
			return 0, exam.ReadProblem(err, exam.StallTime)
		}
		if n == 0 {
			break
		}
		got += n
	}
	return got, nil
}
