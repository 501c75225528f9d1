package owed

import (
	"errors"
	"slices"
	"time"

	"epoll-step-by-step/internal/exam"

	"golang.org/x/sys/unix"
)

const (
	// One client has so many bytes in the kernel's queues. They reach the server and
	// come back without that client's help, because a send queue alone has room for
	// 4 MiB: tcp(7), tcp_wmem.
	queuedBytes = 3840 << 10

	// Of these the server reads some before it turns to another client that is ready.
	// Most loops read a buffer or a few; libuv's (node) reads 32 of 64 KiB, 2 MiB.
	// A loop that reads until EAGAIN reads all of them.
	maxShare  = 2304 << 10            // more than this is starvation
	clearlyIn = queuedBytes - 256<<10 // and with so much left to read, there is no EAGAIN

	// A loop that starves others does so in each round. But on a busy machine the
	// kernel may deliver too late what is under way, and one round in ten seems to be
	// fair. A server with a thread for each client seems to be unfair if the scheduler
	// lets the other client's thread wait: in half of the rounds, on a single CPU.
	unfairLead = 12  // more unfair rounds than four for each fair one: failed
	fairLead   = 3   // more fair rounds than unfair ones: passed
	fairEnough = 10  // or so many in all
	mostRounds = 200 // some show neither

	runTime  = 50 * time.Microsecond  // between two looks, at first: time for some 100 KiB
	longRun  = 500 * time.Microsecond // if it did nothing, up to that long
	idleTime = 200 * time.Millisecond // what has not happened until then is not waited for
)

// The server must be stopped for this check. Without that, it is luck how many bytes
// are in the queues when the other client's arrive, and a server that reads until
// EAGAIN may pass.
var Starved = exam.Check{
	ID: "STARVED", Title: "a client that sends megabytes leaves room for others", For: echoServers, Run: starved, Starts: true, Looks: true,
	Usually: "one client is read until EAGAIN, and the others wait for that long",
	Reread:  []string{`epoll(7) "Possible pitfalls and ways to avoid them"`}, Chapter: exam.ChapterEdge,
}

// A rival is a client that wants 16 bytes answered while the server is busy with
// another client's megabytes.
type rival struct {
	name   string
	client *exam.Client // nil if it connects in each round
	first  bool         // its bytes are there before the other client's
}

func starved(s *exam.Session) error {
	if s.Dialogue.Asking(queuedBytes) < queuedBytes {
		return exam.SkipCheck("its replies are longer than its requests, so the queue for the replies is full before the requests are read")
	}
	older, err := s.DialAndPing()
	if err != nil {
		return err
	}
	if _, err := s.DialAndPing(); err != nil {
		s.Usually = "while one client is connected, the server does not serve another: see ONE_AT_A_TIME"
		return s.Fail("a second", "client, while the first one was silent: %v", exam.SilenceFor(err, exam.ReplyTimeout))
	}
	flood, err := s.DialRecovered() // now the kernel has made its queues large
	if err != nil {
		return err
	}
	if flood == nil {
		return exam.SkipCheck("a client that sends megabytes does not get all of them back: see LOST_BYTES")
	}
	dontPace(flood)
	younger, err := s.DialAndPing()
	if err != nil {
		return err
	}
	for _, r := range []rival{
		{"a client that had connected earlier", older, false},
		{"a client that had connected later", younger, false},
		{"a client that connected then", nil, false},
		{"a client, sent before them", younger, true},
	} {
		if err := compete(s, flood, r); err != nil {
			return err
		}
	}
	s.Note("sent", "%d KiB by one client and %s by another: the server turned to the other long before it had read all of the first one's", queuedBytes>>10, s.Dialogue.Message())
	return nil
}

// dontPace makes the kernel send what the server has room for, at once. Some
// algorithms, such as BBR, let time pass, and the server would meet EAGAIN before all
// is read. Reno is always there: tcp(7), TCP_CONGESTION.
func dontPace(c *exam.Client) {
	if raw, err := c.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno")
		})
	}
}

// compete fails if the server does not turn to the rival before it has read too much
// of the flood.
func compete(s *exam.Session, flood *exam.Client, r rival) error {
	fair, unfair, most := 0, 0, 0
	for rounds := 0; unfair < 4*fair+unfairLead; rounds++ {
		if fair >= unfair+fairLead || fair >= fairEnough {
			return nil
		}
		if rounds == mostRounds {
			return exam.CannotRun("the machine is too busy to see which client is served first")
		}
		steps, err := competeOnce(s, flood, r)
		if err != nil {
			return err
		}
		switch least, atMost := share(steps); {
		case least > maxShare:
			unfair, most = unfair+1, max(most, least)
		case atMost <= clearlyIn:
			fair++
		}
	}
	if r.client == nil {
		s.Usually = "the loop serves the clients that it knows to be ready until none of them is, and does not ask for others meanwhile"
	}
	s.Note("sent", "%d KiB by one client and %s by %s; the server was stopped until all of it was in the kernel's queues", queuedBytes>>10, s.Dialogue.Message(), r.name)
	s.Note("read", "%d KiB of the first client before the server turned to the other; in %d of %d rounds more than %d KiB",
		most>>10, unfair, unfair+fair, maxShare>>10)
	return s.Fail("want", "at most %d KiB in most rounds", maxShare>>10)
}

