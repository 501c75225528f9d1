package exercises

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/checks"
	"epoll-step-by-step/internal/exam/show"
)

// An outcome is what grading an exercise has come to.
type outcome struct {
	Exercise   string       `json:"exercise"`
	Title      string       `json:"title"`
	State      state        `json:"state"`
	Passed     bool         `json:"passed"`                // now
	Says       string       `json:"says"`                  // the outcome in a few words
	Untried    []string     `json:"untried,omitempty"`     // what it is about, and was skipped
	BuildError string       `json:"build_error,omitempty"` // what the compiler says
	Report     *exam.Report `json:"report,omitempty"`      // without one, it was not graded
}

// build compiles a folder of the exercise: "." is the learner's. What the
// compiler has against it is text; err is for all else.
func (e *exercise) build(ctx context.Context, folder, bin string) (text string, err error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", bin, "./"+e.path(folder))
	cmd.Dir = e.root
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return strings.TrimSpace(string(out)), nil
	}
	return "", err
}

// options say how the exercise is graded.
func (e *exercise) options(command ...string) exam.Options {
	selected, _ := checks.Select(e.As, e.GradedBy...) // parse has seen that they exist
	return exam.Options{
		Command: command,
		Addr:    netip.MustParseAddrPort("127.0.0.1:6379"), // of a command that takes none
		As:      e.As,
		Checks:  selected,
	}
}

// passes is stricter than the examiner: what the exercise is about must not
// have been skipped.
func (e *exercise) passes(r *exam.Report) bool { return r.Passed() && e.untried(r) == nil }

// untried returns what the exercise is about and was skipped, each with the
// reason.
func (e *exercise) untried(r *exam.Report) (list []string) {
	for _, res := range r.Results {
		if res.Verdict == exam.Skip && slices.Contains(e.MustNotFail, res.ID) {
			list = append(list, fmt.Sprintf("%s (%s)", res.ID, res.Reason))
		}
	}
	return list
}

// grade builds main.go and has it examined; or the server that was given in
// its place. A pass is written down.
func (s *session) grade(ctx context.Context, e *exercise) (*outcome, error) {
	o := &outcome{Exercise: e.Name, Title: e.Title}
	mine, err := e.read("main.go")
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read (%w): \"make reset %s\" brings the starter", e.path("main.go"), err, e.N())
	}
	command := s.server
	if len(command) == 0 {
		dir, err := os.MkdirTemp("", "exercise")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		bin := filepath.Join(dir, e.Name)
		if o.BuildError, err = e.build(ctx, ".", bin); err != nil {
			return nil, err
		}
		command = []string{bin, "-addr", "{addr}"}
	}
	if o.BuildError == "" {
		if o.Report, err = s.examine(ctx, e.options(command...)); err != nil {
			return nil, err
		}
		if o.Report.Status == exam.StatusInterrupted {
			return nil, errInterrupted
		}
		o.Untried = e.untried(o.Report)
		o.Passed = e.passes(o.Report) && !(e.isMeasured() && len(s.server) == 0 && e.untouched())
	}
	if o.Passed {
		if err := s.note(e, func(r *record) { r.Passed = hash(mine) }); err != nil {
			return nil, err
		}
	}
	records, err := s.records()
	o.State = e.state(records[e.Name])
	o.Says = o.word()
	return o, err
}

// examine prints the results as they come.
func (s *session) examine(ctx context.Context, options exam.Options) (*exam.Report, error) {
	clear := func() {
		if s.live {
			fmt.Fprint(s.err, show.Gone)
		}
	}
	options.Started = func(i, n int, c exam.Check) {
		if s.live {
			fmt.Fprint(s.err, s.style.Running(i, n, c))
		}
	}
	options.Finished = func(r exam.Result) {
		clear()
		if !s.json {
			fmt.Fprint(s.out, s.style.Text(r))
		}
	}
	report, err := exam.Run(ctx, options)
	clear()
	return report, err
}

func (s *session) check(ctx context.Context, e *exercise) error {
	if !s.json {
		fmt.Fprintf(s.out, "%s\n\n", s.cut(fmt.Sprintf("%s: %s", e.Name, e.Title)))
	}
	o, err := s.grade(ctx, e)
	if err != nil {
		return err
	}
	if s.json {
		err = s.printJSON(o)
	} else {
		err = s.explain(e, o)
	}
	if err != nil {
		return err
	}
	return o.verdict()
}

// verdict is the outcome as a way to end.
func (o *outcome) verdict() error {
	switch {
	case o.Passed:
		return nil
	case o.Report == nil || o.Report.Status == exam.StatusNeverListened,
		len(o.Untried) > 0 && len(failed(o.Report)) == 0:
		return errNotGraded
	}
	return errFailed
}

// checkAll grades what has been begun. What has not would fail: it is made so.
func (s *session) checkAll(ctx context.Context) error {
	if len(s.server) > 0 {
		return errors.New("a command is graded for one exercise: say its number")
	}
	records, err := s.records()
	if err != nil {
		return err
	}
	var all []*outcome
	var table strings.Builder
	left := 0
	for _, e := range s.exercises {
		o := &outcome{Exercise: e.Name, Title: e.Title, State: e.state(records[e.Name])}
		o.Passed = o.State == passedState && e.untouched() // by a server in another language
		if !o.Passed && o.State != notBegun && o.State != missing {
			if !s.json {
				fmt.Fprintf(s.out, "%s\n", s.cut(fmt.Sprintf("%s: %s", e.Name, e.Title)))
			}
			if o, err = s.grade(ctx, e); err != nil {
				return err
			}
			if !s.json && o.BuildError != "" {
				fmt.Fprintf(s.out, "build error\n%s\n", o.BuildError)
			}
		}
		if !o.Passed {
			left++
		}
		o.Says = o.word()
		fmt.Fprintf(&table, "%-18s %s\n", e.Name, o.Says)
		all = append(all, o)
	}
	if s.json {
		err = s.printJSON(all)
	} else {
		fmt.Fprintf(s.out, "\n%s\n%d of %d passed\n", table.String(), len(all)-left, len(all))
	}
	if err == nil && left > 0 {
		err = errFailed
	}
	return err
}

