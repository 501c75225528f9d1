// Package transcript drives several terminals by a script and records what a
// reader sees who types the same. A script is lines of text, and N is a terminal,
// one digit:
//
//	N$ command   start it; first wait until the last command there has ended
//	N> text      type it, and Enter
//	N: text      wait for a line with this text; show everything up to it
//	N~ text      wait until everything there is asleep and the last line, which
//	             has no end yet, has this text
//	N asleep     wait until everything that runs there is asleep; not shown
//	N nothing    everything there is asleep, and nothing new was printed
//	N^C  N^D     type that: SIGINT to everything that runs there; end of input
//	N.           wait for the command's end; show the rest
//	N? command   repeat it until it succeeds; not shown
//	# text       a comment
//
// Without an N there is one terminal, and "$ command" runs to its end.
//
// A script should wait for states that last, never for a time to pass. Asleep
// means: all threads of all processes in the terminal are blocked or stopped,
// and none of them used processor time between two looks. Commands and output
// name port 6379. In fact each run has a port of its own.
package transcript

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// A Script is a list of statements.
type Script struct{ statements []statement }

type statement struct {
	line                 int // from 1
	terminal, verb, text string
}

// An Error is in one line of the script, counted from 1, or in all of it if the
// line is 0.
type Error struct {
	Line int
	Err  error
}

func (e Error) Error() string { return e.Err.Error() }
func (e Error) Unwrap() error { return e.Err }

var statementForm = regexp.MustCompile(`^(\d?)(\$|\?|>|:|~|\^C|\^D|\.| asleep| nothing)(?: (.*))?$`)

// Parse reads a script. Its errors are of type [Error].
func Parse(script string) (Script, error) {
	var all []statement
	line := 0
	for text := range strings.SplitSeq(script, "\n") {
		line++
		text = strings.TrimSpace(text)
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		m := statementForm.FindStringSubmatch(text)
		if m == nil {
			return Script{}, Error{line, fmt.Errorf("%q is no statement", text)}
		}
		st := statement{line, m[1], m[2], m[3]}
		switch {
		case st.verb != ">" && strings.Contains("$?:~", st.verb) != (st.text != ""):
			return Script{}, Error{line, fmt.Errorf("%q is no statement: its text is missing, or it takes none", text)}
		case st.terminal == "" && !strings.Contains("$?", st.verb):
			return Script{}, Error{line, fmt.Errorf("%q is no statement: it names no terminal", text)}
		case len(all) > 0 && (st.terminal == "") != (all[0].terminal == ""):
			return Script{}, Error{line, errors.New("either all statements name a terminal or none does")}
		}
		all = append(all, st)
	}
	if len(all) == 0 {
		return Script{}, Error{0, errors.New("the script has no statement")}
	}
	return Script{all}, nil
}

// Numbered reports whether the script names its terminals.
func (s Script) Numbered() bool { return s.statements[0].terminal != "" }

// Commands returns the script's commands, those it only waits for included.
func (s Script) Commands() []string {
	var all []string
	for _, st := range s.statements {
		if strings.Contains("$?", st.verb) {
			all = append(all, st.text)
		}
	}
	return all
}

// Words returns the words of the script's commands, those it only waits for
// included: the programs that they need are among them.
func (s Script) Words() []string {
	var all []string
	for _, command := range s.Commands() {
		all = append(all, strings.FieldsFunc(command, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-+_", r)
		})...)
	}
	return all
}
