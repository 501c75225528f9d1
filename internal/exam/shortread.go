package exam

import (
	"fmt"
	"time"

	"epoll-step-by-step/internal/procfs"
)

// ONE_READ_TOO_MANY is for an edge-triggered server that stops reading at a short
// read. What it saves is counted, as no clock would see it: the kernel counts the
// calls of read(2) and write(2) of each process. What it may cost is the end of a
// stream: a FIN that arrived with the last bytes is in their edge, and makes none
// of its own.

func oneReadTooMany(s *session) error {
	counted, err := s.countReads()
	if err != nil {
		return err
	}
	if err := s.survivesStop(); err != nil {
		return err
	}
	for _, part := range []func() error{s.sameEdge, s.endWhileFlushing, s.endWhileReading} {
		if err := part(); err != nil {
			return err
		}
	}
	if !counted {
		return &skip{"it calls something else than read(2), such as recv(2), and that the kernel does not count"}
	}
	return nil
}

// countReads wants one read(2) for a message. It tells whether the kernel counts
// what this server reads with.
func (s *session) countReads() (counted bool, err error) {
	c, err := s.served()
	if err != nil {
		return false, err
	}
	calls := func() (reads, writes float64) {
		for _, t := range s.server.threads() {
			reads, writes = reads+float64(t.Reads), writes+float64(t.Writes)
		}
		return reads, writes
	}
	s.awaitSleep()
	reads, writes := calls()
	for range limits.counted {
		if err := c.ping(limits.silence); err != nil {
			return false, err
		}
		s.awaitSleep() // or the next message is what the read too many meets
	}
	r, w := calls()
	reads, writes = (r-reads)/float64(limits.counted), (w-writes)/float64(limits.counted)
	if reads < 0.5 {
		return false, nil
	}
	s.note("a message", "cost %.2f calls of read(2) and %.2f of write(2), on average of %d, each of 16 bytes and alone", reads, writes, limits.counted)
	if reads > limits.reads {
		return true, s.fail("want", "1.00 of read(2); up to %.2f passes, for a few that no message needs", limits.reads)
	}
	return true, nil
}

// survivesStop tells a server that SIGSTOP and SIGCONT end from one that what
// comes next ends.
func (s *session) survivesStop() error {
	c, err := s.served()
	if err != nil {
		return err
	}
	s.awaitSleep()
	if err := s.pause(func() error { return nil }); err != nil {
		return err
	}
	if err := c.ping(limits.newcomer); err != nil {
		if _, dead := s.server.dies(); dead {
			return &skip{"the server does not survive SIGSTOP and SIGCONT: see DIED_ON_SIGNAL"}
		}
		return err
	}
	return nil
}

const finLost = "a short read ends the reading, but a FIN that came in the same edge is behind those bytes, and no further edge comes for it: " +
	"epoll_wait(2) had said EPOLLRDHUP, once"

const closedEarly = "EPOLLRDHUP is taken for the end of the connection: it says that the client sends no more, " +
	"and not that its last bytes have been read, or answered"

// end wants the last n bytes that c has sent, and then EOF. lost says what is
// usually wrong if there is none.
func (s *session) end(c *client, n int, lost string) error {
	before := c.sent - n
	s.usually = closedEarly
	err := c.receive(c.sent-c.got, limits.silence, nil)
	if err != nil {
		err = c.outcome(max(0, min(before, c.got)), n, err)
	} else if err = c.eof(limits.silence); err == errSilence {
		s.usually = lost
		err = fmt.Errorf("%s, and then no EOF: silence for %v", plural(n, "byte", "bytes"), limits.silence)
	}
	if err == nil {
		s.usually = ""
	} else if _, dead := s.server.dies(); dead {
		s.usually = "" // what it died of is the matter
	}
	return err
}

// ending sends n bytes and a FIN, and does not wait until they have arrived.
func (c *client) ending(n int) error {
	if err := c.send(n, limits.reply); err != nil {
		return err
	}
	return plain(c.CloseWrite())
}

// sameEdge sends messages that end in a FIN while the server is stopped: when it
// looks, all of it is there. The sizes are those of buffers, where a read is not
// short although nothing is left, and one beside them.
func (s *session) sameEdge() error {
	const rounds = 3
	sizes := []int{1, pingSize, 1 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 64<<10 + 1}
	for range rounds {
		var all []*client
		for range sizes {
			c, err := s.dial(0)
			if err != nil {
				return err
			}
			// The receive queue grows with use: tcp(7), tcp_rmem. Let it.
			for range 4 {
				if err := c.echo(limits.edge, limits.silence); err != nil {
					return err
				}
			}
			all = append(all, c)
		}
		s.awaitSleep()
		err := s.pause(func() error {
			for i, c := range all {
				if err := c.ending(sizes[i]); err != nil {
					return err
				}
			}
			c, err := s.dial(0) // and one that is not even accepted
			if err != nil {
				return err
			}
			all = append(all, c)
			if err := c.ending(pingSize); err != nil {
				return err
			}
			return s.awaitFIN(all...)
		})
		if err != nil {
			return err
		}
		for i, c := range all {
			n, who := pingSize, "a new client"
			if i < len(sizes) {
				n, who = sizes[i], "a client"
			}
			if err := s.end(c, n, finLost); err != nil {
				s.note("sent", "%s and a FIN from %s, while the server was stopped: all of that is one edge", plural(n, "byte", "bytes"), who)
				return s.fail("got back", "%v", err)
			}
			c.reset()
		}
	}
	s.note("a FIN", "that came in the same edge as 1 to %d bytes before it was seen, %d times", sizes[len(sizes)-1], rounds*(len(sizes)+1))
	return nil
}

