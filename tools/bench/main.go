// Bench compares the steps with the servers that one would otherwise choose. One
// run measures all of them in turn, for several rounds.
//
// Usage (make bench fills it in):
//
//	bench -root ../.. [-quick] [-only step3,c] [-o results.txt]
//	bench -root ../.. -raw                    compare exercise 19 with step 4
//	bench -root ../.. -tried                  compare what was tried to make step 3 cheaper
//	bench -root ../.. -rounds 3 -apart=false  3 rounds; the generator shares its CPU
//
// It prints tables. With -o it writes each measurement to a file in the format of
// benchstat, and the tables to a file beside it. It exits with status 0 when it has
// measured, 1 when it could not and 2 when it was misused. It leaves no process
// running, not even after Ctrl-C.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"epoll-step-by-step/internal/terminal"
	"epoll-step-by-step/tools/bench/record"

	"golang.org/x/sys/unix"
)

const (
	goos   = runtime.GOOS
	goarch = runtime.GOARCH
)

var goVersion = runtime.Version()

// A bench is one run.
type bench struct {
	ctx          context.Context
	root         string // of the repository
	dir          string // for the programs that it builds
	bins         map[string]string
	window       time.Duration // for which one load is measured
	buf          []byte
	addressIndex int // of the last connection of churn: see dial
	out          io.Writer
	progressOut  io.Writer
	live         bool   // progressOut is a terminal
	shownPart    string // the last part of the last progress line

	lines   []record.Line
	skipped []string // measurements left out, with the reason

	begin       time.Time
	done, total int // measurements
}

// A plan lists the measurements of a run.
type plan struct {
	servers []server
	loads   []load
	rounds  int

	idleRounds, watchRounds int
	whereRounds             int
	levels                  []int // of idle clients
	watch                   time.Duration
	calls                   []int // clients, while system calls are counted
}

// The main thread is pinned and generates all load. The children die with it.
func init() { runtime.LockOSThread() }

func main() {
	root := flag.String("root", "../..", "the repository's `folder`")
	quick := flag.Bool("quick", false, "measure less, in under a minute")
	raw := flag.Bool("raw", false, "compare exercise 19 with step 4, its solution and C")
	tried := flag.Bool("tried", false, "compare what was tried to make step 3 cheaper")
	only := flag.String("only", "", "`servers` to measure, by name, with commas")
	apart := flag.Bool("apart", true, "give the generator a CPU of its own")
	rounds := flag.Int("rounds", 0, "number of `rounds`; 0 means 7, with -quick 3, with -raw 15")
	file := flag.String("o", "", "`file` to write the results to")
	flag.Parse()
	if flag.NArg() > 0 || more(*quick, *raw, *tried) || *rounds < 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { interrupted.Store(true) })
	err := run(ctx, *root, options{*quick, *raw, *tried, *apart, *rounds, *only}, *file, os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, errInterrupted) || ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "\nbench: interrupted; nothing was written")
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root string, c options, file string, out, errout io.Writer) error {
	var tables bytes.Buffer // as they are printed
	out = io.MultiWriter(out, &tables)
	b, err := newBench(ctx, root, c.apart, out, errout)
	if err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	p, window, err := c.plan()
	if err != nil {
		return err
	}
	b.window = window
	config := configuration(p.rounds, b.window)
	for _, c := range config {
		fmt.Fprintf(b.out, "%s: %s\n", c.Key, c.Value)
	}
	if err := b.measureAll(p); err != nil {
		return err
	}
	b.progress("")
	switch {
	case c.raw:
		b.printRaw()
	case c.tried:
		b.printTried(p)
	default:
		b.printTables(p)
	}
	if file == "" {
		return nil
	}
	if err := os.WriteFile(strings.TrimSuffix(file, ".txt")+".tables", tables.Bytes(), 0o644); err != nil {
		return err
	}
	return b.writeFile(file, config)
}

func newBench(ctx context.Context, root string, apart bool, out, errout io.Writer) (*bench, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	if err := pin(apart); err != nil {
		return nil, err
	}
	debug.SetGCPercent(-1) // the collector would disturb the generator
	debug.SetMemoryLimit(1 << 30)
	b := &bench{ctx: ctx, root: root, dir: dir, bins: make(map[string]string), buf: make([]byte, bufSize), out: out, progressOut: errout, begin: time.Now()}
	if f, ok := errout.(*os.File); ok {
		b.live = terminal.Is(f)
	}
	return b, nil
}

// options are the choices of the user.
type options struct {
	quick, raw, tried, apart bool
	rounds                   int
	only                     string // names, separated by commas
}

// more reports whether more than one of the flags is set.
func more(flags ...bool) bool {
	return len(slices.DeleteFunc(flags, func(f bool) bool { return !f })) > 1
}

