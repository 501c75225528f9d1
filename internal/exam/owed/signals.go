package owed

import (
	"errors"
	"time"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

var DiedOnSignal = exam.Check{
	ID: "DIED_ON_SIGNAL", Title: "it is stopped and continued, and serves on", For: echoServers, Run: diedOnSignal, Survival: true, Starts: true, Looks: true,
	Usually: "EINTR from epoll_wait(2) is taken for a fatal error",
	Reread:  []string{`signal(7) "Interruption of system calls and library functions by stop signals"`, `epoll_wait(2) "ERRORS"`}, Chapter: exam.ChapterLevel,
}

var IgnoresSIGTERM = exam.Check{
	ID: "IGNORES_SIGTERM", Title: "SIGTERM ends it, clients or not", For: echoServers, Run: ignoresSIGTERM, Starts: true, Looks: true, Kills: true,
	Usually: "the signal is caught or ignored, and nothing wakes the loop to see it",
	Reread:  []string{`signal(7) "Standard signals"`, `epoll_wait(2) "DESCRIPTION"`}, Chapter: exam.ChapterBlocking,
}

var PortStuck = exam.Check{
	ID: "PORT_STUCK", Title: "killed with a client attached, it can be started again at once", For: echoServers, Run: portStuck, Starts: true, Looks: true, Kills: true,
	Usually: "bind(2) without SO_REUSEADDR fails while an old connection is in TIME_WAIT",
	Reread:  []string{`socket(7) "Socket options"`, `bind(2) "ERRORS"`}, Chapter: exam.ChapterBlocking,
}

func diedOnSignal(s *exam.Session) error {
	old, err := s.Dial(0)
	if err != nil {
		return err
	}
	for range 3 {
		if err := old.Ping(exam.ReplyTimeout); err != nil {
			return err
		}
		s.AwaitSleep()
		if err := s.WhileStopped(func() error { return nil }); err != nil {
			return err
		}
	}
	s.Note("signals", "SIGSTOP and SIGCONT three times, SIGWINCH ten times")
	for range 10 {
		s.AwaitSleep()
		if err := s.Server.Signal(unix.SIGWINCH); err != nil {
			return err
		}
		if err := old.Ping(exam.NewcomerTimeout); err != nil {
			return s.Fail("an old", "client afterwards: %v", exam.SilenceFor(err, exam.NewcomerTimeout))
		}
	}
	old.Close()
	return serveAnother(s, "afterwards")
}

func ignoresSIGTERM(s *exam.Session) error {
	for range 10 {
		if _, err := s.Dial(0); err != nil {
			return err
		}
	}
	if err := s.Clients()[0].Ping(exam.ReplyTimeout); err != nil {
		return err
	}
	begin := time.Now()
	if err := s.Server.Signal(unix.SIGTERM); err != nil {
		return err
	}
	for {
		if _, dead := s.Server.Died(); dead {
			s.Note("SIGTERM", "with 10 clients connected: gone after %v", time.Since(begin).Round(time.Millisecond))
			return nil
		}
		if time.Since(begin) > exam.ExitTimeout {
			if _, parent := s.Server.Members(); parent != 0 && !exam.Alive(parent) {
				s.Usually = "the process that was asked has ended, and others live on with its listening socket: they are its to end"
			}
			return s.Fail("SIGTERM", "with 10 clients connected: still there after %v", exam.ExitTimeout)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func portStuck(s *exam.Session) error {
	c, err := s.DialAndPing()
	if err != nil {
		return err
	}
	old := s.Server
	old.Stop()
	// The kernel closes the dead server's end: at once, or a little later if it
	// was io_uring(7) that had it open. Now the client closes its own, and the
	// other is left in TIME_WAIT, which is what bind(2) may not mind.
	c.AwaitEOF(exam.SilenceTimeout)
	for deadline := time.Now().Add(exam.SilenceTimeout); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if left, err := exam.Listeners(old.Addr); err != nil || len(left) == 0 {
			break
		}
	}
	c.Close()
	left := ""
	for deadline := time.Now().Add(exam.ReplyTimeout); left == "" && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		end, _, err := c.ServerEnd()
		if err != nil {
			return err
		}
		if end.State == procfs.TCPTimeWait {
			left = end.State.String()
		}
	}
	if left == "" {
		return exam.CannotRun("the killed server's connection did not stay in TIME_WAIT")
	}
	s.Note("killed", "with a client attached; its end of the connection stays in %s", left)
	if err := s.Restart(); err != nil {
		var start *exam.StartError
		if errors.As(err, &start) {
			s.Note("started", "again on %s: %s", old.Addr, start.Reason)
			if start.Output != "" {
				s.Note("it said", "%s", start.Output)
			}
			return exam.ErrFailed
		}
		return err
	}
	if c, err = s.Dial(0); err == nil {
		err = c.Ping(exam.ReplyTimeout)
	}
	return err
}
