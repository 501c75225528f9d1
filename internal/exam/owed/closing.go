package owed

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"epoll-step-by-step/internal/exam"

	"golang.org/x/sys/unix"
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
	ID: "DIED_ON_RESET", Title: "clients that reset their connection harm no other client", For: echoServers, Run: diedOnReset, Survival: true,
	Usually: "ECONNRESET or EPIPE ends the process, or SIGPIPE does (send(2), MSG_NOSIGNAL)",
	Reread:  []string{`write(2) "ERRORS"`, `send(2) "The flags argument"`, `tcp(7) "Error handling"`}, Chapter: exam.ChapterBlocking,
}

func halfClose(s *exam.Session) error {
	for i := range halfClosers {
		c, err := s.Dial(0)
		if err == nil && i == 0 {
			err = c.Ping(exam.ReplyTimeout)
		}
		if err != nil {
			return exam.NotPrepared(err)
		}
		if err := c.Send(s.Dialogue.MessageSize(), exam.ReplyTimeout); err != nil {
			return exam.NotPrepared(err)
		}
		if err := c.CloseWrite(); err != nil {
			return exam.PlainError(err)
		}
		sent := fmt.Sprintf("%s, then shutdown(SHUT_WR); the %s of %d clients", s.Dialogue.Message(), exam.Ordinal(i+1), halfClosers)
		if err := receiveOwed(s, c, sent, c.Owed(), exam.ReplyTimeout, nil); err != nil {
			return err
		}
		c.Close()
	}
	c, err := s.Dial(0)
	if err != nil {
		return exam.NotPrepared(err)
	}
	offered, err := c.Offer(exam.BigMessage)
	if err != nil {
		return exam.NotPrepared(err)
	}
	ended := make(chan error, 1)
	end := func() { ended <- errors.Join(c.Finish(exam.SilenceTimeout), c.CloseWrite()) }
	due := c.OwedWhole()
	if due == c.Owed() {
		end()
	} else {
		go end() // the rest of the last request has no room before we read
	}
	sent := fmt.Sprintf("%d bytes without reading, then shutdown(SHUT_WR), then read", offered)
	if err := receiveOwed(s, c, sent, due, exam.SilenceTimeout, exam.SlowPace()); err != nil {
		c.Reset() // which ends the sender, too
		<-ended
		return err
	}
	s.Note("sent", "%s", sent)
	return exam.PlainError(<-ended)
}

// receiveOwed receives the units that are due, and then EOF, or fails the check.
func receiveOwed(s *exam.Session, c *exam.Client, sent string, due int, d time.Duration, pace func()) error {
	before := c.Got
	if err := c.Receive(due, d, pace); err != nil {
		s.Note("sent", "%s", sent)
		s.Note("got back", "%v", c.Outcome(before, due, err))
		if err == exam.ErrSilence {
			s.ExplainSilence(c, true)
		} else {
			explainEarlyClose(s, err)
		}
		return exam.ErrFailed
	}
	if err := c.AwaitEOF(d); err != nil {
		s.Note("sent", "%s", sent)
		s.Note("got back", "all of it, and then no EOF: %v", exam.SilenceFor(err, d))
		if err == exam.ErrSilence {
			explainNoEOF(s)
		}
		return exam.ErrFailed
	}
	return nil
}

// explainEarlyClose says why a connection may have ended with err before all that was
// owed was sent. The connection is gone, but the next client's is registered alike.
func explainEarlyClose(s *exam.Session, err error) {
	c, pingErr := s.DialAndPing()
	if pingErr != nil {
		return
	}
	s.AwaitSleep()
	p, seen := s.PlaceOf(c)
	if !seen || p.Runtime || p.Mask&unix.EPOLLRDHUP == 0 {
		return
	}
	s.NoteInterest(p)
	s.Usually = "EPOLLRDHUP, or a read(2) that returned 0, closes the connection with data still pending: the client has ended its own stream only, and still reads"
	if errors.Is(err, unix.ECONNRESET) { // close(2) with bytes unread causes a RST
		s.Usually = "the connection is closed on EPOLLRDHUP, which comes as soon as the client's FIN does, ahead of bytes that are still unread. Call read(2) until it returns 0"
	}
}

// explainNoEOF says why the connection of a client that has ended its stream and got
// everything back is not closed.
func explainNoEOF(s *exam.Session) {
	s.Usually = "read(2) returned 0, or would have: the loop did not call it again, nor close(2)"
	if s.SustainedCPU(leakWatch) >= exam.SpinningCPU {
		s.Usually = "read(2) returns 0, which is not an error, and the loop keeps calling it: it is time for close(2)"
		return
	}
	if another, err := s.DialAndPing(); err == nil {
		if pids := processesWith(s, another); len(pids) > 1 {
			s.Note("open", "another client's connection is open in %d processes: %d and %d", len(pids), pids[0], pids[1])
			s.Usually = "after fork(2), parent and child both have the client's descriptor, and the connection ends when the last one has closed it: the parent has to close its own at once"
			return
		}
	}
	// A client that ends its stream later than it sends its bytes shows whether the
	// server notices the end at all.
	late, err := s.DialAndPing()
	if err != nil {
		return
	}
	s.AwaitSleep()
	p, _ := s.PlaceOf(late)
	late.CloseWrite()
	err = late.AwaitEOF(exam.ReplyTimeout)
	switch {
	case err == nil && !p.Runtime && p.Mask&unix.EPOLLET != 0:
		s.NoteInterest(p)
		s.Note("another", "client called shutdown(SHUT_WR) later than it sent its bytes, and got EOF")
		s.Usually = "one read(2) for each edge: EPOLLET reports the bytes and the end of the stream together, and once. Call read(2) until it returns 0 or fails with EAGAIN"
	case err == exam.ErrSilence:
		s.Usually = "read(2) returned 0, which means that the client sends no more: it is time for close(2)"
	}
}

// processesWith returns the processes that have the connection open.
func processesWith(s *exam.Session, c *exam.Client) (pids []int) {
	s.Server.Look() // a child may be new
	places, _ := s.PlacesOf(c)
	for _, p := range places {
		pids = append(pids, p.PID)
	}
	return slices.Compact(pids)
}

func diedOnReset(s *exam.Session) error {
	if err := servesOne(s); err != nil {
		return err
	}
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
