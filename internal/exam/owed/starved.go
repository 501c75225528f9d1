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
	maxShare   = 2304 << 10            // more than this is starvation
	clearShare = queuedBytes - 256<<10 // and if it is less than this, it hardly was EAGAIN

	// A loop that starves others never has a fair round, unless we misjudge one. A server
	// with a thread or a goroutine for each client has some, even on a single CPU, whose
	// scheduler may let the other client wait. On a busy machine, most rounds show neither.
	fairRounds   = 3   // passed
	halfFair     = 10  // or that many that seem fair, and no unfair one: passed, too
	unfairRounds = 12  // for each fair one, and 12 more: failed
	mostRounds   = 60  // without a fair one: failed,
	fewUnfair    = 3   // if so many were unfair
	tooMany      = 300 // without a verdict

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
		return exam.NotPrepared(err)
	}
	// A server that waits for each client in turn may answer the second one once.
	second, err := s.DialAndPing()
	if err == nil {
		err = second.Ping(exam.ReplyTimeout)
	}
	if err != nil {
		s.Usually = "while one client is connected, the server does not serve another: see ONE_AT_A_TIME"
		return s.Fail("a second", "client, while the first one was silent: %v", exam.SilenceFor(err, exam.ReplyTimeout))
	}
	flood, err := s.DialRecovered() // now the kernel has made its queues large
	if err != nil {
		return exam.NotPrepared(err)
	}
	if flood == nil {
		return exam.SkipCheck("a client that sends megabytes does not get all of them back: see LOST_BYTES")
	}
	dontPace(flood)
	younger, err := s.DialAndPing()
	if err != nil {
		return exam.NotPrepared(err)
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
	fair, half, unfair, rounds, most := 0, 0, 0, 0, 0
	for ; unfair < unfairRounds*(fair+1) && (fair > 0 || rounds < mostRounds || unfair < fewUnfair); rounds++ {
		if rounds == tooMany {
			return exam.CannotRun("the machine is too busy to see which client is served first")
		}
		seen, err := competeOnce(s, flood, r)
		if err != nil {
			return err
		}
		switch least, atMost := seen.share(); {
		case least > maxShare:
			unfair, most = unfair+1, max(most, least)
		case !seen.emptied:
			fair++
		case atMost <= clearShare:
			half++
		}
		if fair == fairRounds || half == halfFair && unfair == 0 {
			return nil
		}
	}
	if r.client == nil {
		s.Usually = "the loop serves its ready clients until none is left, and does not call epoll_wait(2) for others meanwhile"
	}
	s.Note("sent", "%d KiB by one client and %s by %s; the server was stopped until all of it was in the kernel's queues", queuedBytes>>10, s.Dialogue.Message(), r.name)
	s.Note("read", "%d KiB of the first client before the server turned to the other: too many in %d rounds, a fair share in %d",
		most>>10, unfair, fair)
	return s.Fail("want", "at most %d KiB", maxShare>>10)
}

// A sight is what was seen of one round.
type sight struct {
	// The server accepts the rival, if that is new, and answers it. These are bounds of
	// how much of the flood it had read then.
	steps []bounds

	// It may have read all of the flood that was in its receive queue, before more of it
	// arrived: then it has met EAGAIN, and may have turned to the rival for no other
	// reason.
	emptied bool
}

type bounds struct{ least, most int }

// share returns bounds of how much of the flood the server has read while the rival
// waited for one of the steps.
func (s sight) share() (least, most int) {
	before := bounds{}
	for _, now := range s.steps {
		least, most = max(least, now.least-before.most), max(most, now.most-before.least)
		before = now
	}
	return least, most
}

// competeOnce fills the queues while the server is stopped, and then lets it run for a
// moment again and again until the rival is answered. Between these moments, /proc
// shows what it has done, and it does not matter how long we take to look.
func competeOnce(s *exam.Session, flood *exam.Client, r rival) (seen sight, err error) {
	c := r.client
	if err := flood.Ping(exam.SilenceTimeout); err != nil { // it has dealt with the last round
		return seen, err
	}
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
		seen, err = watch(s, flood, c, r.client == nil)
		return err
	})
	if err == nil {
		err = receiveBoth(s, flood, c)
	}
	if r.client == nil && c != nil {
		s.CloseClient(c)
	}
	return seen, err
}

// watch lets the server, which is stopped, run until it has done all for the rival, or
// does nothing.
func watch(s *exam.Session, flood, c *exam.Client, newcomer bool) (seen sight, err error) {
	read, want := 0, 1
	if newcomer {
		want = 2
	}
	idle := time.Duration(0)
	for d := runTime; len(seen.steps) < want && idle < idleTime; d = min(2*d, longRun) {
		busy, _, err := flood.ServerEnd()
		if err == nil {
			err = s.RunFor(d)
		}
		if err != nil {
			return seen, err
		}
		unread, err := flood.Unread()
		end, _, err2 := c.ServerEnd()
		answers, err3 := c.AnswersQueued()
		if err := errors.Join(err, err2, err3); err != nil {
			return seen, exam.CannotRun(err.Error())
		}
		now := bounds{read, queuedBytes - unread}
		seen.emptied = seen.emptied || now.most-read >= busy.RxQueue
		switch {
		case answers > 0:
			seen.steps = append(seen.steps, now)
			want = len(seen.steps)
		case newcomer && len(seen.steps) == 0 && end.Inode != 0:
			seen.steps = append(seen.steps, now)
		}
		if unread == 0 { // whatever follows comes after all of it
			seen.steps = append(seen.steps, bounds{queuedBytes, queuedBytes})
			want = len(seen.steps)
		}
		if idle += d; now.most > read {
			read, idle, d = now.most, 0, runTime/2
		}
	}
	seen.emptied = seen.emptied || len(seen.steps) < want
	return seen, nil
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
