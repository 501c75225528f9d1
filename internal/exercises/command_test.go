package exercises

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"epoll-step-by-step/internal/exam"
)

// These tests run the command on a tree of their own with two small exercises.
// One line of the starter is wrong.
const fakeServer = `package main

import (
	"flag"
	"io"
	"log"
	"net"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:6379", "")
	flag.Parse()
	l, err := net.Listen("tcp4", *addr)
	if err != nil {
		log.Fatal(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer c.Close()
			if _, err := io.Copy(c, struct{ io.Reader }{c}); err != nil {
				%s(err)
			}
		}()
	}
}
`

var (
	fakeStarter  = fmt.Sprintf(fakeServer, "log.Fatal")
	fakeSolution = fmt.Sprintf(fakeServer, "// CHANGED: one client's error ends one client\n\t\t\t\tlog.Print")
)

const fakeReadme = `# %s · %s

| after | must not fail | graded as | graded by | minutes |
|---|---|---|---|---|
| [step 1](../../docs/01.md) | ` + "`DIED_ON_RESET` | `echo` | `NO_REPLY` `DIED_ON_RESET`" + ` | 15 |

## Hints

<details><summary>Hint 1: a nudge</summary>

The first hint is a line that is so long that it must be broken again if the
terminal has sixty columns.

</details>
<details><summary>Hint 2: where to read</summary>

The second hint.

</details>
<details>
<summary>Hint 3: the shape</summary>

` + "```go\nfor err := range third {\n}\n```" + `

</details>
`

type fake struct {
	*testing.T
	root string
}

func newFake(t *testing.T) fake {
	f := fake{t, t.TempDir()}
	f.write("go.mod", "module fake\n\ngo 1.24\n")
	f.write("step1-fake/main.go", fakeSolution)
	for name, title := range map[string]string{"02-die": "It dies", "05-die-again": "It dies again"} {
		f.write("exercises/"+name+"/README.md", fmt.Sprintf(fakeReadme, name[:2], title))
		f.write("exercises/"+name+"/starter/main.go", fakeStarter)
		f.write("exercises/"+name+"/solution/main.go", fakeSolution)
	}
	return f
}

func (f fake) write(name, text string) {
	f.Helper()
	file := filepath.Join(f.root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		f.Fatal(err)
	}
}

func (f fake) read(name string) string {
	f.Helper()
	text, err := os.ReadFile(filepath.Join(f.root, name))
	if err != nil {
		f.Fatal(err)
	}
	return string(text)
}

// run runs the command and returns its output.
func (f fake) run(code int, args ...string) string {
	f.Helper()
	var out bytes.Buffer
	s := &session{usage: "usage: exercises list", root: f.root, out: &out, err: &out}
	s.style.Width = 200
	if got := s.run(f.Context(), args); got != code {
		f.Errorf("%q: exit code %d, want %d; its output:\n%s", args, got, code, out.String())
	}
	return out.String()
}

// expect runs the command and wants each of these texts in its output.
func (f fake) expect(code int, args string, want ...string) {
	f.Helper()
	out := f.run(code, strings.Fields(args)...)
	for _, w := range want {
		if !strings.Contains(out, w) {
			f.Errorf("%s: %q is missing; its output:\n%s", args, w, out)
		}
	}
}

const mine = "exercises/02-die/main.go"

func TestFromStarterToPass(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.expect(0, "list", "02-die             not begun", "15 min  It dies", "0 of 2 passed", "make exercise N=02")
	f.expect(1, "check 2", mine+" is yours now: a copy of the starter\n", "FAIL  DIED_ON_RESET", "PASS  NO_REPLY", "This failure is expected: it is your task",
		"exercises/02-die/README.md", "make hint N=02  (3 of 3 left)")

	f.write(mine, strings.Replace(fakeStarter, "err :=", "err =", 1))
	f.expect(2, "check 02-die", "Build error", "exercises/02-die/main.go:", "undefined: err", "make reset N=02")
	f.expect(0, "list", "02-die             begun")

	f.write(mine, strings.Replace(fakeStarter, "log.Fatal(err)\n\t\t\t}", "log.Fatal(err) // why?\n\t\t\t}", 1))
	f.expect(1, "check 2", "Not yet: DIED_ON_RESET.", "make hint N=02")

	f.write(mine, strings.Replace(fakeSolution, "log.Fatal(err)", "log.Fatalln(err)", 1))
	f.expect(0, "check 02", "Passed.", "compare   make solution N=02", "next      make exercise N=05  (It dies again)")
	f.expect(0, "list", "02-die             passed  ", "1 of 2 passed", "make exercise N=05")
	f.expect(0, "diff 2", "a/step1-fake/main.go", "+\t\tlog.Fatalln(err)", "a/exercises/02-die/main.go", "b/exercises/02-die/solution/main.go")

	f.write(mine, fakeSolution)
	f.expect(0, "list", "passed, changed since")
	f.expect(0, "solution 2", "exercises/02-die/solution/main.go", "No difference")
}

