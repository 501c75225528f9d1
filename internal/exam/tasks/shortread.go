package tasks

import (
	"fmt"
	"time"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/procfs"
)

// ONE_READ_TOO_MANY is for an edge-triggered server that stops reading at a short read.
// That saves calls, too few to measure in time, but the kernel counts the calls of
// read(2) and write(2) of each process. It may cost the end of a stream: a FIN that
// arrives with the last bytes belongs to their edge, and makes no edge of its own.

const (
	countedMessages = 300       // messages whose calls are counted
	maxReads        = 1.1       // calls of read(2) per message, for a few that no message needs
	finalRead       = 64 << 10  // bytes that many servers read at a time
	lastChunk       = 60_000    // bytes before a FIN: one read, if it is of 64 KiB, and a short one
	readingClients  = 8         // clients whose FIN comes while they are being served
	readingUnread   = 512 << 10 // bytes that are unread then: more than a server reads before it waits for events again
	readingEnds     = 8         // FINs that must have come at such a moment, before the check passes
	readingTries    = 8         // rounds of all clients until so many have
	roomTries       = 3         // the room in the queues differs by some bytes each time
	queueCapacity   = 2 << 20   // bytes that a connection's queues have room for, or somewhat less
)

var OneReadTooMany = exam.Check{
	ID: "ONE_READ_TOO_MANY", Title: "a message costs one read(2), and no FIN is missed", Run: oneReadTooMany, Starts: true, Looks: true,
	Usually: "each message costs an extra read(2), which fails with EAGAIN",
	Reread:  []string{`epoll(7) "Questions and answers"`, `epoll_ctl(2) "DESCRIPTION"`}, Chapter: exam.ChapterEdge,
}

func oneReadTooMany(s *exam.Session) error {
	counted, err := countReads(s)
	if err != nil {
		return err
	}
	if err := survivesStop(s); err != nil {
		return err
	}
	for _, part := range []func(*exam.Session) error{sameEdge, endWhileFlushing, endWhileReading} {
		if err := part(s); err != nil {
			return err
		}
	}
	if !counted {
		return exam.SkipCheck("it calls something other than read(2), such as recv(2), which the kernel does not count")
	}
	return nil
}

// countReads fails if a message costs more than one read(2). It reports whether the
// kernel counts the calls that this server reads with.
func countReads(s *exam.Session) (counted bool, err error) {
	c, err := s.DialAndPing()
	if err != nil {
		return false, err
	}
	calls := func() (reads, writes float64) {
		for _, t := range s.Server.Threads() {
			reads, writes = reads+float64(t.Reads), writes+float64(t.Writes)
		}
		return reads, writes
	}
	s.AwaitSleep()
	reads, writes := calls()
	for range countedMessages {
		if err := c.Ping(exam.SilenceTimeout); err != nil {
			return false, err
		}
		s.AwaitSleep() // or the extra read(2) returns the next message
	}
	r, w := calls()
	reads, writes = (r-reads)/float64(countedMessages), (w-writes)/float64(countedMessages)
	if reads < 0.5 {
		return false, nil
	}
	s.Note("a message", "cost %.2f calls of read(2) and %.2f of write(2), on average of %d, each of 16 bytes and alone", reads, writes, countedMessages)
	if reads > maxReads {
		return true, s.Fail("want", "1.00 of read(2); up to %.2f passes, for a few that no message needs", maxReads)
	}
	return true, nil
}

// survivesStop skips the check if SIGSTOP and SIGCONT end the server, as opposed to the
// messages that follow.
func survivesStop(s *exam.Session) error {
	c, err := s.DialAndPing()
	if err != nil {
		return err
	}
	s.AwaitSleep()
	if err := s.WhileStopped(func() error { return nil }); err != nil {
		return err
	}
	if err := c.Ping(exam.NewcomerTimeout); err != nil {
		if _, dead := s.Server.AwaitDeath(); dead {
			return exam.SkipCheck("the server does not survive SIGSTOP and SIGCONT: see DIED_ON_SIGNAL")
		}
		return err
	}
	return nil
}

const finLost = "a short read ends the reading, but a FIN that came in the same edge is behind those bytes, and no further edge comes for it: " +
	"epoll_wait(2) reported EPOLLRDHUP, once"

const closedEarly = "EPOLLRDHUP is taken for the end of the connection: it means that the client sends no more, " +
	"not that its last bytes have been read, or answered"

// receiveToEnd receives the last n bytes that c has sent, and then EOF. lost is the usual
// mistake if there is no EOF.
func receiveToEnd(s *exam.Session, c *exam.Client, n int, lost string) error {
	before := c.Sent - n
	s.Usually = closedEarly
	err := c.Receive(c.Sent-c.Got, exam.SilenceTimeout, nil)
	if err != nil {
		err = c.Outcome(max(0, min(before, c.Got)), n, err)
	} else if err = c.AwaitEOF(exam.SilenceTimeout); err == exam.ErrSilence {
		s.Usually = lost
		err = fmt.Errorf("%s, and then no EOF: silence for %v", exam.Plural(n, "byte", "bytes"), exam.SilenceTimeout)
	}
	if err == nil {
		s.Usually = ""
	} else if _, dead := s.Server.AwaitDeath(); dead {
		s.Usually = "" // the reason of its death explains more
	}
	return err
}