// plan returns the measurements of a run and the time for which it measures a load.
// It decides how long the run takes.
func (c options) plan() (plan, time.Duration, error) {
	p := plan{servers: servers, loads: loads, rounds: 7, idleRounds: 15, watchRounds: 2, whereRounds: 5, levels: []int{0, 1000, 5000, 10000, 19000}, watch: time.Second, calls: []int{1, 50}}
	window := 200 * time.Millisecond
	switch {
	case c.quick:
		window = 80 * time.Millisecond
		p.rounds, p.idleRounds, p.watchRounds, p.whereRounds = 3, 1, 1, 1
		p.levels, p.watch, p.calls = []int{0, 19000}, 300*time.Millisecond, []int{50}
		p.loads = slices.DeleteFunc(slices.Clone(loads), func(l load) bool { return !l.Quick })
	case c.raw:
		window = 300 * time.Millisecond
		p = plan{rounds: 15, loads: []load{loads[1]}, servers: append([]server{yours, short}, named("step4", "raw", "c")...)}
	case c.tried:
		p.loads = slices.DeleteFunc(slices.Clone(loads), func(l load) bool { return !l.Tried })
		p.servers = slices.Concat(tried[:2], named("step3", "step4", "raw", "c", "cpp", "goroutines", "netpoll", "redis"), tried[2:])
		p.idleRounds, p.watchRounds, p.whereRounds, p.levels, p.calls = 7, 0, 3, []int{0, 19000}, nil
	}
	if c.rounds > 0 {
		p.rounds = c.rounds
	}
	if c.only == "" {
		return p, window, nil
	}
	names := strings.Split(c.only, ",")
	var known []string
	for _, s := range p.servers {
		known = append(known, s.Name)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return p, 0, fmt.Errorf("there is no server %q; there are %s", name, strings.Join(known, " "))
		}
	}
	p.servers = slices.DeleteFunc(slices.Clone(p.servers), func(s server) bool { return !slices.Contains(names, s.Name) })
	return p, window, nil
}

// named returns servers by their names.
func named(names ...string) []server {
	return slices.DeleteFunc(slices.Clone(servers), func(s server) bool { return !slices.Contains(names, s.Name) })
}

// measureAll carries out the plan.
func (b *bench) measureAll(p plan) error {
	running, err := b.startAll(p.servers)
	defer func() {
		for _, r := range running {
			r.kill()
		}
	}()
	if err != nil {
		return err
	}
	if len(running) == 0 {
		return errors.New("there is no server to measure")
	}
	limited, err := b.fileLimit(&p)
	if err != nil {
		return err
	}
	b.total = len(running) * (p.rounds*len(p.loads) + p.idleRounds + p.whereRounds + len(p.calls))
	for round := range p.rounds {
		for _, l := range p.loads {
			for i := range running {
				r := running[(i+round)%len(running)] // another order in each round
				if err := b.measureOne(r, l, fmt.Sprintf("round %d of %d", round+1, p.rounds)); err != nil {
					return err
				}
			}
		}
	}
	if err := b.count(running, p.calls); err != nil {
		return err
	}
	if err := b.whereAll(running, p.whereRounds); err != nil {
		return err
	}
	for _, r := range running { // idle starts fresh ones
		r.kill()
	}
	fresh := running
	running = nil
	for round := range p.idleRounds {
		for i := range fresh {
			s := fresh[(i+round)%len(fresh)].server
			b.done++
			b.progress("%s, idle clients, round %d of %d", s.Name, round+1, p.idleRounds)
			if s.OneClient {
				b.noteSkipped("%s, idle clients: one client at a time", s.Name)
				continue
			}
			watch := p.watch
			if round >= p.watchRounds {
				watch = 0
			}
			err := b.idle(s, p.levels, watch)
			if interrupted.Load() {
				return errInterrupted
			}
			if err != nil {
				b.noteSkipped("%s, idle clients: %v", s.Name, err)
			}
		}
	}
	if limited != "" {
		b.noteSkipped("%s", limited)
	}
	return nil
}

// fileLimit removes the levels that need more descriptors than a process may open,
// and returns a note about them. The two sides of a connection are in different
// processes, so each connection counts once.
func (b *bench) fileLimit(p *plan) (string, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return "", err
	}
	before := slices.Clone(p.levels)
	p.levels = slices.DeleteFunc(before, func(n int) bool { return uint64(n+200) > limit.Cur })
	switch len(p.levels) {
	case len(before):
		return "", nil
	case 0:
		return "", fmt.Errorf("the limit of descriptors is %d (ulimit -Hn), which is too few", limit.Cur)
	}
	return fmt.Sprintf("more than %d idle clients: the limit of descriptors is %d (ulimit -Hn)", slices.Max(p.levels), limit.Cur), nil
}

