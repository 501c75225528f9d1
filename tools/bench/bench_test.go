package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"epoll-step-by-step/internal/procfs"
	"epoll-step-by-step/tools/bench/record"

	"golang.org/x/sys/unix"
)

// TestMain fails if a process is left running.
func TestMain(m *testing.M) {
	code := m.Run()
	pids, _ := procfs.Descendants(os.Getpid())
	for _, pid := range pids {
		if p, err := procfs.Stat(pid); err == nil && p.State != 'Z' {
			args, _ := procfs.Cmdline(pid)
			println("left running:", pid, strings.Join(args, " "))
			code = 1
		}
	}
	os.Exit(code)
}

// A minimal run from end to end.
func TestEndToEnd(t *testing.T) {
	runtime.LockOSThread() // never unlocked: the thread is pinned, and ends with the test
	var out, progress bytes.Buffer
	b, err := newBench(t.Context(), "../..", true, &out, &progress)
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(b.dir)
	b.window = 50 * time.Millisecond
	p := plan{rounds: 1, idleRounds: 1, levels: []int{0, 100}}
	for _, s := range servers {
		if s.Name == "step3" {
			p.servers = append(p.servers, s)
		}
	}
	for _, l := range loads {
		if l.Name != "RedisBenchmark" {
			p.loads = append(p.loads, l)
		}
	}
	if err := b.measureAll(p); err != nil {
		t.Fatal(err)
	}
	b.printTables(p)
	file := filepath.Join(t.TempDir(), "results.txt")
	if err := b.writeFile(file, configuration(1, b.window)); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, config, err := record.Read(f, file)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.skipped) > 0 {
		t.Errorf("not measured: %q", b.skipped)
	}
	if want := len(p.loads) + 3; len(lines) != want {
		t.Errorf("got %d lines, want %d:\n%s", len(lines), want, &out)
	}
	for _, l := range lines {
		if l.Load == "IdleMemory" {
			continue
		}
		cpu, found := l.Value("cpu-ns/msg")
		// On a busy machine, the queues in the kernel can feed the slow readers for
		// the whole window while the server waits for a CPU.
		worked := cpu > 0 || l.Load == "SlowReaders"
		if !found || !worked || l.N <= 0 {
			t.Errorf("%s: got %d messages, %v ns of CPU each", l.Case(), l.N, cpu)
		}
	}
	if config.Get("goos") != "linux" || config.Get("kernel") == "" {
		t.Errorf("got the configuration %v", config)
	}
	if !strings.Contains(out.String(), "step3") || !strings.Contains(progress.String(), "round 1 of 1") {
		t.Errorf("got the tables\n%s\nand the progress\n%s", &out, &progress)
	}
}

