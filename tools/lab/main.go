// Lab makes one real system call for each line and prints it as strace(1) does,
// but with names in place of descriptor numbers. "help" lists the commands.
//
// Usage:
//
//	lab [-raw]           at a terminal: a prompt with history and completion
//	lab [-raw] FILE…     run scripts; - is standard input
//
// At a prompt Ctrl-C interrupts a call that sleeps, and Ctrl-D ends the lab. A
// script ends at its first error. Its lines are printed as they run.
//
// The exit status is 0 for success, 1 if a script failed, and 2 for wrong usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"epoll-step-by-step/internal/lab"

	"golang.org/x/term"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	raw := flags.Bool("raw", false, "show descriptor numbers and event data as they are, in place of names")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: lab [-raw] [FILE…]")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	files := flags.Args()
	if len(files) == 0 {
		if term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())) {
			return prompt(*raw)
		}
		files = []string{"-"}
	}
	for _, name := range files {
		if status := script(name, *raw); status != 0 {
			return status
		}
	}
	return 0
}

// script runs a file in a session of its own. Ctrl-C has its default effect and
// ends the lab.
func script(name string, raw bool) int {
	var in io.Reader = os.Stdin
	if name == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, "lab:", err)
			return 2
		}
		defer f.Close()
		in = f
	}
	s := lab.New()
	defer s.Close()
	s.Raw, s.Patience = raw, lab.ScriptPatience
	if err := lab.Run(context.Background(), s, in, os.Stdout, lab.Options{Name: name, Echo: true}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
