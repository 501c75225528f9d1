package main

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"epoll-step-by-step/internal/procfs"
	"epoll-step-by-step/tools/bench/record"

	"golang.org/x/sys/unix"
)

const (
	active   = 10                     // clients that send, beside those that do not
	restTime = 500 * time.Millisecond // what a server tidies up after work is not idling
)

// idle takes one fresh server from no idle clients to the most, and looks at
// what a message costs on the way, what memory they take, and how well the
// process sleeps. watch says for how long to look at it asleep; 0: not.
func (b *bench) idle(s server, levels []int, watch time.Duration) error {
	p, err := s.start(b.bins[s.Name], b.root)
	if err != nil {
		return err
	}
	defer p.kill()
	message := load{Size: 64}
	busy, err := newGenerator(s.stream(message))
	if err != nil {
		return err
	}
	defer busy.close()
	silent, err := newGenerator(s.stream(message))
	if err != nil {
		return err
	}
	defer silent.close()
	// Its process goes first, so that no server works on 19,000 resets.
	defer p.signal(unix.SIGKILL)
	if err := busy.connect(active, p.port); err != nil {
		return err
	}
	if _, err := busy.closed(100 * time.Millisecond); err != nil { // for a JIT compiler, and the heap
		return err
	}
	empty, err := procfs.MemoryOf(p.pid)
	if err != nil {
		return err
	}
	named := func(loadName string, n int) record.Line {
		return record.Line{Load: loadName, Server: s.Name, N: 1, Params: []record.Param{{Key: "idle", Value: strconv.Itoa(n)}}}
	}
	for _, n := range levels {
		if err := silent.connect(n-len(silent.clients), p.port); err != nil {
			return fmt.Errorf("with %d of %d idle clients: %w", len(silent.clients), n, err)
		}
		if _, err := busy.closed(b.window / 10); err != nil {
			return err
		}
		u, err := measure(p, func() (int, error) { return busy.closed(b.window * 3 / 5) })
		if err != nil {
			return fmt.Errorf("beside %d idle clients: %w", n, err)
		}
		line := named("IdleCost64", n)
		line.N, line.Values = u.messages, append(u.values(p), busy.percentiles()...)
		b.add(line)
	}
	most := slices.Max(levels)
	full, err := procfs.MemoryOf(p.pid)
	if err != nil {
		return err
	}
	line := named("IdleMemory", most)
	line.N = most
	line.Values = []record.Value{
		{Unit: "own-B/conn", Is: round(float64(full.Anon-empty.Anon) / float64(most))},
		{Unit: "rss-B", Is: float64(full.RSS)},
	}
	b.add(line)
	if watch == 0 {
		return nil
	}
	line = named("Asleep", most)
	if line.Values, err = asleep(p, watch); err != nil {
		return err
	}
	b.add(line)
	return nil
}

// asleep looks at a server to which nobody says anything.
func asleep(p *process, d time.Duration) ([]record.Value, error) {
	if !p.Spins {
		time.Sleep(restTime)
	}
	before, err := procfs.Threads(p.pid)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	for time.Since(begin) < d && !interrupted.Load() {
		time.Sleep(10 * time.Millisecond)
	}
	after, err := procfs.Threads(p.pid)
	if err != nil {
		return nil, err
	}
	seconds := time.Since(begin).Seconds()
	wakeups, cpu := 0.0, time.Duration(0)
	for _, t := range after {
		wakeups += float64(t.Voluntary)
		cpu += t.CPU
	}
	for _, t := range before {
		wakeups -= float64(t.Voluntary)
		cpu -= t.CPU
	}
	return []record.Value{
		{Unit: "wakeups/s", Is: round(wakeups / seconds)},
		{Unit: "cpu-%", Is: round(100 * cpu.Seconds() / seconds)},
		{Unit: "threads", Is: float64(len(after))},
	}, nil
}
