package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"epoll-step-by-step/tools/bench/record"

	"golang.org/x/sys/unix"
)

// where samples a server with perf while clients send, and says where its CPU time
// goes: in the kernel, in its own program, or in the language's runtime and libraries.
func (b *bench) where(p *process, l load) (record.Line, error) {
	line := l.line(p.Name)
	line.Load = "Where64"
	g, err := newGenerator(p.stream(l))
	if err != nil {
		return line, err
	}
	defer g.close()
	if err := g.connect(l.Conns, p.port); err != nil {
		return line, err
	}
	file := filepath.Join(b.dir, "perf.data")
	perf := exec.Command("perf", "record", "-q", "-g", "-e", "cpu-clock", "-F", "4999", "-p", strconv.Itoa(p.pid), "-o", file,
		"sleep", fmt.Sprint(max(b.window, whereWindow).Seconds()))
	perf.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	if err := onAllCPUs(perf.Start); err != nil {
		return line, fmt.Errorf("%w: make setup BENCH=1 installs perf", err)
	}
	var over atomic.Bool
	ended := make(chan error, 1)
	go func() {
		ended <- perf.Wait()
		over.Store(true)
	}()
	for !over.Load() && err == nil {
		var n int
		n, err = g.closedLoop(b.window / 10)
		line.N += n
	}
	if err != nil {
		perf.Process.Kill()
		<-ended
		return line, err
	}
	if err := <-ended; err != nil {
		return line, fmt.Errorf("perf record: %w", err)
	}
	script, err := exec.Command("perf", "script", "-i", file, "-F", "ip,sym,dso").Output()
	if err != nil {
		return line, fmt.Errorf("perf script: %w", err)
	}
	program, err := filepath.EvalSymlinks(b.bins[p.Name])
	if err != nil {
		return line, err
	}
	line.Values, err = parsePerf(string(script), filepath.Base(program), p.Go != "")
	return line, err
}

// entry matches the functions that do nothing but enter the kernel, in Go and in a C
// library: what they take is the price of the system call.
var entry = regexp.MustCompile(`[sS]yscall6$|^(__GI_)?(__libc_|__)?(read|write|readv|writev|recv|send|sendmsg|recvmsg|epoll_p?wait|epoll_ctl|accept4|close)$`)

// forRuntime matches the kernel's functions for calls that no client asks for: threads
// that sleep, wake each other up and send each other signals.
var forRuntime = regexp.MustCompile(`futex|nanosleep|sched_yield|tgkill|sigreturn`)

// parsePerf adds up the samples of perf script. A sample is a stack, innermost function
// first, one a line, and ends with an empty line. In a Go program, our code is package
// main; in another one, all of its own executable.
func parsePerf(script, program string, isGo bool) ([]record.Value, error) {
	var kernel, own, other, all float64
	for sample := range strings.SplitSeq(script, "\n\n") {
		stack := strings.Split(strings.TrimSpace(sample), "\n")
		fields := strings.Fields(stack[0]) // address, symbol, (object)
		if len(fields) < 3 {
			continue
		}
		symbol := strings.Join(fields[1:len(fields)-1], " ")
		object := strings.Trim(fields[len(fields)-1], "()")
		all++
		switch {
		case slices.ContainsFunc(stack, forRuntime.MatchString):
			other++
		case strings.HasPrefix(object, "[kernel") || entry.MatchString(symbol):
			kernel++
		case filepath.Base(object) == program && (!isGo || strings.HasPrefix(symbol, "main.")):
			own++
		default:
			other++
		}
	}
	if all == 0 {
		return nil, errors.New("perf took no samples")
	}
	share := func(unit string, n float64) record.Value {
		return record.Value{Unit: unit, Number: round(100 * n / all)}
	}
	return []record.Value{share("kernel-%", kernel), share("runtime-%", other), share("own-%", own), {Unit: "samples", Number: all}}, nil
}

// printWhere prints the shares, and the times that they are of a message's cost.
func (b *bench) printWhere(t *record.Table) {
	const where, cost = "Where64/conns=50", "PingPong64/conns=50"
	if firstMeasured(t, where) == "" {
		return
	}
	fmt.Fprintf(b.out, "\nWhere64, 50 clients: where the CPU time of a message goes, sampled by perf; µs of that in PingPong64\n")
	b.table(func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "server    \tkernel\truntime, libraries\tthe program\tkernel µs\truntime, libraries µs\tthe program µs\tsamples\t")
		for _, s := range t.Servers {
			if len(t.Lines(where, s)) == 0 {
				continue
			}
			fmt.Fprintf(w, "%-10s\t", s)
			for _, unit := range whereUnits {
				fmt.Fprintf(w, "%s\t", optional(t, where, s, unit, percent))
			}
			for _, unit := range whereUnits {
				fmt.Fprintf(w, "%s\t", micro(t.Summary(cost, s, "cpu-ns/msg").Median*t.Summary(where, s, unit).Median/100))
			}
			total := 0.0
			for _, n := range t.Values(where, s, "samples") {
				total += n
			}
			fmt.Fprintf(w, "%.0f\t\n", total)
		}
	})
}

var whereUnits = []string{"kernel-%", "runtime-%", "own-%"}

const whereWindow = 300 * time.Millisecond // for some 1,500 samples
