package tasks

import (
	"fmt"
	"math"
	"time"

	"epoll-step-by-step/internal/exam"
)

// NEVER_TIMES_OUT is for an echo server that closes a client when no byte has
// come from it or gone to it for 2 seconds. All the time, a speaker sends a
// message twice a second and is to be kept. What the clock costs shows in what a
// message costs, without a silent crowd and with it, and in how often the server
// wakes up although nobody is due.

const (
	crowdClients = 5000 // clients that fall silent and are to be closed
	maxCostRatio = 2.0  // of a message's CPU time with the crowd to that without it
	maxWakeUps   = 4    // in quietTime, with nobody due
	quietTime    = time.Second
)

var NeverTimesOut = exam.Check{
	ID: "NEVER_TIMES_OUT", Title: "clients that are silent for 2 s are closed, and that costs little", For: []exam.Profile{exam.Timeout}, Run: neverTimesOut, Looks: true, Clients: crowdClients,
	Usually: "epoll_wait(2) has no timeout, and nobody looks at the clock; or the first client on the list speaks, and the others wait behind it",
	Reread:  []string{`epoll_wait(2) "DESCRIPTION"`, `timerfd_create(2) "Operating on a timer file descriptor"`}, Chapter: exam.ChapterLevel,
}

func neverTimesOut(s *exam.Session) error {
	empty, err := comeAndGo(s, 8)
	if err != nil {
		return err
	}
	sp, err := speak(s)
	if err != nil {
		return err
	}
	thread, alone, err := cost(s, nil)
	if err != nil {
		return err
	}
	ends, err := crowd(s, crowdClients)
	if err != nil {
		return err
	}
	_, among, err := cost(s, func() bool { return len(ends) < crowdClients/5 })
	if err != nil {
		return err
	}
	slow, err := dialStalled(s) // while the crowd waits
	if err != nil {
		return err
	}
	if err := crowdGoes(s, ends, crowdClients); err != nil {
		return err
	}
	if among == math.MaxInt64 {
		return exam.CannotRun(fmt.Sprintf("this machine is too busy: of %d clients the first were closed before the last had connected", crowdClients))
	}
	if float64(among) > maxCostRatio*float64(alone) {
		// Or is the machine busier than it was? Then messages are dear now, too.
		_, again, err := cost(s, nil)
		if err != nil {
			return err
		}
		alone = max(alone, again)
	}
	s.Note("a message", "cost %v of CPU time with nobody else there, and %v with the %d",
		alone.Round(100*time.Nanosecond), among.Round(100*time.Nanosecond), crowdClients)
	if float64(among) > maxCostRatio*float64(alone) {
		s.Usually = "each wait looks at all clients: keep them in the order of their last byte, and the first one is enough"
		return exam.ErrFailed
	}
	if err := stalledGoes(s, slow); err != nil {
		return err
	}
	if err := rests(s, thread, sp); err != nil {
		return err
	}
	if err := stayed(s, sp); err != nil {
		return err
	}
	s.ResetAll()
	awaitDescriptors(s, empty)
	s.AwaitSleep()
	return rests(s, thread, nil)
}

const closedTooSoon = "the 2 s begin with accept(2) instead of the last byte; or a client that has left " +
	"is still waited for, and its descriptor's number is another client's now"

// comeAndGo leaves the server with descriptors that were clients' a moment ago.
// The next clients get their numbers, and are not to be taken for them. It
// returns how many descriptors are open without clients.
func comeAndGo(s *exam.Session, n int) (open int, err error) {
	var gone []*exam.Client
	for range n {
		c, err := s.DialAndPing()
		if err != nil {
			return 0, err
		}
		gone = append(gone, c)
	}
	open = s.Server.Descriptors() - n
	for _, c := range gone {
		s.CloseClient(c)
	}
	awaitDescriptors(s, open)
	return open, nil
}

// awaitDescriptors waits until no more than n are open. That they are closed at
// all is FD_LEAK's matter.
func awaitDescriptors(s *exam.Session, n int) {
	for deadline := time.Now().Add(exam.ReplyTimeout); s.Server.Descriptors() > n && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
}

// cost is the CPU time that the server spends on a message of a client of its
// own: on the busiest thread, for a runtime's others have reasons of their own,
// and at the least of several measurements, as what else goes on only adds to
// it. One that ends when the crowd is no longer there does not count, and is the
// last. It also returns the thread that was woken most often: the one that serves.
func cost(s *exam.Session, there func() bool) (thread int, least time.Duration, err error) {
	c, err := s.DialAndPing()
	if err != nil {
		return 0, 0, err
	}
	defer s.CloseClient(c)
	const batches, messages = 20, 30
	first := s.Server.Threads()
	least = math.MaxInt64
	for range batches {
		s.AwaitSleep()
		before := s.Server.Threads()
		for range messages {
			if err := c.Ping(exam.SilenceTimeout); err != nil {
				return 0, 0, err
			}
		}
		s.AwaitSleep()
		spent := time.Duration(0)
		for tid, t := range s.Server.Threads() {
			spent = max(spent, t.CPU-before[tid].CPU)
		}
		if there != nil && !there() {
			break
		}
		least = min(least, spent/messages)
	}
	woken := uint64(0)
	for tid, t := range s.Server.Threads() {
		if n := t.Voluntary - first[tid].Voluntary; n > woken {
			thread, woken = tid, n
		}
	}
	return thread, least, nil
}

// rests wants the server asleep for a while in which nobody is due. There is the
// speaker, or without one no client at all. On a busy machine, threads wake each
// other up for reasons of their own: a clock that ticks is there each time.
func rests(s *exam.Session, thread int, sp *speaker) error {
	said, when := func() int { return 0 }, "with no client at all"
	if sp != nil {
		said, when = func() int { return int(sp.pings.Load()) }, "besides for messages, with nobody due"
	}
	for try := 1; ; try++ {
		begin, pings, before := time.Now(), said(), s.Server.Threads()[thread]
		select {
		case <-time.After(quietTime):
		case <-s.Ctx.Done():
			return s.Ctx.Err()
		}
		after := s.Server.Threads()[thread]
		took := time.Since(begin)
		busy := float64(after.CPU+after.Waited-before.CPU-before.Waited) / float64(took)
		wakeUps := int(after.Voluntary-before.Voluntary) - (said() - pings)
		switch {
		case busy < exam.SpinningCPU && wakeUps <= maxWakeUps:
			return nil
		case try < 3:
		case busy >= exam.SpinningCPU:
			s.Usually = "epoll_wait(2) is given a timeout of 0 again and again: when somebody is due, or when nobody is left"
			return s.Fail("CPU", "wanted %.0f %% of the time during %.1f s, %s", busy*100, took.Seconds(), when)
		default:
			s.Usually = "the clock is looked at again and again: let epoll_wait(2) sleep until the first client is due, and without clients for ever"
			return s.Fail("woken", "%d times in %.1f s, %s", wakeUps, took.Seconds(), when)
		}
	}
}
