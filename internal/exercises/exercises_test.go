// These tests hold every exercise to the same rules. They look at the starter and
// the solution only: main.go belongs to the learner.
package exercises

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/checks"
	"epoll-step-by-step/internal/exam/examtest"
	"epoll-step-by-step/internal/exam/show"
	"epoll-step-by-step/internal/source"

	"golang.org/x/sys/unix"
)

const repository = "../.."

// maxChangedLines is how many lines a starter may add to its step and remove from
// it, together.
const maxChangedLines = 30

// Go delivers signals over a channel, and only a goroutine can wait for it while
// the loop waits in epoll_wait.
var mayWaitForSignals = []string{"15-shutdown/solution"}

func TestMain(m *testing.M) { examtest.Main(m) }

// each runs a test for every folder NN-name.
func each(t *testing.T, test func(t *testing.T, e *exercise)) {
	entries, err := os.ReadDir(filepath.Join(repository, "exercises"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		t.Run(entry.Name(), func(t *testing.T) {
			if !folderName.MatchString(entry.Name()) {
				t.Fatalf("%s: want a folder NN-name", entry.Name())
			}
			e, err := loadExercise(repository, entry.Name())
			if err != nil && t.Name() != "TestReadme/"+e.Name {
				t.Skip("TestReadme reports why its README cannot be read")
			} else if err != nil {
				t.Fatalf("%s: %v", e.path("README.md"), err)
			}
			test(t, e)
		})
	}
}

func TestNumbers(t *testing.T) {
	seen := make(map[int]string)
	each(t, func(t *testing.T, e *exercise) {
		if other := seen[e.Number]; other != "" {
			t.Errorf("%s and %s have the same number", other, e.Name)
		}
		seen[e.Number] = e.Name
	})
}

var (
	heading  = regexp.MustCompile(`(?m)^## .*$`)
	headings = []string{"## The story", "## Your task", "## Read", "## Check", "## Hints", "## In production"}
)

func TestReadme(t *testing.T) {
	each(t, func(t *testing.T, e *exercise) {
		if got := heading.FindAllString(e.readme, -1); !slices.Equal(got, headings) {
			t.Errorf("the headings are %q, want %q", got, headings)
		}
		if len(e.Hints) != 3 {
			t.Errorf("got %d hints, want 3: <details><summary>Hint 1: TITLE</summary> TEXT </details>", len(e.Hints))
		}
		for i, h := range e.Hints {
			if h.Title == "" || h.Text == "" {
				t.Errorf("hint %d has no title or no text", i+1)
			}
		}
		file, _, _ := strings.Cut(e.Chapter, "#")
		if _, err := os.Stat(e.file(file)); !strings.HasPrefix(file, "../../docs/") || err != nil {
			t.Errorf("the cell \"after\" links to %q, want a chapter in ../../docs", e.Chapter)
		}
		if command := "make exercise " + e.N(); !strings.Contains(e.readme, command) {
			t.Errorf("the README does not say %q", command)
		}
		var order []string
		for _, c := range e.options().Checks {
			order = append(order, c.ID)
		}
		if !slices.Equal(order, e.GradedBy) {
			t.Errorf("graded by %v: want the order of the examiner, %v", e.GradedBy, order)
		}
	})
}

// A learner may add main.go to a clone. This repository must not.
func TestMainIsNotTracked(t *testing.T) {
	if os.Getenv("CI") != "true" {
		t.Skip("only where CI=true: a learner may let git track main.go")
	}
	cmd := exec.Command("git", "ls-files", "--", ":(glob)exercises/*/main.go")
	cmd.Dir = repository
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("git ls-files: %v", err)
	}
	if len(out) > 0 {
		t.Errorf("git tracks\n%swant none of them tracked: the first \"make exercise\" makes main.go", out)
	}
}

