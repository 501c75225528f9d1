// The gate: what every exercise has to be. Whatever the learner has made of
// main.go is his: only the starter and the solution are tested.
package exercises

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/show"
	"epoll-step-by-step/internal/procfs"
	"epoll-step-by-step/internal/source"
)

const repository = "../.."

// changedAtMost is the number of lines in which a starter may differ from its
// step: added and removed ones.
const changedAtMost = 30

// Signals come by a channel in Go, and somebody has to wait there.
var mayWaitForSignals = []string{"15-shutdown/solution"}

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		flag.Set("test.parallel", "5") // a grading waits more than it works
	}
	code := m.Run()
	pids, _ := procfs.Descendants(os.Getpid())
	for _, pid := range pids {
		if p, err := procfs.Stat(pid); err == nil && p.State != 'Z' {
			args, _ := procfs.Cmdline(pid)
			fmt.Fprintf(os.Stderr, "left behind: process %d: %q\n", pid, args)
			code = 1
		}
	}
	os.Exit(code)
}

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
				t.Skip("what it is cannot be read: TestReadme")
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
			t.Errorf("graded by %v: the examiner asks in the order %v; write it so", e.GradedBy, order)
		}
	})
}

func TestAsShipped(t *testing.T) {
	if os.Getenv("CI") != "true" {
		t.Skip("main.go is the learner's")
	}
	each(t, func(t *testing.T, e *exercise) {
		if !e.untouched() {
			t.Errorf("%s is not %s", e.path("main.go"), e.path("starter/main.go"))
		}
	})
}

// From here on it is the programs that are tested.

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

// The starter says what is to be done, and the solution what was.
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

// A starter is its step but for what the exercise is about.
func TestStarterAgainstStep(t *testing.T) {
	each(t, func(t *testing.T, e *exercise) {
		if e.Step == 0 {
			t.Skip("it belongs to no step")
		}
		origin, err := e.origin()
		if err != nil {
			t.Fatal(err)
		}
		step := program(t, filepath.Join(repository, origin))
		starter := program(t, e.file("starter/main.go"))
		before, after := step.Functions(), starter.Functions()
		var differ, gone, come []string
		for name := range before {
			if after[name] == "" {
				gone = append(gone, name)
			} else if after[name] != before[name] {
				differ = append(differ, name)
			}
		}
		for name := range after {
			if before[name] == "" {
				come = append(come, name)
			}
		}
		slices.Sort(differ)
		n := source.Changed(lines(step), lines(starter))
		report := fmt.Sprintf("%s: the starter differs from %s in %d lines; functions changed: %v, gone: %v, new: %v", e.Name, origin, n, differ, gone, come)
		if n > changedAtMost {
			t.Errorf("%s; want at most %d lines", report, changedAtMost)
		} else if len(gone) > 0 && len(come) > 0 {
			t.Errorf("%s; want no function renamed", report)
		} else {
			t.Log(report)
		}
	})
}

// lines leaves out what may differ: the package comment and the program's name.
func lines(p *source.Program) []string {
	return slices.DeleteFunc(p.Body(), func(line string) bool {
		return strings.HasPrefix(strings.TrimSpace(line), "program ")
	})
}

// Every starter builds and fails what its exercise is about, and nothing else.
// Every solution builds and passes. A build error is not a failure that counts.
func TestGate(t *testing.T) {
	each(t, func(t *testing.T, e *exercise) {
		t.Parallel()
		t.Run("starter", func(t *testing.T) {
			t.Parallel()
			report := examine(t, e, "starter")
			for _, r := range report.Results {
				its := slices.Contains(e.MustNotFail, r.ID)
				first := its && r.ID == e.MustNotFail[0]
				switch {
				case first && r.Verdict == exam.Skip:
					t.Skipf("%s cannot be tried here: %s", r.ID, r.Reason)
				case first && r.Verdict != exam.Fail:
					t.Errorf("%s: the starter must fail %s; the examiner says\n%s", e.Name, r.ID, text(r))
				case !its && r.Verdict != exam.Pass && r.Verdict != exam.Skip:
					t.Errorf("%s: the starter must fail %v and nothing else; the examiner says\n%s", e.Name, e.MustNotFail, text(r))
				}
			}
		})
		t.Run("solution", func(t *testing.T) {
			t.Parallel()
			report := examine(t, e, "solution")
			for _, r := range report.Results {
				switch {
				case r.Verdict == exam.Skip && slices.Contains(e.MustNotFail, r.ID):
					t.Skipf("%s cannot be tried here: %s", r.ID, r.Reason)
				case r.Verdict != exam.Pass && r.Verdict != exam.Skip:
					t.Errorf("%s: the solution must pass %s; the examiner says\n%s", e.Name, r.ID, text(r))
				}
			}
		})
	})
}

// examine grades the program in a folder of the exercise.
func examine(t *testing.T, e *exercise, folder string) *exam.Report {
	t.Helper()
	bin := filepath.Join(t.TempDir(), e.Name)
	complaint, err := e.build(t.Context(), folder, bin)
	if err != nil {
		t.Fatal(err)
	}
	if complaint != "" {
		t.Fatalf("%s: the %s must build; build error:\n%s", e.Name, folder, complaint)
	}
	report, err := exam.Run(t.Context(), e.options(bin, "-addr", "{addr}"))
	if err != nil {
		t.Fatal(err)
	}
	if report.Status != exam.StatusGraded {
		said := ""
		for _, r := range report.Results {
			if r.Verdict == exam.Fail {
				said += text(r)
			}
		}
		t.Fatalf("%s: %s: want it graded to the end; %s: %s\n%s%s", e.Name, folder, report.Status, report.Problem, report.Output, said)
	}
	return report
}

func text(r exam.Result) string { return show.Style{Width: 100, Verbose: true}.Text(r) }
