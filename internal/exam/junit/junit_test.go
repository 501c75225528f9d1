package junit

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/examtest"
	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { examtest.Main(m) }

// parsed returns the only suite of a file, whose counts must be right.
func parsed(t *testing.T, text []byte) suite {
	t.Helper()
	var all suites
	if err := xml.Unmarshal(text, &all); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if len(all.Suites) != 1 {
		t.Fatalf("%d suites in\n%s", len(all.Suites), text)
	}
	s := all.Suites[0]
	failures, errors, skipped := 0, 0, 0
	for _, c := range s.Cases {
		if c.Failure != nil {
			failures++
		}
		if c.Error != nil {
			errors++
		}
		if c.Skipped != nil {
			skipped++
		}
		if c.Name == "" || c.ClassName == "" || c.Time == "" {
			t.Errorf("a name, a class or a time is missing: %+v", c)
		}
	}
	if s.Tests != len(s.Cases) || s.Failures != failures || s.Errors != errors || s.Skipped != skipped ||
		all.Tests != s.Tests || all.Failures != failures || all.Errors != errors {
		t.Errorf("wrong counts in\n%s", text)
	}
	return s
}

// Each verdict becomes the element that CI systems expect. What a server has printed may
// contain characters that XML does not allow.
func TestWrite(t *testing.T) {
	r := &exam.Report{
		Status: exam.StatusInterrupted, Problem: "interrupted", As: exam.LT, Server: []string{"./a<b", "{port}"},
		Date: time.Date(2026, 12, 1, 9, 30, 0, 0, time.UTC), Seconds: 4.25,
		Results: []exam.Result{
			{ID: "GOOD", Title: "it works", Verdict: exam.Pass, Seconds: 1.5},
			{ID: "BAD", Title: "it lasts", Verdict: exam.Fail, Failure: "BAD", Usually: "a \"mistake\" & more",
				Facts: []exam.Fact{{Label: "printed", Text: "\x1b[31m\x00]]> <&\n\xff"}}},
			{ID: "LATER", Title: "it waits", Verdict: exam.Skip, Reason: "not here"},
			{ID: "BROKEN", Title: "it is looked at", Verdict: exam.Error, Reason: "hang"},
		},
	}
	var out bytes.Buffer
	if err := Write(&out, r); err != nil {
		t.Fatal(err)
	}
	s := parsed(t, out.Bytes())
	if s.Name != "./a<b {port}" || s.Timestamp != "2026-12-01T09:30:00" || s.Time != "4.250" {
		t.Errorf("%+v", s.counts)
	}
	if len(s.Cases) != 5 {
		t.Fatalf("%d cases, want the 4 checks and the interruption\n%s", len(s.Cases), &out)
	}
	good, bad, later, broken, end := s.Cases[0], s.Cases[1], s.Cases[2], s.Cases[3], s.Cases[4]
	if good.Name != "GOOD: it works" || good.ClassName != "exam.lt" || good.Time != "1.500" || good.Failure != nil {
		t.Errorf("%+v", good)
	}
	if f := bad.Failure; f == nil || f.Type != "BAD" || f.Message != r.Results[1].Usually || !strings.Contains(f.Text, "]]> <&") {
		t.Errorf("%+v", f)
	}
	if later.Skipped == nil || later.Skipped.Message != "not here" {
		t.Errorf("%+v", later.Skipped)
	}
	if broken.Error == nil || broken.Error.Message != "hang" {
		t.Errorf("%+v", broken.Error)
	}
	if end.Error == nil || end.Error.Type != "interrupted" {
		t.Errorf("%+v", end.Error)
	}
}

// The command writes the file however the grading ends, and beside -json.
func TestCommand(t *testing.T) {
	examiner, server := examtest.Build(t, "./tools/exam"), examtest.Build(t, "./step4-epoll-et")
	file := filepath.Join(t.TempDir(), "exam.xml")
	run := func(code int, args ...string) (suite, []byte) {
		t.Helper()
		cmd := exec.Command(examiner, append([]string{"-junit", file}, args...)...)
		out, _ := cmd.Output()
		if got := cmd.ProcessState.ExitCode(); got != code {
			t.Errorf("exam %q: exit code %d, want %d", args, got, code)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return parsed(t, text), out
	}

	s, out := run(1, "-json", "-only", "NOT_LEVEL,NOT_EDGE", "--", server, "-addr", "{addr}")
	var report exam.Report
	if err := json.Unmarshal(out, &report); err != nil || len(report.Results) != 2 {
		t.Errorf("%v in the output\n%s", err, out)
	}
	if len(s.Cases) != 2 || s.Failures != 1 || s.Cases[0].Failure == nil || s.Cases[0].Failure.Type != "NOT_LEVEL" {
		t.Errorf("%+v", s)
	}
	s, _ = run(2, "--", "sh", "-c", "echo out of ideas; exit 3", "{port}")
	if len(s.Cases) != 1 || s.Errors != 1 || s.Cases[0].Error.Text != "out of ideas" {
		t.Errorf("%+v", s)
	}

	interrupted := exec.Command(examiner, "-junit", file, "--", "sleep", "1000", "{port}")
	if err := interrupted.Start(); err != nil {
		t.Fatal(err)
	}
	for { // until it waits for the server: the signal must not come earlier
		if family, _ := procfs.Descendants(interrupted.Process.Pid); len(family) > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	interrupted.Process.Signal(unix.SIGINT)
	interrupted.Wait()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if s := parsed(t, text); interrupted.ProcessState.ExitCode() != 130 || s.Errors != 1 || s.Cases[0].Error.Message != "interrupted" {
		t.Errorf("exit code %d\n%s", interrupted.ProcessState.ExitCode(), text)
	}
}

// A file that cannot be written is reported before the server is started.
func TestUnwritable(t *testing.T) {
	dir := t.TempDir()
	mark := filepath.Join(dir, "started")
	cmd := exec.Command(examtest.Build(t, "./tools/exam"), "-junit", filepath.Join(dir, "no-folder", "exam.xml"), "--", "touch", mark, "{port}")
	cmd.Dir = dir
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 2 || !strings.Contains(string(out), "exam: -junit: open ") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the server was started")
	}
}