// word is the outcome in short.
func (o *outcome) word() string {
	switch {
	case o.Passed:
		return "passed"
	case o.BuildError != "":
		return "build error"
	case o.Report == nil:
		return string(o.State)
	case o.Report.Status != exam.StatusGraded:
		return string(o.Report.Status) + ": " + o.Report.Problem
	}
	var said []string
	if list := withVerdict(o.Report, exam.Fail); list != nil {
		said = append(said, "failed: "+strings.Join(list, " "))
	}
	if list := withVerdict(o.Report, exam.Error); list != nil {
		said = append(said, "no verdict: "+strings.Join(list, " "))
	}
	for _, u := range o.Untried {
		said = append(said, "not tried: "+u)
	}
	return cmp.Or(strings.Join(said, "; "), string(o.State))
}

// failed returns the IDs of the checks that were not passed.
func failed(r *exam.Report) []string { return withVerdict(r, exam.Fail, exam.Error) }

func withVerdict(r *exam.Report, verdicts ...exam.Verdict) (ids []string) {
	for _, res := range r.Results {
		if slices.Contains(verdicts, res.Verdict) {
			ids = append(ids, res.ID)
		}
	}
	return ids
}

// explain says what to make of an outcome and what to do next.
func (s *session) explain(e *exercise, o *outcome) error {
	hint, err := s.hintCommand(e)
	if err != nil {
		return err
	}
	if o.Report != nil && len(o.Report.Results) > 0 {
		fmt.Fprintf(s.out, "\n%s\n\n", s.style.Summary(o.Report))
	}
	mine := len(s.server) == 0
	switch {
	case o.BuildError != "":
		s.say("Build error: there is nothing to grade yet. The compiler says:")
		fmt.Fprintf(s.out, "\n%s\n\n", o.BuildError)
		s.advise("correct", e.path("main.go"), "or begin", fmt.Sprintf("make reset %s  (keeps your text)", e.N()))
	case o.Report.Status == exam.StatusNeverListened:
		s.say("It could not be graded: %s", o.Report.Problem)
		if o.Report.Output != "" {
			fmt.Fprintf(s.out, "\nIt said:\n%s\n\n", o.Report.Output)
		}
	case o.Passed:
		return s.praise(e)
	case mine && e.untouched() && e.passes(o.Report):
		s.say("It answers as it should, as it did before you began: main.go is as it came. What it costs is your task.")
		s.advise("read", e.path("README.md"), "change", e.path("main.go"), "measure", measureCommand, "hint", hint)
	case mine && e.untouched():
		s.say("This failure is expected: it is your task. main.go is as it came.")
		s.advise("read", e.path("README.md"), "change", e.path("main.go"), "hint", hint)
	default:
		s.say("%s", e.remaining(o))
		s.advise("read", e.path("README.md"), "hint", hint)
	}
	return nil
}

// measureCommand is for an exercise that is about cost: a clock in a test would
// be wrong on a busy machine.
const measureCommand = "make bench RAW=1"

// isMeasured tells whether a pass says only half of it. Such a starter passes.
func (e *exercise) isMeasured() bool {
	return len(e.MustNotFail) == 0 && strings.Contains(e.readme, measureCommand)
}

func (s *session) praise(e *exercise) error {
	measure := ""
	if e.isMeasured() {
		s.say("Passed: it answers as it should. Whether it costs less is for the second command to say.")
		measure = measureCommand
	} else {
		s.say("Passed.")
	}
	next := s.commandFor(s.next(e))
	s.advise("measure", measure, "compare", "make solution "+e.N(), "next", next)
	if next == "" {
		s.say("That was the last one: all %d are passed.", len(s.exercises))
	}
	return nil
}

// remaining tells the task itself from what was broken on the way, and from what
// could not be tried.
func (e *exercise) remaining(o *outcome) string {
	var task, broken []string
	for _, id := range failed(o.Report) {
		if slices.Contains(e.MustNotFail, id) {
			task = append(task, id)
		} else {
			broken = append(broken, id)
		}
	}
	var text string
	switch {
	case len(task) > 0:
		text = fmt.Sprintf("Not yet: %s.", strings.Join(task, " "))
		if len(broken) > 0 {
			text += fmt.Sprintf(" And %s passed before the change.", strings.Join(broken, " "))
		}
	case len(broken) == 0:
		text = "All that could be tried is passed."
	case len(e.MustNotFail) == 0 || len(o.Untried) > 0:
		text = fmt.Sprintf("Not yet: %s passed before the change.", strings.Join(broken, " "))
	default:
		passes := "passes"
		if len(e.MustNotFail) > 1 {
			passes = "pass"
		}
		text = fmt.Sprintf("%s %s now. But another promise is broken: %s passed before the change.",
			strings.Join(e.MustNotFail, " "), passes, strings.Join(broken, " "))
	}
	if len(o.Untried) > 0 {
		text += " Not tried: " + strings.Join(o.Untried, "; ") + "."
	}
	return text
}
