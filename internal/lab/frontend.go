package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// Prompt is what lines stand behind in a transcript.
const Prompt = "lab> "

// ScriptPatience is the [Session.Patience] for lines that nobody is looking at.
const ScriptPatience = 5 * time.Second

// Options say how [Run] runs a script.
type Options struct {
	Name      string // of the script, for errors
	Echo      bool   // print each line behind the prompt: a transcript
	KeepGoing bool   // an error is printed, and the next line is run
}

// Run runs the lines of a script. The first error ends it, and is returned with
// name, line and column. So does the end of ctx, once the line is read. If it is
// to keep going, only an expect that was not met is an error, at the end.
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

// Replay runs those lines of a transcript that stand behind the prompt, in a
// new session, and returns the transcript that this kernel makes of them. If
// that is the same, the transcript is true. What is wrong with a line is a part
// of it; an expect that is not met is an error, too.
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

// Print writes the answer, without the error.
func (r Result) Print(w io.Writer) error {
	for _, line := range r.Lines {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// Report is an error as it is printed at a prompt.
func (e *Error) Report() string {
	return fmt.Sprintf("lab: column %d: %s", e.Column, e.Text)
}
