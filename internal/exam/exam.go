// Package exam grades a running TCP echo server. It knows the server as a
// command and an address: it starts the command, talks to it over TCP, and
// looks at its process through /proc: proc(5). It needs no tracing, no root
// and no help from the server, which may be written in any language.
//
// [Checks] is the list of what it asks. [Run] asks it.
package exam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// Options say what to grade and how.
type Options struct {
	// Command starts the server. {addr}, {host} and {port} in its words stand
	// for an address of the examiner's choosing, another one for each start.
	// Without them, the command listens on Addr by itself. An empty Command
	// grades a server that runs already.
	Command []string

	Addr netip.AddrPort
	PID  int // of a server that runs already; 0 if Addr is enough to find it

	As   Profile  // Echo if empty
	Only []string // the IDs of the checks to run, whatever As says

	// Started and Finished, if not nil, are called for each check that is run,
	// as it begins (the first of n is 1) and ends.
	Started  func(i, n int, c Check)
	Finished func(Result)
}

// A Profile says what the server claims to be.
type Profile string

const (
	Echo Profile = "echo" // any echo server, made in whatever way
	LT   Profile = "lt"   // one thread and level-triggered epoll(7)
	ET   Profile = "et"   // one thread and edge-triggered epoll(7)

	Lines   Profile = "lines"   // no echo: each line is answered with its length
	Timeout Profile = "timeout" // an echo server that closes clients which are silent for 2 s
	Chat    Profile = "chat"    // no echo: each line goes to everybody
	Redis   Profile = "redis"   // no echo: a few of Redis's commands
	Cores   Profile = "cores"   // an echo server with a process for each core
)

// Profiles is all of them.
var Profiles = []Profile{Echo, LT, ET, Lines, Timeout, Chat, Redis, Cores}

// A Verdict is the outcome of one check.
type Verdict string

const (
	Pass  Verdict = "pass"
	Fail  Verdict = "fail"
	Skip  Verdict = "skip"  // it does not apply, or would tell nothing
	Error Verdict = "error" // it could not be run
)

// A Status says how far the grading came.
type Status string

const (
	StatusGraded        Status = "graded"
	StatusNeverListened Status = "never listened"
	StatusHang          Status = "hang"     // it listens and never answers
	StatusNotEcho       Status = "not echo" // it answers something else
	StatusInterrupted   Status = "interrupted"
)

// A Fact is one line of an explanation: "got back", "16 bytes, then silence".
type Fact struct {
	Label string `json:"label"`
	Text  string `json:"text"`
}

// A Result is what a check found.
type Result struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Verdict Verdict  `json:"verdict"`
	Failure string   `json:"failure,omitempty"` // the ID again, if it failed
	Reason  string   `json:"reason,omitempty"`  // for skip and error
	Facts   []Fact   `json:"facts,omitempty"`
	Usually string   `json:"usually,omitempty"`
	Reread  []string `json:"reread,omitempty"`
	Chapter string   `json:"chapter,omitempty"`
	Seconds float64  `json:"seconds"`
}

// A Report is what there is to say about a server.
type Report struct {
	Status  Status    `json:"status"`
	Problem string    `json:"problem,omitempty"` // why it was not graded
	Output  string    `json:"output,omitempty"`  // what it printed last, then
	Server  []string  `json:"server,omitempty"`
	Addr    string    `json:"addr,omitempty"`
	PID     int       `json:"pid,omitempty"`
	As      Profile   `json:"as"`
	Machine string    `json:"machine"`
	Kernel  string    `json:"kernel"`
	CPUs    int       `json:"cpus"`
	Date    time.Time `json:"date"`
	Seconds float64   `json:"seconds"`
	Results []Result  `json:"checks"`
}

// Count returns how many checks ended with v.
func (r *Report) Count(v Verdict) int {
	n := 0
	for _, res := range r.Results {
		if res.Verdict == v {
			n++
		}
	}
	return n
}

// Passed tells whether the server was graded and nothing was found wrong. A
// check that could not be run is not a pass.
func (r *Report) Passed() bool {
	return r.Status == StatusGraded && r.Count(Pass) > 0 && r.Count(Fail)+r.Count(Error) == 0
}