// startAll builds and starts the servers. It skips a server whose compiler, library
// or program is missing. A Go program that does not build is an error.
func (b *bench) startAll(list []server) ([]*process, error) {
	var running []*process
	for _, s := range list {
		b.progress("building %s", s.Name)
		bin, err := s.build(b.ctx, b.root, b.dir)
		if err != nil && (errors.Is(err, errInterrupted) || s.Go != "") {
			return running, fmt.Errorf("%s: %w", s.Name, err)
		}
		if err != nil {
			b.noteSkipped("%s: %v", s.Name, err)
			continue
		}
		b.bins[s.Name] = bin
		p, err := s.start(bin, b.root)
		if err != nil {
			return running, fmt.Errorf("%s: %w", s.Name, err)
		}
		running = append(running, p)
		if err := b.warmUp(p); err != nil {
			return running, fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return running, nil
}

// warmUp gives a just-in-time compiler something to compile, and checks that the
// server answers.
func (b *bench) warmUp(p *process) error {
	b.progress("warming up %s", p.Name)
	conns := 50
	if p.OneClient {
		conns = 1
	}
	g, err := newGenerator(p.stream(load{Size: 64}))
	if err != nil {
		return err
	}
	defer g.close()
	if err := g.connect(conns, p.port); err != nil {
		return err
	}
	_, err = g.closedLoop(b.window)
	if p.BusyWaits {
		p.signal(unix.SIGSTOP)
	}
	return err
}

// measureOne measures one load on one server, once. A server that fails under a
// load does not end the run: the failure is noted.
func (b *bench) measureOne(p *process, l load, where string) error {
	b.done++
	if why := l.skipReason(p.server); why != "" {
		b.noteSkipped("%s, %v: %s", p.Name, l, why)
		return nil
	}
	b.progress("%s, %v, %s", p.Name, l, where)
	if p.BusyWaits {
		p.signal(unix.SIGCONT)
		defer p.signal(unix.SIGSTOP)
	}
	measure := messages
	if l.run != nil {
		measure = l.run
	}
	line, err := measure(b, p, l)
	if interrupted.Load() {
		return errInterrupted
	}
	if err != nil {
		b.noteSkipped("%s, %v: %v", p.Name, l, err)
		return nil
	}
	b.add(line)
	return nil
}

// count counts system calls, if strace can attach.
func (b *bench) count(running []*process, clients []int) error {
	for _, conns := range clients {
		for _, p := range running {
			b.done++
			if p.OneClient && conns > 1 || p.BusyWaits { // its count depends on the time
				continue
			}
			b.progress("%s, system calls, %d clients", p.Name, conns)
			line, err := b.syscalls(p, conns, 2000/conns)
			if interrupted.Load() {
				return errInterrupted
			}
			if err != nil {
				b.noteSkipped("%s, system calls: %v", p.Name, err)
				continue
			}
			b.add(line)
		}
	}
	return nil
}

// whereAll samples the servers with perf, if that is installed and permitted.
func (b *bench) whereAll(running []*process, rounds int) error {
	for round := range rounds {
		for _, p := range running {
			b.done++
			if p.OneClient || p.BusyWaits { // its samples depend on the time
				continue
			}
			b.progress("%s, where the time goes, round %d of %d", p.Name, round+1, rounds)
			line, err := b.where(p, load{Conns: 50, Size: 64})
			if interrupted.Load() {
				return errInterrupted
			}
			if err != nil {
				b.noteSkipped("%s, where the time goes: %v", p.Name, err)
				continue
			}
			b.add(line)
		}
	}
	return nil
}

func (b *bench) add(l record.Line) { b.lines = append(b.lines, l) }

// noteSkipped notes once that something was not measured.
func (b *bench) noteSkipped(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(b.skipped, text) {
		b.skipped = append(b.skipped, text)
	}
}

// progress shows the current measurement. On a terminal it rewrites one line;
// elsewhere it prints a line for each new round. Without a text it clears the line.
func (b *bench) progress(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if b.live {
		fmt.Fprint(b.progressOut, "\r\x1b[K")
	}
	if text == "" || b.progressOut == nil {
		return
	}
	if b.total > 0 {
		text = fmt.Sprintf("%3d %% %4.0f s  %s", 100*b.done/b.total, time.Since(b.begin).Seconds(), text)
	}
	if b.live {
		fmt.Fprintf(b.progressOut, "%.79s", text)
	} else if where := strings.LastIndex(text, ", "); where > 0 && text[where:] != b.shownPart {
		b.shownPart = text[where:]
		fmt.Fprintln(b.progressOut, text)
	}
}

func (b *bench) writeFile(file string, config record.Config) error {
	temp := file + ".tmp"
	f, err := os.Create(temp)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	w, err := record.NewWriter(f, config)
	if err != nil {
		return err
	}
	for _, l := range b.lines {
		if err := w.Write(l); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp, file); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\n%d measurements are in %s, for benchstat, too\n", len(b.lines), file)
	return nil
}
