package exam

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// DROPPED_ON_TERM is for a server that is told to end, by SIGTERM or SIGINT, and
// owes something to some of its clients. Who has nothing to come is to go at once,
// the others when they have it, and the server with the last of them: or after a
// grace period, if somebody does not take what is his. The server is stopped
// while the signal is sent, so that what was before it and what was not is clear.

// An audience is who is connected when the signal comes.
type audience struct {
	signalled time.Time // the server can know of it since then
	heard     time.Time // and does now at the latest

	idle    []*client // owed nothing
	unread  []*client // bytes of theirs are in the server's queues
	waiting []*client // likewise, and they have not been accepted yet
	slow    *client   // has not read yet, and is going to
	never   *client   // does not read, and sends a byte now and then
}

func droppedOnTerm(s *session) error {
	a, err := s.assemble()
	if err != nil {
		return err
	}
	s.awaitSleep()
	if err := s.pause(func() error { return s.lastMessages(a) }); err != nil {
		return err
	}
	for _, part := range []func(*audience) error{
		s.unreadAnswered, s.waitingAnswered, s.slowServed, s.idleGo, s.newRefused, s.neverCutOff, s.exitsInOrder,
	} {
		if err := part(a); err != nil {
			return err
		}
	}
	return s.secondSignal()
}

