package exam

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// NEVER_TIMES_OUT is for an echo server that closes a client when no byte has
// come from it or gone to it for 2 seconds. All the time, a speaker sends a
// message twice a second and is to be kept. What the clock costs shows in what a
// message costs, without a silent crowd and with it, and in how often the server
// wakes up although nobody is due.

func neverTimesOut(s *session) error {
	empty, err := s.comeAndGo(8)
	if err != nil {
		return err
	}
	sp, err := s.speak()
	if err != nil {
		return err
	}
	thread, alone, err := s.cost(nil)
	if err != nil {
		return err
	}
	ends, err := s.crowd(limits.crowd)
	if err != nil {
		return err
	}
	_, among, err := s.cost(func() bool { return len(ends) < limits.crowd/5 })
	if err != nil {
		return err
	}
	slow, err := s.stall() // while the crowd waits
	if err != nil {
		return err
	}
	if err := s.crowdGoes(ends, limits.crowd); err != nil {
		return err
	}
	if among == math.MaxInt64 {
		return &cannotRun{fmt.Sprintf("this machine is too busy: of %d clients the first were closed before the last had connected", limits.crowd)}
	}
	if float64(among) > limits.dearer*float64(alone) {
		// Or is the machine busier than it was? Then messages are dear now, too.
		_, again, err := s.cost(nil)
		if err != nil {
			return err
		}
		alone = max(alone, again)
	}
	s.note("a message", "cost %v of CPU time with nobody else there, and %v with the %d",
		alone.Round(100*time.Nanosecond), among.Round(100*time.Nanosecond), limits.crowd)
	if float64(among) > limits.dearer*float64(alone) {
		s.usually = "each wait looks at all clients: keep them in the order of their last byte, and the first one is enough"
		return errFailed
	}
	if err := s.stalledGoes(slow); err != nil {
		return err
	}
	if err := s.rests(thread, sp); err != nil {
		return err
	}
	if err := s.stayed(sp); err != nil {
		return err
	}
	s.resetAll()
	s.awaitDescriptors(empty)
	s.awaitSleep()
	return s.rests(thread, nil)
}

const closedTooSoon = "the 2 s begin with accept(2) instead of the last byte; or a client that has left " +
	"is still waited for, and its descriptor's number is another client's now"

// comeAndGo leaves the server with descriptors that were clients' a moment ago.
// The next clients get their numbers, and are not to be taken for them. It
// returns how many descriptors are open without clients.
func (s *session) comeAndGo(n int) (open int, err error) {
	var gone []*client
	for range n {
		c, err := s.served()
		if err != nil {
			return 0, err
		}
		gone = append(gone, c)
	}
	open = s.server.descriptors() - n
	for _, c := range gone {
		s.forget(c)
	}
	s.awaitDescriptors(open)
	return open, nil
}

// awaitDescriptors waits until no more than n are open. That they are closed at
// all is FD_LEAK's matter.
func (s *session) awaitDescriptors(n int) {
	for deadline := time.Now().Add(limits.reply); s.server.descriptors() > n && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
}

// A speaker is a client that is never silent for long.
type speaker struct {
	pings atomic.Int64
	over  atomic.Bool // it may end
	end   chan error  // how it ended: one value
}

func (s *session) speak() (*speaker, error) {
	c, err := s.served()
	if err != nil {
		return nil, err
	}
	sp := &speaker{end: make(chan error, 1)}
	go func() {
		begin := time.Now()
		last := begin
		for next := limits.every; next <= limits.kept || !sp.over.Load(); next += limits.every {
			select {
			case <-time.After(time.Until(begin.Add(next))):
			case <-s.ctx.Done():
				sp.end <- s.ctx.Err()
				return
			}
			before, silent := c.got, time.Since(last)
			sp.pings.Add(1)
			if err := c.ping(limits.newcomer); err != nil && silent > limits.tooSoon {
				sp.end <- &cannotRun{fmt.Sprintf("this machine is too busy: a client that is to speak every %v could not for %.1f s", limits.every, silent.Seconds())}
				return
			} else if err != nil {
				sp.end <- fmt.Errorf("an answer each time; after %.1f s %w", time.Since(begin).Seconds(), c.outcome(before, pingSize, err))
				return
			}
			last = time.Now()
		}
		sp.end <- nil
	}()
	return sp, nil
}

// stayed wants that the speaker was kept to the end.
func (s *session) stayed(sp *speaker) error {
	sp.over.Store(true)
	err := <-sp.end
	var could *cannotRun
	switch {
	case errors.As(err, &could):
		return err
	case err != nil:
		s.usually = closedTooSoon
		s.note("sent", "16 bytes every %v", limits.every)
		return s.fail("got back", "%v", err)
	}
	s.note("another", "client spoke every %v, and was kept", limits.every)
	return nil
}

// cost is the CPU time that the server spends on a message of a client of its
// own: on the busiest thread, for a runtime's others have reasons of their own,
// and at the least of several measurements, as what else goes on only adds to
// it. One that ends when the crowd is no longer there does not count, and is the
// last. It also returns the thread that was woken most often: the one that serves.
func (s *session) cost(there func() bool) (thread int, least time.Duration, err error) {
	c, err := s.served()
	if err != nil {
		return 0, 0, err
	}
	defer s.forget(c)
	const batches, messages = 20, 30
	first := s.server.threads()
	least = math.MaxInt64
	for range batches {
		s.awaitSleep()
		before := s.server.threads()
		for range messages {
			if err := c.ping(limits.silence); err != nil {
				return 0, 0, err
			}
		}
		s.awaitSleep()
		spent := time.Duration(0)
		for tid, t := range s.server.threads() {
			spent = max(spent, t.CPU-before[tid].CPU)
		}
		if there != nil && !there() {
			break
		}
		least = min(least, spent/messages)
	}
	woken := uint64(0)
	for tid, t := range s.server.threads() {
		if n := t.Voluntary - first[tid].Voluntary; n > woken {
			thread, woken = tid, n
		}
	}
	return thread, least, nil
}