func TestBrokenOnTheWay(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.write(mine, strings.NewReplacer("import (", "import (\n\"os/signal\"\n\"syscall\"",
		"flag.Parse()", "signal.Ignore(syscall.SIGTERM)\nflag.Parse()").Replace(fakeSolution))
	f.write("exercises/02-die/README.md", strings.Replace(f.read("exercises/02-die/README.md"), "`NO_REPLY`", "`IGNORES_SIGTERM`", 1))
	f.expect(1, "check 2", "DIED_ON_RESET passes now", "IGNORES_SIGTERM passed before the change")
}

func TestHintOrder(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.expect(0, "hint 2", "Hint 1 of 3: a nudge", "2 left: make hint N=02")
	f.expect(0, "hint 2", "Hint 2 of 3: where to read", "1 left")
	f.expect(0, "hint 2", "Hint 3 of 3: the shape", "    for err := range third {\n    }", "This was the last one")
	f.expect(0, "hint 2", "Hint 1 of 3", "Hint 2 of 3", "Hint 3 of 3", "This was the last one")
	f.expect(0, "hint 5", "Hint 1 of 3")
	if out := f.run(0, "hint", "5"); strings.Contains(out, "Hint 1") || strings.Contains(out, "Hint 3") {
		t.Errorf("the second hint comes alone; its output:\n%s", out)
	}
	f.expect(0, "list -json", `"hints_shown": 3`)
}

func TestSolutionIsClosedBeforeAPass(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	if out := f.run(1, "solution", "2"); strings.Contains(out, "CHANGED") {
		t.Errorf("it shows the solution:\n%s", out)
	}
	f.expect(1, "solution 2", "make solution N=02 FORCE=1")
	f.expect(0, "solution 2 -force", "exercises/02-die/solution/main.go", "+\t\t\t\t// CHANGED")
	if out := f.run(0, "diff", "2"); strings.Contains(out, "solution") {
		t.Errorf("diff shows the solution:\n%s", out)
	}
}

func TestResetKeepsEverything(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.expect(0, "reset 2", mine+" is yours now")
	f.expect(0, "reset 2", mine+" is the starter")
	f.write(mine+".bak-2", "not to be touched")
	for i, text := range []string{"first", "second"} {
		f.write(mine, text)
		backup := mine + []string{".bak-1", ".bak-3"}[i]
		f.expect(0, "reset 2", "kept as "+backup)
		if got := f.read(backup); got != text {
			t.Errorf("%s has %q, want %q", backup, got, text)
		}
		if f.read(mine) != fakeStarter {
			t.Errorf("after a reset, main.go is not the starter")
		}
	}
	if got := f.read(mine + ".bak-2"); got != "not to be touched" {
		t.Errorf("a backup was written over: %q", got)
	}
}

// Until the first grading there is no main.go, and every command copes with that.
func TestBeforeMainExists(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.write("exercises/05-die-again/README.md", strings.Replace(f.read("exercises/05-die-again/README.md"), "step 1", "all", 1))
	f.expect(0, "list", "02-die             not begun")
	f.expect(0, "hint 2", "Hint 1 of 3")
	f.expect(0, "diff 2", "a/step1-fake/main.go", "b/exercises/02-die/starter/main.go")
	f.expect(0, "diff 5", "exercises/05-die-again/main.go does not exist yet", "make exercise N=05")
	f.expect(1, "solution 2", "FORCE=1")
	f.expect(0, "solution -force 2", "differs from the starter", "a/exercises/02-die/starter/main.go")
	f.expect(1, "check -all", "02-die             not begun", "0 of 2 passed")
	if _, err := os.Stat(filepath.Join(f.root, mine)); err == nil {
		t.Errorf("%s exists: only check, watch and reset may make it", mine)
	}
}