// A server that cannot be kept off the generator's CPU is not left running.
func TestNotConfined(t *testing.T) {
	runtime.LockOSThread() // a server dies with the thread that started it
	defer runtime.UnlockOSThread()
	if err := pin(false); err != nil {
		t.Fatal(err)
	}
	serverCPUs.Zero()
	defer func() { serverCPUs = allCPUs }()
	s := server{Name: "step3", Go: "step3-epoll-lt"}
	bin, err := s.build(t.Context(), root(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.start(bin, root(t))
	if p != nil || !errors.Is(err, unix.EINVAL) {
		t.Errorf("got %v, %v; want none, EINVAL", p, err)
	}
	pids, err := procfs.Descendants(os.Getpid())
	if len(pids) > 0 || err != nil {
		t.Errorf("left running: %v, %v", pids, err)
	}
}

// A server that answers wrongly is not measured.
func TestWrongEcho(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 64)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					buf[n/2] ^= 1
					conn.Write(buf[:n])
				}
			}()
		}
	}()
	g, err := newGenerator(echoStream(64, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	err = g.connect(1, listener.Addr().(*net.TCPAddr).Port)
	if err == nil || !strings.Contains(err.Error(), "not what was sent") {
		t.Errorf("got %v, want an error", err)
	}
}

func TestStreams(t *testing.T) {
	for _, depth := range []int{1, 16} {
		s := redisStream(64, depth)
		if s.reqLen != 64 || len(s.req) < s.reqPeriod+64*depth {
			t.Errorf("depth %d: a request has %d bytes in a table of %d", depth, s.reqLen, len(s.req))
		}
		want := regexp.MustCompile(`^\$(\d+)\r\nx+\r\n$`)
		if reply := s.resp[:s.respLen]; !want.Match(reply) {
			t.Errorf("depth %d: the reply is %q", depth, reply)
		}
		e := echoStream(64, depth)
		if !bytes.Equal(e.req[e.reqPeriod:], e.req[:64*depth]) {
			t.Errorf("depth %d: the table does not begin again after its period", depth)
		}
	}
}

func TestParseStrace(t *testing.T) {
	const text = `    calls syscall
--------- ----------------
     2000 read
        7 epoll_pwait
     2001 write
--------- ----------------
     4008 total
`
	got, err := parseStrace([]byte(text))
	want := []callCount{{"write", 2001}, {"read", 2000}, {"epoll_pwait", 7}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if got, err := parseStrace(nil); err == nil {
		t.Errorf("empty input: got %v, want an error", got)
	}
	for name, want := range map[string]bool{"read": true, "sendmsg": true, "epoll_ctl": true, "futex": false, "nanosleep": false} {
		if isIO(name) != want {
			t.Errorf("isIO(%s) is %v", name, !want)
		}
	}
}

func TestParseRedisBenchmark(t *testing.T) {
	const text = "WARNING: something\n" + `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
"PING_MBULK","100000.00","0.210","0.080","0.207","0.303","0.367","0.671"
`
	got, err := parseRedisBenchmark(text)
	want := []record.Value{{Unit: "ns/op", Number: 10000}, {Unit: "msgs/s", Number: 100000}, {Unit: "p50-ns", Number: 207000}, {Unit: "p99-ns", Number: 367000}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if got, err := parseRedisBenchmark("Could not connect"); err == nil {
		t.Errorf("failure: got %v, want an error", got)
	}
}

func TestVerdict(t *testing.T) {
	table := func(yours, ours float64) *record.Table {
		var lines []record.Line
		for i := range 9 {
			noise := 1 + float64(i%3)/100
			for server, cost := range map[string]float64{"step4": 1000, "yours": yours * (2.01 - noise), "raw": ours} {
				lines = append(lines, record.Line{Load: "L", Server: server, Values: []record.Value{{Unit: "u", Number: cost * noise}}})
			}
		}
		return record.Tabulate(lines)
	}
	for _, c := range []struct {
		yours, ours float64
		want        string
	}{
		{1000, 900, "no difference"}, {900, 900, "as much as yours"}, {800, 900, "than our solution, too"},
		{950, 850, "Our solution takes 85 %"}, {1200, 900, "It is more expensive"},
	} {
		if got := verdict(table(c.yours, c.ours), "L", "u"); !strings.Contains(got, c.want) {
			t.Errorf("yours %v, ours %v: got %q, want %q in it", c.yours, c.ours, got, c.want)
		}
	}
	if got := verdict(record.Tabulate(nil), "L", "u"); !strings.Contains(got, "nothing to say") {
		t.Errorf("no rounds: got %q", got)
	}
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name            string
		options         options
		servers, rounds int
		fails           string
	}{
		{"all", options{}, len(servers), 7, ""},
		{"quick", options{quick: true}, len(servers), 3, ""},
		{"some", options{only: "step3,c"}, 2, 7, ""},
		{"exercise 19", options{raw: true}, 5, 15, ""},
		{"more rounds", options{raw: true, rounds: 20}, 5, 20, ""},
		{"unknown server", options{only: "step9"}, 0, 0, "there are step1 step2"},
	} {
		p, window, err := c.options.plan()
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: got %v, want %q in it", c.name, err, c.fails)
			}
			continue
		}
		if err != nil || len(p.servers) != c.servers || p.rounds != c.rounds || window == 0 {
			t.Errorf("%s: got %d servers, %d rounds, %v; want %d, %d", c.name, len(p.servers), p.rounds, err, c.servers, c.rounds)
		}
	}
}