// An ending is how the server let go of a silent client.
type ending struct {
	after time.Duration // since its last byte
	err   error         // nil: in order, by an EOF
}

// crowd connects n clients, a few at a time, so that each is due at a time of
// its own.
func (s *session) crowd(n int) (chan ending, error) {
	ends := make(chan ending, n)
	var left atomic.Int64
	left.Store(int64(n))
	var wg group
	errs := make(chan error, 8)
	for range cap(errs) {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				from := time.Now()
				c, err := s.dial(0)
				if err != nil {
					errs <- err
					return
				}
				go s.watch(c, from, time.Now(), ends)
			}
		})
	}
	wg.Wait()
	close(errs)
	s.note("clients", "%d connected, and were silent", n)
	return ends, <-errs
}

// watch waits until the server closes c, whose last byte has come or gone
// between from and to. If that is too soon, it was after from, and if it is too
// late, after to.
func (s *session) watch(c *client, from, to time.Time, ends chan<- ending) {
	err := c.eof(time.Until(to.Add(limits.tooLate)))
	ends <- ending{time.Since(from), err}
	c.reset() // if the server has closed it, nothing stays behind
}

// crowdGoes wants n endings, each in time.
func (s *session) crowdGoes(ends <-chan ending, n int) error {
	var soonest, latest time.Duration = math.MaxInt64, 0
	soon, late := 0, 0
	for range n {
		e := <-ends
		switch {
		case e.err == errSilence:
			late++
		case e.err != nil:
			return s.fail("got back", "%v, after %.1f s, instead of an EOF", e.err, e.after.Seconds())
		case e.after < limits.tooSoon:
			soon++
			fallthrough
		default:
			soonest, latest = min(soonest, e.after), max(latest, e.after)
		}
	}
	switch {
	case soon > 0:
		s.usually = closedTooSoon
		return s.fail("closed", "too soon: %s, the first one %.2f s after its last byte", plural(soon, "client", "clients"), soonest.Seconds())
	case late == n:
		return s.fail("closed", "none of them: after %v all were still connected", limits.tooLate)
	case late > 0:
		s.usually = "the clock is looked at too seldom, or the first client on the list is not the one that has been silent longest"
		return s.fail("closed", "%d of them; %v after their last byte, %d were still connected", n-late, limits.tooLate, late)
	}
	s.note("closed", "all of them, %.2f to %.2f s after their last byte", soonest.Seconds(), latest.Seconds())
	return nil
}

// A stalled client does not take what it is owed.
type stalled struct {
	*client
	since time.Time // no byte has moved since then, or since before; zero if it is closed already
}

func (s *session) stall() (*stalled, error) {
	c, err := s.dial(0)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	offered, err := c.offer(limits.message)
	s.note("one sent", "%d bytes without reading, until the server took no more", offered)
	switch {
	case err == nil:
		return &stalled{c, time.Now()}, nil
	case time.Since(begin) > limits.tooSoon:
		return &stalled{c, time.Time{}}, nil // the server's queue went on filling in trickles, long after the server was stuck
	}
	s.usually = closedTooSoon
	return nil, s.fail("closed", "while its bytes still moved: %v", err)
}

// stalledGoes wants it closed. It would notice by reading, so look at the
// server's end.
func (s *session) stalledGoes(c *stalled) error {
	for accepted := false; !c.since.IsZero(); time.Sleep(20 * time.Millisecond) {
		end, found, err := c.serverEnd()
		if err != nil {
			return err
		}
		if accepted = accepted || end.Inode != 0; !found || accepted && end.Inode == 0 {
			break // what it is owed may still be under way, but nobody's any more
		}
		if time.Since(c.since) > limits.tooLate {
			s.usually = "a client that is owed something is not on the list, or only reading counts as a sign of life"
			return s.fail("closed", "not within %v, in which no byte could move", limits.tooLate)
		}
	}
	s.note("closed", "that one, too")
	return nil
}

// rests wants the server asleep for a while in which nobody is due. There is the
// speaker, or without one no client at all. On a busy machine, threads wake each
// other up for reasons of their own: a clock that ticks is there each time.
func (s *session) rests(thread int, sp *speaker) error {
	said, when := func() int { return 0 }, "with no client at all"
	if sp != nil {
		said, when = func() int { return int(sp.pings.Load()) }, "besides for messages, with nobody due"
	}
	for try := 1; ; try++ {
		begin, pings, before := time.Now(), said(), s.server.threads()[thread]
		select {
		case <-time.After(limits.quiet):
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
		after := s.server.threads()[thread]
		took := time.Since(begin)
		busy := float64(after.CPU+after.Waited-before.CPU-before.Waited) / float64(took)
		wakeUps := int(after.Voluntary-before.Voluntary) - (said() - pings)
		switch {
		case busy < limits.spinCPU && wakeUps <= limits.wakeUps:
			return nil
		case try < 3:
		case busy >= limits.spinCPU:
			s.usually = "epoll_wait(2) is given a timeout of 0 again and again: when somebody is due, or when nobody is left"
			return s.fail("CPU", "wanted %.0f %% of the time during %.1f s, %s", busy*100, took.Seconds(), when)
		default:
			s.usually = "the clock is looked at again and again: let epoll_wait(2) sleep until the first client is due, and without clients for ever"
			return s.fail("woken", "%d times in %.1f s, %s", wakeUps, took.Seconds(), when)
		}
	}
}
