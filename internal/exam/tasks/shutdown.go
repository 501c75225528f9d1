package tasks

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"epoll-step-by-step/internal/exam"

	"golang.org/x/sys/unix"
)

// DROPPED_ON_TERM is for a server that gets SIGTERM or SIGINT while it owes bytes to some
// clients. It must close clients that it owes nothing at once, the others when they have
// received everything, and end after the last of them, or after a grace period if a
// client does not read. The server is stopped while the signal is sent, so it is clear
// what came before the signal.

const (
	idleOnTerm    = 10 // clients that the server owes nothing when the signal comes
	unreadOnTerm  = 4  // clients whose last message it has not read
	waitingOnTerm = 2  // clients that it has not accepted

	gracePeriod = 3 * time.Second // for clients that do not take what they are owed
	graceSlack  = time.Second     // by which the end may come sooner than that
	promptClose = 2 * time.Second // for what has to be done at once, after the signal
)

var DroppedOnTerm = exam.Check{
	ID: "DROPPED_ON_TERM", Title: "SIGTERM ends it when all clients have what they are owed", Run: droppedOnTerm, Starts: true, Looks: true, Kills: true,
	Usually: "the signal has its default disposition, and ends the process in the middle of its work",
	Reread:  []string{`signal(7) "Signal dispositions"`, `eventfd(2) "DESCRIPTION"`, `tcp(7) "DESCRIPTION"`}, Chapter: exam.ChapterEdge,
}

// termClients are the clients that are connected when the signal comes.
type termClients struct {
	signalled time.Time // the server learns of the signal then, or later
	noticed   time.Time // it had noticed the signal by then

	idle    []*exam.Client // the server owes them nothing
	unread  []*exam.Client // their bytes are in the server's queues
	waiting []*exam.Client // likewise, and they have not been accepted
	slow    *exam.Client   // reads only after the signal
	never   *exam.Client   // does not read, and sends a byte now and then
}

func droppedOnTerm(s *exam.Session) error {
	a, err := connectAll(s)
	if err != nil {
		return err
	}
	s.AwaitSleep()
	if err := s.WhileStopped(func() error { return lastMessages(s, a) }); err != nil {
		return err
	}
	for _, part := range []func(*exam.Session, *termClients) error{
		unreadAnswered, waitingAnswered, slowServed, idleClosed, newRefused, neverCutOff, exitsInOrder,
	} {
		if err := part(s, a); err != nil {
			return err
		}
	}
	return secondSignal(s)
}

