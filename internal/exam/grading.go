package exam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// A grading is one call of Run.
type grading struct {
	options  Options
	dialogue *Dialogue
}

func (g *grading) ownsServer() bool { return len(g.options.Command) > 0 }

// crowds lets one grading of this process at a time have thousands of clients: two
// would take descriptors and processors from each other.
var crowds = make(chan bool, 1)

// check runs one check, with a server of its own if we can start one.
func (g *grading) check(ctx context.Context, c Check) (res Result, err error) {
	begin := time.Now()
	defer func() { res.Seconds = time.Since(begin).Seconds() }()

	switch echo := g.dialogue.IsEcho(); {
	case c.EchoOnly && !echo:
		return c.verdict(Skip, "needs an echo server", nil), nil
	case c.NotEcho && echo:
		return c.verdict(Skip, "for an echo server each byte is a request", nil), nil
	}
	if c.Starts && !g.ownsServer() {
		return c.verdict(Skip, "needs a server that the examiner has started itself", nil), nil
	}
	if c.Clients >= manyClients {
		select {
		case crowds <- true:
			defer func() { <-crowds }()
		case <-ctx.Done():
			return c.verdict(Error, "interrupted", nil), ctx.Err()
		}
	}
	if enough, reason := enoughDescriptors(c.Clients); !enough {
		return c.verdict(Skip, reason, nil), nil
	}
	bounded, cancel := context.WithCancel(ctx)
	defer cancel()
	s := g.session(bounded)
	if err := g.findServer(s, c); err != nil {
		return c.verdict(Error, "the server did not start: "+err.Error(), nil), err
	}
	defer func() { s.Server.Stop() }() // not always the first server: a check may restart it
	if c.Looks {
		if err := s.Server.canSee(); err != nil {
			return c.verdict(Skip, err.Error(), nil), nil
		}
	}

	defer s.ResetAll()
	finished := make(chan error, 1)
	go func() { finished <- c.Run(s) }()
	go cancelHang(bounded, cancel, s.Server)
	select {
	case err = <-finished:
		return s.judge(c, err)
	case <-bounded.Done():
	}
	doing := s.Server.Doing()
	s.interrupt()
	s.Server.Stop()
	<-finished
	if ctx.Err() != nil {
		return c.verdict(Error, "interrupted", nil), ctx.Err()
	}
	return c.verdict(Error, fmt.Sprintf("hang: no verdict within %v; the server was %s", time.Since(begin).Round(time.Second), doing), s.facts), nil
}

// session returns a session without a server.
func (g *grading) session(ctx context.Context) *Session {
	s := &Session{Ctx: ctx, Dialogue: g.dialogue}
	if !g.ownsServer() {
		return s
	}
	s.start = func(nofile uint64) (*Server, error) {
		addr := g.options.Addr
		if s.Server != nil {
			addr = s.Server.Addr // it is to be started again
		} else if addr.Port() == 0 {
			var err error
			if addr, err = freePort(addr.Addr()); err != nil {
				return nil, err
			}
		}
		return start(ctx, g.options, addr, nofile)
	}
	return s
}

// findServer starts the server or attaches to it.
func (g *grading) findServer(s *Session, c Check) (err error) {
	if !g.ownsServer() {
		s.Server, err = attach(g.options.Addr, g.options.PID)
		return err
	}
	if c.NOFILE == 0 {
		s.Server, err = s.start(hardNOFILE())
		return err
	}
	// An interpreter may need more descriptors than that to start.
	for _, n := range []uint64{c.NOFILE, 2 * c.NOFILE, 8 * c.NOFILE} {
		if s.Server, err = s.start(n); err == nil {
			s.Note("limit", "RLIMIT_NOFILE %d, hard and soft", n)
			return nil
		}
	}
	return err
}

// cancelHang cancels a check that takes too long. The time in which we or the server
// waited for a CPU does not count, up to a limit.
func cancelHang(ctx context.Context, cancel context.CancelFunc, server *Server) {
	waited := func() (sum time.Duration) {
		threads, _ := procfs.Threads(os.Getpid())
		for _, t := range threads {
			sum += t.Waited
		}
		_, more := server.CPUTime()
		return sum + more
	}
	begin, before := time.Now(), waited()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
		took := time.Since(begin)
		if took > checkTimeout && took-(waited()-before) > checkTimeout || took > 4*checkTimeout {
			cancel()
		}
	}
}

// judge makes a result of what a check has returned.
func (s *Session) judge(c Check, err error) (Result, error) {
	var skipped *skip
	var cannot *cannotRun
	var stop *stopGrading
	died := s.Server.Died
	if err != nil {
		died = s.Server.AwaitDeath
	}
	switch how, dead := died(); {
	case errors.As(err, &skipped):
		return c.verdict(Skip, skipped.reason, s.facts), nil
	case errors.As(err, &cannot):
		if dead {
			cannot = &cannotRun{cannot.reason + "; the server died: " + how}
		}
		return c.verdict(Error, cannot.reason, s.facts), nil
	case err == nil && (!dead || c.Kills):
		return c.verdict(Pass, "", s.facts), nil
	case err == nil:
		s.Note("server", "died: %s", how)
	case err != ErrFailed && !errors.As(err, &stop):
		s.Note("saw", "%v", err)
	}
	s.explain()
	res := c.verdict(Fail, "", s.facts)
	switch how, dead := s.Server.Died(); {
	case dead && strings.Contains(how, unix.SIGPIPE.String()):
		res.Usually = "SIGPIPE, which a write(2) to a connection that was reset causes: ignore it with signal(2), or use send(2) with MSG_NOSIGNAL; then EPIPE is the end of this client only"
	case stop != nil:
		res.Usually = cmp.Or(s.Usually, stop.reason)
	case dead && !c.Kills && !c.Survival:
		res.Usually = "the server has ended, for the reason above, before it could be asked"
	case s.Usually != "":
		res.Usually = s.Usually
	}
	return res, err
}
