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
	active   = 10              // clients that send, beside the idle ones
	restTime = 2 * time.Second // for a server's cleanup after the load: the Go runtime's may take one
)

// idle starts a fresh server and adds idle clients level by level. It measures
// the cost of a message at each level, the memory of the idle clients and, if
// watch is not 0, the wakeups of the process while all clients are silent for
// that time.
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
	// Kill the process first: otherwise it would have to handle 19,000 resets.
	defer p.signal(unix.SIGKILL)
	if err := busy.connect(active, p.port); err != nil {
		return err
	}
	if _, err := busy.closedLoop(100 * time.Millisecond); err != nil { // lets a JIT compiler and the heap settle
		return err
	}
	empty, err := procfs.MemoryOf(p.pid)
	if err != nil {
		return err
	}
	newLine := func(loadName string, n int) record.Line {
		return record.Line{Load: loadName, Server: s.Name, N: 1, Params: []record.Param{{Key: "idle", Value: strconv.Itoa(n)}}}
	}
	for _, n := range levels {
		if err := silent.connect(n-len(silent.clients), p.port); err != nil {
			return fmt.Errorf("with %d of %d idle clients: %w", len(silent.clients), n, err)
		}
		if _, err := busy.closedLoop(b.window / 10); err != nil {
			return err
		}
		u, err := measure(p, func() (int, error) { return busy.closedLoop(b.window * 3 / 5) })
		if err != nil {
			return fmt.Errorf("beside %d idle clients: %w", n, err)
		}
		line := newLine("IdleCost64", n)
		line.N, line.Values = u.messages, append(u.values(p), busy.percentiles()...)
		b.add(line)
	}
	most := slices.Max(levels)
	full, err := procfs.MemoryOf(p.pid)
	if err != nil {
		return err
	}
	line := newLine("IdleMemory", most)
	line.N = most
	line.Values = []record.Value{
		{Unit: "own-B/conn", Number: round(float64(full.Anon-empty.Anon) / float64(most))},
		{Unit: "rss-B", Number: float64(full.RSS)},
	}
	b.add(line)
	if watch == 0 {
		return nil
	}
	line = newLine("Asleep", most)
	if line.Values, err = measureAsleep(p, watch); err != nil {
		return err
	}
	b.add(line)
	return nil
}

// measureAsleep observes a server whose clients are all silent.
func measureAsleep(p *process, d time.Duration) ([]record.Value, error) {
	if !p.BusyWaits {
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
		{Unit: "wakeups/s", Number: round(wakeups / seconds)},
		{Unit: "cpu-%", Number: round(100 * cpu.Seconds() / seconds)},
		{Unit: "threads", Number: float64(len(after))},
	}, nil
}
