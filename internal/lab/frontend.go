package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// Prompt precedes each command in a transcript.
const Prompt = "lab> "

// ScriptPatience is the [Session.Patience] for scripts and transcripts.
const ScriptPatience = 5 * time.Second

// Options control how [Run] runs a script.
type Options struct {
	Name      string // of the script, for error messages
	Echo      bool   // print each line after the prompt, as in a transcript
	KeepGoing bool   // print an error and continue with the next line
}

// Run runs the lines of a script. It stops at the first error and returns it with
// name, line and column. It also stops when ctx is done, after the current line.
// With KeepGoing it returns an error only if an expect was not met, and only
// after the last line.
func Run(ctx context.Context, s *Session, r io.Reader, w io.Writer, o Options) error {
	var unmet error
	lines := bufio.NewScanner(r)
	number := 0
	for lines.Scan() {
		number++
		if o.Echo {
			fmt.Fprintln(w, strings.TrimRight(Prompt+lines.Text(), " "))
		}
		result := s.Do(ctx, lines.Text())
		if err := result.Print(w); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if result.Quit {
			return unmet
		}
		if result.Err == nil {
			continue
		}
		err := fmt.Errorf("%s:%d:%d: %w", o.Name, number, result.Err.Column, result.Err)
		if !o.KeepGoing {
			return err
		}
		fmt.Fprintln(w, result.Err.Report())
		if result.Err.Kind == Unmet && unmet == nil {
			unmet = err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s:%d: %w", o.Name, number+1, err)
	}
	return unmet
}

// Replay runs the commands of a transcript, which are the lines with a prompt, in
// a new session, and returns the transcript of that session. The two are equal if
// the transcript is true on this kernel. An error in a line is a part of the
// transcript. Replay itself returns an error only if an expect is not met or a
// line cannot be read.
func Replay(ctx context.Context, transcript string) (string, error) {
	s := New()
	defer s.Close()
	s.Patience = ScriptPatience
	var lines, out strings.Builder
	for line := range strings.Lines(transcript) {
		if line, ok := strings.CutPrefix(line, strings.TrimRight(Prompt, " ")); ok {
			lines.WriteString(strings.TrimPrefix(line, " "))
		}
	}
	err := Run(ctx, s, strings.NewReader(lines.String()), &out, Options{Name: "transcript", Echo: true, KeepGoing: true})
	return out.String(), err
}

// Print writes the lines of the result, but not its error.
func (r Result) Print(w io.Writer) error {
	for _, line := range r.Lines {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// Report returns the error as it is printed at a prompt.
func (e *Error) Report() string {
	return fmt.Sprintf("lab: column %d: %s", e.Column, e.Text)
}
