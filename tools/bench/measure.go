package main

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"epoll-step-by-step/internal/procfs"
	"epoll-step-by-step/tools/bench/record"

	"golang.org/x/sys/unix"
)

// The CPUs that we were given, those for the servers, and the generator's.
var allCPUs, serverCPUs, ourCPU unix.CPUSet

// pin gives the generator the last CPU and the servers all the others. Without
// that the kernel likes to put a server onto the CPU of the client that has
// just woken it: then there is no telling whose time is whose, and a client
// cannot be answered while it sends. apart false leaves it to the kernel.
//
// The timer slack makes waits of less than 50 µs possible: prctl(2).
func pin(apart bool) error {
	if err := unix.SchedGetaffinity(0, &allCPUs); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return err
	}
	serverCPUs, ourCPU = allCPUs, allCPUs
	if !apart || allCPUs.Count() < 2 {
		return nil
	}
	last := 0
	for i := range 1024 {
		if allCPUs.IsSet(i) {
			last = i
		}
	}
	serverCPUs.Clear(last)
	ourCPU.Zero()
	ourCPU.Set(last)
	return unix.SchedSetaffinity(0, &ourCPU)
}

// confine takes the generator's CPU from a server, when it runs already: a Go
// program has set GOMAXPROCS by then, as it would beside any other busy process.
// With one CPU from the start it would be 1, which is a different server.
func (p *process) confine() error {
	threads, err := procfs.Threads(p.pid)
	if err != nil {
		return err
	}
	for _, t := range threads { // a thread that comes later has its maker's
		if err := unix.SchedSetaffinity(t.TID, &serverCPUs); err != nil && err != unix.ESRCH {
			return err
		}
	}
	return nil
}

// ownCPU is the CPU time of this thread.
func ownCPU() time.Duration {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// A usage is what some messages have cost.
type usage struct {
	messages             int
	wall, server, client time.Duration
	busiest              time.Duration // of the server, its busiest thread
	calls                uint64        // of the server: read, write and their kin, not recv and send
}

// measure runs a load against a server.
func measure(p *process, load func() (int, error)) (usage, error) {
	var u usage
	before, err := p.cpu()
	if err != nil {
		return u, err
	}
	calls, err := p.calls()
	if err != nil {
		return u, err
	}
	own, begin := ownCPU(), time.Now()
	u.messages, err = load()
	u.wall, u.client = time.Since(begin), ownCPU()-own
	if err != nil {
		return u, err
	}
	after, err := p.cpu()
	for tid, cpu := range after {
		cpu -= before[tid]
		u.server += cpu
		u.busiest = max(u.busiest, cpu)
	}
	if now, e := p.calls(); e == nil {
		u.calls = now - calls
	}
	if u.messages == 0 && err == nil {
		err = fmt.Errorf("not one message in %v", u.wall)
	}
	return u, err
}

func perMessage(d time.Duration, n int) float64 { return float64(d) / float64(n) }

func (u usage) values(p *process) []record.Value {
	values := []record.Value{
		{Unit: "ns/op", Is: perMessage(u.wall, u.messages)},
		{Unit: "cpu-ns/msg", Is: perMessage(u.server, u.messages)},
		{Unit: "thread-cpu-ns/msg", Is: perMessage(u.busiest, u.messages)},
		{Unit: "client-cpu-ns/msg", Is: perMessage(u.client, u.messages)},
		{Unit: "msgs/s", Is: float64(u.messages) / u.wall.Seconds()},
		{Unit: "rw-calls/msg", Is: float64(u.calls) / float64(u.messages)},
		{Unit: "cpu-%", Is: 100 * float64(u.server) / float64(u.wall)},
		{Unit: "client-cpu-%", Is: 100 * float64(u.client) / float64(u.wall)},
	}
	if m, err := procfs.MemoryOf(p.pid); err == nil {
		values = append(values, record.Value{Unit: "rss-B", Is: float64(m.RSS)})
	}
	for i, v := range values {
		values[i].Is = round(v.Is)
	}
	return values
}

// round keeps four digits at least, which is more than is known.
func round(x float64) float64 {
	if math.Abs(x) >= 1000 {
		return math.Round(x)
	}
	if x == 0 {
		return 0
	}
	digits := math.Pow(10, 4-math.Ceil(math.Log10(math.Abs(x))))
	return math.Round(x*digits) / digits
}

func (g *generator) percentiles() []record.Value {
	return []record.Value{
		{Unit: "p50-ns", Is: float64(g.latency.ValueAtQuantile(50))},
		{Unit: "p99-ns", Is: float64(g.latency.ValueAtQuantile(99))},
		{Unit: "p99.9-ns", Is: float64(g.latency.ValueAtQuantile(99.9))},
	}
}

// configuration is what stands above the results: the machine and the day.
func configuration(rounds int, window time.Duration) record.Config {
	first := func(file, key string) string {
		text, _ := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			if k, v, found := strings.Cut(line, ":"); found && strings.TrimSpace(k) == key {
				return strings.TrimSpace(v)
			}
		}
		return "unknown"
	}
	var name unix.Utsname
	unix.Uname(&name) // fails only for a bad pointer
	return record.Config{
		{Key: "goos", Value: goos}, {Key: "goarch", Value: goarch}, {Key: "pkg", Value: "epoll-step-by-step/tools/bench"},
		{Key: "cpu", Value: first("/proc/cpuinfo", "model name")},
		{Key: "cpus", Value: strconv.Itoa(allCPUs.Count())},
		{Key: "kernel", Value: unix.ByteSliceToString(name.Release[:])},
		{Key: "go", Value: goVersion},
		{Key: "date", Value: time.Now().UTC().Format(time.RFC3339)},
		{Key: "rounds", Value: strconv.Itoa(rounds)},
		{Key: "window", Value: window.String()},
		{Key: "gcc", Value: version("gcc", "-dumpfullversion")},
		{Key: "redis", Value: version("redis-server", "--version")},
		{Key: "node", Value: version("node", "--version")},
		{Key: "libevent", Value: version("pkg-config", "--modversion", "libevent_core")},
	}
}

func version(command string, args ...string) string {
	out, err := exec.Command(command, args...).Output()
	if err != nil {
		return "none"
	}
	text := strings.TrimSpace(string(out))
	if _, v, found := strings.Cut(text, "v="); found { // Redis says more
		text, _, _ = strings.Cut(v, " ")
	}
	return text
}
