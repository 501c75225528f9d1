package owed

import (
	"os"
	"time"

	"epoll-step-by-step/internal/exam"

	"golang.org/x/sys/unix"
)

const (
	clearlyFair = 3 << 20  // bytes that others are served while a short message waits: passes without more rounds
	unfairShare = 10 << 20 // bytes, on average: more than that is starvation
)

var Starved = exam.Check{
	ID: "STARVED", Title: "clients that never stop sending leave room for others", For: echoServers, Run: starved,
	Usually: "one client is read until EAGAIN, which never comes; or the loop goes on with those it knows, and does not ask who else is ready",
	Reread:  []string{`epoll(7) "Possible pitfalls and ways to avoid them"`}, Chapter: exam.ChapterEdge,
}

// starved looks at what the server does while 16 bytes wait for it: how much of
// what the others send does it serve first? Bytes, not time, for on a busy
// machine every answer takes long.
func starved(s *exam.Session) error {
	third, err := dialRaw(s)
	if err != nil {
		return err
	}
	var hoses []*firehose
	for range 2 {
		f, err := dialFirehose(s)
		if err != nil {
			return err
		}
		hoses = append(hoses, f)
	}
	s.Note("clients", "two that send without end, and read; one that sends 16 bytes now and then")
	begin := time.Now()
	for deadline := begin.Add(time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		sum := 0
		for _, f := range hoses {
			n, _ := f.count(begin, time.Now())
			sum += n
		}
		if sum > 4*exam.Flood {
			break // by now the kernel has made their queues large
		}
	}
	// How long the server stays with one client is its luck, too: now and then
	// that client's queues are empty or full for a moment. So a doubtful average
	// gets more rounds.
	const few, many = 10, 40
	var took time.Duration
	first, rounds := 0, 0
	for rounds < few || rounds < many && first/rounds > clearlyFair && first/rounds <= unfairShare {
		rounds++
		var sent time.Time
		send := func() error {
			sent = time.Now()
			_, err := unix.Write(third.fd, make([]byte, exam.PingSize))
			return os.NewSyscallError("write", err)
		}
		if !s.Owned() {
			err = send()
		} else {
			// While it is stopped, its queues fill up.
			err = s.WhileStopped(func() error {
				awaitFullQueues(s, hoses)
				return send()
			})
		}
		if err != nil {
			return err
		}
		var answer [exam.PingSize]byte
		a, err := third.recv(answer[:], unix.MSG_WAITALL)
		if err != nil && s.Owned() {
			if _, dead := s.Server.AwaitDeath(); dead {
				return exam.SkipCheck("the server does not survive SIGSTOP and SIGCONT: see DIED_ON_SIGNAL")
			}
		}
		if err == unix.EAGAIN {
			return s.Fail("the third", "sent 16 bytes, and then silence for %v", exam.NewcomerTimeout)
		}
		if err != nil {
			return os.NewSyscallError("read", err)
		}
		if a.bytes < exam.PingSize {
			return s.Fail("the third", "sent 16 bytes, and got %d, then EOF", a.bytes)
		}
		took += a.at.Sub(sent)
		for _, f := range hoses {
			first += f.between(sent, a.at)
		}
	}
	each := took / time.Duration(rounds)
	s.Note("the third", "was answered %d times, on average after %v, in which the others got %d KiB",
		rounds, each.Round(10*time.Microsecond), first/rounds>>10)
	s.Note("want", "at most %d KiB, and %v", unfairShare>>10, promptReply)
	if first/rounds > unfairShare || each > promptReply {
		return exam.ErrFailed
	}
	s.Usually = "while one client keeps it busy, the server does not accept(2) another: see ONE_AT_A_TIME"
	return serveAnother(s, "meanwhile")
}

// awaitFullQueues waits until nothing more fits into the receive queues of a
// server that is stopped.
func awaitFullQueues(s *exam.Session, hoses []*firehose) {
	last := -1
	for range 20 {
		sum := 0
		for _, f := range hoses {
			end, _, _ := exam.Connection(s.Server.Addr, f.local)
			sum += end.RxQueue
		}
		if sum == last {
			return
		}
		last = sum
		time.Sleep(5 * time.Millisecond)
	}
}
