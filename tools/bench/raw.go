package main

import (
	"fmt"
	"math"
	"text/tabwriter"

	"epoll-step-by-step/tools/bench/record"
)

// printRaw prints the comparison of exercise 19, and the verdict in words.
func (b *bench) printRaw() {
	const name, unit = "PingPong64/conns=50", "cpu-ns/msg"
	t := record.Tabulate(b.lines)
	titles := map[string]string{"yours": "yours", "raw": "our solution", "step4": "step 4", "short": "exercise 14", "c": "the C loop"}
	fmt.Fprintf(b.out, "\nCPU time of the server for a message of 64 bytes, 50 clients\n")
	b.table(func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "server      \tCPU µs/msg\tquartiles\t× step 4\tquartiles\t× C\tone thread\treads, writes\t")
		for _, s := range []string{"step4", "short", "yours", "raw", "c"} {
			cpu := t.Summary(name, s, unit)
			if cpu.Rounds == 0 {
				continue
			}
			vsStep4, vsC := ratios(t.Values(name, s, unit), t.Values(name, "step4", unit)), ratios(t.Values(name, s, unit), t.Values(name, "c", unit))
			fmt.Fprintf(w, "%-12s\t%s\t[%s–%s]\t%.2f\t[%.2f–%.2f]\t%.2f\t%s\t%s\t\n", titles[s], micro(cpu.Median), micro(cpu.Low), micro(cpu.High),
				vsStep4.Median, vsStep4.Low, vsStep4.High, vsC.Median,
				optional(t, name, s, "thread-cpu-ns/msg", micro),
				optional(t, name, s, "rw-calls/msg", func(x float64) string { return fmt.Sprintf("%.2f", x) }))
		}
	})
	fmt.Fprintf(b.out, "\n%s\n", verdict(t, name, unit))
	for _, s := range b.skipped {
		fmt.Fprintln(b.out, "not measured:", s)
	}
}

// verdict compares the learner's server with step 4 round by round, because a
// disturbance within a round affects both.
func verdict(t *record.Table, name, unit string) string {
	yours, step4, ours := t.Values(name, "yours", unit), t.Values(name, "step4", unit), t.Values(name, "raw", unit)
	r := ratios(yours, step4)
	if r.Rounds == 0 {
		return "Yours was not measured beside step 4, so there is nothing to say."
	}
	text := fmt.Sprintf("In %d rounds yours took %s of the CPU time of step 4, in half of them between %s and %s.\n",
		r.Rounds, share(r.Median), share(r.Low), share(r.High))
	switch {
	case r.High < 1 && r.Median < 0.97:
		text += "It is cheaper."
	case r.Low > 1 && r.Median > 1.03:
		text += "It is more expensive."
	default:
		return text + "That is no difference that this run can show."
	}
	if vsOurs := ratios(yours, ours); vsOurs.Rounds > 0 && r.Median < 1 {
		switch {
		case vsOurs.High < 1 && vsOurs.Median < 0.98:
			text += " It is cheaper than our solution, too."
		case vsOurs.Low > 1 && vsOurs.Median > 1.02:
			text += fmt.Sprintf(" Our solution takes %s.", share(ratios(ours, step4).Median))
		default:
			text += " Our solution takes as much as yours."
		}
	}
	return text
}

func share(ratio float64) string { return fmt.Sprintf("%.0f %%", math.Round(100*ratio)) }
