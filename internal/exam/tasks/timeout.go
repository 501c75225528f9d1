package tasks

import (
	"math"
	"strings"
	"time"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/procfs"
)

// NEVER_TIMES_OUT is for an echo server that closes a client when no byte has come from
// it or gone to it for 2 seconds. All the time, a speaker sends a message twice a second
// and must be kept. Two things show what the timeouts cost: the CPU time of a message,
// with and without a silent crowd, and how often the server wakes up although no client
// is due.

const (
	crowdClients = 5000                    // clients that are silent and must be closed,
	crowdTime    = 1200 * time.Millisecond // or as many as can connect in this time: less than the timeout
	leftClients  = 8                       // clients that leave before
	maxCostRatio = 2.0                     // of a message's CPU time with the crowd to that without it
	maxWakeUps   = 4                       // in quietTime, with no client due
	quietTime    = time.Second
	sleepTries   = 3
	minCrowd     = 2000 // clients: a look at fewer costs less than a message, and proves nothing
	maxMessages  = 300  // whose CPU time is measured: with a crowd, as many as come before its clients are due
	minMessages  = 15   // or the result counts for nothing: fewer may all be a busy machine's
	costTries    = 4    // crowds with which a message must cost too much, or could not be measured
)

var NeverTimesOut = exam.Check{
	ID: "NEVER_TIMES_OUT", Title: "clients that are silent for 2 s are closed, and that costs little", For: []exam.Profile{exam.Timeout}, Run: neverTimesOut, Looks: true, Clients: crowdClients,
	Usually: "epoll_wait(2) has no timeout, and the loop does not look at the clock; or the first client on the list keeps sending, and the others wait behind it",
	Reread:  []string{`epoll_wait(2) "DESCRIPTION"`, `timerfd_create(2) "Operating on a timer file descriptor"`}, Chapter: exam.ChapterLevel,
}

func neverTimesOut(s *exam.Session) error {
	empty, err := connectAndLeave(s, leftClients)
	if err != nil {
		return err
	}
	sp, err := startSpeaker(s)
	if err != nil {
		return err
	}
	thread, alone, err := messageCost(s, nil)
	if err != nil {
		return err
	}
	crowd, ends, err := connectCrowd(s)
	if err != nil {
		return err
	}
	among, err := costAmong(s, crowd, ends)
	if err != nil {
		return err
	}
	slow, err := dialStalled(s) // while the crowd waits
	if err != nil {
		return err
	}
	if err := expectCrowdClosed(s, ends, crowd); err != nil {
		return err
	}
	// The CPU time of a message is also a matter of what else the machine does.
	for try := 1; tooCostly(alone, among) && try < costTries; try++ {
		if alone, among, crowd, err = costAgain(s); err != nil {
			return err
		}
	}
	if err := compareCosts(s, alone, among, crowd); err != nil {
		return err
	}
	if err := expectStalledClosed(s, slow); err != nil {
		return err
	}
	if err := expectSleep(s, thread, sp); err != nil {
		return err
	}
	if err := expectKept(s, sp); err != nil {
		return err
	}
	s.ResetAll()
	awaitDescriptors(s, empty)
	s.AwaitSleep()
	return expectSleep(s, thread, nil)
}

// tooCostly reports whether a message costs more with the crowd than without it, or the
// cost with the crowd is not known.
func tooCostly(alone, among time.Duration) bool { return float64(among) > maxCostRatio*float64(alone) }

// costAgain measures a message without other clients and with another crowd, and waits
// until that crowd is closed.
func costAgain(s *exam.Session) (alone, among time.Duration, crowd int, err error) {
	if _, alone, err = messageCost(s, nil); err != nil {
		return 0, 0, 0, err
	}
	crowd, ends, err := connectCrowd(s)
	if err != nil {
		return 0, 0, 0, err
	}
	if among, err = costAmong(s, crowd, ends); err != nil {
		return 0, 0, 0, err
	}
	for range crowd {
		<-ends
	}
	return alone, among, crowd, nil
}

// costAmong returns the CPU time of a message while the crowd is there, or math.MaxInt64
// if the crowd is too small or leaves too soon for that.
func costAmong(s *exam.Session, crowd int, ends chan ending) (time.Duration, error) {
	if crowd < minCrowd {
		return math.MaxInt64, nil
	}
	_, among, err := messageCost(s, func() bool { return len(ends) < crowd/5 })
	return among, err
}

