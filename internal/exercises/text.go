package exercises

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"epoll-step-by-step/internal/terminal"
)

func (s *session) printJSON(v any) error {
	enc := json.NewEncoder(s.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// say prints a paragraph.
func (s *session) say(format string, args ...any) {
	fmt.Fprint(s.out, reflow(fmt.Sprintf(format, args...), s.style.Width))
}

// advise prints pairs of a label and a command or file, and leaves out those
// whose second part is empty.
func (s *session) advise(pairs ...string) {
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] != "" {
			fmt.Fprintf(s.out, "  %-9s %s\n", pair[0], pair[1])
		}
	}
}

// cut shortens a line to the width of the screen, if there is one.
func (s *session) cut(line string) string {
	if s.style.Width == 0 {
		return line
	}
	return terminal.Cut(line, s.style.Width)
}

var emphasis = regexp.MustCompile("(^|[^\\w*`])\\*([^\\s*`](?:[^*`]*[^\\s*`])?)\\*")

// reflow turns Markdown into text for a terminal: it breaks lines at the width and
// removes emphasis and fences. It indents code, and keeps tables and quotes.
func reflow(text string, width int) string {
	var out strings.Builder
	column, indent, fenced := 0, "", false
	end := func() {
		if column > 0 {
			out.WriteByte('\n')
		}
		column = 0
	}
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		trimmed := strings.TrimSpace(line)
		fence := strings.HasPrefix(trimmed, "```")
		item := strings.HasPrefix(trimmed, "- ") || strings.HasPrefix(trimmed, "* ")
		switch {
		case fence:
			end()
			indent, fenced = "", !fenced
			continue
		case fenced && trimmed != "":
			out.WriteString("    " + strings.TrimRight(line, " ") + "\n")
			continue
		case trimmed == "" || strings.ContainsAny(trimmed[:1], "|>"):
			end()
			out.WriteString(strings.TrimRight(line, " ") + "\n")
			indent = ""
			continue
		}
		trimmed = emphasis.ReplaceAllString(trimmed, "$1$2")
		if item {
			end()
			indent = ""
		}
		for word := range strings.FieldsSeq(trimmed) {
			n := len([]rune(word))
			if column > 0 && column+1+n > width {
				end()
			}
			if column == 0 {
				out.WriteString(indent)
				column = len(indent)
			} else {
				out.WriteByte(' ')
				column++
			}
			out.WriteString(word)
			column += n
			if item {
				indent = "  "
			}
		}
	}
	end()
	return out.String()
}
