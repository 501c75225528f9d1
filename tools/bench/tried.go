package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"epoll-step-by-step/tools/bench/record"
)

// An edit replaces a text that occurs once in main.go.
type edit struct{ old, new string }

const (
	pausing  = "s.wait(events, -1)"
	locking  = "\truntime.LockOSThread()\n"
	read     = "unix.Read(c.fd, s.buf[:])"
	write    = "unix.Write(c.fd, data)"
	imports  = "\t\"time\"\n\n"
	epollWas = "unix.EpollWait(s.epfd, events, -1)"
)

var (
	withoutPause  = edit{pausing, epollWas}
	withoutPause4 = edit{"s.wait(events, timeout)", "unix.EpollWait(s.epfd, events, timeout)"}
	unlocked      = edit{locking, "\truntime.NumCPU()\n"}
	withUnsafe    = edit{imports, "\t\"time\"\n\t\"unsafe\"\n\n"}

	callRaw = edit{"\nfunc addrPort(", `
func raw(call, fd int, p unsafe.Pointer, n, timeout int) (int, error) {
	r, _, errno := unix.RawSyscall6(uintptr(call), uintptr(fd), uintptr(p), uintptr(n), uintptr(timeout), 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}

func addrPort(`}
	readRaw  = edit{read, "raw(unix.SYS_READ, c.fd, unsafe.Pointer(&s.buf[0]), len(s.buf), 0)"}
	writeRaw = edit{write, "raw(unix.SYS_WRITE, c.fd, unsafe.Pointer(&data[0]), len(data), 0)"}
	waitRaw  = edit{"n, err := " + pausing, `n, err := raw(unix.SYS_EPOLL_PWAIT, s.epfd, unsafe.Pointer(&events[0]), len(events), 1)
		if n == 0 {
			n, err = unix.EpollWait(s.epfd, events, -1)
		}`}
)

// tried are the ways that were tried to keep the runtime's hands off the loop: step 3
// and step 4 without wait's pause, and that step 3 with something else.
var tried = []server{
	{Name: "before3", Title: "step 3 without pauses", Go: "step3-epoll-lt", Edits: []edit{withoutPause}},
	{Name: "before4", Title: "step 4 without pauses", Go: "step4-epoll-et", Edits: []edit{withoutPause4}},
	{Name: "unlocked", Title: "without LockOSThread", Go: "step3-epoll-lt", Edits: []edit{withoutPause, unlocked}},
	{Name: "no-signals", Title: "GODEBUG=asyncpreemptoff=1", Go: "step3-epoll-lt", Edits: []edit{withoutPause}, Env: []string{"GODEBUG=asyncpreemptoff=1"}},
	{Name: "one-P", Title: "GOMAXPROCS=1", Go: "step3-epoll-lt", Edits: []edit{withoutPause}, Env: []string{"GOMAXPROCS=1"}},
	{Name: "poller", Title: "asleep in the runtime's poller", Go: "step3-epoll-lt", Edits: []edit{unlocked,
		{"\tevents := make(", "\tcheck(\"fcntl\", unix.SetNonblock(epfd, true))\n\tpoller, err := os.NewFile(uintptr(epfd), \"epoll\").SyscallConn()\n\tcheck(\"SyscallConn\", err)\n\tevents := make("},
		{"n, err := " + pausing, "n := 0\n\t\tpoller.Read(func(uintptr) bool {\n\t\t\tn, err = unix.EpollWait(s.epfd, events, 0)\n\t\t\treturn n != 0\n\t\t})"}}},
	{Name: "yields", Title: "Gosched after each wait, not locked", Go: "step3-epoll-lt", Edits: []edit{unlocked,
		{"n, err := " + pausing, "n, err := " + epollWas + "\n\t\truntime.Gosched()"}}},
	{Name: "raw-wait", Title: "a raw epoll_wait of 1 ms first", Go: "step3-epoll-lt", Edits: []edit{withUnsafe, callRaw, waitRaw}},
	{Name: "raw-calls", Title: "raw read and write", Go: "step3-epoll-lt", Edits: []edit{withUnsafe, callRaw, readRaw, writeRaw, withoutPause}},
	{Name: "raw-all", Title: "raw read, write and epoll_wait", Go: "step3-epoll-lt", Edits: []edit{withUnsafe, callRaw, readRaw, writeRaw, waitRaw}},
}

// overlay returns a file for go build -overlay in which main.go has the edits.
func (s server) overlay(root, dir string) (string, error) {
	replace := make(map[string]string)
	if len(s.Edits) > 0 {
		original := filepath.Join(root, s.Go, "main.go")
		text, err := os.ReadFile(original)
		if err != nil {
			return "", err
		}
		edited := string(text)
		for _, e := range s.Edits {
			if n := strings.Count(edited, e.old); n != 1 {
				return "", fmt.Errorf("%s: %q occurs %d times; want 1", original, e.old, n)
			}
			edited = strings.Replace(edited, e.old, e.new, 1)
		}
		replace[original] = filepath.Join(dir, s.Name+".go")
		if err := os.WriteFile(replace[original], []byte(edited), 0o644); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, s.Name+".json")
	return file, os.WriteFile(file, text, 0o644)
}

// printTried prints one row for each server: what a message costs under each load,
// compared with the C loop round by round.
func (b *bench) printTried(p plan) {
	t := tabulate(b.lines)
	fmt.Fprintf(b.out, "\nCPU time for a message, × C: median [quartiles] of the rounds\n")
	b.table(func(w *tabwriter.Writer) {
		fmt.Fprint(w, "server    \t")
		for _, l := range p.loads {
			fmt.Fprintf(w, "%s\t", l.Name)
		}
		fmt.Fprint(w, "idle growth\tothers' sleeps\t\n")
		for _, s := range t.Servers {
			fmt.Fprintf(w, "%-10s\t", s)
			for _, l := range p.loads {
				r := ratios(t.Values(l.line("").Case(), s, "cpu-ns/msg"), t.Values(l.line("").Case(), "c", "cpu-ns/msg"))
				if r.Rounds == 0 {
					fmt.Fprint(w, "–\t")
				} else {
					fmt.Fprintf(w, "%.2f [%.2f–%.2f]\t", r.Median, r.Low, r.High)
				}
			}
			g, growing := idleGrowth(t, s), "–"
			if g.Rounds > 0 {
				growing = growthText(g)
			}
			fmt.Fprintf(w, "%s\t%s\t\n", growing, optional(t, p.loads[0].line("").Case(), s, "other-sleeps/msg", thousandths))
		}
	})
	for _, s := range p.servers {
		fmt.Fprintf(b.out, "  %-10s  %s\n", s.Name, s.Title)
	}
	b.printWhere(t)
	for _, s := range b.skipped {
		fmt.Fprintln(b.out, "not measured:", s)
	}
}

func thousandths(x float64) string { return fmt.Sprintf("%.3f", x) }

// idleGrowth is what the most idle clients of a run make of a message's cost.
func idleGrowth(t *record.Table, s string) record.Summary {
	costs := idleCosts(t)
	if len(costs) < 2 {
		return record.Summary{}
	}
	return growth(t, costs[0], costs[len(costs)-1], s)
}

func growthText(g record.Summary) string {
	return fmt.Sprintf("%+.0f %% [%+.0f–%+.0f]", 100*(g.Median-1), 100*(g.Low-1), 100*(g.High-1))
}