// A step is what the server does for the rival: it accepts it, or answers it. The
// server has read some of the flood then.
type step struct{ least, most int }

// share returns bounds of how much the server has read of the flood while the rival
// waited for a step.
func share(steps []step) (least, most int) {
	before := step{}
	for _, now := range steps {
		least, most = max(least, now.least-before.most), max(most, now.most-before.least)
		before = now
	}
	return least, most
}

// competeOnce fills the queues while the server is stopped, and then lets it run for a
// moment again and again until the rival is answered. Between these moments, /proc
// shows what it has done, and it does not matter how long we take to look.
func competeOnce(s *exam.Session, flood *exam.Client, r rival) (steps []step, err error) {
	c := r.client
	s.AwaitSleep()
	err = s.WhileStopped(func() error {
		ask := func() (err error) {
			if c == nil {
				if c, err = s.Dial(0); err != nil {
					return err
				}
			}
			if err := c.Send(s.Dialogue.MessageSize(), exam.ReplyTimeout); err != nil {
				return err
			}
			return s.AwaitArrival(exam.ReplyTimeout, c)
		}
		fill := func() error {
			if err := flood.Send(queuedBytes, exam.ReplyTimeout); err != nil {
				return exam.CannotRun("the kernel has no room for what one client sends to a stopped server: " + err.Error())
			}
			return nil
		}
		order := []func() error{fill, ask}
		if r.first {
			slices.Reverse(order)
		}
		for _, f := range order {
			if err := f(); err != nil {
				return err
			}
		}
		steps, err = watch(s, flood, c, r.client == nil)
		return err
	})
	if err == nil {
		err = receiveBoth(s, flood, c)
	}
	if r.client == nil && c != nil {
		s.CloseClient(c)
	}
	return steps, err
}

// watch lets the server, which is stopped, run until it has done all for the rival, or
// does nothing.
func watch(s *exam.Session, flood, c *exam.Client, newcomer bool) (steps []step, err error) {
	read, want := 0, 1
	if newcomer {
		want = 2
	}
	idle := time.Duration(0)
	for d := runTime; len(steps) < want && idle < idleTime; d = min(2*d, longRun) {
		if err := s.RunFor(d); err != nil {
			return nil, err
		}
		unread, err := flood.Unread()
		end, _, err2 := c.ServerEnd()
		answers, err3 := c.AnswersQueued()
		if err := errors.Join(err, err2, err3); err != nil {
			return nil, exam.CannotRun(err.Error())
		}
		now := step{read, queuedBytes - unread}
		if newcomer && len(steps) == 0 && end.Inode != 0 {
			steps = append(steps, now)
		}
		if answers > 0 {
			for len(steps) < want {
				steps = append(steps, now)
			}
		}
		if idle += d; now.most > read {
			read, idle, d = now.most, 0, runTime/2
		}
		if unread == 0 { // whatever follows comes after all of it
			for len(steps) < want {
				steps = append(steps, step{read, read})
			}
		}
	}
	for len(steps) < want {
		steps = append(steps, step{read, queuedBytes})
	}
	return steps, nil
}

func receiveBoth(s *exam.Session, flood, c *exam.Client) error {
	before := c.Got
	err := c.Receive(c.Owed(), exam.NewcomerTimeout, nil)
	if err != nil {
		if _, dead := s.Server.AwaitDeath(); dead {
			return exam.SkipCheck("the server does not survive SIGSTOP and SIGCONT: see DIED_ON_SIGNAL")
		}
		s.Note("sent", "%d KiB by one client, while the server was stopped, and %s by another", queuedBytes>>10, s.Dialogue.Message())
		return s.Fail("got back", "for the other's: %v", c.Outcome(before, c.MessageDue(), exam.SilenceFor(err, exam.NewcomerTimeout)))
	}
	if err := flood.Receive(flood.Owed(), exam.SilenceTimeout, nil); err != nil {
		return exam.SkipCheck("a client that sends megabytes does not get all of them back: see EDGE_LOST and LOST_BYTES")
	}
	return nil
}
