package lab

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"epoll-step-by-step/internal/procfs"
)

// A word is a part of a line, separated by blanks or enclosed in double quotes.
type word struct {
	text   string // without quotes, and with its escapes replaced
	quoted bool
	begin  int    // in bytes, from 0
	column int    // in characters, from 1
	rest   string // of the line, beginning with this word
}

const blanks = " \t\r"

// split cuts a line into words and drops the comment, which begins with a word
// that begins with #.
func split(line string) ([]word, error) {
	if !utf8.ValidString(line) || strings.ContainsFunc(strings.Trim(line, blanks), unprintable) {
		return nil, misuse(1, "the line is not a text: %q", line)
	}
	var words []word
	for i := 0; i < len(line); {
		w := word{begin: i, column: 1 + utf8.RuneCountInString(line[:i])}
		switch {
		case strings.IndexByte(blanks, line[i]) >= 0:
			i++
			continue
		case line[i] == '#':
			line = line[:i]
			continue
		case line[i] == '"':
			text, err := strconv.QuotedPrefix(line[i:])
			if err != nil {
				return nil, misuse(w.column, `this text is not a Go string: it must end in ", and \n, \\ and \x00 are escapes`)
			}
			i += len(text)
			w.text, _ = strconv.Unquote(text)
			w.quoted = true
		default:
			n := strings.IndexAny(line[i:], blanks)
			if n < 0 {
				n = len(line) - i
			}
			w.text = line[i : i+n]
			i += n
		}
		words = append(words, w)
	}
	for i, w := range words {
		words[i].rest = strings.TrimRight(line[w.begin:], blanks)
	}
	return words, nil
}

func unprintable(c rune) bool { return c != '\t' && unicode.IsControl(c) }

func misuse(column int, format string, args ...any) *Error {
	return &Error{Misuse, column, fmt.Sprintf(format, args...)}
}

// An arg is a word of the line, parsed as the type that the command takes.
type arg struct {
	word
	n      int     // if it is a number
	object *object // if it is the name of an object
	events uint32  // if it is a mask
}

// numbers contains the words of a form that stand for a number, and their limits.
// Values that the kernel itself rejects are allowed, for example -1, so that the
// lab shows the error.
var numbers = map[string]struct{ min, max int }{
	"BYTES":    {0, 16 << 20},
	"NUMBER":   {0, 1<<62 - 1},
	"COUNT":    {0, 1<<32 - 1},
	"MAX":      {-1, 1024},
	"BACKLOG":  {-1, 1<<31 - 1},
	"VALUE":    {-1, 1<<31 - 1},
	"TIMES":    {1, 10000},
	"MS":       {0, 0}, // 0: up to Session.Longest
	"TIMEOUT":  {-1, 0},
	"INTERVAL": {0, 0},
}

// A param is a word of a form, such as "[BYTES=65536]".
type param struct {
	text     string
	optional bool
	value    string // used if the word is missing
}

func params(form string) []param {
	var list []param
	for _, text := range strings.Fields(form) {
		p := param{text: text}
		if inner, ok := strings.CutPrefix(text, "["); ok {
			p.optional = true
			p.text, p.value, _ = strings.Cut(strings.TrimSuffix(inner, "]"), "=")
			if choices := strings.Split(p.text, "|"); p.value == "" {
				p.value = choices[0]
			}
		}
		list = append(list, p)
	}
	return list
}

// The types of a param. If none of these applies, it is a number.
func (p param) isNew() bool    { return len(p.text) == 2 && p.text[0] == '+' }
func (p param) isObject() bool { return len(p.text) == 1 }
func (p param) isRest() bool   { return strings.HasSuffix(p.text, "…") }
func (p param) isWord() bool   { return p.text == "WORD" }
func (p param) choices() []string {
	if strings.Contains(p.text, "|") || strings.ToUpper(p.text) != p.text || p.text == "EAGAIN" {
		return strings.Split(p.text, "|")
	}
	return nil
}

// parse finds the command and the form that the words fit.
func (s *Session) parse(words []word) (func(*run, []arg) error, []arg, error) {
	if words[0].quoted {
		return nil, nil, misuse(words[0].column, "a text in quotes is no command")
	}
	c := find(words[0].text)
	if c == nil {
		return nil, nil, misuse(words[0].column, "no command %q%s", words[0].text, didYouMean(words[0].text, commandNames(), "help lists them"))
	}
	var best *Error // of the form that fits the most words
	for _, f := range c.forms {
		args, err := s.match(params(f.args), words)
		if err == nil {
			return f.run, args, nil
		}
		if best == nil || err.Column > best.Column {
			best = err
		}
	}
	return nil, nil, best
}