// awaitFIN waits until the FIN of each client has arrived. If one does not, as
// there is no room for what is before it, it will come later.
func (s *session) awaitFIN(clients ...*client) error {
	for deadline := time.Now().Add(limits.stalled); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		arrived := 0
		for _, c := range clients {
			end, _, err := c.serverEnd()
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

// endWhileFlushing sends the FIN to a server that has bytes pending and no reason
// to read; and to one that has them because of its last read.
func (s *session) endWhileFlushing() error {
	c, err := s.dial(limits.tiny)
	if err != nil {
		return err
	}
	sent, err := s.stuff(c)
	if err != nil {
		return err
	}
	room, err := c.taken()
	if err == nil {
		err = plain(c.CloseWrite())
	}
	if err == nil {
		err = s.awaitFIN(c)
	}
	if err != nil {
		return err
	}
	if err := s.end(c, sent, finLost); err != nil {
		s.note("sent", "%d bytes without reading; when the server took no more, a FIN; then read", sent)
		return s.fail("got back", "%v", err)
	}
	for range 3 { // how much there is room for may differ by some bytes
		inTime, err := s.endBeyondRoom(room - limits.lastChunk/2)
		if inTime || err != nil {
			return err
		}
	}
	return nil
}

// endBeyondRoom sends the FIN together with a last chunk, when the kernel has not
// enough room left for the answer: after a short read, that is pending. It tells
// whether it came to that.
func (s *session) endBeyondRoom(before int) (inTime bool, err error) {
	c, err := s.dial(limits.tiny)
	if err != nil {
		return false, err
	}
	for c.sent < before {
		if err := c.send(min(limits.edge, before-c.sent), limits.reply); err != nil {
			return false, err
		}
		s.awaitRead(c, limits.reply)
	}
	s.awaitSleep()
	first, err := c.taken()
	if err == nil {
		err = s.pause(func() error {
			if err := c.ending(limits.lastChunk); err != nil {
				return err
			}
			return s.awaitFIN(c)
		})
	}
	if err != nil {
		return false, err
	}
	s.awaitSleep()
	all, err := c.taken()
	if err != nil {
		return false, err
	}
	if err := s.end(c, c.sent, finLost); err != nil {
		s.note("sent", "%d bytes without reading, and then %d more and a FIN, which the server read when there was not enough room for the answer; then read", before, limits.lastChunk)
		return false, s.fail("got back", "%v", err)
	}
	return first == before && all < c.sent, nil
}

// stuff sends, without reading, until the server has stopped reading, and so
// little at a time that all of it is on the server's side then: nothing waits in
// the client's own queue. It returns how many bytes that took.
func (s *session) stuff(c *client) (sent int, err error) {
	for sent < limits.flood {
		little := 256 << 10
		if sent < limits.capacity {
			little *= 2
		}
		if err := c.send(little, limits.reply); err != nil {
			return sent, err
		}
		sent += little
		if stuck, err := s.leavesUnread(c); stuck || err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// leavesUnread tells whether the server sleeps although c has sent something. On a
// busy machine it may want to read and not get to it: then it does not sleep.
func (s *session) leavesUnread(c *client) (bool, error) {
	var since time.Time // it has slept
	for begin := time.Now(); time.Since(begin) < limits.silence; {
		asleep := s.awaitThreads(sleeping, limits.stalled)
		end, found, err := c.serverEnd()
		if err != nil {
			return false, err
		}
		switch {
		case !found:
			return true, nil // it has gone, and nobody reads
		case end.RxQueue == 0:
			return false, nil
		case !asleep:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
			time.Sleep(limits.stalled)
		default:
			return true, nil
		}
	}
	return true, nil
}

var errNoEnd = fmt.Errorf("all of it, and then no EOF: silence for %v", limits.silence)

// endWhileReading sends more than the server reads at a time, from several
// clients, so that many a FIN arrives while it knows already that there is
// something to read.
func (s *session) endWhileReading() error {
	const clients = 16
	errs := make(chan error, clients)
	var all []*client
	var wg group
	for range clients {
		c, err := s.dial(0)
		if err != nil {
			return err
		}
		all = append(all, c)
	}
	for _, c := range all {
		wg.Go(func() { c.ending(limits.lastWords) })
		wg.Go(func() {
			err := c.receive(limits.lastWords, limits.silence, nil)
			if err != nil {
				err = c.outcome(0, limits.lastWords, err)
			} else if err = c.eof(limits.silence); err == errSilence {
				err = errNoEnd
			}
			errs <- err
		})
	}
	wg.Wait()
	for range clients {
		err := <-errs
		if err == nil {
			continue
		}
		s.note("sent", "%d bytes and a FIN from each of %d clients, which read at the same time", limits.lastWords, clients)
		s.usually = closedEarly
		if err == errNoEnd {
			s.usually = "the event with EPOLLRDHUP came while the client was on the ready list already, and was not looked at"
		}
		if _, dead := s.server.dies(); dead {
			s.usually = ""
		}
		return s.fail("got back", "%v", err)
	}
	s.note("a FIN", "that came while its client was being served was seen, too, %d times", clients)
	return nil
}
