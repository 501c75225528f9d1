package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"epoll-step-by-step/tools/bench/record"
)

// fullCPU is the share of a CPU, in percent, from which it counts as fully used.
const fullCPU = 90

// printTables prints a table for each load, for people.
func (b *bench) printTables(p plan) {
	t := tabulate(b.lines)
	for _, l := range p.loads {
		b.printLoad(t, l)
	}
	b.printIdle(t)
	b.printCalls(t)
	b.printWhere(t)
	b.printLimit(t)
	if len(b.skipped) > 0 {
		fmt.Fprintln(b.out, "\nNot measured")
		for _, s := range b.skipped {
			fmt.Fprintln(b.out, " ", s)
		}
	}
}

// tabulate builds a table with the servers in our order. The order of the lines
// differs, because each round begins with another server.
func tabulate(lines []record.Line) *record.Table {
	t := record.Tabulate(lines)
	position := func(name string) int {
		return slices.IndexFunc(slices.Concat(tried, servers), func(s server) bool { return s.Name == name })
	}
	slices.SortStableFunc(t.Servers, func(a, b string) int { return position(a) - position(b) })
	return t
}

func (b *bench) table(rows func(w *tabwriter.Writer)) {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	rows(w)
	w.Flush()
	for line := range strings.Lines(text.String()) {
		fmt.Fprintf(b.out, "  %s\n", strings.TrimRight(line, " \n"))
	}
}

func micro(ns float64) string { return fmt.Sprintf("%.2f", ns/1e3) }

func spread(s record.Summary) string {
	return fmt.Sprintf("%s\t[%s–%s]", micro(s.Median), micro(s.Low), micro(s.High))
}

// clientBound reports whether the generator was at its limit and the server was not.
// In that case throughput and latency are those of the generator.
func clientBound(t *record.Table, name, s string) bool {
	return t.Summary(name, s, "client-cpu-%").Median > fullCPU && t.Summary(name, s, "cpu-%").Median < fullCPU
}

func (b *bench) printLoad(t *record.Table, l load) {
	name := l.line("").Case()
	if len(t.Values(name, firstMeasured(t, name), "cpu-ns/msg")) == 0 {
		return
	}
	fmt.Fprintf(b.out, "\n%v: %s\n", l, l.Title)
	c := t.Summary(name, "c", "cpu-ns/msg")
	marked := false
	b.table(func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "server    \tCPU µs/msg\tquartiles\t× C\tmsgs/s\tp50 µs\tp99 µs\tp99.9 µs\tserver CPU\tclient CPU\treads, writes\tothers\t")
		for _, s := range t.Servers {
			cpu := t.Summary(name, s, "cpu-ns/msg")
			if cpu.Rounds == 0 {
				continue
			}
			times := "–"
			if c.Rounds > 0 {
				times = fmt.Sprintf("%.2f", cpu.Median/c.Median)
			}
			mark := ""
			if clientBound(t, name, s) {
				mark, marked = "*", true
			}
			fmt.Fprintf(w, "%-10s\t%s\t%s\t%.0f%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", s, spread(cpu), times,
				t.Summary(name, s, "msgs/s").Median, mark,
				optional(t, name, s, "p50-ns", micro), optional(t, name, s, "p99-ns", micro), optional(t, name, s, "p99.9-ns", micro),
				optional(t, name, s, "cpu-%", percent), optional(t, name, s, "client-cpu-%", percent),
				optional(t, name, s, "rw-calls/msg", func(x float64) string { return fmt.Sprintf("%.2f", x) }),
				optional(t, name, s, "other-sleeps/msg", thousandths))
		}
	})
	if marked {
		fmt.Fprintln(b.out, "  * the clients were at their limit and the server was not: it could do more")
	}
}

func percent(x float64) string { return fmt.Sprintf("%.0f %%", x) }

func optional(t *record.Table, name, s, unit string, show func(float64) string) string {
	v := t.Summary(name, s, unit)
	if v.Rounds == 0 {
		return "–"
	}
	return show(v.Median)
}

// firstMeasured returns the first server with results for a case, or "".
func firstMeasured(t *record.Table, name string) string {
	for _, s := range t.Servers {
		if len(t.Lines(name, s)) > 0 {
			return s
		}
	}
	return ""
}

