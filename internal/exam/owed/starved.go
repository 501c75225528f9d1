package owed

import (
	"os"
	"time"

	"epoll-step-by-step/internal/exam"

	"golang.org/x/sys/unix"
)

const (
	// Bytes served to others while a short message waits, on average. The four
	// steps, Go's net and Node serve 0.05 to 1.8 MiB, also on a busy machine; a loop
	// that reads until EAGAIN serves 7 to 150.
	maxShare = 4 << 20 // more than this is starvation

	// Averages outside of these limits are clear after few rounds.
	fairShare, unfairShare = maxShare / 2, 2 * maxShare
	fewRounds, manyRounds  = 10, 40 // short messages that are sent

	warmUp = 4 * exam.Flood // bytes that the others receive first: then the kernel has made their queues large
)

var Starved = exam.Check{
	ID: "STARVED", Title: "clients that never stop sending leave room for others", For: echoServers, Run: starved,
	Usually: "one client is read until EAGAIN, which never comes; or the loop serves the clients that it knows to be ready, and does not ask for others",
	Reread:  []string{`epoll(7) "Possible pitfalls and ways to avoid them"`}, Chapter: exam.ChapterEdge,
}

// starved counts the bytes that the server serves to others while 16 bytes of a
// third client wait. It counts bytes, not time, because every answer takes long on
// a busy machine.
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
		if servedSince(hoses, begin) > warmUp {
			break
		}
	}
	// How long the server stays with one client is also a matter of luck: that
	// client's queues may be empty or full for a moment. An average near the limit
	// gets more rounds.
	var took time.Duration
	served, rounds := 0, 0
	for rounds < fewRounds || rounds < manyRounds && served/rounds > fairShare && served/rounds <= unfairShare {
		rounds++
		sent, answer, err := askThird(s, third, hoses)
		if err != nil {
			return err
		}
		took += answer.at.Sub(sent)
		for _, f := range hoses {
			served += f.between(sent, answer.at)
		}
	}
	s.Note("the third", "was answered %d times, on average after %v, in which the others got %d KiB",
		rounds, (took / time.Duration(rounds)).Round(10*time.Microsecond), served/rounds>>10)
	s.Note("want", "at most %d KiB", maxShare>>10)
	if served/rounds > maxShare {
		return exam.ErrFailed
	}
	s.Usually = "while one client keeps it busy, the server does not accept(2) another: see ONE_AT_A_TIME"
	return serveAnother(s, "meanwhile")
}

// askThird sends 16 bytes and returns when they were sent and the answer.
func askThird(s *exam.Session, third *rawClient, hoses []*firehose) (sent time.Time, answer arrival, err error) {
	send := func() error {
		sent = time.Now()
		_, err := unix.Write(third.fd, make([]byte, exam.PingSize))
		return os.NewSyscallError("write", err)
	}
	if !s.Owned() {
		err = send()
	} else {
		err = s.WhileStopped(func() error {
			awaitFullQueues(s, hoses)
			return send()
		})
	}
	if err != nil {
		return sent, answer, err
	}
	var buf [exam.PingSize]byte
	for got := 0; got < len(buf); got += answer.bytes {
		for tries := 1; ; tries++ {
			answer, err = third.recv(buf[got:], 0)
			// Few bytes for the others mean that the machine is slow, not that the
			// server is unfair.
			others := servedSince(hoses, sent)
			if err != unix.EAGAIN || others == 0 || others > unfairShare || tries == patientTries {
				break
			}
		}
		if err != nil && s.Owned() {
			if _, dead := s.Server.AwaitDeath(); dead {
				return sent, answer, exam.SkipCheck("the server does not survive SIGSTOP and SIGCONT: see DIED_ON_SIGNAL")
			}
		}
		switch {
		case err == unix.EAGAIN:
			return sent, answer, s.Fail("the third", "sent 16 bytes, and then silence for %v", time.Since(sent).Round(time.Second))
		case err != nil:
			return sent, answer, os.NewSyscallError("read", err)
		case answer.bytes == 0:
			return sent, answer, s.Fail("the third", "sent 16 bytes, and got %d, then EOF", got)
		}
	}
	return sent, answer, nil
}

const patientTries = 5 // reads of exam.NewcomerTimeout each, as long as the others get few bytes

// servedSince returns how many bytes the others have received since begin.
func servedSince(hoses []*firehose, begin time.Time) (sum int) {
	for _, f := range hoses {
		n, _ := f.count(begin, time.Now())
		sum += n
	}
	return sum
}

// awaitFullQueues waits until no more bytes arrive in the receive queues of a
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
