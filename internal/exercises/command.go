// Package exercises lists, grades and explains the exercises, which are the
// folders exercises/NN-name. Its command is tools/exercises.
package exercises

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"

	"epoll-step-by-step/internal/exam/show"
	"epoll-step-by-step/internal/terminal"

	"golang.org/x/sys/unix"
)

// These errors choose the exit code. Their explanation was printed before.
var (
	errFailed      = errors.New("failed")
	errNotGraded   = errors.New("not graded")
	errInterrupted = errors.New("interrupted")
)

// A session is one call of the command.
type session struct {
	usage     string
	root      string // of the repository
	exercises []*exercise

	in       io.Reader // nil unless it is a terminal
	out, err io.Writer
	style    show.Style
	live     bool // err is a terminal, which can show the running check

	json, all, force bool
	server           []string // graded in place of main.go, if not empty
}

// Main runs the command with these arguments and returns its exit code.
func Main(usage string, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	s := &session{usage: usage, out: os.Stdout, err: os.Stderr}
	s.style, s.live = show.Screen()
	if terminal.Is(os.Stdin) {
		s.in = os.Stdin
	}
	return s.run(ctx, args)
}

// run carries the arguments out and returns the exit code.
func (s *session) run(ctx context.Context, args []string) int {
	err := s.do(ctx, args)
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case err == errFailed:
		return 1
	case err == errNotGraded:
		return 2
	case err == errInterrupted || ctx.Err() != nil:
		return 130
	}
	fmt.Fprintln(s.err, "exercises:", err)
	return 2
}

func (s *session) do(ctx context.Context, args []string) error {
	words, err := s.parse(args)
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return fmt.Errorf("a command is missing\n%s", strings.TrimSpace(s.usage))
	}
	if s.root == "" {
		if s.root, err = findRoot(); err != nil {
			return err
		}
	}
	problem := s.load()
	if len(s.exercises) == 0 {
		return fmt.Errorf("no exercises in %s/exercises: %w", s.root, problem)
	}
	if len(words) > 2 {
		return fmt.Errorf("%q: only one exercise at a time", words[1:])
	}
	command, numbers := words[0], words[1:]
	switch {
	case command == "list" && len(numbers) == 0:
		if problem != nil {
			fmt.Fprintln(s.err, "exercises:", problem)
		}
		return s.list()
	case command == "check" && s.all && len(numbers) == 0:
		return s.checkAll(ctx)
	case command == "watch" && len(numbers) == 0:
		return s.watch(ctx, s.next(nil), s.lines())
	}
	commands := map[string]func(*exercise) error{
		"check":    func(e *exercise) error { return s.check(ctx, e) },
		"hint":     s.hint,
		"solution": s.solution,
		"diff":     s.diff,
		"path":     s.path,
		"reset":    s.reset,
		"watch":    func(e *exercise) error { return s.watch(ctx, e, s.lines()) },
	}
	do := commands[command]
	if do == nil {
		return fmt.Errorf("there is no command %q\n%s", strings.Join(words, " "), strings.TrimSpace(s.usage))
	}
	if len(numbers) == 0 {
		return errors.New("the number of the exercise is missing: say N=07, for example; \"make exercises\" lists them all")
	}
	e, err := s.find(numbers[0])
	if err != nil {
		return errors.Join(err, problem)
	}
	return do(e)
}

// parse accepts flags and words in any order. The command of a server follows
// after --.
func (s *session) parse(args []string) (words []string, err error) {
	if i := slices.Index(args, "--"); i >= 0 {
		args, s.server = args[:i], args[i+1:]
	}
	flags := flag.NewFlagSet("exercises", flag.ContinueOnError)
	flags.SetOutput(s.err)
	flags.BoolVar(&s.json, "json", false, "list, check: print JSON")
	flags.BoolVar(&s.all, "all", false, "check: grade every exercise that is begun")
	flags.BoolVar(&s.force, "force", false, "solution: show it before main.go has passed")
	flags.IntVar(&s.style.Width, "width", s.style.Width, "print lines of at most this many `columns`")
	flags.Usage = func() {
		fmt.Fprint(s.err, s.usage)
		flags.PrintDefaults()
	}
	for {
		if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			return nil, err
		} else if err != nil {
			return nil, errNotGraded // the flag package printed the reason
		}
		if flags.NArg() == 0 {
			break
		}
		words, args = append(words, flags.Arg(0)), flags.Args()[1:]
	}
	if s.style.Width < 30 {
		return nil, fmt.Errorf("-width %d: want at least 30", s.style.Width)
	}
	return words, nil
}

// lines delivers the lines that are typed; it is nil without a terminal.
func (s *session) lines() <-chan string {
	if s.in == nil {
		return nil
	}
	lines := make(chan string)
	go func() {
		for scanner := bufio.NewScanner(s.in); scanner.Scan(); {
			lines <- strings.TrimSpace(scanner.Text())
		}
		close(lines)
	}()
	return lines
}

// A row is an exercise in the output of list.
type row struct {
	Number   int    `json:"number"`
	Exercise string `json:"exercise"` // the folder
	Title    string `json:"title"`
	State    state  `json:"state"`
	Hints    int    `json:"hints_shown"`
	Minutes  int    `json:"minutes"`
}

func (s *session) list() error {
	records, err := s.records()
	if err != nil {
		return err
	}
	var rows []row
	for _, e := range s.exercises {
		r := records[e.Name]
		rows = append(rows, row{e.Number, e.Name, e.Title, e.state(r), r.Hints, e.Minutes})
	}
	if s.json {
		return s.printJSON(rows)
	}
	passed := 0
	for _, r := range rows {
		if r.State == passedState {
			passed++
		}
		line := fmt.Sprintf("%-18s %-21s %4d min  %s", r.Exercise, r.State, r.Minutes, r.Title)
		fmt.Fprintln(s.out, s.cut(line))
	}
	fmt.Fprintln(s.out)
	s.say("%d of %d passed.", passed, len(rows))
	s.advise("next", s.commandFor(s.next(nil)))
	s.warnOfGit(s.out)
	return nil
}
