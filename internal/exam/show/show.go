// Package show prints what the examiner found for people, on a terminal or not.
package show

import (
	"fmt"
	"os"
	"strings"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/terminal"
)

// A Style determines how results are printed for people.
type Style struct {
	Width   int  // columns
	Color   bool // for a terminal
	Verbose bool // print the facts of passed checks, too
}

const minWidth = 30 // columns

// Screen returns the style for the standard output, and whether standard error is a
// terminal that can show the running check.
func Screen() (st Style, live bool) {
	columns, _ := terminal.Size(os.Stdout)
	st = Style{Width: max(columns, minWidth), Color: terminal.Colour(os.Stdout)}
	return st, terminal.CanRedraw(os.Stderr)
}

// Running returns a line that names the running check. It replaces the previous one, and
// [Gone] removes it.
func (st Style) Running(i, n int, c exam.Check) string {
	line := []rune(fmt.Sprintf("[%d/%d] %s: %s", i, n, c.ID, c.Title))
	return Gone + string(line[:min(len(line), max(st.Width-1, 0))])
}

// Gone clears the line on a terminal.
const Gone = terminal.ClearLine

var colours = map[exam.Verdict]terminal.Style{exam.Pass: terminal.Green, exam.Fail: terminal.Red,
	exam.Skip: terminal.Yellow, exam.Error: terminal.Magenta}

// Text returns the result as a colleague would explain it: one line, and for a failed
// check what was sent, what came back, and what to read.
func (st Style) Text(r exam.Result) string {
	verdict := strings.ToUpper(string(r.Verdict))
	word := fmt.Sprintf("%-6s", verdict)
	if st.Color {
		word = terminal.Paint(word, colours[r.Verdict])
	}
	var b strings.Builder
	st.wrap(&b, word+fmt.Sprintf("%-22s", r.ID), 28, r.Title)
	if r.Reason != "" {
		st.field(&b, "because", r.Reason)
	}
	if r.Verdict != exam.Fail && !st.Verbose {
		return b.String()
	}
	for _, f := range r.Facts {
		st.field(&b, f.Label, f.Text)
	}
	if r.Verdict == exam.Fail {
		st.field(&b, "usually", r.Usually)
		reread := strings.Join(r.Reread, " · ")
		if r.Chapter != "" {
			reread += " · " + r.Chapter
		}
		st.field(&b, "reread", reread)
	}
	return b.String()
}

func (st Style) field(b *strings.Builder, label, text string) {
	lines := strings.Split(text, "\n")
	if len(lines) > 1 { // several lines are the server's own output, and stay as they are
		fmt.Fprintf(b, "      %s\n", label)
		for _, line := range lines {
			fmt.Fprintf(b, "        %s\n", line)
		}
		return
	}
	st.wrap(b, fmt.Sprintf("      %-9s ", label), 16, text)
}

// wrap writes text behind a head that ends at column indent, and breaks lines that would
// be too wide. They continue at that column. On a narrow terminal the text gets lines of
// its own.
func (st Style) wrap(b *strings.Builder, head string, indent int, text string) {
	if st.Width-indent < 24 {
		b.WriteString(strings.TrimRight(head, " ") + "\n")
		head, indent = strings.Repeat(" ", 8), 8
	}
	for _, line := range terminal.Wrap(head, text, indent, st.Width) {
		b.WriteString(line + "\n")
	}
}

// Summary returns the text below the results. If one defect makes several checks fail,
// it begins with the check that explains most of them.
func (st Style) Summary(r *exam.Report) string {
	var b strings.Builder
	if r.Status == exam.StatusHang || r.Status == exam.StatusNotEcho || r.Status == exam.StatusWrongAnswer {
		text := r.Problem
		if n := r.Count(exam.Skip); n > 0 {
			text += "; the other " + strings.TrimPrefix(exam.Plural(n, "check was", "checks were"), "1 ") + " not run"
		}
		st.wrap(&b, "", 0, text)
		return strings.TrimSuffix(b.String(), "\n")
	}
	for _, begin := range r.Begin {
		var follow []string
		for _, res := range r.Results {
			if res.FollowsFrom == begin {
				follow = append(follow, res.ID)
			}
		}
		usually := "usually follow from it"
		if len(follow) == 1 {
			usually = "usually follows from it"
		}
		st.wrap(&b, "", 0, fmt.Sprintf("begin with %s: %s %s", begin, strings.Join(follow, " "), usually))
	}
	var failed []string
	for _, res := range r.Results {
		if res.Verdict == exam.Fail {
			failed = append(failed, res.ID)
		}
	}
	text := fmt.Sprintf("%s in %.1f s: %d passed", exam.Plural(len(r.Results), "check", "checks"), r.Seconds, r.Count(exam.Pass))
	if len(failed) > 0 {
		text += fmt.Sprintf(", %d failed (%s)", len(failed), strings.Join(failed, " "))
	}
	if n := r.Count(exam.Skip); n > 0 {
		text += fmt.Sprintf(", %d skipped", n)
	}
	if n := r.Count(exam.Error); n > 0 {
		text += fmt.Sprintf(", %d could not be run", n)
	}
	if r.Status == exam.StatusInterrupted {
		text += "; then it was interrupted"
	}
	st.wrap(&b, "", 0, text)
	return strings.TrimSuffix(b.String(), "\n")
}
