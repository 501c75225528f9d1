package tasks

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"epoll-step-by-step/internal/exam"
)

const (
	tooSoon       = 1900 * time.Millisecond // for a close after the last byte: the timeout is 2 s
	tooLate       = 3500 * time.Millisecond // for a close after the last byte
	keptTime      = 5 * time.Second         // how long a client that sends must be kept
	speakInterval = 500 * time.Millisecond  // between its messages

	maxLateMessages = 3 // messages that a busy machine may delay until their client is closed
)

// A speaker is a client that sends a message every speakInterval.
type speaker struct {
	pings atomic.Int64
	over  atomic.Bool // it may end
	end   chan error  // how it ended: one value
}

func startSpeaker(s *exam.Session) (*speaker, error) {
	c, err := s.DialAndPing()
	if err != nil {
		return nil, err
	}
	sp := &speaker{end: make(chan error, 1)}
	go func() { sp.end <- sp.speak(s, c) }()
	return sp, nil
}

// speak sends a message every speakInterval. On a busy machine, a message may come to the
// server so late that it has rightly closed c: then another client goes on.
func (sp *speaker) speak(s *exam.Session, c *exam.Client) error {
	begin := time.Now()
	last, closed := begin, 0
	for next := speakInterval; next <= keptTime || !sp.over.Load(); next += speakInterval {
		select {
		case <-time.After(time.Until(begin.Add(next))):
		case <-s.Ctx.Done():
			return s.Ctx.Err()
		}
		before := c.Got
		sp.pings.Add(1)
		err := c.Ping(exam.NewcomerTimeout)
		silent := time.Since(last)
		switch {
		case err == nil:
		case err == exam.ErrSilence || silent < tooSoon:
			return fmt.Errorf("an answer each time; after %.1f s %w", time.Since(begin).Seconds(), c.Outcome(before, exam.PingSize, err))
		case closed == maxLateMessages:
			return exam.CannotRun(fmt.Sprintf("this machine is too busy: %s that had to come every %v came %.1f s after the one before, or later", exam.Plural(closed+1, "message", "messages"), speakInterval, tooSoon.Seconds()))
		default:
			closed++
			if c, err = s.DialAndPing(); err != nil {
				return err
			}
		}
		last = time.Now()
	}
	return nil
}

// expectKept fails if the speaker was not kept to the end.
func expectKept(s *exam.Session, sp *speaker) error {
	sp.over.Store(true)
	err := <-sp.end
	switch {
	case exam.IsCannotRun(err):
		return err
	case err != nil:
		s.Usually = closedTooSoon
		s.Note("sent", "16 bytes every %v", speakInterval)
		return s.Fail("got back", "%v", err)
	}
	s.Note("another", "client sent 16 bytes every %v, and was kept", speakInterval)
	return nil
}

// An ending is how the server closed a silent client.
type ending struct {
	after time.Duration // since its last byte
	err   error         // nil: with an EOF
}

// connectCrowd connects silent clients, a few at a time, so each is due at another time.
// It returns how many they are, and their endings.
func connectCrowd(s *exam.Session) (n int, ends chan ending, err error) {
	ends = make(chan ending, crowdClients)
	begin := time.Now()
	var begun, connected atomic.Int64
	var wg exam.WaitGroup
	errs := make(chan error, 8)
	for range cap(errs) {
		wg.Go(func() {
			for begun.Add(1) <= crowdClients && time.Since(begin) < crowdTime {
				from := time.Now()
				c, err := s.Dial(0)
				if err != nil {
					errs <- err
					return
				}
				connected.Add(1)
				go awaitClose(s, c, from, time.Now(), ends)
			}
		})
	}
	wg.Wait()
	close(errs)
	n = int(connected.Load())
	s.Note("clients", "%d connected, and were silent", n)
	return n, ends, <-errs
}

// awaitClose waits until the server closes c, whose last byte was sent between from and
// to. It is too soon if it is too soon after from, and too late if it is too late after
// to.
func awaitClose(s *exam.Session, c *exam.Client, from, to time.Time, ends chan<- ending) {
	err := c.AwaitEOF(time.Until(to.Add(tooLate)))
	ends <- ending{time.Since(from), err}
	c.Reset() // which leaves nothing behind if the server has closed it
}

// expectCrowdClosed receives n endings and fails if one is not in time.
func expectCrowdClosed(s *exam.Session, ends <-chan ending, n int) error {
	var soonest, latest time.Duration = math.MaxInt64, 0
	soon, late := 0, 0
	for range n {
		e := <-ends
		switch {
		case e.err == exam.ErrSilence:
			late++
		case e.err != nil:
			return s.Fail("got back", "%v, after %.1f s, instead of an EOF", e.err, e.after.Seconds())
		case e.after < tooSoon:
			soon++
			fallthrough
		default:
			soonest, latest = min(soonest, e.after), max(latest, e.after)
		}
	}
	switch {
	case soon > 0:
		s.Usually = closedTooSoon
		return s.Fail("closed", "too soon: %s, the first one %.2f s after its last byte", exam.Plural(soon, "client", "clients"), soonest.Seconds())
	case late == n:
		return s.Fail("closed", "none of them: after %v all were still connected", tooLate)
	case late > 0:
		s.Usually = "the loop looks at the clock too seldom, or the first client on the list is not the one that has been silent longest"
		return s.Fail("closed", "%d of them; %v after their last byte, %d were still connected", n-late, tooLate, late)
	}
	s.Note("closed", "all of them, %.2f to %.2f s after their last byte", soonest.Seconds(), latest.Seconds())
	return nil
}

// A stalledClient does not read what it is owed.
type stalledClient struct {
	*exam.Client
	since time.Time // no byte has moved since; zero if it is closed already
}

func dialStalled(s *exam.Session) (*stalledClient, error) {
	c, err := s.Dial(0)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	offered, err := c.Offer(exam.BigMessage)
	s.Note("one sent", "%d bytes without reading, until the server took no more", offered)
	switch {
	case err == nil:
		return &stalledClient{c, time.Now()}, nil
	case time.Since(begin) > tooSoon:
		return &stalledClient{c, time.Time{}}, nil // bytes trickled into the server's queue long after the server was stuck
	}
	s.Usually = closedTooSoon
	return nil, s.Fail("closed", "while its bytes still moved: %v", err)
}

// expectStalledClosed fails if the stalled client is not closed. It looks at the server's
// end, because a read would make bytes move.
func expectStalledClosed(s *exam.Session, c *stalledClient) error {
	for accepted := false; !c.since.IsZero(); time.Sleep(20 * time.Millisecond) {
		end, found, err := c.ServerEnd()
		if err != nil {
			return err
		}
		if accepted = accepted || end.Inode != 0; !found || accepted && end.Inode == 0 {
			break // bytes may still be under way, but the server has closed its end
		}
		if time.Since(c.since) > tooLate {
			s.Usually = "a client with pending bytes is not on the list, or only bytes that the server reads count as a sign of life"
			return s.Fail("closed", "not within %v, in which no byte could move", tooLate)
		}
	}
	s.Note("closed", "that one, too")
	return nil
}
