package owed

import (
	"errors"
	"time"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

var DiedOnSignal = exam.Check{
	ID: "DIED_ON_SIGNAL", Title: "it is stopped and continued, and keeps serving", For: echoServers, Run: diedOnSignal, Survival: true, Starts: true, Looks: true,
	Usually: "EINTR from epoll_wait(2) is taken for a fatal error",
	Reread:  []string{`signal(7) "Interruption of system calls and library functions by stop signals"`, `epoll_wait(2) "ERRORS"`}, Chapter: exam.ChapterLevel,
}

var IgnoresSIGTERM = exam.Check{
	ID: "IGNORES_SIGTERM", Title: "SIGTERM ends it, with or without clients", For: echoServers, Run: ignoresSIGTERM, Starts: true, Looks: true, Kills: true,
	Usually: "the signal is caught or ignored, and nothing wakes the loop to see it",
	Reread:  []string{`signal(7) "Standard signals"`, `epoll_wait(2) "DESCRIPTION"`}, Chapter: exam.ChapterBlocking,
}

var PortStuck = exam.Check{
	ID: "PORT_STUCK", Title: "killed with a client attached, it can be started again at once", For: echoServers, Run: portStuck, Starts: true, Looks: true, Kills: true,
	Usually: "bind(2) without SO_REUSEADDR fails while an old connection is in TIME_WAIT",
	Reread:  []string{`socket(7) "Socket options"`, `bind(2) "ERRORS"`}, Chapter: exam.ChapterBlocking,
}

const (
	stops       = 3  // SIGSTOP and SIGCONT
	resizes     = 10 // SIGWINCH
	termClients = 10 // connected when SIGTERM comes
)

func diedOnSignal(s *exam.Session) error {
	old, err := s.DialAndPing()
	if err != nil {
		return exam.NotPrepared(err)
	}
	for i := range stops {
		if err := old.Ping(exam.ReplyTimeout); err != nil {
			if i == 0 {
				return exam.NotPrepared(err)
			}
			return err
		}
		s.AwaitSleep()
		if err := s.WhileStopped(func() error { return nil }); err != nil {
			return err
		}
	}
	s.Note("signals", "SIGSTOP and SIGCONT %d times, SIGWINCH %d times", stops, resizes)
	for range resizes {
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
	for range termClients {
		if _, err := s.Dial(0); err != nil {
			return exam.NotPrepared(err)
		}
	}
	if err := s.Clients()[0].Ping(exam.ReplyTimeout); err != nil {
		return exam.NotPrepared(err)
	}
	begin := time.Now()
	if err := s.Server.Signal(unix.SIGTERM); err != nil {
		return err
	}
	if s.Await(exam.ExitTimeout, func() bool { _, dead := s.Server.Died(); return dead }) {
		s.Note("SIGTERM", "with %d clients connected: gone after %v", termClients, time.Since(begin).Round(time.Millisecond))
		return nil
	}
	explainSurvivor(s)
	return s.Fail("SIGTERM", "with %d clients connected: still there after %v", termClients, exam.ExitTimeout)
}

// explainSurvivor says why SIGTERM has not ended the server.
func explainSurvivor(s *exam.Session) {
	pids, parent := s.Server.Members()
	if parent != 0 && !exam.Alive(parent) {
		s.Usually = "the process that got the signal has ended, and others keep its listening socket: it has to end them first"
		return
	}
	if parent == 0 && len(pids) == 1 {
		parent = pids[0]
	}
	signals, err := procfs.SignalsOf(parent)
	switch {
	case err != nil:
	case signals.Ignored.Has(unix.SIGTERM):
		s.Note("signals", "process %d ignores SIGTERM: SigIgn in /proc/%d/status", parent, parent)
		s.Usually = "SIG_IGN for SIGTERM: leave it at its default, which ends the process"
	case signals.Blocked.Has(unix.SIGTERM):
		s.Note("signals", "process %d blocks SIGTERM: SigBlk in /proc/%d/status", parent, parent)
		s.Usually = "SIGTERM is blocked, as for signalfd(2), and nothing reads it: the signalfd has to be on the interest list"
	case signals.Caught.Has(unix.SIGTERM):
		s.Note("signals", "process %d has a handler for SIGTERM: SigCgt in /proc/%d/status", parent, parent)
		s.Usually = "the handler returns and the loop continues: when epoll_wait(2) fails with EINTR, check the flag that the handler sets"
	}
}

func portStuck(s *exam.Session) error {
	c, err := s.DialAndPing()
	if err != nil {
		return exam.NotPrepared(err)
	}
	old := s.Server
	old.Stop()
	// The kernel closes the dead server's end: at once, or a little later if an
	// io_uring(7) had it open. Then the client closes its own end, and the server's
	// end stays in TIME_WAIT, which may make bind(2) fail.
	c.AwaitEOF(exam.SilenceTimeout)
	s.Await(exam.SilenceTimeout, func() bool {
		left, err := exam.Listeners(old.Addr)
		return err != nil || len(left) == 0
	})
	c.Close()
	left := ""
	s.Await(exam.ReplyTimeout, func() bool {
		end, _, err := c.ServerEnd()
		if err == nil && end.State == procfs.TCPTimeWait {
			left = end.State.String()
		}
		return err != nil || left != ""
	})
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