// compareCosts fails if a message costs more with the crowd than without it.
func compareCosts(s *exam.Session, alone, among time.Duration, crowd int) error {
	if among == math.MaxInt64 {
		s.Note("a message", "could not be measured: on this busy machine, too few clients connected in time, or the server closed the first ones too early for it")
		return nil
	}
	s.Note("a message", "cost %v of CPU time without other clients, and %v with %d of them",
		alone.Round(100*time.Nanosecond), among.Round(100*time.Nanosecond), crowd)
	if tooCostly(alone, among) {
		s.Usually = "each wait looks at all clients: keep them in the order of their last byte, and the first one is enough"
		return exam.ErrFailed
	}
	return nil
}

const closedTooSoon = "the 2 s begin with accept(2) instead of the last byte; or a client that has left " +
	"is still on the list, and another client now has the number of its descriptor"

// connectAndLeave connects n clients and closes them. The next clients get their
// descriptor numbers, and the server must not take them for the first ones. It returns
// how many descriptors are open without clients.
func connectAndLeave(s *exam.Session, n int) (open int, err error) {
	var clients []*exam.Client
	for range n {
		c, err := s.DialAndPing()
		if err != nil {
			return 0, err
		}
		clients = append(clients, c)
	}
	open = s.Server.Descriptors() - n
	for _, c := range clients {
		s.CloseClient(c)
	}
	awaitDescriptors(s, open)
	return open, nil
}

// awaitDescriptors waits until no more than n are open. FD_LEAK reports those that are
// never closed.
func awaitDescriptors(s *exam.Session, n int) {
	for deadline := time.Now().Add(exam.ReplyTimeout); s.Server.Descriptors() > n && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
}

// messageCost returns the CPU time that the server spends on a message of a new client:
// the least that any single message costs. Interrupts, a runtime's collector and cold
// caches add to one message or another, even to most of them, but only what the server
// does for each message is part of all. The time is that of the busiest thread, because a
// runtime's other threads have work of their own. It stops when there returns false, and
// the last message does not count; with fewer than minMessages, the result is
// math.MaxInt64. It also returns the thread that was woken most often: the one that
// serves.
func messageCost(s *exam.Session, there func() bool) (thread int, least time.Duration, err error) {
	c, err := s.DialAndPing()
	if err != nil {
		return 0, 0, err
	}
	defer s.CloseClient(c)
	first := threadsAtRest(s)
	before := first
	least = math.MaxInt64
	for message := range maxMessages {
		if err := c.Ping(exam.SilenceTimeout); err != nil {
			return 0, 0, err
		}
		after := threadsAtRest(s)
		if there != nil && !there() {
			if message < minMessages {
				least = math.MaxInt64
			}
			break
		}
		spent := time.Duration(0)
		for tid, t := range after {
			spent = max(spent, t.CPU-before[tid].CPU)
		}
		least, before = min(least, spent), after
	}
	woken := uint64(0)
	for tid, t := range before {
		if n := t.Voluntary - first[tid].Voluntary; n > woken {
			thread, woken = tid, n
		}
	}
	return thread, least, nil
}

// threadsAtRest waits until all threads sleep and have left the CPU, but not long: some
// servers never sleep. It returns the threads. Before a thread has left the CPU, its time
// there lacks all that it has done since it was woken.
func threadsAtRest(s *exam.Session) map[int]procfs.Thread {
	for deadline := time.Now().Add(exam.StallTime); ; time.Sleep(200 * time.Microsecond) {
		threads, atRest := s.Server.Threads(), true
		for _, t := range threads {
			atRest = atRest && t.Syscall.State != procfs.SyscallRunning && strings.ContainsRune(exam.Sleeping, rune(t.State))
		}
		if atRest || time.Now().After(deadline) {
			return threads
		}
	}
}

// expectSleep fails if the server does not sleep for a while in which no client is due.
// There is the speaker, or without one no client at all. On a busy machine, a runtime's
// threads may wake each other up; a clock that ticks does so each time, and expectSleep
// tries a few times.
func expectSleep(s *exam.Session, thread int, sp *speaker) error {
	said, when := func() int { return 0 }, "with no client at all"
	if sp != nil {
		said, when = func() int { return int(sp.pings.Load()) }, "not counting messages, with no client due"
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
		case try < sleepTries:
		case busy >= exam.SpinningCPU:
			s.Usually = "epoll_wait(2) gets a timeout of 0 again and again: when a client is due, or when none is left"
			return s.Fail("CPU", "wanted %.0f %% of the time during %.1f s, %s", busy*100, took.Seconds(), when)
		default:
			s.Usually = "the loop looks at the clock at regular times: let epoll_wait(2) sleep until the first client is due, and without clients until an event comes"
			return s.Fail("woken", "%d times in %.1f s, %s", wakeUps, took.Seconds(), when)
		}
	}
}
