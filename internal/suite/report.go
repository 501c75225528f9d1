package suite

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A report is what became of all tests so far.
type report struct {
	o     Options
	tests map[name]*counts
	order []name // of tests

	// About the current run.
	condition Condition
	failures  []name
	passed    int
	skipped   []skipped
}

// counts is how often a test ran and failed, under each condition.
type counts struct {
	runs, failures map[Condition]int
	first          map[Condition]string // what it printed when it failed first
}

type skipped struct {
	name
	reason string
}

func newReport(o Options) *report {
	return &report{o: o, tests: make(map[name]*counts)}
}

func (r *report) begin(c Condition) {
	r.condition, r.failures, r.passed, r.skipped = c, nil, 0, nil
}

func (r *report) count(n name) *counts {
	c := r.tests[n]
	if c == nil {
		c = &counts{make(map[Condition]int), make(map[Condition]int), make(map[Condition]string)}
		r.tests[n], r.order = c, append(r.order, n)
	}
	return c
}

// slow is when a test is worth a line of its own, in seconds.
const slow = 1.0

func (r *report) test(n name, action string, seconds float64, output string) {
	r.count(n).runs[r.condition]++
	switch action {
	case "fail":
		r.fail(n, output)
		return
	case "skip":
		if strings.Contains(n.Test, "/") && r.reasonKnown(output) {
			return
		}
		r.skipped = append(r.skipped, skipped{n, reason(output)})
		return
	}
	r.passed++
	if r.o.Once {
		if seconds >= slow {
			fmt.Fprintf(r.o.Out, "  %5.1f s  %s\n", seconds, n)
		}
		for line := range strings.Lines(output) {
			if strings.Contains(line, leftOut) {
				r.skipped = append(r.skipped, skipped{n, reason(line)})
			}
		}
	}
}

// leftOut is what a test logs when it passes and has left something out.
const leftOut = "only with make test ALL=1"

func (r *report) reasonKnown(output string) bool {
	return slices.ContainsFunc(r.skipped, func(s skipped) bool { return s.reason == reason(output) })
}

var position = regexp.MustCompile(`^\s*\S+_test\.go:\d+: `)

// reason is the text that a test gave to t.Skip or t.Log.
func reason(output string) string {
	for line := range strings.Lines(output) {
		if loc := position.FindString(line); loc != "" {
			return strings.TrimSpace(line[len(loc):])
		}
	}
	return "skipped"
}

// fail records a failure and prints what the test printed.
func (r *report) fail(n name, output string) {
	c := r.count(n)
	if n.Test == "" {
		c.runs[r.condition]++
	}
	c.failures[r.condition]++
	if c.first[r.condition] == "" {
		c.first[r.condition] = trim(output)
	}
	r.failures = append(r.failures, n)
	if r.o.Once {
		fmt.Fprintf(r.o.Out, "FAIL  %s\n%s\n", n, indent(trim(output)))
	}
}

// failedNow tells whether a test of the package failed in this run.
func (r *report) failedNow(pkg string) bool {
	return slices.ContainsFunc(r.failures, func(n name) bool { return n.Package == pkg })
}

func (r *report) endPackage(pkg, action string, seconds float64) {
	if r.o.Once && action != "skip" { // skip: it has no tests
		fmt.Fprintf(r.o.Out, "%-4s  %s  %.1f s\n", map[string]string{"pass": "ok", "fail": "FAIL"}[action], pkg, seconds)
	}
}

// end is the end of a run.
func (r *report) end(i int, took time.Duration) {
	failures := r.innermost()
	if r.o.Once {
		for _, s := range r.skipped {
			fmt.Fprintf(r.o.Out, "left out: %s: %s\n", s.name, s.reason)
		}
		fmt.Fprintf(r.o.Out, "%.0f s\n", took.Seconds())
		fmt.Fprintf(r.o.Out, "%d passed, %d failed, %d skipped\n", r.passed, len(failures), len(r.skipped))
		return
	}
	line := fmt.Sprintf("%-5s  run %d of %d  %4.0f s  %d passed, %d failed", r.condition, i, r.o.Runs, took.Seconds(), r.passed, len(failures))
	for _, n := range failures {
		line += "\n       " + n.String()
	}
	fmt.Fprintln(r.o.Out, line)
}

