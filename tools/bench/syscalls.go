package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"epoll-step-by-step/tools/bench/record"

	"golang.org/x/sys/unix"
)

// syscalls counts the system calls of a server for a fixed number of messages. It
// does so under strace, which slows the server down, so it measures no time. The
// clients connect before strace attaches and leave after it detaches.
func (b *bench) syscalls(p *process, conns, each int) (record.Line, error) {
	l := load{Name: "Syscalls64", Conns: conns, Size: 64}
	line := l.line(p.Name)
	g, err := newGenerator(p.stream(l))
	if err != nil {
		return line, err
	}
	defer g.close()
	if err := g.connect(conns, p.port); err != nil {
		return line, err
	}
	if _, err := p.cpu(); err != nil { // waits until the server rests: earlier calls are not counted
		return line, err
	}
	file := filepath.Join(b.dir, "strace.txt")
	cmd := exec.Command("strace", "-f", "-c", "-U", "calls,name", "-o", file, "-p", strconv.Itoa(p.pid))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return line, err
	}
	if err := onAllCPUs(cmd.Start); err != nil {
		return line, err
	}
	messages := bufio.NewReader(stderr)
	first, _ := messages.ReadString('\n')
	if !strings.Contains(first, "attached") {
		cmd.Process.Kill()
		cmd.Wait()
		return line, fmt.Errorf("strace: %s", strings.TrimSpace(first))
	}
	n, err := g.fixedCount(each)
	time.Sleep(time.Millisecond) // for the calls that follow the last reply
	cmd.Process.Signal(unix.SIGINT)
	for e := error(nil); e == nil; {
		_, e = messages.ReadString('\n')
	}
	cmd.Wait() // the signal that was sent is its exit status
	if err != nil {
		return line, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return line, err
	}
	counts, err := parseStrace(text)
	if err != nil {
		return line, err
	}
	line.N = n
	io, other := 0, 0
	for _, c := range counts {
		if isIO(c.name) {
			io += c.calls
		} else {
			other += c.calls
		}
	}
	line.Values = []record.Value{{Unit: "io-calls/msg", Number: round(float64(io) / float64(n))}, {Unit: "other-calls/msg", Number: round(float64(other) / float64(n))}}
	for _, c := range counts {
		if per := float64(c.calls) / float64(n); per >= 0.01 {
			line.Values = append(line.Values, record.Value{Unit: c.name + "-calls/msg", Number: round(per)})
		}
	}
	return line, nil
}

// All other calls belong to the language's runtime, whose threads wake each other,
// sleep, and read the clock.
var ioCalls = regexp.MustCompile(`read|write|send|recv|epoll|accept|poll`)

func isIO(name string) bool { return ioCalls.MatchString(name) }

type callCount struct {
	name  string
	calls int
}

// parseStrace reads strace's table of calls and names, most frequent first.
func parseStrace(text []byte) ([]callCount, error) {
	var counts []callCount
	for line := range bytes.Lines(text) {
		fields := strings.Fields(string(line))
		if len(fields) != 2 || fields[1] == "total" {
			continue
		}
		if calls, err := strconv.Atoi(fields[0]); err == nil {
			counts = append(counts, callCount{fields[1], calls})
		}
	}
	if len(counts) == 0 {
		return nil, fmt.Errorf("strace counted nothing: %q", text)
	}
	slices.SortStableFunc(counts, func(a, b callCount) int { return b.calls - a.calls })
	return counts, nil
}