// sendAndEnd sends n bytes and a FIN, and does not wait until they have arrived.
func sendAndEnd(c *exam.Client, n int) error {
	if err := c.Send(n, exam.ReplyTimeout); err != nil {
		return err
	}
	return exam.PlainError(c.CloseWrite())
}

// sameEdge sends messages that end in a FIN while the server is stopped, so each is one
// edge. The sizes are those of buffers, where a read that leaves no byte is not short, and
// others.
func sameEdge(s *exam.Session) error {
	const rounds = 3
	sizes := []int{1, exam.PingSize, 1 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 64<<10 + 1}
	for range rounds {
		var all []*exam.Client
		for range sizes {
			c, err := s.Dial(0)
			if err != nil {
				return err
			}
			// The receive queue grows with use: tcp(7), tcp_rmem. Let it.
			for range 4 {
				if err := c.Ask(exam.EdgeSize, exam.SilenceTimeout); err != nil {
					return err
				}
			}
			all = append(all, c)
		}
		s.AwaitSleep()
		err := s.WhileStopped(func() error {
			for i, c := range all {
				if err := sendAndEnd(c, sizes[i]); err != nil {
					return err
				}
			}
			c, err := s.Dial(0) // which is not even accepted
			if err != nil {
				return err
			}
			all = append(all, c)
			if err := sendAndEnd(c, exam.PingSize); err != nil {
				return err
			}
			return awaitFIN(s, all...)
		})
		if err != nil {
			return err
		}
		for i, c := range all {
			n, sender := exam.PingSize, "a new client"
			if i < len(sizes) {
				n, sender = sizes[i], "a client"
			}
			if err := receiveToEnd(s, c, n, finLost); err != nil {
				s.Note("sent", "%s and a FIN from %s, while the server was stopped: all of that is one edge", exam.Plural(n, "byte", "bytes"), sender)
				return s.Fail("got back", "%v", err)
			}
			c.Reset()
		}
	}
	s.Note("a FIN", "that came in the same edge as 1 to %d bytes was noticed, %d times", sizes[len(sizes)-1], rounds*(len(sizes)+1))
	return nil
}

// awaitFIN waits until the FIN of each client has arrived. If there is no room for the
// bytes before it, it arrives later.
func awaitFIN(s *exam.Session, clients ...*exam.Client) error {
	for deadline := time.Now().Add(exam.StallTime); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		arrived := 0
		for _, c := range clients {
			end, _, err := c.ServerEnd()
			if err != nil {
				return err
			}
			if end.State == procfs.TCPCloseWait {
				arrived++
			}
		}
		if arrived == len(clients) {
			return nil
		}
	}
	return nil
}

// endWhileFlushing sends the FIN to a server that has bytes pending and does not read, and
// to one whose last read made them pending.
func endWhileFlushing(s *exam.Session) error {
	c, err := s.Dial(exam.TinyBuffer)
	if err != nil {
		return err
	}
	sent, err := fillQueues(s, c)
	if err != nil {
		return err
	}
	room, err := c.AnswersQueued()
	if err == nil {
		err = exam.PlainError(c.CloseWrite())
	}
	if err == nil {
		err = awaitFIN(s, c)
	}
	if err != nil {
		return err
	}
	if err := receiveToEnd(s, c, sent, finLost); err != nil {
		s.Note("sent", "%d bytes without reading; when the server took no more, a FIN; then read", sent)
		return s.Fail("got back", "%v", err)
	}
	for range roomTries {
		inTime, err := endBeyondRoom(s, room-lastChunk/2)
		if inTime || err != nil {
			return err
		}
	}
	return nil
}

// endBeyondRoom sends the FIN together with a last chunk when the kernel has not enough
// room left for the answer, so the answer is pending after a short read. It reports
// whether that was so.
func endBeyondRoom(s *exam.Session, before int) (inTime bool, err error) {
	c, err := s.Dial(exam.TinyBuffer)
	if err != nil {
		return false, err
	}
	for c.Sent < before {
		if err := c.Send(min(exam.EdgeSize, before-c.Sent), exam.ReplyTimeout); err != nil {
			return false, err
		}
		s.AwaitRead(c, exam.ReplyTimeout)
	}
	s.AwaitSleep()
	first, err := c.AnswersQueued()
	if err == nil {
		err = s.WhileStopped(func() error {
			if err := sendAndEnd(c, lastChunk); err != nil {
				return err
			}
			return awaitFIN(s, c)
		})
	}
	if err != nil {
		return false, err
	}
	s.AwaitSleep()
	all, err := c.AnswersQueued()
	if err != nil {
		return false, err
	}
	if err := receiveToEnd(s, c, c.Sent, finLost); err != nil {
		s.Note("sent", "%d bytes without reading, and then %d more and a FIN, which the server read when there was not enough room for the answer; then read", before, lastChunk)
		return false, s.Fail("got back", "%v", err)
	}
	return first == before && all < c.Sent, nil
}