func (s *session) assemble() (*audience, error) {
	a := new(audience)
	for i := range 14 {
		connect := s.served
		if i == 13 {
			connect = s.roomy
		}
		c, err := connect()
		if err != nil {
			return nil, err
		}
		if i < 10 {
			a.idle = append(a.idle, c)
		} else {
			a.unread = append(a.unread, c)
		}
	}
	for _, c := range []**client{&a.slow, &a.never} {
		var err error
		if *c, err = s.dial(0); err != nil {
			return nil, err
		}
		if _, err = s.stuff(*c); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// neverReads connects a client that does not take what it is owed, and sends until
// the server sleeps and takes no more.
func (s *session) neverReads() (*client, error) {
	c, err := s.dial(0)
	for asleep, sent := false, 0; err == nil && !asleep && sent < limits.flood; {
		more := 0
		more, err = c.offer(limits.flood - sent)
		sent += more
		asleep = s.awaitThreads(sleeping, limits.stalled)
	}
	return c, err
}

// lastMessages sends what the server is to find when it goes on: messages, more
// clients, and the signal.
func (s *session) lastMessages(a *audience) error {
	n := 0
	for i, c := range a.unread {
		n = pingSize + i*10_000
		if i == len(a.unread)-1 { // more than a round of anybody's
			n = max(n, min(c.window(), 2<<20))
		}
		if err := c.send(n, limits.reply); err != nil {
			return err
		}
	}
	for range 2 {
		c, err := s.dial(0)
		if err == nil {
			err = c.send(pingSize, limits.reply)
		}
		if err != nil {
			return err
		}
		a.waiting = append(a.waiting, c)
	}
	if err := s.awaitArrival(limits.reply, append(a.waiting, a.unread...)...); err != nil {
		return err
	}
	s.note("SIGTERM", "with %d clients idle, %d whose last message, of up to %d bytes, was not read yet, %d not accepted yet, and 2 that did not read",
		len(a.idle), len(a.unread), n, len(a.waiting))
	err := s.server.signal(unix.SIGTERM)
	a.signalled = time.Now()
	return err
}

// awaitArrival waits until all that the clients have sent, and not got back, is
// in the receive queues of a server that is stopped.
func (s *session) awaitArrival(d time.Duration, clients ...*client) error {
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		arrived := 0
		for _, c := range clients {
			end, found, err := c.serverEnd()
			if err != nil {
				return err
			}
			if found && end.RxQueue == c.sent-c.got {
				arrived++
			}
		}
		if arrived == len(clients) {
			return nil
		}
	}
	return &cannotRun{"what the clients sent did not arrive in the queues of the server, which was stopped"}
}

// lastAnswer wants all that c has sent, and then EOF.
func (s *session) lastAnswer(c *client, who, usually string) error {
	before := c.got
	err := c.receive(c.sent-c.got, limits.reply, nil)
	if err != nil {
		err = c.outcome(before, c.sent-before, err)
	} else if err = c.eof(limits.reply); err != nil {
		if err == errSilence {
			usually = "whoever has been answered is not closed: a read(2) that says EAGAIN is the end of what is owed"
		}
		err = fmt.Errorf("all %d bytes, and then instead of EOF: %w", c.sent-before, silent(err, limits.reply))
	}
	if err == nil {
		return nil
	}
	s.usually = usually
	if how, dead := s.server.dies(); dead && how != "exit status 0" && !strings.HasPrefix(how, "signal:") {
		s.usually = "" // what it died of is the matter
	}
	s.note("one of", "them: %s", who)
	return s.fail("got back", "%v", err)
}

const endsAtOnce = "the signal ends the process, or the loop, at once: what has arrived and was not read is thrown away, and the client gets a RST for it"

func (s *session) unreadAnswered(a *audience) error {
	for _, c := range a.unread {
		if err := s.lastAnswer(c, "its last message had arrived, and was not read yet", endsAtOnce); err != nil {
			return err
		}
	}
	a.heard = time.Now()
	s.note("answered", "the %d whose last message was not read yet, and then EOF", len(a.unread))
	return nil
}

func (s *session) waitingAnswered(a *audience) error {
	for _, c := range a.waiting {
		if err := s.lastAnswer(c, "it had connected and sent a message, and was not accepted yet", "close(2) of the listener resets whoever waits there: their connect(2) had succeeded, so accept(2) them first"); err != nil {
			return err
		}
	}
	s.note("accepted", "the %d that waited for it; they were answered, and then EOF", len(a.waiting))
	return nil
}

func (s *session) idleGo(a *audience) error {
	for _, c := range a.idle {
		switch err := c.eof(max(time.Until(a.heard.Add(limits.soon)), limits.stalled)); {
		case err == errSilence:
			s.usually = "only clients that do something are looked at: from an idle one no event comes, and it has to be closed without"
			return s.fail("idle", "clients were still connected %v after the signal: they are owed nothing", limits.soon)
		case err != nil:
			s.usually = endsAtOnce
			return s.fail("idle", "clients got this instead of EOF: %v", err)
		}
	}
	s.note("closed", "the %d idle ones", len(a.idle))
	return nil
}

// newRefused wants that nobody can connect any more, although the server is still
// there for others.
func (s *session) newRefused(a *audience) error {
	err := s.awaitRefused(a.heard)
	if err == nil {
		s.note("refused", "whoever came after the signal")
	}
	return err
}

func (s *session) awaitRefused(since time.Time) error {
	deadline := since.Add(limits.soon)
	for {
		c, err := s.dial(0)
		if errors.Is(err, unix.ECONNREFUSED) {
			return nil
		}
		if err == nil {
			s.forget(c)
		}
		if time.Now().After(deadline) {
			s.usually = "the listener is still open: a connection that the kernel has completed is a promise to serve it"
			return s.fail("a new", "client could still connect %v after the signal", limits.soon)
		}
		time.Sleep(time.Millisecond)
	}
}

func (s *session) slowServed(a *audience) error {
	err := s.lastAnswer(a.slow, fmt.Sprintf("it had sent %d bytes before, and read only now", a.slow.sent), "what is pending, and what was sent before the signal and is not read yet, is owed: "+
		"flush, read on until EAGAIN, and close(2) only then")
	if err == nil {
		s.note("owed", "%d bytes to one that read only then: all of them came, and then EOF", a.slow.got)
	}
	return err
}

// neverCutOff wants that who does not read is waited for as long as was said, and
// no longer, and that the server sleeps meanwhile.
func (s *session) neverCutOff(a *audience) error {
	tooSoon, tooLate := a.signalled.Add(limits.grace-limits.slack), a.heard.Add(limits.grace+limits.term)
	a.never.send(1, limits.stalled)
	spoke, spin := time.Now(), 0.0
	if time.Now().Before(tooSoon) {
		_, spin = s.share(limits.slack / 2)
	}
	for {
		_, dead := s.server.died()
		now := time.Now()
		after := now.Sub(a.signalled)
		switch {
		case dead && now.Before(tooSoon):
			s.usually = "who does not read at once may still do so: he has the whole of the grace period"
			return s.fail("the end", "came after %.1f s: the last client did not read, and it has %v", after.Seconds(), limits.grace)
		case dead && spin >= limits.spinCPU:
			s.usually = "epoll_wait(2) is given a timeout of 0 again and again, instead of what is left of the grace period"
			return s.fail("CPU", "wanted %.0f %% of the time, while one client did not read and nobody else was there", spin*100)
		case dead:
			s.note("cut off", "one that never read: the process ended after %.1f s", after.Seconds())
			return nil
		case now.After(tooLate):
			s.usually = "nothing limits how long a client that does not read is waited for, or epoll_wait(2) sleeps longer than that; or each event makes the time begin anew"
			return s.fail("the end", "did not come within %.1f s: one client does not read, and sends a byte now and then", after.Seconds())
		case now.Sub(spoke) > limits.every:
			a.never.send(1, limits.stalled) // that makes an event: it is no reason to wait longer
			spoke = now
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (s *session) exitsInOrder(_ *audience) error {
	select {
	case <-s.server.exited:
	case <-time.After(limits.reply): // not our child, but its child: who has its status does not say
		return nil
	}
	how := s.server.cmd.ProcessState
	if !how.Success() {
		s.usually = "whoever sent the signal takes any status but 0 for a crash: leave the loop, and return from main"
		return s.fail("exit", "%v, want exit status 0", how)
	}
	s.note("exit", "%v", how)
	return nil
}

// secondSignal wants that whoever is impatient is heard.
func (s *session) secondSignal() error {
	s.resetAll()
	s.server.stop()
	again, err := s.start(hardNOFILE())
	if err != nil {
		return &cannotRun{"it did not start a second time: " + err.Error()}
	}
	s.server = again
	if _, err := s.neverReads(); err != nil {
		return err
	}
	if err := s.server.signal(unix.SIGINT); err != nil {
		return err
	}
	if err := s.awaitRefused(time.Now()); err != nil {
		return err
	}
	if how, dead := s.server.dies(); dead {
		s.usually = "SIGINT is caught, but not as SIGTERM is: it ends the loop at once"
		if strings.HasPrefix(how, "signal:") {
			s.usually = "only SIGTERM is caught, and not SIGINT, which is what Ctrl-C sends"
		}
		return s.fail("SIGINT", "ended it at once, with a client that had not read yet")
	}
	begin := time.Now()
	if err := s.server.signal(unix.SIGTERM); err != nil {
		return err
	}
	for {
		if _, dead := s.server.died(); dead {
			s.note("twice", "signalled, it ended at once: SIGINT, then SIGTERM")
			return nil
		}
		if time.Since(begin) > limits.soon {
			s.usually = "the second signal is caught like the first one: let it have its default disposition again, or exit(3)"
			return s.fail("twice", "signalled, SIGINT and then SIGTERM: still there %v later", limits.soon)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