// idleCosts returns the cases of IdleCost64, fewest idle clients first.
func idleCosts(t *record.Table) []string {
	return slices.DeleteFunc(slices.Clone(t.Cases), func(name string) bool { return !strings.HasPrefix(name, "IdleCost64/") })
}

func (b *bench) printIdle(t *record.Table) {
	costs := idleCosts(t)
	var memory, asleep string
	for _, name := range t.Cases {
		switch load, _, _ := strings.Cut(name, "/"); load {
		case "IdleMemory":
			memory = name
		case "Asleep":
			asleep = name
		}
	}
	if len(costs) == 0 {
		return
	}
	fmt.Fprintf(b.out, "\nIdleCost64: CPU µs for a message of one of %d clients, beside idle ones\n", active)
	b.table(func(w *tabwriter.Writer) {
		fmt.Fprint(w, "server    \t")
		for _, name := range costs {
			_, n, _ := strings.Cut(name, "=")
			fmt.Fprintf(w, "%s idle\t", n)
		}
		fmt.Fprint(w, "growth, quartiles\town B/conn\twake-ups/s\tCPU asleep\t\n")
		for _, s := range t.Servers {
			if len(t.Lines(costs[0], s)) == 0 {
				continue
			}
			fmt.Fprintf(w, "%-10s\t", s)
			for _, name := range costs {
				fmt.Fprintf(w, "%s\t", optional(t, name, s, "cpu-ns/msg", micro))
			}
			fmt.Fprintf(w, "%s\t", growthText(growth(t, costs[0], costs[len(costs)-1], s)))
			whole := func(x float64) string { return fmt.Sprintf("%.0f", x) }
			fine := func(x float64) string { return fmt.Sprintf("%.1f", x) }
			fmt.Fprintf(w, "%s\t%s\t%s\t\n", optional(t, memory, s, "own-B/conn", whole),
				optional(t, asleep, s, "wakeups/s", fine), optional(t, asleep, s, "cpu-%", func(x float64) string { return fmt.Sprintf("%.2f %%", x) }))
		}
	})
}

// growth compares the two cases within each round, where they were measured on the
// same process, about a second apart.
func growth(t *record.Table, from, to, s string) record.Summary {
	return ratios(t.Values(to, s, "cpu-ns/msg"), t.Values(from, s, "cpu-ns/msg"))
}

// ratios divides round by round. It ignores rounds at the end that one side lacks.
func ratios(of, by []float64) record.Summary {
	var r []float64
	for i := range min(len(of), len(by)) {
		r = append(r, of[i]/by[i])
	}
	return record.Summarize(r)
}

func (b *bench) printCalls(t *record.Table) {
	for _, name := range t.Cases {
		if !strings.HasPrefix(name, "Syscalls64/") {
			continue
		}
		_, n, _ := strings.Cut(name, "=")
		fmt.Fprintf(b.out, "\nSyscalls64, %s clients: system calls a message, counted by strace\n", n)
		b.table(func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "server    \ton sockets\tother\t  which\t")
			for _, s := range t.Servers {
				for _, l := range t.Lines(name, s) {
					io, _ := l.Value("io-calls/msg")
					other, _ := l.Value("other-calls/msg")
					var which []string
					for _, v := range l.Values[2:] {
						which = append(which, fmt.Sprintf("%s %.2f", strings.TrimSuffix(v.Unit, "-calls/msg"), v.Number))
					}
					fmt.Fprintf(w, "%-10s\t%.2f\t%.2f\t  %s\n", s, io, other, strings.Join(which[:min(len(which), 6)], ", "))
				}
			}
		})
	}
}

// printLimit prints the highest rate that the generator can reach.
func (b *bench) printLimit(t *record.Table) {
	name := "PingPong64/conns=50"
	best, rate := "", 0.0
	for _, s := range t.Servers {
		if m := t.Summary(name, s, "msgs/s"); m.Median > rate {
			best, rate = s, m.Median
		}
	}
	if best == "" {
		return
	}
	fmt.Fprintf(b.out, "\nThe generator's own limit, %s: it needs %s µs of CPU a message and has one core,\n"+
		"  so %.0f messages/s at most; the fastest server, %s, came to %.0f, and %s of the generator's core.\n",
		name, micro(t.Summary(name, best, "client-cpu-ns/msg").Median), 1e9/t.Summary(name, best, "client-cpu-ns/msg").Median,
		best, rate, percent(t.Summary(name, best, "client-cpu-%").Median))
}
