package exercises

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// hint shows the next hint; when all have been shown, all of them.
func (s *session) hint(e *exercise) error {
	if len(e.Hints) == 0 {
		return fmt.Errorf("%s has no hints", e.path("README.md"))
	}
	records, err := s.records()
	if err != nil {
		return err
	}
	from, to := records[e.Name].Hints, records[e.Name].Hints+1
	if from >= len(e.Hints) {
		from, to = 0, len(e.Hints)
	}
	for i := from; i < to; i++ {
		s.say("Hint %d of %d: %s", i+1, len(e.Hints), e.Hints[i].Title)
		fmt.Fprintf(s.out, "\n%s\n", reflow(e.Hints[i].Text, s.style.Width))
	}
	if to < len(e.Hints) {
		fmt.Fprintf(s.out, "%d left: make hint %s\n", len(e.Hints)-to, e.N())
	} else {
		fmt.Fprintf(s.out, "There are no more. The chapter: %s\n", filepath.Join("exercises", e.Name, e.Chapter))
	}
	return s.note(e, func(r *record) { r.Hints = to })
}

// hintCommand is what to type for a hint, and how many are left.
func (s *session) hintCommand(e *exercise) (string, error) {
	records, err := s.records()
	left := max(len(e.Hints)-records[e.Name].Hints, 0)
	return fmt.Sprintf("make hint %s  (%d of %d left)", e.N(), left, len(e.Hints)), err
}

// solution shows the way from the learner's program to ours.
func (s *session) solution(e *exercise) error {
	passed, err := s.hasPassed(e)
	if err != nil {
		return err
	}
	if !passed && !s.force {
		s.say("The solution opens when main.go has passed. Or now, if you would rather read than search:")
		hint, err := s.hintCommand(e)
		if err != nil {
			return err
		}
		s.advise("grade", "make exercise "+e.N(), "hint", hint, "open", fmt.Sprintf("make solution %s FORCE=1", e.N()))
		return errFailed
	}
	fmt.Fprintf(s.out, "%s, and how it differs from yours:\n\n", e.path("solution/main.go"))
	return s.showDiff(e, e.path("main.go"), e.path("solution/main.go"))
}

func (s *session) hasPassed(e *exercise) (bool, error) {
	records, err := s.records()
	return records[e.Name].Passed != "", err
}

// diff shows what the learner has changed in the step; once he has passed,
// also how the solution differs.
func (s *session) diff(e *exercise) error {
	from, err := e.origin()
	if err != nil {
		return err
	}
	if err := s.showDiff(e, from, e.path("main.go")); err != nil {
		return err
	}
	if passed, err := s.hasPassed(e); err != nil || !passed {
		return err
	}
	fmt.Fprintf(s.out, "\nAnd how ours differs from yours:\n\n")
	return s.showDiff(e, e.path("main.go"), e.path("solution/main.go"))
}

// origin is the program that the exercise was made from, relative to the root:
// that of its step, or else the starter.
func (e *exercise) origin() (string, error) {
	if e.Step == 0 {
		return e.path("starter/main.go"), nil
	}
	found, _ := filepath.Glob(filepath.Join(e.root, fmt.Sprintf("step%d-*", e.Step), "main.go"))
	if len(found) != 1 {
		return "", fmt.Errorf("there is no step %d", e.Step)
	}
	return filepath.Rel(e.root, found[0])
}

// showDiff lets git compare two files, relative to the root.
func (s *session) showDiff(e *exercise, old, now string) error {
	color := "--color=never"
	if s.style.Color {
		color = "--color=always"
	}
	cmd := exec.Command("git", "--no-pager", "diff", "--no-index", "--no-ext-diff", color, old, now)
	cmd.Dir, cmd.Stdout, cmd.Stderr = e.root, s.out, s.err
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		s.say("No difference between %s and %s.", old, now)
		return nil
	case errors.As(err, &exit) && exit.ExitCode() == 1: // they differ
		return nil
	}
	return fmt.Errorf("git diff: %w; compare %s and %s yourself", err, old, now)
}

// reset brings the starter back. It never writes over what the learner wrote.
func (s *session) reset(e *exercise) error {
	starter, err := e.read("starter/main.go")
	if err != nil {
		return err
	}
	if e.untouched() {
		s.say("%s is as it came.", e.path("main.go"))
		return nil
	}
	mine, err := e.read("main.go")
	if err == nil {
		backup, err := e.backUp(mine)
		if err != nil {
			return err
		}
		s.say("Your main.go is kept as %s.", e.path(backup))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := replace(e.file("main.go"), starter); err != nil {
		return err
	}
	s.say("%s is as it came.", e.path("main.go"))
	return nil
}

// backUp writes the text to the first main.go.bak-N that is free.
func (e *exercise) backUp(text []byte) (name string, err error) {
	for n := 1; ; n++ {
		name = fmt.Sprintf("main.go.bak-%d", n)
		f, err := os.OpenFile(e.file(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		_, err = f.Write(text)
		return name, errors.Join(err, f.Close())
	}
}
