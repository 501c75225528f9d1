package lab

import (
	"maps"
	"slices"
	"strings"
)

// Complete returns the possible completions of the last word of a line, which may
// be empty, and the byte at which that word begins. In a list of events only the
// last name is completed, and extensible reports that another may follow it.
func (s *Session) Complete(line string) (begin int, candidates []string, extensible bool) {
	words := strings.Fields(line)
	if len(words) == 0 || strings.HasSuffix(line, " ") {
		words = append(words, "")
	}
	last := words[len(words)-1]
	begin = len(line) - len(last)
	if len(words) == 1 {
		return begin, matching(commandNames(), last), false
	}
	c := find(words[0])
	if c == nil {
		return begin, nil, false
	}
	for _, f := range c.forms {
		form := params(f.args)
		i := len(words) - 2
		if n := len(form) - 1; n >= 0 && i >= n && form[n].text == "COMMAND…" {
			command := strings.Join(words[1+n:], " ")
			begin, candidates, extensible = s.Complete(command)
			return len(line) - len(command) + begin, candidates, extensible
		}
		if i >= len(form) {
			continue
		}
		if form[i].text == "EVENTS" {
			last = last[1+strings.LastIndexAny(last, ",|"):]
			extensible = true
		}
		candidates = append(candidates, s.possible(form[i])...)
	}
	return len(line) - len(last), matching(candidates, last), extensible
}

// possible returns the words that fit p, if they can be listed.
func (s *Session) possible(p param) []string {
	switch {
	case p.isObject():
		return slices.Collect(maps.Keys(s.names))
	case p.text == "EVENTS":
		return eventNames()
	case p.isWord():
		return commandNames()
	case p.isNew(), p.isRest(), p.text == `"text"`:
		return nil
	}
	return p.choices()
}

// matching returns the candidates that begin with start, sorted.
func matching(candidates []string, start string) []string {
	candidates = slices.DeleteFunc(candidates, func(c string) bool { return !strings.HasPrefix(c, start) })
	slices.Sort(candidates)
	return slices.Compact(candidates)
}
