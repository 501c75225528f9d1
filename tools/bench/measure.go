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

// The CPUs of this process, those for the servers, and the one for the generator.
var allCPUs, serverCPUs, generatorCPU unix.CPUSet

// pin gives the generator the last CPU and the servers all the others. Without
// it, the kernel often moves a server to the CPU of the client that has just woken
// it. Then their CPU times cannot be told apart, and a server cannot answer one
// client while another one sends. With apart false, the kernel decides.
//
// The timer slack makes waits of less than 50 µs possible: prctl(2).
func pin(apart bool) error {
	if err := unix.SchedGetaffinity(0, &allCPUs); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return err
	}
	serverCPUs, generatorCPU = allCPUs, allCPUs
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
	generatorCPU.Zero()
	generatorCPU.Set(last)
	return unix.SchedSetaffinity(0, &generatorCPU)
}

// confine keeps a running server off the generator's CPU. It has to come after the
// start: a Go program that finds a single CPU when it starts sets GOMAXPROCS to 1
// and behaves differently.
func (p *process) confine() error {
	threads, err := procfs.Threads(p.pid)
	if err != nil {
		return err
	}
	for _, t := range threads { // a later thread inherits the CPUs of its creator
		if err := unix.SchedSetaffinity(t.TID, &serverCPUs); err != nil && err != unix.ESRCH {
			return err
		}
	}
	return nil
}

// threadCPU returns the CPU time of this thread.
func threadCPU() time.Duration {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// A usage is the cost of a number of messages.
type usage struct {
	messages             int
	wall, server, client time.Duration
	busiest              time.Duration // CPU time of the server's busiest thread
	otherSleeps          uint64        // how often the server's other threads have slept
	calls                uint64        // of the server: calls that /proc/PID/io counts, such as read and write, but not recv and send
}

// measure runs a load, and returns the resources that the server and the
// generator used for it.
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
	sleeps, err := p.sleeps()
	if err != nil {
		return u, err
	}
	clientBefore, begin := threadCPU(), time.Now()
	u.messages, err = load()
	u.wall, u.client = time.Since(begin), threadCPU()-clientBefore
	if err != nil {
		return u, err
	}
	after, err := p.cpu()
	busiest := 0
	for tid, cpu := range after {
		cpu -= before[tid]
		u.server += cpu
		if cpu >= u.busiest {
			u.busiest, busiest = cpu, tid
		}
	}
	if sleepsAfter, e := p.sleeps(); e == nil {
		for tid, n := range sleepsAfter {
			if tid != busiest {
				u.otherSleeps += n - sleeps[tid]
			}
		}
	}
	if callsAfter, e := p.calls(); e == nil {
		u.calls = callsAfter - calls
	}
	if u.messages == 0 && err == nil {
		err = fmt.Errorf("not one message in %v", u.wall)
	}
	return u, err
}

func perMessage(d time.Duration, n int) float64 { return float64(d) / float64(n) }

func (u usage) values(p *process) []record.Value {
	values := []record.Value{
		{Unit: "ns/op", Number: perMessage(u.wall, u.messages)},
		{Unit: "cpu-ns/msg", Number: perMessage(u.server, u.messages)},
		{Unit: "thread-cpu-ns/msg", Number: perMessage(u.busiest, u.messages)},
		{Unit: "other-sleeps/msg", Number: float64(u.otherSleeps) / float64(u.messages)},
		{Unit: "client-cpu-ns/msg", Number: perMessage(u.client, u.messages)},
		{Unit: "msgs/s", Number: float64(u.messages) / u.wall.Seconds()},
		{Unit: "rw-calls/msg", Number: float64(u.calls) / float64(u.messages)},
		{Unit: "cpu-%", Number: 100 * float64(u.server) / float64(u.wall)},
		{Unit: "client-cpu-%", Number: 100 * float64(u.client) / float64(u.wall)},
	}
	if m, err := procfs.MemoryOf(p.pid); err == nil {
		values = append(values, record.Value{Unit: "rss-B", Number: float64(m.RSS)})
	}
	for i, v := range values {
		values[i].Number = round(v.Number)
	}
	return values
}

// round keeps at least four digits, which is more than the measurement supports.
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
		{Unit: "p50-ns", Number: float64(g.latency.ValueAtQuantile(50))},
		{Unit: "p99-ns", Number: float64(g.latency.ValueAtQuantile(99))},
		{Unit: "p99.9-ns", Number: float64(g.latency.ValueAtQuantile(99.9))},
	}
}

// configuration returns the header of the results: the machine, versions and date.
func configuration(rounds int, window time.Duration) record.Config {
	firstValue := func(file, key string) string {
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
		{Key: "cpu", Value: firstValue("/proc/cpuinfo", "model name")},
		{Key: "cpus", Value: strconv.Itoa(allCPUs.Count())},
		{Key: "kernel", Value: unix.ByteSliceToString(name.Release[:])},
		{Key: "go", Value: goVersion},
		{Key: "date", Value: time.Now().UTC().Format(time.RFC3339)},
		{Key: "rounds", Value: strconv.Itoa(rounds)},
		{Key: "window", Value: window.String()},
		{Key: "cpus-shared", Value: strconv.FormatBool(generatorCPU == serverCPUs)},
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
	if _, v, found := strings.Cut(text, "v="); found { // Redis prints a whole line
		text, _, _ = strings.Cut(v, " ")
	}
	return text
}
