package owed

import (
	"epoll-step-by-step/internal/exam"

	"golang.org/x/sys/unix"
)

var LostBytes = exam.Check{
	ID: "LOST_BYTES", Title: "a reader that stalls still gets every byte", For: allEchoServers, Run: lostBytes,
	Usually: "write(2) returned less than it was given, and the rest was dropped",
	Reread:  []string{`write(2) "RETURN VALUE"`}, Chapter: exam.ChapterLevel,
}

var StuckWriter = exam.Check{
	ID: "STUCK_WRITER", Title: "a slow reader with a small buffer gets every byte", For: echoServers, Run: stuckWriter,
	Usually: "after EAGAIN the rest is never sent, or is sent again from its beginning",
	Reread:  []string{`write(2) "RETURN VALUE"`, `epoll_ctl(2) "DESCRIPTION"`}, Chapter: exam.ChapterLevel,
}

var UnboundedBuffer = exam.Check{
	ID: "UNBOUNDED_BUFFER", Title: "a client that never reads costs little memory", For: echoServers, Run: unboundedBuffer, Looks: true,
	Usually: "the server keeps reading from a client that does not read its answers",
	Reread:  []string{`tcp(7) "DESCRIPTION"`}, Chapter: exam.ChapterLevel,
}

var SlowReaderBlocks = exam.Check{
	ID: "SLOW_READER_BLOCKS", Title: "a client that never reads holds up nobody else", For: echoServers, Run: slowReaderBlocks,
	Usually: "write(2) sleeps because that client's descriptor is blocking, or the loop repeats it until all is sent",
	Reread:  []string{`write(2) "ERRORS"`, `fcntl(2) "File status flags"`}, Chapter: exam.ChapterNonblocking,
}

func lostBytes(s *exam.Session) error {
	c, err := s.Dial(0)
	if err != nil {
		return exam.NotPrepared(err)
	}
	return s.Transfer(c, exam.BigMessage, nil)
}

func stuckWriter(s *exam.Session) error {
	c, err := s.Dial(exam.TinyBuffer)
	if err != nil {
		return exam.NotPrepared(err)
	}
	return s.Transfer(c, exam.BigMessage, exam.SlowPace())
}

func unboundedBuffer(s *exam.Session) error {
	c, err := s.Dial(0)
	if err != nil {
		return exam.NotPrepared(err)
	}
	// The memory that the first messages cost any server does not count.
	for range 64 {
		if err := c.Ping(exam.SilenceTimeout); err != nil {
			return exam.NotPrepared(err)
		}
	}
	before, peak := s.Server.Memory(), s.PeakMemory()
	// The server may sleep for a while and then go on reading, so sleep is no reason
	// to stop.
	offered, err := c.OfferUntil(exam.Flood, func() bool { return s.Server.Memory()-before >= exam.MaxGrowth })
	most := peak()
	s.Note("sent", "up to %d bytes without reading; %d were taken", s.Dialogue.Asking(exam.Flood), offered)
	if due := c.AllDue(); due > 2*offered {
		s.Note("due", "%d bytes for them: %.0f times as many", due, float64(due)/float64(offered))
	}
	s.Note("memory", "grew from %d KiB to %d KiB", before>>10, most>>10)
	if how, dead := s.Server.Died(); dead {
		return s.Fail("server", "died: %s", how)
	}
	if most-before >= exam.MaxGrowth {
		if p, ok := s.PlaceOf(c); ok && !p.Runtime && p.Mask&unix.EPOLLIN != 0 && p.Mask&unix.EPOLLET == 0 {
			s.NoteInterest(p)
			s.Usually = "EPOLLIN is requested although bytes are pending for this client: request EPOLLOUT alone until they are written"
		}
		return exam.ErrFailed
	}
	return err
}

func slowReaderBlocks(s *exam.Session) error {
	other, err := s.DialAndPing()
	if err != nil {
		return exam.NotPrepared(err)
	}
	slow, err := s.Dial(0)
	if err != nil {
		return exam.NotPrepared(err)
	}
	offered, err := slow.Offer(exam.BigMessage)
	if err != nil {
		return exam.NotPrepared(err)
	}
	s.Note("sent", "%d bytes from a client that does not read; %d were taken", s.Dialogue.Asking(exam.BigMessage), offered)
	if err := otherIsServed(s, other); err != nil {
		return err
	}
	if slow, err = s.Dial(exam.TinyBuffer); err != nil {
		return exam.NotPrepared(err)
	}
	sendAllAndEnd(s, slow)
	s.Note("then", "another one that does not read has called shutdown(SHUT_WR)")
	if err := otherIsServed(s, other); err != nil {
		return err
	}
	s.Usually = "while one client keeps it busy, the server does not accept(2) another: see ONE_AT_A_TIME"
	return serveAnother(s, "meanwhile")
}

func otherIsServed(s *exam.Session, other *exam.Client) error {
	took, err := pingPromptly(s, other)
	if err != nil {
		s.Note("another", "client sent %s meanwhile, %v", s.Dialogue.Message(), err)
		s.ExplainSilence(other, false)
		return exam.ErrFailed
	}
	s.Note("another", "client was answered in %v", took)
	return nil
}

// sendAllAndEnd makes the server owe c something although the server has read all
// that c sent. Then c ends its stream.
func sendAllAndEnd(s *exam.Session, c *exam.Client) {
	defer c.CloseWrite()
	for c.AllDue() < exam.BigMessage {
		n, err := c.Offer(exam.EdgeSize)
		if n < s.Dialogue.Asking(exam.EdgeSize) || err != nil || !s.AwaitRead(c, exam.StallTime) {
			return // the server reads no more: the end comes behind unread bytes
		}
		if queued, err := c.AnswersQueued(); err != nil || c.AllDue() > queued {
			return
		}
	}
}
