package suite

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os/exec"
	"strings"
)

// An event is a line of go test -json: go doc test2json.
type event struct {
	Action     string
	Package    string
	ImportPath string  // of build-output
	Test       string  // empty if it is about the package
	Elapsed    float64 // seconds
	Output     string
}

// events reads go test -json. A line that is not JSON is the go command's own
// message, and becomes build output.
func events(r io.Reader) iter.Seq[event] {
	return func(yield func(event) bool) {
		lines := bufio.NewReader(r)
		for {
			line, err := lines.ReadBytes('\n')
			if len(line) > 0 {
				var e event
				if json.Unmarshal(line, &e) != nil {
					e = event{Action: "build-output", Output: string(line)}
				}
				if !yield(e) {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
}

// goTest runs a module's tests once and reports them.
func (o Options) goTest(ctx context.Context, m Module, c Condition, r *report) error {
	cmd, err := o.command(ctx, m, c)
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	t := &tracker{report: r, output: make(map[name]*strings.Builder), running: make(map[name]bool)}
	for e := range events(stdout) {
		t.take(e)
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	// A failure that no test and no package has reported, such as a package
	// that does not exist, must not pass for a success.
	if err != nil && !t.anyFailed {
		r.fail(name{Package: strings.Join(m.Packages, " ")}, fmt.Sprintf("go test: %v\n%s%s", err, t.build.String(), stderr.String()))
	}
	return nil
}

// A name is a test, or a package if Test is empty.
type name struct{ Package, Test string }

// A tracker follows the events of one go test.
type tracker struct {
	report    *report
	output    map[name]*strings.Builder
	running   map[name]bool
	build     strings.Builder
	anyFailed bool
}

func (t *tracker) take(e event) {
	n := name{e.Package, e.Test}
	switch e.Action {
	case "run":
		t.running[n] = true
	case "output":
		b := t.output[n]
		if b == nil {
			b = new(strings.Builder)
			t.output[n] = b
		}
		b.WriteString(e.Output)
	case "build-output":
		t.build.WriteString(e.Output)
	case "pass", "skip", "fail":
		out := ""
		if b := t.output[n]; b != nil {
			out = b.String()
		}
		delete(t.output, n)
		delete(t.running, n)
		if e.Test == "" {
			t.endPackage(e, out)
			return
		}
		t.anyFailed = t.anyFailed || e.Action == "fail"
		t.report.test(n, e.Action, e.Elapsed, out)
	}
}

// endPackage reports tests that never ended, because their process did, and a
// package that failed without any of its tests having failed.
func (t *tracker) endPackage(e event, out string) {
	if e.Action == "fail" {
		cut := false
		for n := range t.running {
			if n.Package == e.Package {
				cut = true
				text := out
				if b := t.output[n]; b != nil {
					text = b.String() + out
				}
				t.report.test(n, "fail", 0, text)
				delete(t.running, n)
			}
		}
		if !cut && !t.report.failedNow(e.Package) {
			t.report.fail(name{Package: e.Package}, t.build.String()+out)
		}
		t.anyFailed = true
	}
	t.report.endPackage(e.Package, e.Action, e.Elapsed)
}