// match parses the words after the command as the args of a form.
func (s *Session) match(form []param, words []word) ([]arg, *Error) {
	var args []arg
	end := words[len(words)-1]
	afterEnd := end.column + utf8.RuneCountInString(end.rest)
	given := words[1:]
	for i, p := range form {
		w := word{text: p.value, column: afterEnd}
		if i < len(given) {
			w = given[i]
		} else if !p.optional {
			return nil, misuse(afterEnd, "%s needs one more word: %s", words[0].text, usage(words[0].text))
		}
		a, err := s.arg(p, w)
		if err != nil {
			return nil, err
		}
		if p.isNew() && slices.ContainsFunc(args, func(b arg) bool { return b.text == a.text }) {
			return nil, misuse(w.column, "two objects cannot both be called %s", a.text)
		}
		args = append(args, a)
		if p.isRest() {
			return args, nil
		}
	}
	if len(given) > len(form) {
		return nil, misuse(given[len(form)].column, "%q is one word too many: %s", given[len(form)].text, usage(words[0].text))
	}
	return args, nil
}

// arg parses a word as the type of p.
func (s *Session) arg(p param, w word) (arg, *Error) {
	a := arg{word: w}
	switch {
	case p.isRest() || p.isWord():
		return a, nil
	case p.text == `"text"`:
		if !w.quoted {
			return a, misuse(w.column, `%q is neither a text in "quotes" nor a number`, w.text)
		}
		return a, nil
	case w.quoted:
		return a, misuse(w.column, "a text in quotes has no place here")
	case p.isNew():
		return a, s.newName(w)
	case p.isObject():
		a.object = s.names[w.text]
		if a.object == nil {
			return a, misuse(w.column, "nothing is called %q%s", w.text, didYouMean(w.text, slices.Collect(maps.Keys(s.names)), "show lists what there is"))
		}
		return a, nil
	case p.text == "EVENTS":
		var err *Error
		a.events, err = parseEvents(w)
		return a, err
	case p.choices() != nil:
		i := slices.IndexFunc(p.choices(), func(c string) bool { return strings.EqualFold(c, w.text) })
		if i < 0 {
			return a, misuse(w.column, "%q is not %s", w.text, strings.Join(p.choices(), " or "))
		}
		a.text = p.choices()[i]
		return a, nil
	}
	var err *Error
	a.n, err = s.number(p.text, w)
	return a, err
}

const maxName = 12

func (s *Session) newName(w word) *Error {
	for i, c := range w.text {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789_-", c)) {
			return misuse(w.column, "%q cannot be a name: letters, digits, _ and -, a letter first", w.text)
		}
	}
	if len(w.text) > maxName {
		return misuse(w.column, "%q is longer than %d letters", w.text, maxName)
	}
	if o := s.names[w.text]; o != nil && !s.closed(o) {
		return misuse(w.column, "%s is taken: close it, or choose another name", w.text)
	}
	if len(s.open) > maxObjects-3 { // one command creates at most 3: tcp
		return misuse(w.column, "%d objects are open, and more than that nobody can follow", len(s.open))
	}
	return nil
}

func (s *Session) number(what string, w word) (int, *Error) {
	limits := numbers[what]
	if limits.max == 0 {
		limits.max = int(s.Longest / time.Millisecond)
	}
	n, err := strconv.ParseInt(w.text, 0, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, misuse(w.column, "%q is not a number", w.text)
	}
	if err != nil || int(n) < limits.min || int(n) > limits.max {
		return 0, misuse(w.column, "%s is out of range: %s is from %d to %d", w.text, what, limits.min, limits.max)
	}
	return int(n), nil
}

// eventBits maps the names of the events (in, out, …) to their bits.
var eventBits = func() map[string]uint32 {
	bits := make(map[string]uint32)
	for i := range 32 {
		if name, ok := strings.CutPrefix(procfs.Events(1<<i).String(), "EPOLL"); ok {
			bits[strings.ToLower(name)] = 1 << i
		}
	}
	return bits
}()

func eventNames() []string { return slices.Collect(maps.Keys(eventBits)) }

// parseEvents parses "in,et", "EPOLLIN|EPOLLET", "0" or "none".
func parseEvents(w word) (uint32, *Error) {
	if w.text == "0" || strings.EqualFold(w.text, "none") {
		return 0, nil
	}
	var mask uint32
	column := w.column
	for name := range strings.SplitSeq(strings.ReplaceAll(w.text, "|", ","), ",") {
		bit, ok := eventBits[strings.TrimPrefix(strings.ToLower(name), "epoll")]
		if !ok {
			return 0, misuse(column, "no event %q%s", name, didYouMean(strings.ToLower(name), eventNames(), "in,out,rdhup,pri,et,oneshot,exclusive, or 0"))
		}
		mask |= bit
		column += utf8.RuneCountInString(name) + 1
	}
	return mask, nil
}

// didYouMean suggests the candidate most similar to a word, or returns otherwise
// if none is similar.
func didYouMean(text string, candidates []string, otherwise string) string {
	nearest, least := "", 3
	slices.Sort(candidates)
	for _, c := range candidates {
		if d := distance(text, c); d < least && d < len(text) {
			nearest, least = c, d
		}
	}
	if nearest == "" {
		return ": " + otherwise
	}
	return "; did you mean " + nearest + "?"
}

// distance returns the number of bytes to insert, delete or change to turn a
// into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