// fillQueues sends, without reading, until the server has stopped reading. It sends chunk
// at a time, so all bytes are on the server's side then, and none in the client's own
// queue. It returns how many bytes it has sent.
func fillQueues(s *exam.Session, c *exam.Client) (sent int, err error) {
	for sent < exam.Flood {
		chunk := 256 << 10
		if sent < queueCapacity {
			chunk *= 2
		}
		if err := c.Send(chunk, exam.ReplyTimeout); err != nil {
			return sent, err
		}
		sent += chunk
		if stuck, err := leavesUnread(s, c); stuck || err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// leavesUnread reports whether the server sleeps although bytes of c are unread. A server
// that gets no CPU on a busy machine does not sleep.
func leavesUnread(s *exam.Session, c *exam.Client) (bool, error) {
	var since time.Time // since when it sleeps
	for begin := time.Now(); time.Since(begin) < exam.SilenceTimeout; {
		asleep := s.AwaitThreads(exam.Sleeping, exam.StallTime)
		end, found, err := c.ServerEnd()
		if err != nil {
			return false, err
		}
		switch {
		case !found:
			return true, nil // the connection is gone
		case end.RxQueue == 0:
			return false, nil
		case !asleep:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
			time.Sleep(exam.StallTime)
		default:
			return true, nil
		}
	}
	return true, nil
}

var errNoEnd = fmt.Errorf("all of it, and then no EOF: silence for %v", exam.SilenceTimeout)

// endWhileReading sends FINs to a server that is in the middle of reading what their
// clients have sent, until enough of them have come at such a moment.
func endWhileReading(s *exam.Session) error {
	noticed := 0
	for range readingTries {
		n, err := endAmidReads(s)
		if err != nil {
			return err
		}
		if noticed += n; noticed >= readingEnds {
			break
		}
	}
	s.Note("a FIN", "that came while its client was being served was noticed, too, %d times", noticed)
	return nil
}

// endAmidReads has several clients send, in one edge each, as much as the kernel has room
// for, so that a server with a ready list needs many rounds for it. It stops the server
// after the first answer, and then the clients end their streams. It returns how many did
// so while the server was far from having read what they had sent.
func endAmidReads(s *exam.Session) (inTime int, err error) {
	var all []*exam.Client
	for range readingClients {
		c, err := s.Dial(0)
		if err != nil {
			return 0, err
		}
		// The receive queue grows with use: tcp(7), tcp_rmem. Let it.
		for range 4 {
			if err := c.Ask(1<<20, exam.SilenceTimeout); err != nil {
				return 0, err
			}
		}
		all = append(all, c)
	}
	s.AwaitSleep()
	answered := make(chan struct{}, readingClients)
	errs := make(chan error, readingClients)
	err = s.WhileStopped(func() error {
		for _, c := range all {
			n := c.Window()
			n = max(n-n%finalRead-finalRead, 0) + lastChunk // the last read is short
			if err := c.Send(n, exam.ReplyTimeout); err != nil {
				return err
			}
			go func() {
				before := c.Got
				err := c.Receive(1, exam.SilenceTimeout, nil)
				answered <- struct{}{}
				if err == nil {
					err = c.Receive(n-1, exam.SilenceTimeout, nil)
				}
				if err != nil {
					err = c.Outcome(before, n, err)
				} else if err = c.AwaitEOF(exam.SilenceTimeout); err == exam.ErrSilence {
					err = errNoEnd
				}
				errs <- err
			}()
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	<-answered
	err = s.WhileStopped(func() error {
		for _, c := range all {
			c.CloseWrite() // it fails if the server has closed the connection, which the reader reports
		}
		if err := awaitFIN(s, all...); err != nil {
			return err
		}
		for _, c := range all {
			end, _, err := c.ServerEnd()
			if err != nil {
				return err
			}
			if end.State == procfs.TCPCloseWait && end.RxQueue > readingUnread {
				inTime++
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for range readingClients {
		err := <-errs
		if err == nil {
			continue
		}
		s.Note("sent", "what the kernel had room for, from each of %d clients, which read at the same time; and a FIN while the server was reading", readingClients)
		s.Usually = closedEarly
		if err == errNoEnd {
			s.Usually = "the event with EPOLLRDHUP came while the client was already on the ready list, and was ignored"
		}
		if _, dead := s.Server.AwaitDeath(); dead {
			s.Usually = ""
		}
		return 0, s.Fail("got back", "%v", err)
	}
	for _, c := range all {
		s.CloseClient(c)
	}
	return inTime, nil
}
