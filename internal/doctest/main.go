// Package doctest makes the blocks of the documents that are not written by hand,
// and its tests check that they are still true. Its command is tools/docs.
//
// A directive is a comment of HTML at the beginning of a line, and the fenced
// block right below it is generated. There are six kinds:
//
//	<!-- code: FILE [NAME] [from "TEXT"] [to "TEXT"] -->   see code.go
//	<!-- diff: STEP STEP [NAME] -->                        see diff.go
//	<!-- changes: STEP STEP -->                            see diff.go
//	<!-- checks: PROFILE… -->                              see checks.go
//	<!-- compatibility -->                                 see compatibility.go
//	<!-- transcript [numbers vary]                         see package transcript
//	…
//	-->
//
// Besides, a fenced block with the language lab or walk is its own script: see lab.go and
// walk.go.
//
// A transcript is compared by what lasts. Descriptors, ports of clients, process
// IDs, durations and observations of the examiner always may differ (compare.go
// has the list), and with "numbers vary" all numbers may. A script must not sample
// a moment, such as the state of a process that is about to sleep: it waits for a
// state that lasts, or shows only numbers that may vary.
package doctest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Problem is something in a document that is not, or no longer, true.
type Problem struct {
	File string // relative to the root of the repository
	Line int    // from 1
	Text string // what is wrong, and what to do about it
}

func (p Problem) String() string { return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text) }

// Main runs the command with these arguments and returns its exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("docs", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dry := flags.Bool("n", false, "change nothing, report what is stale")
	static := flags.Bool("static", false, "refresh only blocks that need no program to run: code, diff, changes, checks, compatibility")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return refresh(ctx, flags.Args(), *dry, *static, stdout, stderr)
}

// refresh brings the blocks of these documents up to date, or of all if none is
// named, and returns the exit status. With dry it changes nothing; with static it
// leaves out the blocks for which programs have to run.
func refresh(ctx context.Context, files []string, dry, static bool, log, problems io.Writer) int {
	if len(files) == 0 {
		files = documents(".")
	}
	var docs []document
	for _, file := range files {
		doc, err := read(file)
		if err != nil {
			fmt.Fprintln(problems, "docs:", err)
			return 2
		}
		docs = append(docs, doc)
	}
	if !static {
		defer prepare(ctx)()
	}
	status := 0
	report := func(p Problem) {
		status = 1
		fmt.Fprintln(problems, p)
	}
	for _, doc := range docs {
		fmt.Fprintf(log, "%s: %d blocks\n", doc.file, len(doc.blocks))
		for _, p := range doc.problems {
			report(p)
		}
		for i := range doc.blocks {
			b := &doc.blocks[i]
			if static && !b.isStatic() {
				continue
			}
			fresh, err := b.make(ctx)
			switch {
			case ctx.Err() != nil:
				fmt.Fprintln(problems, "docs: interrupted")
				return 1
			case err != nil:
				report(b.problem(err))
			case fresh == b.fence:
			case dry:
				report(b.stale(fresh))
			default:
				fmt.Fprintf(log, "%s:%d: %s: refreshed\n", b.file, b.line, b.title())
				b.fence = fresh
			}
		}
		if err := doc.save(); err != nil {
			report(Problem{doc.file, 1, err.Error()})
		}
	}
	others, err := checkDocuments(".")
	if err != nil {
		fmt.Fprintln(problems, "docs:", err)
		return 2
	}
	for _, p := range others {
		if slices.Contains(files, p.File) {
			report(p)
		}
	}
	return status
}

// prepare has to be called before blocks are made, and what it returns afterwards.
// It compiles the programs that transcripts run, which takes long the first time.
// It also marks inherited descriptors above 2 close-on-exec, because the programs
// in a reader's terminal do not have them.
func prepare(ctx context.Context) (tidy func()) {
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")                                          // where Debian has haproxy
	unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)                                     // a kernel before 5.11 cannot
	exec.CommandContext(ctx, "go", "list", "-export", "-trimpath", "./...", "./tools/lab/...").Run() // errors appear where the program is run
	root, err := filepath.Abs(".")
	if err != nil {
		return func() {}
	}
	// In bin, the linked programs survive until the next run, and go build links
	// only those that have changed.
	dir := filepath.Join(root, "bin", "doctest")
	build := exec.CommandContext(ctx, "go", "build", "-o", dir+"/", "./tools/exam", "./tools/exercises", "./tools/lab", "./tools/xray")
	steps, _ := filepath.Glob("step[1-4]-*")
	for _, step := range steps {
		build.Args = append(build.Args, "./"+step)
	}
	build.Env = environment()
	if build.Run() == nil {
		programs = dir
	}
	return func() { programs = "" }
}

// programs is a folder with the programs that make(1) builds in scripts, or "". Each
// script gets a copy, so that make finds them up to date and links nothing.
var programs string

// missing is the error for something that this machine lacks.
type missing string

func (m missing) Error() string { return string(m) }
