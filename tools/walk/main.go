// Walk runs a program one system call at a time, and shows the line of code, the call
// and what the kernel holds. "?" lists the keys.
//
// Usage:
//
//	walk [-record FILE] FOLDER|PROGRAM [ARG…]   such as step3-epoll-lt
//	walk -replay FILE                           look at a recording
//	walk -script FILE                           run a script; - is standard input
//	walk -commands                              list the commands of scripts
//
// FOLDER contains a Go program, which is compiled. Any other program needs line
// information (cc -g); {port} in its arguments becomes a free port.
//
// The exit status is 0 for success, 1 if the program could not be run, and 2 for wrong
// usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"epoll-step-by-step/internal/terminal"
	"epoll-step-by-step/internal/walk"

	"golang.org/x/sys/unix"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	flags := flag.NewFlagSet("walk", flag.ContinueOnError)
	record := flags.String("record", "", "also store what is seen in `FILE`")
	replay := flags.String("replay", "", "look at the recording in `FILE`")
	script := flags.String("script", "", "run the commands in `FILE`, one a line")
	commands := flags.Bool("commands", false, "list the commands of scripts")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: walk [-record FILE] FOLDER|PROGRAM [ARG…]\n       walk -replay FILE | -script FILE | -commands")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	program := flags.Args()
	chosen := 0
	for _, is := range []bool{*replay != "", *script != "", *commands, len(program) > 0} {
		if is {
			chosen++
		}
	}
	if chosen != 1 || *record != "" && len(program) == 0 {
		flags.Usage()
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	var err error
	switch {
	case *commands:
		fmt.Println(walk.Help)
	case *script != "":
		err = runScript(ctx, *script)
	case !terminal.Is(os.Stdin) || !terminal.CanRedraw(os.Stdout):
		err = errors.New("this needs a terminal; without one, -script FILE prints what happens")
	case *replay != "":
		err = replayFile(ctx, *replay)
	default:
		err = walkProgram(ctx, program, *record)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "walk:", err)
		return 1
	}
	return 0
}

func runScript(ctx context.Context, name string) error {
	text, err := os.ReadFile(name)
	if name == "-" {
		text, err = io.ReadAll(os.Stdin)
	}
	if err != nil {
		return err
	}
	script := walk.Script{Build: walk.Build}
	return script.Run(ctx, string(text), os.Stdout)
}

func replayFile(ctx context.Context, name string) error {
	r, err := walk.ReadRecording(name)
	if err != nil {
		return err
	}
	if len(r.Steps) == 0 {
		return fmt.Errorf("%s contains no step", name)
	}
	return show(ctx, &app{recording: r})
}

func walkProgram(ctx context.Context, command []string, record string) (err error) {
	args, err := walk.Build(ctx, command)
	if err != nil {
		return err
	}
	session, err := walk.Start(args)
	if err != nil {
		return err
	}
	defer session.Close()
	if err := walk.Possible(); err != nil {
		defer fmt.Fprintln(os.Stderr, "walk: no ready list was shown:", err)
	}
	a := &app{session: session, recording: walk.Recording{Header: session.Header(command[0])}}
	if record != "" {
		if a.writer, err = walk.Create(record, a.recording.Header); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, a.writer.Close()) }()
	}
	if err := show(ctx, a); err != nil {
		return err
	}
	// The screen has gone, and with it the program's own explanation.
	if last := a.last(); last.Moment == walk.Ended {
		fmt.Fprintf(os.Stderr, "%s%s ended: %s\n", session.Output(), command[0], last.End)
	}
	return nil
}
