package doctest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"epoll-step-by-step/internal/transcript"
)

// A document is a Markdown file with generated blocks.
type document struct {
	file     string
	lines    []string // with their line ends
	blocks   []block
	problems []Problem // with directives
}

// A block is a directive and the fenced block that is made from it.
type block struct {
	file     string
	line     int    // of the directive, from 1
	text     string // of the directive, without <!-- and -->
	fence    string // as it is in the document; "" if there is none
	from, to int    // the fence's lines; to == from if there is none
}

// makers maps the first word of a directive to the function that makes its block
// from the rest. The function returns the language and the text of the fence.
var makers = map[string]func(ctx context.Context, rest string) (language, text string, err error){
	"code:":      code,
	"diff:":      diff,
	"changes:":   changes,
	"checks:":    checksOf,
	"transcript": transcriptBlock,
	"lab":        labBlock,
	"walk":       walkBlock,
}

// replayed matches the first line of a block that is its own script: the lines with
// the prompt are run, and all others are their answers.
var replayed = regexp.MustCompile("^```(lab|walk)\\b(.*\n)")

func read(file string) (document, error) {
	text, err := os.ReadFile(file)
	return parse(file, string(text)), err
}

// parse finds the blocks. A directive inside a fenced block or another comment
// does not count.
func parse(file, text string) document {
	doc := document{file: file, lines: strings.SplitAfter(text, "\n")}
	problem := func(line int, text string) {
		doc.problems = append(doc.problems, Problem{file, line + 1, text})
	}
	for i := 0; i < len(doc.lines); {
		if end := fenceEnd(doc.lines, i); end > i {
			if m := replayed.FindStringSubmatch(doc.lines[i]); m != nil && end <= len(doc.lines) {
				doc.blocks = append(doc.blocks, block{
					file: file, line: i + 1, from: i, to: end,
					text:  m[1] + m[2] + strings.Join(doc.lines[i+1:end-1], ""),
					fence: strings.Join(doc.lines[i:end], ""),
				})
			}
			i = end
			continue
		}
		indent, comment, found := strings.Cut(doc.lines[i], "<!--")
		if !found || strings.TrimSpace(indent) != "" {
			i++
			continue
		}
		first := i
		i++
		for ; !strings.Contains(comment, "-->") && i < len(doc.lines); i++ {
			comment += doc.lines[i]
		}
		comment, after, closed := strings.Cut(comment, "-->")
		comment = strings.TrimSpace(comment)
		word, _, _ := strings.Cut(strings.Join(strings.Fields(comment), " "), " ")
		switch {
		case makers[word] == nil:
			if strings.HasSuffix(word, ":") {
				problem(first, fmt.Sprintf("<!-- %s: no such directive; there are code:, diff:, changes:, checks:, transcript and compatibility", word))
			}
			continue
		case !closed:
			problem(first, fmt.Sprintf("<!-- %s: the comment has no end: -->", word))
			continue
		case indent != "" || strings.TrimSpace(after) != "":
			problem(first, fmt.Sprintf("<!-- %s: a directive has its lines for itself, without indentation", word))
			continue
		}
		end := fenceEnd(doc.lines, i)
		if end > len(doc.lines) {
			problem(first, fmt.Sprintf("<!-- %s: the fenced block below has no end", word))
			continue
		}
		doc.blocks = append(doc.blocks, block{
			file: file, line: first + 1, text: comment, from: i, to: end,
			fence: strings.Join(doc.lines[i:end], ""),
		})
		i = end
	}
	return doc
}

var fenceMark = regexp.MustCompile("^\\s*(?:(`{3,})[^`]*|(~{3,}).*)$")

// fenceEnd returns the index of the line after the fenced block that begins in
// line i. It returns i if no block begins there, and more than len(lines) if the
// block has no end.
func fenceEnd(lines []string, i int) int {
	if i >= len(lines) {
		return i
	}
	m := fenceMark.FindStringSubmatch(strings.TrimRight(lines[i], "\r\n"))
	if m == nil {
		return i
	}
	mark := m[1] + m[2]
	for i++; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		if strings.HasPrefix(line, mark) && strings.Trim(line, mark[:1]) == "" {
			return i + 1
		}
	}
	return i + 1
}

// save writes the document if a fence has changed: all of it or nothing. It fails
// if the file was changed after it was read.
func (doc document) save() error {
	var text strings.Builder
	last := 0
	for _, b := range doc.blocks {
		text.WriteString(strings.Join(doc.lines[last:b.from], ""))
		if b.from == len(doc.lines) && b.fence != "" {
			text.WriteString("\n") // which the document's last line has not
		}
		text.WriteString(b.fence)
		last = b.to
	}
	text.WriteString(strings.Join(doc.lines[last:], ""))
	old := strings.Join(doc.lines, "")
	if text.String() == old {
		return nil
	}
	if now, err := os.ReadFile(doc.file); err != nil || string(now) != old {
		return errors.Join(errors.New("not refreshed: the file was changed meanwhile; run the command again"), err)
	}
	return replace(doc.file, text.String())
}

// replace replaces a file at once: no reader sees half of it.
func replace(file, text string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".doctest*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails if all went well
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(info.Mode()), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// make returns the fence as it should be. If the old one means the same, it stays.
func (b block) make(ctx context.Context) (string, error) {
	word, rest := b.cut()
	language, text, err := makers[word](ctx, rest)
	if err != nil {
		return "", err
	}
	mark := "```"
	for strings.Contains(text, mark) {
		mark += "`"
	}
	fresh := mark + language + "\n" + text + mark + "\n"
	if b.same(fresh) {
		return b.fence, nil
	}
	return fresh, nil
}

// cut returns the first word and the rest.
func (b block) cut() (word, rest string) {
	word = strings.Fields(b.text)[0]
	return word, strings.TrimPrefix(b.text, word)
}

func (b block) isTranscript() bool {
	word, _ := b.cut()
	return word == "transcript"
}

// isStatic reports whether the block is made from files alone, without running
// anything.
func (b block) isStatic() bool {
	return !b.runs()
}

// runs reports whether the block shows what programs printed.
func (b block) runs() bool {
	word, _ := b.cut()
	return word == "transcript" || word == "lab" || word == "walk"
}

// title describes the block and its source in one line.
func (b block) title() string {
	word, rest := b.cut()
	if b.runs() {
		_, script, _ := strings.Cut(rest, "\n")
		first, _, _ := strings.Cut(strings.TrimSpace(script), "\n")
		return word + ": " + first
	}
	return strings.Join(strings.Fields(b.text), " ")
}

func (b block) problem(err error) Problem {
	p := Problem{b.file, b.line, b.title() + ": " + strings.TrimRight(err.Error(), "\n")}
	var at transcript.Error
	if errors.As(err, &at) {
		p.Line += at.Line
	}
	return p
}

func (b block) stale(fresh string) Problem {
	text := `stale; "make docs" refreshes it`
	if b.fence == "" {
		text = `there is no block yet; "make docs" makes it`
	}
	return b.problem(errors.New(text + "\n" + b.difference(fresh)))
}
