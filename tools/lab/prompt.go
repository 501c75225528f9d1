package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"epoll-step-by-step/internal/lab"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// prompt runs the lab at a terminal. The terminal is in raw mode only while a line
// is edited, so Ctrl-C sends SIGINT while a call sleeps.
func prompt(raw bool) int {
	s := lab.New()
	defer s.Close()
	s.Raw = raw
	history := openHistory()
	defer history.close()

	stdin := int(os.Stdin.Fd())
	cooked, err := term.GetState(stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 2
	}
	defer leaveRawOnSignal(stdin, cooked)()

	t := term.NewTerminal(screen{&keys{Reader: os.Stdin}, os.Stdout}, lab.Prompt)
	t.History = history
	t.AutoCompleteCallback = func(line string, pos int, key rune) (string, int, bool) {
		if key != '\t' {
			return "", 0, false
		}
		line, pos, list := complete(s, line, pos)
		if list != nil {
			fmt.Fprintln(t, strings.Join(list, "  "))
		}
		return line, pos, true
	}
	fmt.Println("A system call a line: help lists them. Ctrl-D leaves.")
	for {
		line, err := readLine(t, stdin)
		if err == io.EOF {
			fmt.Println()
			return 0
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "lab:", err)
			return 1
		}
		if result := do(s, line); result.Quit {
			return 0
		}
	}
}

// do runs a line, which Ctrl-C interrupts, and prints the result.
func do(s *lab.Session, line string) lab.Result {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT)
	defer stop()
	result := s.Do(ctx, line)
	if ctx.Err() != nil {
		fmt.Println() // after the ^C that the terminal printed
	}
	result.Print(os.Stdout)
	if result.Err != nil {
		fmt.Println(result.Err.Report())
	}
	return result
}

// readLine reads one line in raw mode.
func readLine(t *term.Terminal, stdin int) (string, error) {
	cooked, err := term.MakeRaw(stdin)
	if err != nil {
		return "", err
	}
	defer term.Restore(stdin, cooked)
	if width, height, err := term.GetSize(stdin); err == nil && width > 0 {
		t.SetSize(width, height)
	}
	line, err := t.ReadLine()
	if errors.Is(err, term.ErrPasteIndicator) {
		err = nil
	}
	return line, err
}

// leaveRawOnSignal restores the terminal when SIGTERM or SIGHUP ends the lab.
func leaveRawOnSignal(stdin int, cooked *term.State) (stop func()) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGTERM, unix.SIGHUP)
	go func() {
		if _, ok := <-ended; ok {
			term.Restore(stdin, cooked)
			fmt.Println()
			os.Exit(1)
		}
	}()
	return func() {
		signal.Stop(ended)
		close(ended)
	}
}

// screen joins input and output to the io.ReadWriter that x/term needs.
type screen struct {
	io.Reader
	io.Writer
}

// keys makes Ctrl-C drop the line, as in a shell, because x/term would report the
// end of the input. It replaces Ctrl-C with Ctrl-K and Ctrl-U, which empty the
// line, and Enter.
type keys struct {
	io.Reader
	rest []byte
}

func (k *keys) Read(p []byte) (int, error) {
	if len(k.rest) == 0 {
		buf := make([]byte, 256)
		n, err := k.Reader.Read(buf)
		if n == 0 {
			return 0, err
		}
		k.rest = bytes.ReplaceAll(buf[:n], []byte("\x03"), []byte("\x0b\x15\r"))
	}
	n := copy(p, k.rest)
	k.rest = k.rest[n:]
	return n, nil
}

// complete completes the word before pos as far as all candidates agree. If that
// adds nothing, it returns the list of candidates.
func complete(s *lab.Session, line string, pos int) (newLine string, newPos int, list []string) {
	before, after := line[:pos], line[pos:]
	begin, candidates, extensible := s.Complete(before)
	if len(candidates) == 0 {
		return line, pos, nil
	}
	longest := candidates[0]
	for _, c := range candidates {
		for !strings.HasPrefix(c, longest) {
			longest = longest[:len(longest)-1]
		}
	}
	switch {
	case len(candidates) == 1 && !extensible:
		longest += " "
	case len(candidates) == 1:
	case longest == before[begin:]:
		list = candidates
	}
	before = before[:begin] + longest
	return before + after, len(before), list
}
