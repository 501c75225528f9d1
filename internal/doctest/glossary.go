package doctest

import (
	"regexp"
	"slices"
	"strings"
)

// section returns the text below the heading with this anchor.
func (d *markdown) section(anchor string) string {
	var text strings.Builder
	level := 0 // of the heading; 0 before it is found
	for _, l := range d.lines {
		title := strings.TrimLeft(l.text, "#")
		if n := len(l.text) - len(title); n > 0 && l.kind == proseLine {
			if level > 0 && n <= level {
				break
			}
			if slug(strings.TrimSpace(title)) == anchor {
				level = n
			}
		}
		if level > 0 {
			text.WriteString(l.text)
		}
	}
	return text.String()
}

var glossaryRow = regexp.MustCompile(`^\| (.*?) \| .* \| (\[.*) \|\n$`)

// checkGlossary reports terms of docs/glossary.md that are out of order, and
// those that do not occur where they are said to be taught.
func checkGlossary(_ string, docs []*markdown) (ps []Problem) {
	byFile := make(map[string]*markdown)
	for _, d := range docs {
		byFile[d.file] = d
	}
	glossary := byFile["docs/glossary.md"]
	if glossary == nil {
		return nil
	}
	last := ""
	for i, l := range glossary.lines {
		row := glossaryRow.FindStringSubmatch(l.text)
		if row == nil {
			continue
		}
		term := strings.ToLower(row[1])
		if term < last {
			ps = append(ps, glossary.problem(i+1, "%q comes before %q: put it there", row[1], last))
		}
		last = term
		for _, link := range find(mdTarget, row[2]) {
			file, anchor, _ := glossary.resolve(link.text)
			d := byFile[file]
			if d == nil {
				continue // checkLinks reports it
			}
			text := strings.ToLower(strings.Join(strings.Fields(d.section(anchor)), " "))
			named := func(name string) bool { return strings.Contains(text, name) }
			if !slices.ContainsFunc(strings.Split(term, ", "), named) {
				ps = append(ps, glossary.problem(i+1, "%s#%s does not have the word %q: use it there, or link to where it is", file, anchor, row[1]))
			}
		}
	}
	return ps
}