// A program is a Go file, parsed.
func program(t *testing.T, name string) *source.Program {
	t.Helper()
	p, err := source.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSource(t *testing.T) {
	each(t, func(t *testing.T, e *exercise) {
		for _, folder := range []string{"starter", "solution"} {
			p := program(t, e.file(folder+"/main.go"))
			if found := p.Imports(); found != nil {
				t.Errorf("the %s imports %v: want the standard library without net and syscall, and golang.org/x/sys/unix", folder, found)
			}
			if found := p.Concurrency(); found != nil && !slices.Contains(mayWaitForSignals, e.Name+"/"+folder) {
				t.Errorf("%v has no place in an exercise", found)
			}
		}
	})
}

// The starter marks the task, and the solution marks the change.
func TestMarks(t *testing.T) {
	each(t, func(t *testing.T, e *exercise) {
		for folder, marks := range map[string][2]string{
			"starter":  {"// TODO(you):", "// CHANGED:"},
			"solution": {"// CHANGED:", "// TODO(you):"},
		} {
			text, err := e.read(folder + "/main.go")
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(text, []byte(marks[0])) {
				t.Errorf("the %s has no comment %s", folder, marks[0])
			}
			if bytes.Contains(text, []byte(marks[1])) {
				t.Errorf("the %s has a comment %s", folder, marks[1])
			}
		}
	})
}

// A starter differs from its step only in the subject of the exercise.
func TestStarterAgainstStep(t *testing.T) {
	each(t, func(t *testing.T, e *exercise) {
		if e.Step == 0 {
			t.Skip("it changes no step")
		}
		origin, err := e.origin()
		if err != nil {
			t.Fatal(err)
		}
		step := program(t, filepath.Join(repository, origin))
		starter := program(t, e.file("starter/main.go"))
		before, after := step.Functions(), starter.Functions()
		var changed, removed, added []string
		for name := range before {
			if after[name] == "" {
				removed = append(removed, name)
			} else if after[name] != before[name] {
				changed = append(changed, name)
			}
		}
		for name := range after {
			if before[name] == "" {
				added = append(added, name)
			}
		}
		slices.Sort(changed)
		n := source.Changed(lines(step), lines(starter))
		report := fmt.Sprintf("%s: the starter differs from %s in %d lines; functions changed: %v, removed: %v, added: %v", e.Name, origin, n, changed, removed, added)
		if n > maxChangedLines {
			t.Errorf("%s; want at most %d lines", report, maxChangedLines)
		} else if len(removed) > 0 && len(added) > 0 {
			t.Errorf("%s; want no function renamed", report)
		} else {
			t.Log(report)
		}
	})
}

// lines returns the lines of a program without the package comment and its name,
// which may differ.
func lines(p *source.Program) []string {
	return slices.DeleteFunc(p.Body(), func(line string) bool {
		return strings.HasPrefix(strings.TrimSpace(line), "program ")
	})
}

// Every starter fails the checks that its exercise is about and no other one.
// Every solution passes. The short test leaves out most of the checks that both
// must pass.
func TestGate(t *testing.T) {
	programs := buildAll(t)
	each(t, func(t *testing.T, e *exercise) {
		t.Parallel()
		t.Run("starter", func(t *testing.T) {
			t.Parallel()
			ids := e.GradedBy
			if testing.Short() {
				ids = e.fewChecks()[1:]
			}
			report := examine(t, e, ids, filepath.Join(programs, e.Name+"-starter"))
			for _, r := range report.Results {
				subject := slices.Contains(e.MustNotFail, r.ID)
				first := subject && r.ID == e.MustNotFail[0]
				switch {
				case first && r.Verdict == exam.Skip:
					t.Skipf("%s cannot be tried here: %s", r.ID, r.Reason)
				case first && r.Verdict != exam.Fail:
					t.Errorf("%s: the starter must fail %s; the examiner reports\n%s", e.Name, r.ID, text(r))
				case !subject && r.Verdict != exam.Pass && r.Verdict != exam.Skip:
					t.Errorf("%s: the starter must fail %v and nothing else; the examiner reports\n%s", e.Name, e.MustNotFail, text(r))
				}
			}
		})
		t.Run("solution", func(t *testing.T) {
			t.Parallel()
			ids := e.GradedBy
			if testing.Short() {
				ids = e.fewChecks()
			}
			report := examine(t, e, ids, filepath.Join(programs, e.Name+"-solution"))
			for _, r := range report.Results {
				switch {
				case r.Verdict == exam.Skip && slices.Contains(e.MustNotFail, r.ID):
					t.Skipf("%s cannot be tried here: %s", r.ID, r.Reason)
				case r.Verdict != exam.Pass && r.Verdict != exam.Skip:
					t.Errorf("%s: the solution must pass %s; the examiner reports\n%s", e.Name, r.ID, text(r))
				}
			}
		})
	})
}

// fewChecks returns the first check and those that the exercise is about. One
// that is about cost has none, and gets two more of the others.
func (e *exercise) fewChecks() []string {
	if len(e.MustNotFail) == 0 {
		return e.GradedBy[:3]
	}
	return append([]string{e.GradedBy[0]}, e.MustNotFail...)
}

// buildAll builds the starters and solutions into one folder, as NN-name-starter
// and NN-name-solution. One go command needs half the CPU time of one for each.
// The folder stays, because go build does not link a program that is up to date.
func buildAll(t *testing.T) (folder string) {
	t.Helper()
	root, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	folder = filepath.Join(root, "bin", "gate")
	if os.MkdirAll(folder, 0o755) != nil || unix.Access(folder, unix.W_OK) != nil {
		folder = t.TempDir()
	}
	// go build names a program after its folder, and all of these folders are
	// called starter or solution. An overlay gives them other names.
	var overlay struct{ Replace map[string]string }
	overlay.Replace = make(map[string]string)
	overlayFile := filepath.Join(t.TempDir(), "overlay.json")
	args := []string{"build", "-buildvcs=false", "-ldflags=-s -w", "-overlay", overlayFile, "-o", folder + "/"}
	files, _ := filepath.Glob(filepath.Join(root, "exercises", "*", "*", "main.go"))
	for _, file := range files {
		parent := filepath.Dir(file)
		name := filepath.Base(filepath.Dir(parent)) + "-" + filepath.Base(parent)
		overlay.Replace[filepath.Join(root, "bin", "overlay", name, "main.go")] = file
		args = append(args, "./bin/overlay/"+name)
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlayFile, text, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the starters and solutions must build: %v\n%s", err, out)
	}
	return folder
}

// examine grades a program of the exercise by these checks.
func examine(t *testing.T, e *exercise, ids []string, program string) *exam.Report {
	t.Helper()
	options := e.options(program, "-addr", "{addr}")
	selected, err := checks.Select(e.As, ids...)
	if err != nil {
		t.Fatal(err)
	}
	options.Checks = selected
	report, err := exam.Run(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		t.Logf("%5.1f s  %s", r.Seconds, r.ID)
	}
	if report.Status != exam.StatusGraded {
		var failures string
		for _, r := range report.Results {
			if r.Verdict == exam.Fail {
				failures += text(r)
			}
		}
		t.Fatalf("%s: want it graded to the end; %s: %s\n%s%s", filepath.Base(program), report.Status, report.Problem, report.Output, failures)
	}
	return report
}

func text(r exam.Result) string { return show.Style{Width: 100, Verbose: true}.Text(r) }
