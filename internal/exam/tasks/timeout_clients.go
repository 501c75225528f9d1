package tasks

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"epoll-step-by-step/internal/exam"
)

const (
	tooSoon       = 1900 * time.Millisecond // after the last byte: the timeout is 2 s
	tooLate       = 3500 * time.Millisecond // likewise
	keptTime      = 5 * time.Second         // how long a client that speaks is to be kept
	speakInterval = 500 * time.Millisecond  // between its messages
)

// A speaker is a client that is never silent for long.
type speaker struct {
	pings atomic.Int64
	over  atomic.Bool // it may end
	end   chan error  // how it ended: one value
}

func speak(s *exam.Session) (*speaker, error) {
	c, err := s.DialAndPing()
	if err != nil {
		return nil, err
	}
	sp := &speaker{end: make(chan error, 1)}
	go func() {
		begin := time.Now()
		last := begin
		for next := speakInterval; next <= keptTime || !sp.over.Load(); next += speakInterval {
			select {
			case <-time.After(time.Until(begin.Add(next))):
			case <-s.Ctx.Done():
				sp.end <- s.Ctx.Err()
				return
			}
			before, silent := c.Got, time.Since(last)
			sp.pings.Add(1)
			if err := c.Ping(exam.NewcomerTimeout); err != nil && silent > tooSoon {
				sp.end <- exam.CannotRun(fmt.Sprintf("this machine is too busy: a client that is to speak every %v could not for %.1f s", speakInterval, silent.Seconds()))
				return
			} else if err != nil {
				sp.end <- fmt.Errorf("an answer each time; after %.1f s %w", time.Since(begin).Seconds(), c.Outcome(before, exam.PingSize, err))
				return
			}
			last = time.Now()
		}
		sp.end <- nil
	}()
	return sp, nil
}

// stayed wants that the speaker was kept to the end.
func stayed(s *exam.Session, sp *speaker) error {
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
	s.Note("another", "client spoke every %v, and was kept", speakInterval)
	return nil
}

// An ending is how the server let go of a silent client.
type ending struct {
	after time.Duration // since its last byte
	err   error         // nil: in order, by an EOF
}

// crowd connects n clients, a few at a time, so that each is due at a time of
// its own.
func crowd(s *exam.Session, n int) (chan ending, error) {
	ends := make(chan ending, n)
	var left atomic.Int64
	left.Store(int64(n))
	var wg exam.WaitGroup
	errs := make(chan error, 8)
	for range cap(errs) {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				from := time.Now()
				c, err := s.Dial(0)
				if err != nil {
					errs <- err
					return
				}
				go watch(s, c, from, time.Now(), ends)
			}
		})
	}
	wg.Wait()
	close(errs)
	s.Note("clients", "%d connected, and were silent", n)
	return ends, <-errs
}

// watch waits until the server closes c, whose last byte has come or gone
// between from and to. If that is too soon, it was after from, and if it is too
// late, after to.
func watch(s *exam.Session, c *exam.Client, from, to time.Time, ends chan<- ending) {
	err := c.AwaitEOF(time.Until(to.Add(tooLate)))
	ends <- ending{time.Since(from), err}
	c.Reset() // if the server has closed it, nothing stays behind
}

// crowdGoes wants n endings, each in time.
func crowdGoes(s *exam.Session, ends <-chan ending, n int) error {
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
		s.Usually = "the clock is looked at too seldom, or the first client on the list is not the one that has been silent longest"
		return s.Fail("closed", "%d of them; %v after their last byte, %d were still connected", n-late, tooLate, late)
	}
	s.Note("closed", "all of them, %.2f to %.2f s after their last byte", soonest.Seconds(), latest.Seconds())
	return nil
}

// A stalled client does not take what it is owed.
type stalledClient struct {
	*exam.Client
	since time.Time // no byte has moved since then, or since before; zero if it is closed already
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
		return &stalledClient{c, time.Time{}}, nil // the server's queue went on filling in trickles, long after the server was stuck
	}
	s.Usually = closedTooSoon
	return nil, s.Fail("closed", "while its bytes still moved: %v", err)
}

// stalledGoes wants it closed. It would notice by reading, so look at the
// server's end.
func stalledGoes(s *exam.Session, c *stalledClient) error {
	for accepted := false; !c.since.IsZero(); time.Sleep(20 * time.Millisecond) {
		end, found, err := c.ServerEnd()
		if err != nil {
			return err
		}
		if accepted = accepted || end.Inode != 0; !found || accepted && end.Inode == 0 {
			break // what it is owed may still be under way, but nobody's any more
		}
		if time.Since(c.since) > tooLate {
			s.Usually = "a client that is owed something is not on the list, or only reading counts as a sign of life"
			return s.Fail("closed", "not within %v, in which no byte could move", tooLate)
		}
	}
	s.Note("closed", "that one, too")
	return nil
}