func TestBeginOverwritesNothing(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	s := &session{root: f.root, out: io.Discard, err: io.Discard}
	if err := s.load(); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "package main\n"} {
		f.write(mine, text)
		if err := s.begin(s.exercises[0]); err != nil {
			t.Error(err)
		}
		if got := f.read(mine); got != text {
			t.Errorf("main.go was %q and is %q", text, got)
		}
	}
	// A link that leads nowhere is the learner's, too.
	os.Remove(filepath.Join(f.root, mine))
	if err := os.Symlink("elsewhere.go", filepath.Join(f.root, mine)); err != nil {
		t.Fatal(err)
	}
	f.expect(2, "check 2", "main.go")
	if _, err := os.Lstat(filepath.Join(f.root, "exercises/02-die/elsewhere.go")); err == nil {
		t.Errorf("check wrote through a link")
	}
}

func TestMissingStarter(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	os.Remove(filepath.Join(f.root, "exercises/02-die/starter/main.go"))
	for _, command := range []string{"check 2", "check -json 2", "watch 2", "reset 2"} {
		f.expect(2, command, "exercises/02-die/starter/main.go cannot be read", "git checkout -- exercises/02-die/starter/main.go")
	}
	f.expect(0, "list", "02-die             not begun")
	f.expect(0, "hint 2", "Hint 1 of 3")
	f.write(mine, fakeSolution)
	f.expect(0, "check 2", "Passed.")
	f.expect(2, "reset 2", "starter/main.go cannot be read")
	if f.read(mine) != fakeSolution {
		t.Errorf("a reset without a starter changed main.go")
	}
}

// A pass of a server in another language counts, although main.go is the starter.
func TestServerInPlaceOfMain(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	bin := filepath.Join(t.TempDir(), "theirs")
	build := exec.Command("go", "build", "-o", bin, "./exercises/02-die/solution")
	build.Dir = f.root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f.expect(2, "check 2 -- /bin/false {port}", "It could not be graded", "nobody listens")
	f.expect(0, "check 2 -- "+bin+" -addr 127.0.0.1:{port}", "Passed.")
	f.expect(0, "list", "02-die             passed  ")
	f.expect(1, "check -all", "02-die             passed\n", "1 of 2 passed")
	f.expect(0, "solution 2", "CHANGED")
	if _, err := os.Stat(filepath.Join(f.root, mine)); err == nil {
		t.Errorf("%s exists, although only another server was graded", mine)
	}
}

func TestRemaining(t *testing.T) {
	report := func(verdicts ...exam.Verdict) *exam.Report {
		r := &exam.Report{Status: exam.StatusGraded}
		for i, v := range verdicts {
			r.Results = append(r.Results, exam.Result{ID: string(rune('A' + i)), Verdict: v, Reason: "lacks it"})
		}
		return r
	}
	for _, tt := range []struct {
		about    string
		verdicts []exam.Verdict
		want     string
		summary  string
		verdict  error
	}{
		{"A", []exam.Verdict{exam.Pass, exam.Pass}, "", "passed", nil},
		{"A", []exam.Verdict{exam.Fail, exam.Pass}, "Not yet: A.", "failed: A", errFailed},
		{"A", []exam.Verdict{exam.Error, exam.Fail}, "Not yet: A. B passed before the change.", "failed: B; no verdict: A", errFailed},
		{"A", []exam.Verdict{exam.Pass, exam.Fail}, "A passes now. But another promise is broken: B passed before the change.", "failed: B", errFailed},
		{"A B", []exam.Verdict{exam.Pass, exam.Pass, exam.Fail}, "A B pass now. But another promise is broken: C passed before the change.", "failed: C", errFailed},
		{"", []exam.Verdict{exam.Pass, exam.Fail}, "Not yet: B passed before the change.", "failed: B", errFailed},
		{"A", []exam.Verdict{exam.Skip, exam.Pass}, "Every check that could be tried passed. Not tried: A (lacks it).",
			"not tried: A (lacks it)", errNotGraded},
		{"A", []exam.Verdict{exam.Skip, exam.Fail}, "Not yet: B passed before the change. Not tried: A (lacks it).",
			"failed: B; not tried: A (lacks it)", errFailed},
		{"A", []exam.Verdict{exam.Pass, exam.Skip}, "", "passed", nil},
	} {
		e := &exercise{MustNotFail: strings.Fields(tt.about)}
		o := &outcome{Report: report(tt.verdicts...)}
		o.Untried, o.Passed = e.untried(o.Report), e.passes(o.Report)
		if tt.want != "" {
			if got := e.remaining(o); got != tt.want {
				t.Errorf("%v: remaining %q, want %q", tt, got, tt.want)
			}
		}
		if got := o.summary(); got != tt.summary {
			t.Errorf("%v: summary %q, want %q", tt, got, tt.summary)
		}
		if got := o.verdict(); got != tt.verdict {
			t.Errorf("%v: verdict %v, want %v", tt, got, tt.verdict)
		}
	}
}

