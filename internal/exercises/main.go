// Package exercises lists, grades and explains the exercises: the folders NN-name
// of exercises. Its command is tools/exercises.
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

	"golang.org/x/sys/unix"
)

const usage = `usage: exercises list                      all, with their state
       exercises check N [-- command…]     build and grade main.go, or a command in any language
       exercises check -all                grade all that are begun
       exercises hint N                    the next hint
       exercises solution [-force] N       the solution, once main.go has passed
       exercises diff N                    main.go against its step; once passed, against the solution
       exercises reset N                   the starter again; what was there is kept
       exercises watch [N]                 grade each time that main.go is saved
N is 7, 07 or 07-half-close. In the command, {addr}, {host} and {port} stand
for a free address.
`

// These say how it ended. All that there is to say about it was printed.
var (
	errFailed      = errors.New("failed")
	errNotGraded   = errors.New("not graded")
	errInterrupted = errors.New("interrupted")
)

// A session is one call of this program.
type session struct {
	root      string // of the repository
	exercises []*exercise

	in       io.Reader // nil if nobody types there
	out, err io.Writer
	style    show.Style
	live     bool // err can show what is going on

	json, all, force bool
	server           []string // graded in place of main.go, if not empty
}

// Main runs the command with these arguments and returns its exit code.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	s := &session{out: os.Stdout, err: os.Stderr}
	s.style, s.live = show.Screen()
	if _, err := unix.IoctlGetTermios(unix.Stdin, unix.TCGETS); err == nil {
		s.in = os.Stdin
	}
	return s.run(ctx, args)
}

// run does what the arguments say and returns the exit code.
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
		return fmt.Errorf("what is to be done?\n%s", strings.TrimSpace(usage))
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
		return fmt.Errorf("one exercise at a time, please: %q", words[1:])
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
		"reset":    s.reset,
		"watch":    func(e *exercise) error { return s.watch(ctx, e, s.lines()) },
	}
	do := commands[command]
	if do == nil {
		return fmt.Errorf("%q is nothing that can be done here\n%s", strings.Join(words, " "), strings.TrimSpace(usage))
	}
	if len(numbers) == 0 {
		return errors.New("which exercise? Say its number, N=07; \"make exercises\" lists them")
	}
	e, err := s.find(numbers[0])
	if err != nil {
		return errors.Join(err, problem)
	}
	return do(e)
}

// parse takes flags and words in any order; what follows -- is the server.
func (s *session) parse(args []string) (words []string, err error) {
	if i := slices.Index(args, "--"); i >= 0 {
		args, s.server = args[:i], args[i+1:]
	}
	flags := flag.NewFlagSet("exercises", flag.ContinueOnError)
	flags.SetOutput(s.err)
	flags.BoolVar(&s.json, "json", false, "list, check: print JSON")
	flags.BoolVar(&s.all, "all", false, "check: grade all that are begun")
	flags.BoolVar(&s.force, "force", false, "solution: show it before a pass")
	flags.IntVar(&s.style.Width, "width", s.style.Width, "print at most so many `columns`")
	flags.Usage = func() {
		fmt.Fprint(s.err, usage)
		flags.PrintDefaults()
	}
	for {
		if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			return nil, err
		} else if err != nil {
			return nil, errNotGraded // the flag package has said why
		}
		if flags.NArg() == 0 {
			break
		}
		words, args = append(words, flags.Arg(0)), flags.Args()[1:]
	}
	if s.style.Width < 30 {
		return nil, fmt.Errorf("-width %d: want 30 at least", s.style.Width)
	}
	return words, nil
}

// lines is what is typed, line by line; nil if nobody types.
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

// A row is what list says about an exercise.
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
	return nil
}
