// Package suite runs the tests of the repository, once or many times, and says
// what became of each: make test and make soak. Many times, it runs them under
// conditions that a test's verdict must not depend on: an idle machine, one
// whose processors are all busy, and a single processor. Its command is
// tools/suite.
package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Condition is what else the machine does while the tests run.
type Condition string

const (
	Quiet Condition = "quiet" // nothing
	Busy  Condition = "busy"  // a busy loop for each processor
	One   Condition = "one"   // nothing, but the tests get one processor only
)

// Conditions is all of them, in the order in which they take turns.
var Conditions = []Condition{Quiet, Busy, One}

// Options say which tests to run and how often.
type Options struct {
	Runs       int         // under each condition
	Conditions []Condition // which take turns
	Pattern    string      // go test's -run; "" is all tests
	Short      bool        // go test's -short
	Once       bool        // print each test that takes long and each skipped one

	Modules []Module
	Out     io.Writer
}

// A Module is a part of the suite that one go command can test.
type Module struct {
	Dir      string   // where the go command runs
	Packages []string // patterns or import paths
	Env      []string // in addition to the environment
}

// perPackage limits the time of one package, for a test that hangs. It is long
// enough for the slowest package on one busy processor.
const perPackage = "40m"

// ErrFailed is returned when at least one test failed. Which one was printed.
var ErrFailed = errors.New("failed")

// Run runs the tests and prints a report to o.Out. The error is [ErrFailed], that
// of the context, or says why the tests could not be run.
func Run(ctx context.Context, o Options) error {
	modules, err := o.matching(ctx)
	if err != nil {
		return err
	}
	r := newReport(o)
	for i := range o.Runs {
		for _, c := range o.Conditions {
			if err := o.runOnce(ctx, modules, c, r, i); err != nil {
				r.print()
				return err
			}
		}
	}
	r.print()
	if r.failed() {
		return ErrFailed
	}
	return nil
}

// runOnce runs all tests once under a condition.
func (o Options) runOnce(ctx context.Context, modules []Module, c Condition, r *report, i int) error {
	if c == Busy {
		stop, err := busyLoops(runtime.NumCPU())
		defer stop()
		if err != nil {
			return err
		}
	}
	begin := time.Now()
	r.begin(c)
	for _, m := range modules {
		if err := o.goTest(ctx, m, c, r); err != nil {
			return err
		}
	}
	r.end(i+1, time.Since(begin))
	return ctx.Err()
}

// busyLoops keeps n processors busy until stop is called, or until this process
// ends, however that happens.
func busyLoops(n int) (stop func(), err error) {
	var loops []*exec.Cmd
	stop = func() {
		for _, cmd := range loops {
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	for range n {
		cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL} // even if this process is killed
		if err := cmd.Start(); err != nil {
			return stop, err
		}
		loops = append(loops, cmd)
	}
	return stop, nil
}

// command returns the go command for one run of a module's tests.
func (o Options) command(ctx context.Context, m Module, c Condition) (*exec.Cmd, error) {
	args := []string{"go", "test", "-json", "-count=1", "-vet=off", "-timeout", perPackage}
	if o.Short {
		// Two packages at a time, because most tests wait more than they work. All
		// tests keep two processors busy by themselves.
		args = append(args, "-short", "-p", "2")
	} else {
		args = append(args, "-p", "1")
	}
	if o.Pattern != "" {
		args = append(args, "-run", o.Pattern)
	}
	args = append(args, m.Packages...)
	if c == One {
		cpu, err := firstCPU()
		if err != nil {
			return nil, err
		}
		args = append([]string{"taskset", "-c", strconv.Itoa(cpu)}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = m.Dir
	cmd.Env = append(os.Environ(), m.Env...)
	// go test does not pass a signal on to the tests, so they get it as a process
	// group of their own.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGINT) }
	cmd.WaitDelay = 20 * time.Second
	return cmd, nil
}

// firstCPU is the first processor that this process may use: it need not be 0.
func firstCPU() (int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0, os.NewSyscallError("sched_getaffinity", err)
	}
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			return cpu, nil
		}
	}
	return 0, errors.New("sched_getaffinity: no processor")
}

// matching leaves out the packages without a test that the pattern selects:
// otherwise each run would link their tests, only to run none of them.
func (o Options) matching(ctx context.Context) ([]Module, error) {
	if o.Pattern == "" {
		return o.Modules, nil
	}
	name, _, _ := strings.Cut(o.Pattern, "/") // of subtests, go test lists nothing
	var matching []Module
	for _, m := range o.Modules {
		cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-vet=off", "-list", name, "-json"}, m.Packages...)...)
		cmd.Dir, cmd.Env = m.Dir, append(os.Environ(), m.Env...)
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("go test -list %s: %w\n%s", name, err, messageOf(out, err))
		}
		m.Packages = nil
		for e := range events(strings.NewReader(string(out))) {
			if e.Action == "output" && strings.HasPrefix(e.Output, "Test") && !slices.Contains(m.Packages, e.Package) {
				m.Packages = append(m.Packages, e.Package)
			}
		}
		if len(m.Packages) > 0 {
			matching = append(matching, m)
		}
	}
	if matching == nil {
		return nil, fmt.Errorf("no test matches %q", o.Pattern)
	}
	return matching, nil
}

// messageOf is what a go command printed before it failed.
func messageOf(out []byte, err error) string {
	var b strings.Builder
	for e := range events(strings.NewReader(string(out))) {
		b.WriteString(e.Output)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		b.Write(exit.Stderr)
	}
	return strings.TrimSpace(b.String())
}