func TestRound(t *testing.T) {
	for x, want := range map[float64]float64{0: 0, 12345.6: 12346, 7.31234: 7.312, 0.00123456: 0.001235} {
		if got := round(x); got != want {
			t.Errorf("%v: got %v, want %v", x, got, want)
		}
	}
}

// An error names the missing program or library.
func TestBuild(t *testing.T) {
	dir := t.TempDir()
	_, err := server{Name: "x", System: "no-such-program"}.build(t.Context(), "../..", dir)
	if err == nil || !strings.Contains(err.Error(), "not installed") {
		t.Errorf("missing program: got %v, want an error that says so", err)
	}
	_, err = yours.build(t.Context(), t.TempDir(), dir)
	if err == nil || !strings.Contains(err.Error(), "make exercise N=19") {
		t.Errorf("the learner's file does not exist: got %v, want the command that creates it", err)
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is not installed")
	}
	_, err = server{Name: "c", C: named("c")[0].C, Link: []string{"-lno_such_library"}, Package: "it"}.build(t.Context(), root(t), dir)
	if err == nil || !strings.Contains(err.Error(), "no_such_library") {
		t.Errorf("missing library: got %v, want an error that names it", err)
	}
	if _, err := named("c")[0].build(t.Context(), root(t), dir); err != nil {
		t.Errorf("the C loop: %v", err)
	}
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestParsePerf(t *testing.T) {
	const script = `
 ffffffff8207c581 tcp_ack ([kernel.kallsyms])
 ffffffff82000001 __x64_sys_write ([kernel.kallsyms])
           4032cc main.(*server).write (/tmp/bench1/step3)

 ffffffff8164fe9e futex_wake ([kernel.kallsyms])
           4032cd runtime.futex.abi0 (/tmp/bench1/step3)

           4032ce main.(*server).turn (/tmp/bench1/step3)

           4032cf internal/runtime/syscall/linux.Syscall6 (/tmp/bench1/step3)

           4032d0 runtime.reentersyscall (/tmp/bench1/step3)
`
	for isGo, want := range map[bool][3]float64{true: {40, 40, 20}, false: {40, 20, 40}} {
		values, err := parsePerf(script, "step3", isGo)
		if err != nil {
			t.Fatal(err)
		}
		for i, unit := range whereUnits {
			if values[i].Unit != unit || values[i].Number != want[i] {
				t.Errorf("Go %v: got %v, want %s %v", isGo, values[i], unit, want[i])
			}
		}
	}
	if _, err := parsePerf("\n", "step3", true); err == nil {
		t.Error("no samples: no error")
	}
}

// Each edit of what was tried still fits the steps, and the result answers.
func TestTried(t *testing.T) {
	runtime.LockOSThread() // never unlocked: the thread is pinned, and ends with the test
	var out, progress bytes.Buffer
	b, err := newBench(t.Context(), "../..", true, &out, &progress)
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(b.dir)
	b.window = 20 * time.Millisecond
	p := plan{servers: append(slices.Clone(tried), named("c")...), loads: loads[1:2], rounds: 1}
	if err := b.measureAll(p); err != nil {
		t.Fatal(err)
	}
	b.printTried(p)
	for _, s := range tried {
		if !regexp.MustCompile(`(?m)^ +` + s.Name + ` .*\d\.\d\d \[`).MatchString(out.String()) {
			t.Errorf("%s is missing:\n%s", s.Name, &out)
		}
	}
}
