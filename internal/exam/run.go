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

// Run grades a server. It fails if the options make no sense; problems of the server
// are in the report. All processes that Run has started have ended when it returns.
// If the examiner is killed, they are killed as well.
func Run(ctx context.Context, o Options) (*Report, error) {
	checks := o.Checks
	if len(checks) == 0 {
		return nil, errors.New("there are no checks to run")
	}
	if len(o.Command) > 0 && o.PID != 0 {
		return nil, errors.New("a command is a server to start, a PID is one that runs: give only one of them")
	}
	o.StartTimeout = cmp.Or(o.StartTimeout, startTimeout)
	o.DaemonTimeout = cmp.Or(o.DaemonTimeout, daemonTimeout)
	takesAddr := TakesAddr(o.Command)
	if takesAddr && !o.Addr.IsValid() {
		o.Addr = netip.AddrPortFrom(localhost, 0)
	}
	switch {
	case !o.Addr.IsValid() && o.PID == 0:
		return nil, errors.New("where does the server listen? give an address, or {addr} or {port} in the command")
	case o.Addr.IsValid() && o.Addr.Port() == 0 && !takesAddr:
		return nil, fmt.Errorf("%s: port 0 is not a port to connect to: give another one, or {port} in the command", o.Addr)
	}
	var uts unix.Utsname
	unix.Uname(&uts)
	begin := time.Now()
	report := &Report{
		Status: StatusGraded, Server: o.Command, As: cmp.Or(o.As, Echo), PID: o.PID, Date: begin.UTC().Truncate(time.Second),
		Results: []Result{}, Machine: runtime.GOARCH, Kernel: unix.ByteSliceToString(uts.Release[:]), CPUs: runtime.NumCPU(),
	}
	if o.Addr.Port() != 0 {
		report.Addr = o.Addr.String()
	}
	defer func() {
		report.order(checks)
		report.Seconds = time.Since(begin).Seconds()
	}()

	if o.Addr.IsValid() {
		if err := bind(netip.AddrPortFrom(o.Addr.Addr(), 0)); err != nil {
			report.Status, report.Problem = StatusNeverListened, fmt.Sprintf("this machine does not have the address %s: %v", o.Addr.Addr(), err)
			return report, nil
		}
	}
	raiseNOFILE()
	g := &grading{o, cmp.Or(o.Dialogue, EchoDialogue)}
	if err := g.meet(ctx); err != nil {
		return nil, err
	}
	met := false // whether any check has met the server
	for i, check := range checks {
		if o.Started != nil {
			o.Started(i+1, len(checks), check)
		}
		res, err := g.check(ctx, check)
		if ctx.Err() != nil {
			report.Status, report.Problem = StatusInterrupted, "interrupted"
			return report, nil
		}
		// A server that does not start cannot be graded. If it has started for an
		// earlier check, only this check could not be run.
		var start *StartError
		if !met && errors.As(err, &start) {
			report.Status, report.Problem, report.Output = start.status, start.Reason, start.Output
			return report, nil
		}
		met = met || res.Verdict != Skip
		report.Results = append(report.Results, res)
		if o.Finished != nil {
			o.Finished(res)
		}
		// A server that does not echo its first message would fail everything,
		// slowly, and the reader would learn nothing from it.
		var stop *stopGrading
		if errors.As(err, &stop) {
			report.Status, report.Problem = stop.status, stop.reason
			for _, c := range checks[i+1:] {
				report.Results = append(report.Results, c.verdict(Skip, "not run: "+stop.reason, nil))
			}
			break
		}
	}
	return report, nil
}
