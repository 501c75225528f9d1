package suite

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"epoll-step-by-step/internal/procfs"
)

// module writes a module with these files and returns its folder.
func module(t *testing.T, files map[string]string) string {
	t.Helper()
	t.Setenv("GOWORK", "off")
	dir := t.TempDir()
	files["go.mod"] = "module fake\n\ngo 1.24\n"
	for file, text := range files {
		file = filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// run runs the suite and returns what it printed.
func run(t *testing.T, o Options, want error) string {
	t.Helper()
	var out bytes.Buffer
	o.Out = &out
	if err := Run(t.Context(), o); !errors.Is(err, want) {
		t.Errorf("got error %v, want %v; it printed\n%s", err, want, out.String())
	}
	return out.String()
}

func says(t *testing.T, out string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("it does not print %q; it printed\n%s", w, out)
		}
	}
}

const (
	good = `package good

import "testing"

func TestGood(t *testing.T) { t.Log("some of it only with make test ALL=1") }
func TestSkipped(t *testing.T) { t.Skip("no tool for it") }
`
	// It fails in its second run, and in no other.
	flaky = `package flaky

import (
	"os"
	"testing"
)

func TestFlaky(t *testing.T) {
	t.Run("row", func(t *testing.T) {
		old, _ := os.ReadFile("count")
		os.WriteFile("count", append(old, '.'), 0o644)
		if len(old) == 1 {
			t.Error("out of luck")
		}
	})
}
`
	broken = "package broken\n\nimport \"testing\"\n\nfunc TestX(t *testing.T) { undefined() }\n"
	exits  = `package exits

import (
	"os"
	"testing"
)

func TestExits(t *testing.T) { os.Exit(3) }
`
)

func TestOnce(t *testing.T) {
	dir := module(t, map[string]string{
		"good/a_test.go": good, "flaky/count": ".", "flaky/a_test.go": flaky,
		"broken/a_test.go": broken, "exits/a_test.go": exits,
	})
	o := Options{Runs: 1, Conditions: []Condition{Quiet}, Once: true, Modules: []Module{{Dir: dir, Packages: []string{"./..."}}}}
	out := run(t, o, ErrFailed)
	says(t, out, "ok    fake/good", "left out: fake/good TestSkipped: no tool for it",
		"left out: fake/good TestGood: some of it only with make test ALL=1",
		"FAIL  fake/flaky TestFlaky/row", "out of luck",
		"FAIL  fake/broken", "undefined: undefined", "FAIL  fake/exits TestExits",
		"1 passed, 3 failed, 2 skipped\n")

	o.Modules[0].Packages = []string{"./good"}
	says(t, run(t, o, nil), "1 passed, 0 failed, 2 skipped\n")

	o.Modules[0].Packages = []string{"./nowhere"}
	says(t, run(t, o, ErrFailed), "1 failed", "nowhere")
}

func TestManyTimes(t *testing.T) {
	dir := module(t, map[string]string{"good/a_test.go": good, "flaky/a_test.go": flaky})
	o := Options{Runs: 1, Conditions: []Condition{Quiet, Busy}, Pattern: "TestFlaky|TestGood", Modules: []Module{{Dir: dir, Packages: []string{"./..."}}}}
	// The conditions take turns, and the second one meets the second run.
	says(t, run(t, o, ErrFailed), "quiet  run 1 of 1", "busy   run 1 of 1",
		"fake/good: 1 test      0 of 1     0 of 1",
		"  TestFlaky/row        0 of 1     1 of 1",
		"fake/flaky TestFlaky/row, first failure, busy:", "out of luck")

	o.Pattern, o.Conditions = "TestGood", []Condition{Quiet}
	if out := run(t, o, nil); strings.Contains(out, "flaky") {
		t.Errorf("a package without a matching test was run:\n%s", out)
	}
	o.Pattern = "TestNone"
	if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), `no test matches "TestNone"`) {
		t.Errorf("for a pattern that matches nothing: %v", err)
	}
}

// Under the condition One, the tests see one processor; under Busy, two busy
// loops run and have ended afterwards.
func TestConditions(t *testing.T) {
	dir := module(t, map[string]string{"a/a_test.go": `package a

import (
	"runtime"
	"testing"
)

func TestOneCPU(t *testing.T) {
	if n := runtime.NumCPU(); n != 1 {
		t.Errorf("%d processors", n)
	}
}
`})
	o := Options{Runs: 1, Conditions: []Condition{One}, Modules: []Module{{Dir: dir, Packages: []string{"./..."}}}}
	run(t, o, nil)
	stop, err := busyLoops(2)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{2, 0} {
		if loops, err := procfs.Descendants(os.Getpid()); err != nil || len(loops) != want {
			t.Errorf("got the busy loops %v, %v; want %d", loops, err, want)
		}
		stop()
	}
}

func TestInterrupted(t *testing.T) {
	dir := module(t, map[string]string{"a/a_test.go": `package a

import (
	"os"
	"testing"
	"time"
)

func TestSleeps(t *testing.T) {
	os.WriteFile("asleep", nil, 0o644)
	time.Sleep(time.Hour)
}
`})
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	o := Options{Runs: 1, Conditions: []Condition{Quiet}, Once: true, Out: &out, Modules: []Module{{Dir: dir, Packages: []string{"./..."}}}}
	ended := make(chan error)
	go func() { ended <- Run(ctx, o) }()
	for {
		if _, err := os.Stat(filepath.Join(dir, "a/asleep")); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
}

func TestMisused(t *testing.T) {
	for _, args := range [][]string{{}, {"-when", "noon", "./..."}, {"-n", "-1", "./..."}, {"-sort", "./..."}} {
		var out bytes.Buffer
		if code := Main(args, &out, &out); code != 2 || out.Len() == 0 {
			t.Errorf("%q: exit code %d, want 2 and a message; it printed %q", args, code, out.String())
		}
	}
}
