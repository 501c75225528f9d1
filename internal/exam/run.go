package exam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Run grades a server. The error is for options that make no sense; what is
// wrong with the server is in the report. Processes that Run has started have
// ended when it returns; if the examiner is killed, they are killed as well.
func Run(ctx context.Context, o Options) (*Report, error) {
	checks := o.Checks
	if len(checks) == 0 {
		return nil, errors.New("there are no checks to run")
	}
	if len(o.Command) > 0 && o.PID != 0 {
		return nil, errors.New("a command is a server to start, a PID is one that runs: give only one of them")
	}
	takesAddr := false
	if len(o.Command) > 0 {
		_, takesAddr = expand(o.Command, netip.AddrPort{})
	}
	if !o.Addr.IsValid() && !takesAddr && o.PID == 0 {
		return nil, errors.New("where does the server listen? give an address, or {addr} or {port} in the command")
	}
	var uts unix.Utsname
	unix.Uname(&uts)
	begin := time.Now()
	report := &Report{
		Status: StatusGraded, Server: o.Command, As: cmp.Or(o.As, Echo), PID: o.PID, Date: begin.UTC().Truncate(time.Second),
		Results: []Result{}, Machine: runtime.GOARCH, Kernel: unix.ByteSliceToString(uts.Release[:]), CPUs: runtime.NumCPU(),
	}
	if o.Addr.IsValid() && !takesAddr {
		report.Addr = o.Addr.String()
	}
	defer func() { report.Seconds = time.Since(begin).Seconds() }()

	raiseNOFILE()
	g := &grading{options: o, takesAddr: takesAddr}
	contact := false // has any check met the server?
	for i, check := range checks {
		if o.Started != nil {
			o.Started(i+1, len(checks), check)
		}
		res, err := g.check(ctx, check)
		if ctx.Err() != nil {
			report.Status, report.Problem = StatusInterrupted, "interrupted"
			return report, nil
		}
		// Before the first verdict, a server that does not start is a server
		// that cannot be graded; later, it is a check that could not be run.
		var start *StartError
		if !contact && errors.As(err, &start) {
			report.Status, report.Problem, report.Output = start.status, start.Reason, start.Output
			return report, nil
		}
		contact = contact || res.Verdict != Skip
		report.Results = append(report.Results, res)
		if o.Finished != nil {
			o.Finished(res)
		}
		// A server without a first echo would fail everything, slowly, and the
		// reader would learn no more.
		var stop *stopGrading
		if errors.As(err, &stop) {
			report.Status, report.Problem = stop.status, stop.reason
			for _, c := range checks[i+1:] {
				res := c.result(Skip)
				res.Reason = "not run: " + stop.reason
				report.Results = append(report.Results, res)
			}
			break
		}
	}
	return report, nil
}

type grading struct {
	options   Options
	takesAddr bool
}

// check runs one check, with a server of its own if we can start one.
func (g *grading) check(ctx context.Context, c Check) (res Result, err error) {
	begin := time.Now()
	defer func() { res.Seconds = time.Since(begin).Seconds() }()

	verdict := func(v Verdict, reason string, facts []Fact) Result {
		res := c.result(v)
		res.Reason, res.Facts = reason, facts
		return res
	}
	own := len(g.options.Command) > 0
	if c.Starts && !own {
		return verdict(Skip, "needs a server that the examiner has started itself", nil), nil
	}
	if c.Clients >= manyClients {
		select {
		case crowds <- true:
			defer func() { <-crowds }()
		case <-ctx.Done():
			return verdict(Error, "interrupted", nil), ctx.Err()
		}
	}
	bounded, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	s := &Session{Ctx: bounded}
	if own {
		addr := g.options.Addr
		s.startAgain = func(nofile uint64) (*Server, error) {
			if s.Server != nil {
				addr = s.Server.Addr
			} else if g.takesAddr {
				if addr, err = freePort(); err != nil {
					return nil, err
				}
			}
			command, _ := expand(g.options.Command, addr)
			return start(bounded, command, addr, nofile)
		}
	}
	if enough, reason := enoughDescriptors(c.Clients); !enough {
		return verdict(Skip, reason, nil), nil
	}
	switch {
	case c.NOFILE > 0:
		// An interpreter may need more than that to start: then a few more.
		for _, n := range []uint64{c.NOFILE, 2 * c.NOFILE, 8 * c.NOFILE} {
			if s.Server, err = s.startAgain(n); err == nil {
				s.Note("limit", "RLIMIT_NOFILE %d, hard and soft", n)
				break
			}
		}
	case own:
		s.Server, err = s.startAgain(hardNOFILE())
	default:
		s.Server, err = attach(g.options.Addr, g.options.PID)
	}
	if err != nil {
		return verdict(Error, "the server did not start: "+err.Error(), nil), err
	}
	defer func() { s.Server.Stop() }() // the last one: PORT_STUCK starts another
	if c.Looks {
		if err := s.Server.canSee(); err != nil {
			return verdict(Skip, err.Error(), nil), nil
		}
	}

	defer s.ResetAll()
	finished := make(chan error, 1)
	go func() { finished <- c.Run(s) }()
	select {
	case err = <-finished:
	case <-bounded.Done():
		doing := s.Server.Doing()
		s.wake()
		s.Server.Stop()
		<-finished
		if ctx.Err() != nil {
			return verdict(Error, "interrupted", nil), ctx.Err()
		}
		return verdict(Error, fmt.Sprintf("hang: no verdict within %v; the server was %s", checkTimeout, doing), s.facts), nil
	}

	var skipped *skip
	var could *cannotRun
	var stop *stopGrading
	died := s.Server.Died
	if err != nil {
		died = s.Server.AwaitDeath
	}
	switch how, dead := died(); {
	case errors.As(err, &skipped):
		return verdict(Skip, skipped.reason, s.facts), nil
	case errors.As(err, &could):
		return verdict(Error, could.reason, s.facts), nil
	case err == nil && (!dead || c.Kills):
		return verdict(Pass, "", s.facts), nil
	case err == nil:
		s.Note("server", "died: %s", how)
	case err != ErrFailed && !errors.As(err, &stop):
		s.Note("saw", "%v", err)
	}
	s.explain()
	res = verdict(Fail, "", s.facts)
	switch _, dead := s.Server.Died(); {
	case stop != nil:
		res.Usually = stop.reason
	case dead && !c.Kills && !c.Survival:
		res.Usually = "the server has ended, for the reason above, before it could be asked"
	case s.Usually != "":
		res.Usually = s.Usually
	}
	return res, err
}

// Of all gradings in this process one at a time may have thousands of clients:
// two would take descriptors and processors from each other.
var crowds = make(chan bool, 1)