// innermost returns the failures of this run without the tests that failed
// because of a subtest.
func (r *report) innermost() []name {
	return slices.DeleteFunc(slices.Clone(r.failures), func(n name) bool {
		return slices.ContainsFunc(r.failures, func(other name) bool {
			return other.Package == n.Package && strings.HasPrefix(other.Test, n.Test+"/")
		})
	})
}

func (r *report) failed() bool {
	for _, c := range r.tests {
		for _, n := range c.failures {
			if n > 0 {
				return true
			}
		}
	}
	return false
}

// print prints the table of many runs: a row for each package, and one for each
// test that has failed, with failures and runs under each condition. Below it
// stands what each failure printed first.
func (r *report) print() {
	if r.o.Once {
		return
	}
	type row struct {
		label string
		cells map[Condition]string
	}
	var rows []row
	var packages []string
	for _, n := range r.order {
		if !slices.Contains(packages, n.Package) {
			packages = append(packages, n.Package)
		}
	}
	slices.Sort(packages)
	var details strings.Builder
	for _, pkg := range packages {
		tests, runs, failures := 0, make(map[Condition]int), make(map[Condition]int)
		var failing []row
		for _, n := range r.order {
			if n.Package != pkg {
				continue
			}
			c := r.tests[n]
			if !strings.Contains(n.Test, "/") {
				tests++
				for _, cond := range r.o.Conditions {
					runs[cond] = max(runs[cond], c.runs[cond])
				}
			}
			cells := make(map[Condition]string)
			any := false
			for _, cond := range r.o.Conditions {
				cells[cond] = fmt.Sprintf("%d of %d", c.failures[cond], c.runs[cond])
				if c.failures[cond] > 0 {
					any = true
					if !strings.Contains(n.Test, "/") {
						failures[cond] += c.failures[cond]
					}
					fmt.Fprintf(&details, "\n%s, first failure, %s:\n%s\n", n, cond, indent(c.first[cond]))
				}
			}
			if any {
				failing = append(failing, row{"  " + n.Test, cells})
			}
		}
		cells := make(map[Condition]string)
		for _, cond := range r.o.Conditions {
			cells[cond] = fmt.Sprintf("%d of %d", failures[cond], runs[cond])
		}
		count := fmt.Sprint(tests, " tests")
		if tests == 1 {
			count = "1 test"
		}
		rows = append(rows, row{pkg + ": " + count, cells})
		rows = append(rows, failing...)
	}
	width := len("failures of runs")
	for _, row := range rows {
		width = max(width, len(row.label))
	}
	fmt.Fprintf(r.o.Out, "\n%-*s", width, "failures of runs")
	for _, c := range r.o.Conditions {
		fmt.Fprintf(r.o.Out, "  %9s", c)
	}
	fmt.Fprintln(r.o.Out)
	for _, row := range rows {
		fmt.Fprintf(r.o.Out, "%-*s", width, row.label)
		for _, c := range r.o.Conditions {
			fmt.Fprintf(r.o.Out, "  %9s", row.cells[c])
		}
		fmt.Fprintln(r.o.Out)
	}
	fmt.Fprint(r.o.Out, details.String())
}

func (n name) String() string {
	if n.Test == "" {
		return n.Package
	}
	return n.Package + " " + n.Test
}

// trim keeps the beginning and the end of a long output.
func trim(text string) string {
	const most = 12 << 10
	text = strings.TrimRight(text, "\n")
	if len(text) <= most {
		return text
	}
	return text[:most/2] + "\n[…]\n" + text[len(text)-most/2:]
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(text, "\n", "\n    ")
}
