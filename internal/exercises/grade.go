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

// An outcome is the result of grading an exercise.
type outcome struct {
	Exercise   string       `json:"exercise"`
	Title      string       `json:"title"`
	State      state        `json:"state"`
	Passed     bool         `json:"passed"`                // by the program as it is now
	Says       string       `json:"says"`                  // the outcome in short
	Untried    []string     `json:"untried,omitempty"`     // the checks in MustNotFail that were skipped
	BuildError string       `json:"build_error,omitempty"` // the output of the compiler
	Report     *exam.Report `json:"report,omitempty"`      // nil if it was not graded
}

// build compiles the learner's main.go. It returns the output of the compiler if
// main.go is wrong, and an error if something else is.
func (e *exercise) build(ctx context.Context, bin string) (output string, err error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", bin, "./"+e.path("."))
	cmd.Dir = e.root
	cmd.Env = append(os.Environ(), "GOWORK=off") // as BUILD in the Makefile
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return strings.TrimSpace(string(out)), nil
	}
	return "", err
}

// options says how the exercise is graded.
func (e *exercise) options(command ...string) exam.Options {
	selected, _ := checks.Select(e.As, e.GradedBy...) // parse has seen that they exist
	o := exam.Options{Command: command, As: e.As, Checks: selected}
	if !exam.TakesAddr(command) {
		o.Addr = netip.MustParseAddrPort("127.0.0.1:6379")
	}
	return o
}

// passes is stricter than the examiner: no check in MustNotFail may be skipped.
func (e *exercise) passes(r *exam.Report) bool { return r.Passed() && e.untried(r) == nil }

// untried returns the checks in MustNotFail that were skipped, with their reasons.
func (e *exercise) untried(r *exam.Report) (list []string) {
	for _, res := range r.Results {
		if res.Verdict == exam.Skip && slices.Contains(e.MustNotFail, res.ID) {
			list = append(list, fmt.Sprintf("%s (%s)", res.ID, res.Reason))
		}
	}
	return list
}

// grade examines the server of the command line or, without one, main.go. It
// records a pass.
func (s *session) grade(ctx context.Context, e *exercise) (*outcome, error) {
	o := &outcome{Exercise: e.Name, Title: e.Title}
	text, err := e.read(e.program())
	if err != nil {
		return nil, err
	}
	command := s.server
	if len(command) == 0 {
		dir, err := os.MkdirTemp("", "exercise")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		bin := filepath.Join(dir, e.Name)
		if o.BuildError, err = e.build(ctx, bin); err != nil {
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
		if err := s.note(e, func(r *record) { r.Passed = hash(text) }); err != nil {
			return nil, err
		}
	}
	records, err := s.records()
	o.State = e.state(records[e.Name])
	o.Says = o.summary()
	return o, err
}

// examine runs the examiner and prints each result as it arrives.
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

// check grades e. The first time, it makes main.go.
func (s *session) check(ctx context.Context, e *exercise) error {
	if len(s.server) == 0 {
		if err := s.prepare(e); err != nil {
			return err
		}
	}
	return s.checkAgain(ctx, e)
}

// prepare makes main.go if it does not exist, and warns of a conflict in git.
func (s *session) prepare(e *exercise) error {
	if s.isMerging() {
		s.warnOfGit(s.err)
	}
	return s.begin(e)
}

// checkAgain grades e, for which there is a main.go or a server.
func (s *session) checkAgain(ctx context.Context, e *exercise) error {
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

// verdict returns the error that stands for the outcome.
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

// checkAll grades every exercise that is begun. The others have not passed.
func (s *session) checkAll(ctx context.Context) error {
	if len(s.server) > 0 {
		return errors.New("check -all grades main.go only: to grade a command, say the number of one exercise")
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
		o.Passed = o.State == passedState && e.untouched() // a server in another language passed
		if !o.Passed && o.State != notBegun {
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
		o.Says = o.summary()
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

// summary returns the outcome in a few words.
func (o *outcome) summary() string {
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
	var parts []string
	if list := withVerdict(o.Report, exam.Fail); list != nil {
		parts = append(parts, "failed: "+strings.Join(list, " "))
	}
	if list := withVerdict(o.Report, exam.Error); list != nil {
		parts = append(parts, "no verdict: "+strings.Join(list, " "))
	}
	for _, u := range o.Untried {
		parts = append(parts, "not tried: "+u)
	}
	return cmp.Or(strings.Join(parts, "; "), string(o.State))
}

// failed returns the IDs of the checks that neither passed nor were skipped.
func failed(r *exam.Report) []string { return withVerdict(r, exam.Fail, exam.Error) }

func withVerdict(r *exam.Report, verdicts ...exam.Verdict) (ids []string) {
	for _, res := range r.Results {
		if slices.Contains(verdicts, res.Verdict) {
			ids = append(ids, res.ID)
		}
	}
	return ids
}

// explain prints what an outcome means and the commands that make sense now.
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
		s.say("Build error: there is nothing to grade yet. The compiler reports:")
		fmt.Fprintf(s.out, "\n%s\n\n", o.BuildError)
		s.advise("correct", e.path("main.go"), "restart", fmt.Sprintf("make reset %s  (keeps your text)", e.N()))
	case o.Report.Status == exam.StatusNeverListened:
		s.say("It could not be graded: %s", o.Report.Problem)
		if o.Report.Output != "" {
			fmt.Fprintf(s.out, "\nIt printed:\n%s\n\n", o.Report.Output)
		}
	case o.Passed:
		return s.praise(e)
	case mine && e.untouched() && e.passes(o.Report):
		s.say("main.go is still the starter. It answers correctly already: the cost of an answer is your task.")
		s.advise("read", e.path("README.md"), "change", e.path("main.go"), "measure", measureCommand, "hint", hint)
	case mine && e.untouched():
		s.say("This failure is expected: it is your task. main.go is still the starter.")
		s.advise("read", e.path("README.md"), "change", e.path("main.go"), "hint", hint)
	default:
		s.say("%s", e.remaining(o))
		s.advise("read", e.path("README.md"), "hint", hint)
	}
	return nil
}

// measureCommand measures costs for the exercise that is about them, because a
// verdict must not depend on how busy the machine is.
const measureCommand = "make bench RAW=1"

// isMeasured tells whether the exercise is about cost. Its starter passes.
func (e *exercise) isMeasured() bool {
	return len(e.MustNotFail) == 0 && strings.Contains(e.readme, measureCommand)
}

func (s *session) praise(e *exercise) error {
	measure := ""
	if e.isMeasured() {
		s.say("Passed: it answers correctly. The second command shows whether it costs less.")
		measure = measureCommand
	} else {
		s.say("Passed.")
	}
	next := s.commandFor(s.next(e))
	s.advise("measure", measure, "compare", "make solution "+e.N(), "next", next)
	if next == "" {
		s.say("That was the last one: all %d have passed.", len(s.exercises))
	}
	return nil
}

// remaining says which checks of the task still fail, which others fail since the
// change, and which were skipped.
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
			text += fmt.Sprintf(" %s passed before the change.", strings.Join(broken, " "))
		}
	case len(broken) == 0:
		text = "Every check that could be tried passed."
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