func TestMisusedCommand(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.expect(2, "check 77", "there is no exercise 77; the nearest is 05-die-again")
	f.expect(2, "hint 3", "the nearest is 02-die")
	f.expect(2, "check half-close", `no exercise "half-close": say its number, for example N=02`, "make exercises")
	f.expect(2, "check", "the number of the exercise is missing: say N=07", "make exercises")
	f.expect(2, "check 2 5", "one exercise at a time")
	f.expect(2, "solve 2", `there is no command "solve 2"`, "usage:")
	f.expect(2, "", "usage:")
	f.expect(2, "list -colour", "flag provided but not defined")
	f.expect(0, "-help", "usage:")
	f.expect(1, "check exercises/02-die/", "This failure is expected")
	f.write("exercises/.progress", "{")
	f.expect(2, "list", "exercises/.progress cannot be read")
	f.write("exercises/.progress", "{}")
	f.write("exercises/07-no-table/README.md", "# 07 · Nothing\n")
	f.expect(0, "list", "exercises/07-no-table/README.md: no table", "02-die")
	f.expect(2, "check 7", "exercises/07-no-table/README.md: no table")
}

func TestJSON(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	var rows []row
	decode(t, f.run(0, "list", "-json"), &rows)
	if len(rows) != 2 || rows[0].Exercise != "02-die" || rows[0].State != notBegun || rows[1].Minutes != 15 {
		t.Errorf("list -json: %+v", rows)
	}
	f.write(mine, fakeStarter)
	var one outcome
	decode(t, f.run(1, "check", "2", "-json"), &one)
	if one.Passed || one.State != notBegun || one.Report == nil || len(one.Report.Results) != 2 {
		t.Errorf("check -json: %+v", one)
	}
	f.write(mine, fakeSolution)
	f.write("exercises/05-die-again/main.go", "package main\n\nfunc main() { x }\n")
	var all []outcome
	decode(t, f.run(1, "check", "-all", "-json"), &all)
	if len(all) != 2 || !all[0].Passed || all[0].State != passedState || all[1].Passed || !strings.Contains(all[1].BuildError, "undefined: x") {
		t.Errorf("check -all -json: %+v", all)
	}
	f.write("exercises/05-die-again/main.go", fakeStarter)
	f.expect(1, "check -all", "02-die             passed", "05-die-again       not begun", "1 of 2 passed")
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
}

func TestFindRoot(t *testing.T) {
	f := newFake(t)
	for _, dir := range []string{".", "exercises", "exercises/02-die/solution"} {
		t.Chdir(filepath.Join(f.root, dir))
		if got, err := findRoot(); err != nil || got != f.root {
			t.Errorf("in %s, the root is %q, %v; want %q", dir, got, err, f.root)
		}
	}
	t.Chdir(t.TempDir())
	if got, err := findRoot(); err == nil {
		t.Errorf("elsewhere, the root is %q; want an error", got)
	}
}

func TestSixtyColumns(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	for _, args := range [][]string{{"list"}, {"hint", "2"}, {"check", "2"}, {"solution", "2"}} {
		var out bytes.Buffer
		s := &session{usage: "usage: exercises list", root: f.root, out: &out, err: &out}
		s.run(t.Context(), append(args, "-width", "60"))
		for line := range strings.Lines(out.String()) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 60 {
				t.Errorf("%q: a line has %d columns: %s", args, n, line)
			}
		}
	}
}

func TestReflow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"one two three", "one two\nthree\n"},
		{"one\ntwo\n\nthree", "one two\n\nthree\n"},
		{"- one two three\n- four", "- one two\n  three\n- four\n"},
		{"x *is so* *here*, 2 * 3 `[]*T *`:\n```\na line of *code\n\n```\nend", "x is so\nhere, 2 *\n3 `[]*T\n*`:\n    a line of *code\n\nend\n"},
		{"\n| a | long table |\n", "| a | long table |\n"},
	} {
		if got := reflow(tt.in, 10); got != tt.want {
			t.Errorf("reflow(%q): got %q, want %q", tt.in, got, tt.want)
		}
	}
}