// Selected returns the checks that o asks for, in the order of [Checks].
func Selected(o Options) ([]Check, error) {
	for _, id := range o.Only {
		if !slices.ContainsFunc(Checks, func(c Check) bool { return c.ID == id }) {
			return nil, fmt.Errorf("there is no check %q; there are %s", id, strings.Join(ids(), " "))
		}
	}
	var list []Check
	for _, c := range Checks {
		if len(o.Only) == 0 && slices.Contains(c.For, cmp.Or(o.As, Echo)) || slices.Contains(o.Only, c.ID) {
			list = append(list, c)
		}
	}
	return list, nil
}

func ids() []string {
	var list []string
	for _, c := range Checks {
		list = append(list, c.ID)
	}
	return list
}

// Run grades a server. The error is for options that make no sense; what is
// wrong with the server is in the report. Processes that Run has started have
// ended when it returns; if the examiner is killed, they are killed as well.
func Run(ctx context.Context, o Options) (*Report, error) {
	checks, err := Selected(o)
	if err != nil {
		return nil, err
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
		var start *startError
		if !contact && errors.As(err, &start) {
			report.Status, report.Problem, report.Output = start.status, start.reason, start.output
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

// raiseNOFILE lets this process have as many descriptors as it may.
var raiseNOFILE = sync.OnceFunc(func() {
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) == nil && lim.Cur < lim.Max {
		lim.Cur = lim.Max
		unix.Setrlimit(unix.RLIMIT_NOFILE, &lim)
	}
})

type grading struct {
	options   Options
	takesAddr bool
}

// A session is what one check works with: a server, and clients that are gone
// when the check has ended.
type session struct {
	ctx     context.Context
	server  *server
	start   func(nofile uint64) (*server, error) // the server once more, nil if it was not started by us
	facts   []Fact
	usually string // if it is not what the table says

	mu      sync.Mutex
	clients []*client
	raw     []int    // descriptors of those that are not the net package's
	ends    []func() // what else is to be done at the end
}

func (s *session) atEnd(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = append(s.ends, f)
}

// note records what the check saw, for the explanation.
func (s *session) note(label, format string, args ...any) {
	s.facts = append(s.facts, Fact{label, fmt.Sprintf(format, args...)})
}

// fail is note, as the verdict.
func (s *session) fail(label, format string, args ...any) error {
	s.note(label, format, args...)
	return errFailed
}

var errFailed = errors.New("failed")

// skip and cannotRun are verdicts, stopGrading ends the whole exam.
type (
	skip        struct{ reason string }
	cannotRun   struct{ reason string }
	stopGrading struct {
		status Status
		reason string
	}
)

func (e *skip) Error() string        { return e.reason }
func (e *cannotRun) Error() string   { return e.reason }
func (e *stopGrading) Error() string { return e.reason }

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
	if c.starts && !own {
		return verdict(Skip, "needs a server that the examiner has started itself", nil), nil
	}
	if c.clients >= limits.burst {
		select {
		case crowds <- true:
			defer func() { <-crowds }()
		case <-ctx.Done():
			return verdict(Error, "interrupted", nil), ctx.Err()
		}
	}
	bounded, cancel := context.WithTimeout(ctx, limits.check)
	defer cancel()
	s := &session{ctx: bounded}
	if own {
		addr := g.options.Addr
		s.start = func(nofile uint64) (*server, error) {
			if s.server != nil {
				addr = s.server.addr
			} else if g.takesAddr {
				if addr, err = freePort(); err != nil {
					return nil, err
				}
			}
			command, _ := expand(g.options.Command, addr)
			return start(bounded, command, addr, nofile)
		}
	}
	if enough, reason := enoughDescriptors(c.clients); !enough {
		return verdict(Skip, reason, nil), nil
	}
	switch {
	case c.nofile > 0:
		// An interpreter may need more than that to start: then a few more.
		for _, n := range []uint64{c.nofile, 2 * c.nofile, 8 * c.nofile} {
			if s.server, err = s.start(n); err == nil {
				s.note("limit", "RLIMIT_NOFILE %d, hard and soft", n)
				break
			}
		}
	case own:
		s.server, err = s.start(hardNOFILE())
	default:
		s.server, err = attach(g.options.Addr, g.options.PID)
	}
	if err != nil {
		return verdict(Error, "the server did not start: "+err.Error(), nil), err
	}
	defer func() { s.server.stop() }() // the last one: PORT_STUCK starts another
	if c.looks {
		if err := s.server.canSee(); err != nil {
			return verdict(Skip, err.Error(), nil), nil
		}
	}

	defer s.resetAll()
	finished := make(chan error, 1)
	go func() { finished <- c.run(s) }()
	select {
	case err = <-finished:
	case <-bounded.Done():
		doing := s.server.doing()
		s.wake()
		s.server.stop()
		<-finished
		if ctx.Err() != nil {
			return verdict(Error, "interrupted", nil), ctx.Err()
		}
		return verdict(Error, fmt.Sprintf("hang: no verdict within %v; the server was %s", limits.check, doing), s.facts), nil
	}

	var skipped *skip
	var could *cannotRun
	var stop *stopGrading
	died := s.server.died
	if err != nil {
		died = s.server.dies
	}
	switch how, dead := died(); {
	case errors.As(err, &skipped):
		return verdict(Skip, skipped.reason, s.facts), nil
	case errors.As(err, &could):
		return verdict(Error, could.reason, s.facts), nil
	case err == nil && (!dead || c.kills):
		return verdict(Pass, "", s.facts), nil
	case err == nil:
		s.note("server", "died: %s", how)
	case err != errFailed && !errors.As(err, &stop):
		s.note("saw", "%v", err)
	}
	s.explain()
	res = verdict(Fail, "", s.facts)
	switch _, dead := s.server.died(); {
	case stop != nil:
		res.Usually = stop.reason
	case dead && !c.kills && !strings.HasPrefix(c.ID, "DIED"):
		res.Usually = "the server has ended, for the reason above, before it could be asked"
	case s.usually != "":
		res.Usually = s.usually
	}
	return res, err
}

// wake ends whatever a check waits for: what it does with its clients fails from
// now on. Until it has ended, no number of a descriptor that it uses is free.
func (s *session) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		c.reset()
	}
	for _, fd := range s.raw {
		unix.Shutdown(fd, unix.SHUT_RDWR)
	}
}

