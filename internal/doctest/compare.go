package doctest

import (
	"regexp"
	"slices"
	"strings"
)

// varying lists what differs from run to run or between machines in the output of
// programs and means the same.
var varying = []struct {
	form *regexp.Regexp
	same string
}{
	{regexp.MustCompile(`(127\.0\.0\.1:|htons\()\d{5}\b`), "${1}CLIENT"}, // our ports have four digits
	{regexp.MustCompile(`\bfd \d+`), "fd N"},
	{regexp.MustCompile(`\b(pid|fd|u32|u64)=\w+`), "$1=N"},
	{regexp.MustCompile(`\b(tfd|data|ino|sdev): *[0-9a-f]+`), "$1:N"},
	{regexp.MustCompile(`\b(\w+)\(\d+(, |\) +=)`), "$1(N$2"},                                   // strace: the first argument
	{regexp.MustCompile(`\b(epoll_ctl\(N, \w+, )\d+`), "${1}N"},                                // the third
	{regexp.MustCompile(`\b((?:socket|accept4?|epoll_create1)\(.*\) +=) \d+`), "$1 N"},         // the result
	{regexp.MustCompile(`\b0x[0-9a-f]{6,}`), "POINTER"},                                        // where something is
	{regexp.MustCompile(`\b\d+(\.\d+)? ?(s|sec|seconds|ms|msec|us|usec|µs|ns)\b`), "DURATION"}, // how long it took
	{regexp.MustCompile(`\bMakefile:\d+`), "Makefile:N"},
	{regexp.MustCompile(`\b(futex_wait_queue_me|futex_wait_queue|futex_do_wait)\b`), "FUTEX"}, // the kernel's name for it
	{regexp.MustCompile(`\b(ep_poll|do_epoll_wait)\b`), "EPOLL"},
	{regexp.MustCompile(`\bepoll_pwait\((.*?), NULL, \d\)`), "epoll_wait($1)"}, // without a mask they are the same,
	{regexp.MustCompile(`\bepoll_pwait\b`), "epoll_wait"},                      // and some processors have only this one
	{regexp.MustCompile(`\[pid +\d+\] `), ""},                                  // strace -f: not if there is one thread
	{regexp.MustCompile(`Address:Port *Process`), "Address:Port Process"},      // ss: the widths of columns vary
	{regexp.MustCompile(` +`), " "},
}

var (
	number = regexp.MustCompile(`-?\d+(\.\d+)?( \d+)?`)            // two: strace -c leaves a column empty that is 0
	gutter = regexp.MustCompile(`^ (\d|N) │ `)                     // N if numbers vary
	typed  = regexp.MustCompile(`^( \d │ )?\$ | ⏎$|^(lab|walk)> `) // typed by the author, so nothing in it varies
)

// normal returns the lines of a fence that are compared, once as they are and once
// with everything that may vary replaced.
func (b block) normal(fence string) (lines, same []string) {
	lines = split(fence)
	if !b.runs() {
		return lines, lines
	}
	lines = slices.DeleteFunc(lines, observed())
	for _, line := range lines {
		if !typed.MatchString(line) {
			for _, v := range varying {
				line = v.form.ReplaceAllString(line, v.same)
			}
			if b.varies() {
				line = number.ReplaceAllString(line, "N")
			}
		}
		same = append(same, line)
	}
	return lines, same
}

var (
	verdict = regexp.MustCompile(`^(PASS|FAIL|SKIP|ERROR) `)
	advice  = regexp.MustCompile(`^      (usually|reread) `)
)

// observed returns a function that reports, line by line, whether a line of an
// examiner's report is an observation, such as a number of bytes. Observations
// differ from run to run. Verdicts and their explanations do not.
func observed() func(line string) bool {
	inside := false
	return func(line string) bool {
		switch {
		case verdict.MatchString(line):
			inside = true
			return false
		case advice.MatchString(line), !strings.HasPrefix(line, "      "):
			inside = false
		}
		return inside
	}
}

// split returns the lines of a fence, and none if there is none.
func split(fence string) []string {
	if fence == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(fence, "\n"), "\n")
}

func (b block) same(fresh string) bool {
	_, old := b.normal(b.fence)
	_, now := b.normal(fresh)
	return slices.Equal(old, now) || b.varies() && oneLine(old) == oneLine(now)
}

// varies reports whether numbers may differ.
func (b block) varies() bool {
	options, _, _ := strings.Cut(b.text, "\n")
	return strings.HasSuffix(strings.TrimSpace(options), numbersVary)
}

// oneLine joins lines, because some programs break them depending on the length
// of numbers.
func oneLine(lines []string) string {
	var words []string
	for _, line := range lines {
		words = append(words, strings.Fields(gutter.ReplaceAllString(line, ""))...)
	}
	return strings.Join(words, " ")
}

// difference shows how a fresh fence differs from that of the document: lines with
// - are in the document, lines with + are in the fresh one.
func (b block) difference(fresh string) string {
	old, o := b.normal(b.fence)
	now, n := b.normal(fresh)
	for len(o) > 0 && len(n) > 0 && o[0] == n[0] {
		o, n, old, now = o[1:], n[1:], old[1:], now[1:]
	}
	for len(o) > 0 && len(n) > 0 && o[len(o)-1] == n[len(n)-1] {
		o, n = o[:len(o)-1], n[:len(n)-1]
	}
	return firstLines("- ", old[:len(o)]) + firstLines("+ ", now[:len(n)])
}

const shown = 8 // lines of a text in a message

func firstLines(prefix string, lines []string) string {
	var out strings.Builder
	for i, line := range lines {
		if i == shown {
			out.WriteString(prefix + "…\n")
			break
		}
		out.WriteString(prefix + line + "\n")
	}
	return out.String()
}