func connectAll(s *exam.Session) (*termClients, error) {
	a := new(termClients)
	for i := range idleOnTerm + unreadOnTerm {
		connect := s.DialAndPing
		if i == idleOnTerm+unreadOnTerm-1 {
			connect = s.DialRoomy
		}
		c, err := connect()
		if err != nil {
			return nil, err
		}
		if i < idleOnTerm {
			a.idle = append(a.idle, c)
		} else {
			a.unread = append(a.unread, c)
		}
	}
	for _, c := range []**exam.Client{&a.slow, &a.never} {
		var err error
		if *c, err = s.Dial(0); err != nil {
			return nil, err
		}
		if _, err = fillQueues(s, *c); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// dialStuck connects a client that does not read, and sends until the server sleeps and
// takes no more.
func dialStuck(s *exam.Session) (*exam.Client, error) {
	c, err := s.Dial(0)
	for asleep, sent := false, 0; err == nil && !asleep && sent < exam.Flood; {
		more := 0
		more, err = c.Offer(exam.Flood - sent)
		sent += more
		asleep = s.AwaitThreads(exam.Sleeping, exam.StallTime)
	}
	return c, err
}

// lastMessages sends what the stopped server finds when it continues: messages, further
// clients, and the signal.
func lastMessages(s *exam.Session, a *termClients) error {
	n := 0
	for i, c := range a.unread {
		n = exam.PingSize + i*10_000
		if i == len(a.unread)-1 { // more than any server reads in one round
			n = max(n, min(c.Window(), 2<<20))
		}
		if err := c.Send(n, exam.ReplyTimeout); err != nil {
			return err
		}
	}
	for range waitingOnTerm {
		c, err := s.Dial(0)
		if err == nil {
			err = c.Send(exam.PingSize, exam.ReplyTimeout)
		}
		if err != nil {
			return err
		}
		a.waiting = append(a.waiting, c)
	}
	if err := s.AwaitArrival(exam.ReplyTimeout, append(a.waiting, a.unread...)...); err != nil {
		return err
	}
	s.Note("SIGTERM", "with %d clients idle, %d whose last message, of up to %d bytes, was not read yet, %d not accepted yet, and 2 that did not read",
		len(a.idle), len(a.unread), n, len(a.waiting))
	err := s.Server.Signal(unix.SIGTERM)
	a.signalled = time.Now()
	return err
}

// lastAnswer receives all that c has sent, and then EOF.
func lastAnswer(s *exam.Session, c *exam.Client, description, usually string) error {
	before := c.Got
	err := c.Receive(c.Sent-c.Got, exam.ReplyTimeout, nil)
	if err != nil {
		err = c.Outcome(before, c.Sent-before, err)
	} else if err = c.AwaitEOF(exam.ReplyTimeout); err != nil {
		if err == exam.ErrSilence {
			usually = "a client that has been answered is not closed: when read(2) fails with EAGAIN, nothing more is owed"
		}
		err = fmt.Errorf("all %d bytes, and then instead of EOF: %w", c.Sent-before, exam.SilenceFor(err, exam.ReplyTimeout))
	}
	if err == nil {
		return nil
	}
	s.Usually = usually
	if how, dead := s.Server.AwaitDeath(); dead && how != "exit status 0" && !strings.HasPrefix(how, "signal:") {
		s.Usually = "" // the reason of its death explains more
	}
	s.Note("one of", "them: %s", description)
	return s.Fail("got back", "%v", err)
}

const endsAtOnce = "the signal ends the process, or the loop, at once: bytes that have arrived and were not read are thrown away, and the client gets a RST for them"

func unreadAnswered(s *exam.Session, a *termClients) error {
	for _, c := range a.unread {
		if err := lastAnswer(s, c, "its last message had arrived, and was not read yet", endsAtOnce); err != nil {
			return err
		}
	}
	a.noticed = time.Now()
	s.Note("answered", "the %d whose last message was not read yet, and then EOF", len(a.unread))
	return nil
}

func waitingAnswered(s *exam.Session, a *termClients) error {
	for _, c := range a.waiting {
		if err := lastAnswer(s, c, "it had connected and sent a message, and was not accepted yet", "close(2) of the listener resets the clients that wait there: their connect(2) had succeeded, so call accept(2) for them first"); err != nil {
			return err
		}
	}
	s.Note("accepted", "the %d that waited for it; they were answered, and then EOF", len(a.waiting))
	return nil
}

func idleClosed(s *exam.Session, a *termClients) error {
	for _, c := range a.idle {
		switch err := c.AwaitEOF(max(time.Until(a.noticed.Add(promptClose)), exam.StallTime)); {
		case err == exam.ErrSilence:
			s.Usually = "the server looks only at clients with an event: an idle client causes none, and has to be closed without one"
			return s.Fail("idle", "clients were still connected %v after the signal: they are owed nothing", promptClose)
		case err != nil:
			s.Usually = endsAtOnce
			return s.Fail("idle", "clients got this instead of EOF: %v", err)
		}
	}
	s.Note("closed", "the %d idle ones", len(a.idle))
	return nil
}

// newRefused expects connect(2) to fail, although the server still serves old clients.
func newRefused(s *exam.Session, a *termClients) error {
	err := awaitRefused(s, a.noticed)
	if err == nil {
		s.Note("refused", "clients that came after the signal")
	}
	return err
}

func awaitRefused(s *exam.Session, since time.Time) error {
	refused := func() bool {
		c, err := s.Dial(0)
		if err == nil {
			s.CloseClient(c)
		}
		return errors.Is(err, unix.ECONNREFUSED)
	}
	if s.Await(time.Until(since.Add(promptClose)), refused) {
		return nil
	}
	s.Usually = "the listener is still open: the kernel completes connections that the server will not serve"
	return s.Fail("a new", "client could still connect %v after the signal", promptClose)
}

func slowServed(s *exam.Session, a *termClients) error {
	err := lastAnswer(s, a.slow, fmt.Sprintf("it had sent %d bytes before, and read only now", a.slow.Sent), "pending bytes, and bytes that were sent before the signal and are not read yet, are owed: "+
		"flush, read until EAGAIN, and call close(2) only then")
	if err == nil {
		s.Note("owed", "%d bytes to one that read only then: all of them came, and then EOF", a.slow.Got)
	}
	return err
}

// neverCutOff expects the server to wait for a client that does not read, for the grace
// period and no longer, and to sleep meanwhile.
func neverCutOff(s *exam.Session, a *termClients) error {
	tooSoon, tooLate := a.signalled.Add(gracePeriod-graceSlack), a.noticed.Add(gracePeriod+exam.ExitTimeout)
	a.never.Send(1, exam.StallTime)
	spoke, spin := time.Now(), 0.0
	if time.Now().Before(tooSoon) {
		_, spin = s.CPUShare(graceSlack / 2)
	}
	for {
		_, dead := s.Server.Died()
		now := time.Now()
		after := now.Sub(a.signalled)
		switch {
		case dead && now.Before(tooSoon):
			s.Usually = "a client that does not read at once may still do so: it has the whole grace period"
			return s.Fail("the end", "came after %.1f s: the last client did not read, and it has %v", after.Seconds(), gracePeriod)
		case dead && spin >= exam.SpinningCPU:
			s.Usually = "epoll_wait(2) is given a timeout of 0 again and again, instead of what is left of the grace period"
			return s.Fail("CPU", "wanted %.0f %% of the time, while one client did not read and no other was there", spin*100)
		case dead:
			s.Note("cut off", "one that never read: the process ended after %.1f s", after.Seconds())
			return nil
		case now.After(tooLate):
			s.Usually = "nothing limits how long the server waits for a client that does not read, or epoll_wait(2) sleeps longer than that; or each event restarts the grace period"
			return s.Fail("the end", "did not come within %.1f s: one client does not read, and sends a byte now and then", after.Seconds())
		case now.Sub(spoke) > speakInterval:
			a.never.Send(1, exam.StallTime) // the event is no reason to wait longer
			spoke = now
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func exitsInOrder(s *exam.Session, _ *termClients) error {
	how := s.Server.ExitState(exam.ReplyTimeout)
	if how == nil {
		return nil // the server is a child of the process that we started, and its status is unknown
	}
	if !how.Success() {
		s.Usually = "any status but 0 means a crash to the sender of the signal: leave the loop, and return from main"
		return s.Fail("exit", "%v, want exit status 0", how)
	}
	s.Note("exit", "%v", how)
	return nil
}

// secondSignal expects a second signal to end the server at once.
func secondSignal(s *exam.Session) error {
	s.ResetAll()
	s.Server.Stop()
	if err := s.Restart(); err != nil {
		return exam.CannotRun("it did not start a second time: " + err.Error())
	}
	if _, err := dialStuck(s); err != nil {
		return err
	}
	if err := s.Server.Signal(unix.SIGINT); err != nil {
		return err
	}
	if err := awaitRefused(s, time.Now()); err != nil {
		return err
	}
	if how, dead := s.Server.AwaitDeath(); dead {
		s.Usually = "SIGINT is caught, but unlike SIGTERM it ends the loop at once"
		if strings.HasPrefix(how, "signal:") {
			s.Usually = "SIGTERM is caught, but not SIGINT, which Ctrl-C sends"
		}
		return s.Fail("SIGINT", "ended it at once, with a client that had not read yet")
	}
	if err := s.Server.Signal(unix.SIGTERM); err != nil {
		return err
	}
	if s.Await(promptClose, func() bool { _, dead := s.Server.Died(); return dead }) {
		s.Note("twice", "signalled, it ended at once: SIGINT, then SIGTERM")
		return nil
	}
	s.Usually = "the second signal is caught like the first one: give it its default disposition again, or call exit(3)"
	return s.Fail("twice", "signalled, SIGINT and then SIGTERM: still there %v later", promptClose)
}