// resetAll closes the clients with a RST: no TIME_WAIT stays behind, and the
// next server can have the port.
func (s *session) resetAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		c.reset()
	}
	for _, f := range slices.Backward(s.ends) {
		f()
	}
	s.raw, s.ends = nil, nil
}

// explain adds what the server is doing, or how it died.
func (s *session) explain() {
	how, dead := s.server.died()
	said := slices.ContainsFunc(s.facts, func(f Fact) bool { return f.Label == "server" })
	if !dead {
		if !said {
			s.note("server", "%s", s.state())
		}
		return
	}
	if !said {
		s.note("server", "died: %s", how)
	}
	if out := s.server.lastWords(); out != "" {
		s.note("it said", "%s", out)
	}
}

// state is what the server is doing, and what lies in the queues of the
// connections that have any.
func (s *session) state() string {
	text := s.server.doing()
	pids := s.server.processes()
	if len(pids) == 0 {
		return text
	}
	holder := make(map[uint64]string) // by inode
	for _, pid := range pids {
		fds, _ := procfs.FDs(pid)
		for _, fd := range fds {
			holder[fd.Inode] = fmt.Sprintf("fd %d", fd.Num)
			if len(pids) > 1 {
				holder[fd.Inode] += fmt.Sprintf(" of process %d", pid)
			}
		}
	}
	shown := 0
	for begin, i := time.Now(), 0; i < len(s.clients) && time.Since(begin) < limits.reply; i++ {
		if shown == 2 {
			break // one would do to understand
		}
		c := s.clients[i]
		sock, found, _ := c.serverEnd()
		if !found || len(s.clients) > 1 && sock.RxQueue+sock.TxQueue == 0 {
			continue
		}
		shown++
		where := "a connection that it has closed"
		if unaccepted(sock) {
			where = "a connection that was never accepted"
		}
		if fd := holder[sock.Inode]; fd != "" && sock.Inode != 0 {
			where = fd
		}
		text += fmt.Sprintf("; %d bytes unread, %d unsent on %s", sock.RxQueue, sock.TxQueue, where)
	}
	return text
}

// hardNOFILE is the most descriptors that a server of ours may have.
func hardNOFILE() uint64 {
	lim, err := procfs.NOFILE(os.Getpid())
	if err != nil {
		return 1024
	}
	return min(lim.Hard, 1<<20)
}

// Of all gradings in this process one at a time may have thousands of clients:
// two would take descriptors and processors from each other.
var crowds = make(chan bool, 1)

func enoughDescriptors(clients int) (bool, string) {
	need := uint64(clients + 200)
	if have := hardNOFILE(); have < need {
		return false, fmt.Sprintf("needs %d descriptors; the hard limit here is %d (ulimit -Hn)", need, have)
	}
	return true, ""
}
