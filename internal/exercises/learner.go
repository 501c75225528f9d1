package exercises

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// begin copies the starter to main.go unless main.go exists.
func (s *session) begin(e *exercise) error {
	if e.program() == "main.go" {
		return nil
	}
	starter, err := e.readStarter()
	if err != nil {
		return err
	}
	err = create(e.file("main.go"), starter)
	if errors.Is(err, fs.ErrExist) { // another command was faster
		return nil
	} else if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "%s is yours now: a copy of the starter\n", e.path("main.go"))
	return nil
}

// path prints the folder of the learner's program, for other commands.
func (s *session) path(e *exercise) error {
	if err := s.begin(e); err != nil {
		return err
	}
	_, err := fmt.Fprintln(s.out, e.path(""))
	return err
}

func (e *exercise) readStarter() ([]byte, error) {
	starter, err := e.read("starter/main.go")
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: restore it, for example with \"git checkout -- %[1]s\"; %w", e.path("starter/main.go"), errors.Unwrap(err))
	}
	return starter, nil
}

// create writes a new file. It never overwrites one.
func create(file string, text []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(file)
	}
	return err
}

// hint shows the next hint, or all of them if the last one was shown before.
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
		fmt.Fprintf(s.out, "This was the last one. The chapter: %s\n", filepath.Join("exercises", e.Name, e.Chapter))
	}
	return s.note(e, func(r *record) { r.Hints = to })
}

// hintCommand returns the command for the next hint and the number of those left.
func (s *session) hintCommand(e *exercise) (string, error) {
	records, err := s.records()
	left := max(len(e.Hints)-records[e.Name].Hints, 0)
	return fmt.Sprintf("make hint %s  (%d of %d left)", e.N(), left, len(e.Hints)), err
}

// solution shows how the solution differs from the learner's program.
func (s *session) solution(e *exercise) error {
	passed, err := s.hasPassed(e)
	if err != nil {
		return err
	}
	if !passed && !s.force {
		s.say("The solution opens when main.go has passed. To read it now, use FORCE=1:")
		hint, err := s.hintCommand(e)
		if err != nil {
			return err
		}
		s.advise("grade", "make exercise "+e.N(), "hint", hint, "open", fmt.Sprintf("make solution %s FORCE=1", e.N()))
		return errFailed
	}
	fmt.Fprintf(s.out, "%s, and how it differs from %s:\n\n", e.path("solution/main.go"), e.whose())
	return s.showDiff(e, e.path(e.program()), e.path("solution/main.go"))
}

// whose names the learner's program in a sentence.
func (e *exercise) whose() string {
	if e.program() == "main.go" {
		return "yours"
	}
	return "the starter"
}

func (s *session) hasPassed(e *exercise) (bool, error) {
	records, err := s.records()
	return records[e.Name].Passed != "", err
}

// diff shows how the learner's program differs from its step and, after a pass,
// how the solution differs from the learner's program.
func (s *session) diff(e *exercise) error {
	from, err := e.origin()
	if err != nil {
		return err
	}
	if err := s.showDiff(e, from, e.path(e.program())); err != nil {
		return err
	}
	if passed, err := s.hasPassed(e); err != nil || !passed {
		return err
	}
	fmt.Fprintf(s.out, "\nHow the solution differs from %s:\n\n", e.whose())
	return s.showDiff(e, e.path(e.program()), e.path("solution/main.go"))
}

// origin names the program that the exercise changes, relative to the root: that
// of its step, or the starter if it has no step.
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

// showDiff compares two files, named relative to the root, with git.
func (s *session) showDiff(e *exercise, old, now string) error {
	if old == now {
		s.say("%s does not exist yet: there is nothing to compare. To begin: make exercise %s", e.path("main.go"), e.N())
		return nil
	}
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
	return fmt.Errorf("git diff: %w; compare %s with %s in another way", err, old, now)
}

// reset brings the starter back. It keeps the learner's text beside main.go.
func (s *session) reset(e *exercise) error {
	if e.program() != "main.go" {
		return s.begin(e)
	}
	starter, err := e.readStarter()
	if err != nil {
		return err
	}
	if !e.untouched() {
		mine, err := e.read("main.go")
		if err != nil {
			return err
		}
		backup, err := e.backUp(mine)
		if err != nil {
			return err
		}
		s.say("Your main.go is kept as %s.", e.path(backup))
		if err := replace(e.file("main.go"), starter); err != nil {
			return err
		}
	}
	s.say("%s is the starter.", e.path("main.go"))
	return nil
}

// backUp writes the text to the first main.go.bak-N that does not exist.
func (e *exercise) backUp(text []byte) (name string, err error) {
	for n := 1; ; n++ {
		name = fmt.Sprintf("main.go.bak-%d", n)
		if err := create(e.file(name), text); !errors.Is(err, fs.ErrExist) {
			return name, err
		}
	}
}
