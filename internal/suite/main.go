package suite

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Main runs the command with these arguments and returns its exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("suite", flag.ContinueOnError)
	flags.SetOutput(stderr)
	o := Options{Out: stdout}
	flags.IntVar(&o.Runs, "n", 0, "run the tests `N` times under each condition and print a table; 0 runs them once, and reports as it goes")
	flags.StringVar(&o.Pattern, "run", "", "only tests that match this `regexp`, as in go test -run")
	flags.BoolVar(&o.Short, "short", false, "leave out what go test -short leaves out")
	when := flags.String("when", "quiet,busy,one", "with -n, the `conditions` that take turns: an idle machine, one whose processors are busy, one processor only")
	alone := flags.String("alone", "", "comma-separated `folders` of modules outside the workspace, to be tested as well")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	misused := func(format string, args ...any) int {
		fmt.Fprintf(stderr, "suite: "+format+"\n", args...)
		return 2
	}
	for _, word := range strings.Split(*when, ",") {
		if !slices.Contains(Conditions, Condition(word)) {
			return misused("-when %s: want some of quiet,busy,one", *when)
		}
		o.Conditions = append(o.Conditions, Condition(word))
	}
	switch {
	case o.Runs < 0:
		return misused("-n %d: want a positive number of runs", o.Runs)
	case o.Runs == 0:
		o.Once, o.Runs, o.Conditions = true, 1, []Condition{Quiet}
	}
	if flags.NArg() == 0 {
		return misused("which packages? For example: suite ./...")
	}
	o.Modules = []Module{{Dir: ".", Packages: flags.Args()}}
	for _, dir := range strings.FieldsFunc(*alone, func(r rune) bool { return r == ',' }) {
		o.Modules = append(o.Modules, Module{Dir: filepath.Clean(dir), Packages: []string{"./..."}, Env: []string{"GOWORK=off"}})
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	switch err := Run(ctx, o); {
	case err == nil:
		return 0
	case errors.Is(err, ErrFailed):
		return 1
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "suite: interrupted")
		return 130
	default:
		return misused("%v", err)
	}
}
