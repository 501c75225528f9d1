package exam

import (
	"slices"
	"strings"
	"time"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// pause stops the server while f runs.
func (s *Session) WhileStopped(f func() error) error {
	if err := s.Server.Signal(unix.SIGSTOP); err != nil {
		return err
	}
	stopped := s.AwaitThreads("Tt", ReplyTimeout)
	failed := f()
	if err := s.Server.Signal(unix.SIGCONT); err != nil {
		return err
	}
	if !stopped {
		return CannotRun("the server did not stop on SIGSTOP")
	}
	s.AwaitThreads("SDIRZX", ReplyTimeout)
	return failed
}

// awaitThreads waits until each thread of the server is in one of the states.
func (s *Session) AwaitThreads(states string, d time.Duration) bool {
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if s.threadsAre(states) {
			return true
		}
	}
	return false
}

func (s *Session) threadsAre(states string) bool {
	return !slices.ContainsFunc(s.Server.family(), func(pid int) bool {
		threads, _ := procfs.ThreadStates(pid)
		for _, state := range threads {
			if !strings.ContainsRune(states, rune(state)) {
				return true
			}
		}
		return false
	})
}

// awaitSleep waits until the server sleeps, so that a signal meets it there. A
// server that never does is signalled all the same.
func (s *Session) AwaitSleep() { s.AwaitThreads(Sleeping, StallTime) }

const Sleeping = "SDI" // states of threads: proc(5), /proc/pid/stat

// asleep tells whether the server sleeps, as far as we may see it.
func (s *Session) Asleep() bool {
	return len(s.Server.Processes()) > 0 && s.threadsAre(Sleeping)
}

// awaitRead waits until the server has read all that c has sent. It gives up
// after d.
func (s *Session) AwaitRead(c *Client, d time.Duration) bool { return s.AwaitAllRead([]*Client{c}, d) }

func (s *Session) AwaitAllRead(cs []*Client, d time.Duration) bool {
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if !slices.ContainsFunc(cs, (*Client).underWay) {
			return true
		}
	}
	return false
}

// awaitArrival waits until all that the clients have sent, and not got back, is
// in the receive queues of a server that is stopped.
func (s *Session) AwaitArrival(d time.Duration, clients ...*Client) error {
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		arrived := 0
		for _, c := range clients {
			end, found, err := c.ServerEnd()
			if err != nil {
				return err
			}
			if found && end.RxQueue == c.Sent-c.Got {
				arrived++
			}
		}
		if arrived == len(clients) {
			return nil
		}
	}
	return CannotRun("what the clients sent did not arrive in the queues of the server, which was stopped")
}
