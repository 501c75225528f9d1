package owed

import (
	"fmt"
	"time"

	"epoll-step-by-step/internal/exam"
)

const (
	fewDescriptors = 32 // RLIMIT_NOFILE of the server that is to run out
	manyClients    = 60 // clients that it gets

	calmWatch = 300 * time.Millisecond // how long CPU time is measured before the server has run out

	// Then it may try again after a pause, which is 1 s at most in Go's net/http and
	// in Python's asyncio. So a server that does nothing for longer than that sleeps.
	// Otherwise the CPU time of several pauses and tries counts: asyncio tries as
	// often as its backlog says, which takes 10 % of the time with 100, its default,
	// and 40 to 100 % with 4096.
	restWatch = 1250 * time.Millisecond
	fullWatch = 3 * time.Second
	restCPU   = 0.01 // share of one CPU that is nothing
	retryCPU  = 0.2  // share of one CPU that is too much for a server that can do nothing
	noRest    = 0.9  // share of the time in which it uses a CPU or waits for one: it never sleeps

	// CPU time from the close of a descriptor to the answer of the next client. It is
	// 1 ms or less, or some 50 ms if asyncio tries 100 times; 4096 times take 0.4 s.
	maxTurnCPU = 250 * time.Millisecond
)

var DiedOutOfFDs = exam.Check{
	ID: "DIED_OUT_OF_FDS", Title: "out of descriptors, it still serves the clients it has", For: echoServers, Run: diedOutOfFDs, Survival: true,
	Starts: true, NOFILE: fewDescriptors, Looks: true,
	Usually: "EMFILE from accept(2) is taken for a fatal error",
	Reread:  []string{`accept(2) "ERRORS"`, `getrlimit(2) "DESCRIPTION"`}, Chapter: exam.ChapterLevel,
}

var SpinsOutOfFDs = exam.Check{
	ID: "SPINS_OUT_OF_FDS", Title: "out of descriptors, it sleeps", For: echoServers, Run: spinsOutOfFDs,
	Starts: true, NOFILE: fewDescriptors, Looks: true,
	Usually: "a level-triggered listener is reported again and again while accept(2) fails",
	Reread:  []string{`accept(2) "ERRORS"`, `epoll_ctl(2) "DESCRIPTION"`}, Chapter: exam.ChapterLevel,
}

var DeafAfterOutOfFDs = exam.Check{
	ID: "DEAF_AFTER_OUT_OF_FDS", Title: "when descriptors are free again, it accepts again", For: echoServers, Run: deafAfterOutOfFDs,
	Starts: true, NOFILE: fewDescriptors, Looks: true,
	Usually: "the listener was unregistered, or its one edge was used up, and accept(2) is not called again",
	Reread:  []string{`accept(2) "ERRORS"`, `epoll(7) "Questions and answers"`}, Chapter: exam.ChapterEdge,
}

// runOut connects clients until accept(2) returns EMFILE. It returns the first
// client, which is being served, and the CPU share that the server wanted before.
func runOut(s *exam.Session) (first *exam.Client, before float64, err error) {
	if first, err = s.DialAndPing(); err != nil {
		return nil, 0, exam.NotPrepared(err)
	}
	before = s.SustainedCPU(calmWatch)
	var wg exam.WaitGroup
	for range manyClients - 1 {
		wg.Go(func() { s.Dial(0) }) // it may fail: the listen(2) backlog may be short
	}
	wg.Wait()
	// The server has accepted what it can when its descriptors no longer change.
	open, since := s.Server.Descriptors(), time.Now()
	for ; time.Since(since) < exam.StallTime; time.Sleep(10 * time.Millisecond) {
		if n := s.Server.Descriptors(); n != open {
			open, since = n, time.Now()
		}
	}
	s.Note("clients", "%d connected", manyClients)
	if open > 0 {
		s.Note("open", "%d descriptors", open)
	}
	return first, before, nil
}

func diedOutOfFDs(s *exam.Session) error {
	first, _, err := runOut(s)
	if err != nil {
		return err
	}
	if how, dead := s.Server.Died(); dead {
		return s.Fail("server", "died: %s", how)
	}
	if _, err := pingPromptly(s, first); err != nil {
		s.Usually = "the loop waits for a descriptor, and its clients wait with it"
		return s.Fail("the first", "client sent %s %v", s.Dialogue.Message(), err)
	}
	return nil
}

func spinsOutOfFDs(s *exam.Session) error {
	_, before, err := runOut(s)
	if err != nil {
		return err
	}
	if _, dead := s.Server.Died(); dead {
		return exam.SkipCheck("the server died: see DIED_OUT_OF_FDS")
	}
	if before >= exam.SpinningCPU {
		return exam.SkipCheck(fmt.Sprintf("it wants a CPU %.0f %% of the time even when nothing happens: see BUSY_LOOP", before*100))
	}
	watched := restWatch
	used, wanted := s.CPUShare(restWatch)
	if used >= restCPU || wanted >= noRest {
		watched = fullWatch
		used, wanted = s.CPUShare(fullWatch)
	}
	s.Note("CPU", "%.1f %% of one CPU during %v with clients that cannot be accepted", used*100, watched)
	switch {
	case used >= retryCPU:
		s.ExplainSpinning()
		return exam.ErrFailed
	case wanted >= noRest: // other processes keep the CPU from it
		s.ExplainSpinning()
		return s.Fail("wanted", "%.0f %% of the time", wanted*100)
	}
	return nil
}

func deafAfterOutOfFDs(s *exam.Session) error {
	calm := s.Server.Descriptors()
	first, _, err := runOut(s)
	if err != nil {
		return err
	}
	if _, dead := s.Server.Died(); dead {
		return exam.SkipCheck("the server died: see DIED_OUT_OF_FDS")
	}
	if err := takesTurn(s, first); err != nil {
		return err
	}
	for _, c := range s.Clients() {
		c.Close()
	}
	s.Await(exam.ReplyTimeout, func() bool { return s.Server.Descriptors() <= calm+maxLeaked }) // FD_LEAK reports more
	return serveAnother(s, "when all others had gone")
}

// takesTurn closes the first client, which is served, and expects one of the
// clients that wait for accept(2) to be served then, without a new connection as a
// reminder.
func takesTurn(s *exam.Session, first *exam.Client) error {
	clients := s.Clients()
	answers := make(chan error, len(clients))
	waiting := 0
	for _, c := range clients {
		if c == first || !c.Unaccepted() || c.Send(s.Dialogue.MessageSize(), exam.ReplyTimeout) != nil {
			continue
		}
		waiting++
		go func() { answers <- c.Receive(c.Owed(), exam.NewcomerTimeout, nil) }()
	}
	before, _ := s.Server.CPUTime()
	s.CloseClient(first)
	for range waiting {
		if err := <-answers; err != nil {
			continue
		}
		after, _ := s.Server.CPUTime()
		if spent := after - before; spent > maxTurnCPU {
			s.Usually = "the loop calls accept(2) again and again although it fails, and the clients wait meanwhile"
			return s.Fail("one left", "of the clients that were served; before one of the %d that waited was answered, the server used %v of CPU time",
				waiting, spent.Round(time.Millisecond))
		}
		return nil
	}
	if waiting > 0 {
		return s.Fail("one left", "of the clients that were served; of the %d that waited, none was answered within %v", waiting, exam.NewcomerTimeout)
	}
	return nil
}
