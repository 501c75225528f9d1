package owed

import (
	"fmt"
	"time"

	"epoll-step-by-step/internal/exam"
)

const (
	fewDescriptors = 32 // RLIMIT_NOFILE of the server that is to run out
	manyClients    = 60 // clients that it gets
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
	ID: "DEAF_AFTER_OUT_OF_FDS", Title: "when descriptors are free again, it accepts again", For: echoServers, Run: deafOutOfFDs,
	Starts: true, NOFILE: fewDescriptors, Looks: true,
	Usually: "the listener was unregistered, or its one edge was used up, and nothing asks again",
	Reread:  []string{`accept(2) "ERRORS"`, `epoll(7) "Questions and answers"`}, Chapter: exam.ChapterEdge,
}

// outOfFDs brings the server to where accept(2) returns EMFILE. It returns the
// first client, which is being served, and the CPU share of the time before.
func outOfFDs(s *exam.Session) (*exam.Client, float64, error) {
	first, err := s.DialAndPing()
	if err != nil {
		return nil, 0, err
	}
	before := s.SustainedCPU(300 * time.Millisecond)
	var wg exam.WaitGroup
	for range manyClients - 1 {
		wg.Go(func() { s.Dial(0) }) // the listen(2) backlog may be short
	}
	wg.Wait()
	// It has taken what it could when nothing changes any more.
	settled := func() int { return s.Server.Descriptors() }
	for n, since := settled(), time.Now(); time.Since(since) < exam.StallTime; time.Sleep(10 * time.Millisecond) {
		if m := settled(); m != n {
			n, since = m, time.Now()
		}
	}
	s.Note("clients", "%d connected", manyClients)
	if n := s.Server.Descriptors(); n > 0 {
		s.Note("open", "%d descriptors", n)
	}
	return first, before, nil
}

func diedOutOfFDs(s *exam.Session) error {
	first, _, err := outOfFDs(s)
	if err != nil {
		return err
	}
	if how, dead := s.Server.Died(); dead {
		return s.Fail("server", "died: %s", how)
	}
	if _, err := pingWithin(first, promptReply); err != nil {
		s.Usually = "the loop waits for a descriptor, and its clients wait with it"
		return s.Fail("the first", "client sent 16 bytes %v", err)
	}
	return nil
}

func spinsOutOfFDs(s *exam.Session) error {
	_, before, err := outOfFDs(s)
	if err != nil {
		return err
	}
	if _, dead := s.Server.Died(); dead {
		return exam.SkipCheck("the server died: see DIED_OUT_OF_FDS")
	}
	if before >= exam.SpinningCPU {
		return exam.SkipCheck(fmt.Sprintf("it wants a CPU %.0f %% of the time even when nothing happens: see BUSY_LOOP", before*100))
	}
	during := s.SustainedCPU(time.Second)
	s.Note("CPU", "wanted %.1f %% of the time before, %.1f %% with clients that cannot be accepted", before*100, during*100)
	if during >= exam.SpinningCPU {
		return exam.ErrFailed
	}
	return nil
}

func deafOutOfFDs(s *exam.Session) error {
	first, _, err := outOfFDs(s)
	if err != nil {
		return err
	}
	if _, dead := s.Server.Died(); dead {
		return exam.SkipCheck("the server died: see DIED_OUT_OF_FDS")
	}
	if err := letIn(s, first); err != nil {
		return err
	}
	for _, c := range s.Clients() {
		c.Close()
	}
	return serveAnother(s, "when all others had gone")
}

// letIn has a client that is served leave. One of those who wait is to be served
// then, without anybody new having to knock.
func letIn(s *exam.Session, first *exam.Client) error {
	clients := s.Clients()
	waits := make([]bool, len(clients))
	var wg exam.WaitGroup
	for i, c := range clients {
		wg.Go(func() { waits[i] = c != first && c.Ping(exam.StallTime) == exam.ErrSilence })
	}
	wg.Wait()
	answered := make(chan error, len(waits))
	waiting := 0
	for i, c := range clients {
		if waits[i] {
			waiting++
			go func() { answered <- c.Receive(c.Sent-c.Got, exam.NewcomerTimeout, nil) }()
		}
	}
	s.CloseClient(first)
	for range waiting {
		if err := <-answered; err == nil {
			return nil
		}
	}
	if waiting > 0 {
		return s.Fail("one left", "of those who were served, and of the %d who wait none was answered within %v", waiting, exam.NewcomerTimeout)
	}
	return nil
}
