package doctest

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// chapterHeadings lists the headings of every chapter, in order.
var chapterHeadings = []string{
	"The question", "You will be able to", "Keep in mind", "Predict", "Run it",
	"The diff", "Walk-through", "Watch the kernel", "Break it",
	"What is still wrong", "Exercises", "Check yourself", "Man pages",
}

// chapterLeavesOut lists the headings that a chapter, by its number, omits.
var chapterLeavesOut = map[string][]string{
	"00": {"The diff", "What is still wrong", "Exercises"}, // it has no step
	"05": {"The diff"},
	"06": {"The diff"},
	"07": {"The diff"},
}

const (
	contents        = "docs/README.md"
	questions       = "Check yourself"
	fewestQuestions = 3
)

var (
	chapterFile = regexp.MustCompile(`^docs/(\d\d)-[^/]*\.md$`)
	detailsTag  = regexp.MustCompile(`<details\b|</details>`)
)

// checkChapters reports chapters that lack the common form, and chapters that no
// link leads to.
func checkChapters(_ string, docs []*markdown) []Problem {
	var ps []Problem
	var chapters []*markdown // in the order of their numbers, as docs are
	toc := &markdown{file: contents}
	for _, d := range docs {
		ps = append(ps, d.checkDetails()...)
		if d.file == contents {
			toc = d
		} else if chapterFile.MatchString(d.file) {
			chapters = append(chapters, d)
		}
	}
	next := 0
	for i, d := range chapters {
		number := chapterFile.FindStringSubmatch(d.file)[1]
		if want := fmt.Sprintf("%02d", next); number != want {
			ps = append(ps, d.problem(1, "the chapter has the number %s, and %s would be next: rename it, or write the one that is missing", number, want))
		}
		next, _ = strconv.Atoi(number) // two digits: it cannot fail
		next++
		if i+1 < len(chapters) && !d.linked()[chapters[i+1].file] {
			ps = append(ps, d.problem(len(d.lines), "no link leads on to the next chapter, %s: add one", path.Base(chapters[i+1].file)))
		}
		if !toc.linked()[d.file] {
			ps = append(ps, toc.problem(1, "no link leads to the chapter %s: add it to the contents", path.Base(d.file)))
		}
		ps = append(ps, d.checkHeadings(number)...)
		ps = append(ps, d.checkQuestions()...)
	}
	return ps
}

func (d *markdown) checkHeadings(chapter string) []Problem {
	var ps []Problem
	top := d.headings(1)
	if len(top) == 0 || top[0].line != 1 {
		ps = append(ps, d.problem(1, "the first line is not the chapter's name: begin with # and the name"))
	}
	for _, h := range top[min(1, len(top)):] {
		ps = append(ps, d.problem(h.line, "there is another heading of level 1, %q: give it a lower level", h.text))
	}
	var want, have []string
	for _, w := range chapterHeadings {
		if !slices.Contains(chapterLeavesOut[chapter], w) {
			want = append(want, w)
		}
	}
	got := slices.DeleteFunc(d.headings(2), func(h excerpt) bool {
		unexpected := !slices.Contains(want, h.text) || slices.Contains(have, h.text)
		if unexpected {
			ps = append(ps, d.problem(h.line, "the heading %q is not one of this chapter's, or is there twice: remove it, or give it level 3", h.text))
		} else {
			have = append(have, h.text)
		}
		return unexpected
	})
	after := "the chapter's name"
	want = slices.DeleteFunc(want, func(w string) bool {
		missing := !slices.Contains(have, w)
		if missing {
			ps = append(ps, d.problem(1, "the heading %q is missing: add it after %q", "## "+w, after))
		}
		after = w
		return missing
	})
	for i, h := range got { // now a permutation of want
		if h.text != want[i] {
			return append(ps, d.problem(h.line, "the heading %q is out of order: %q comes first", h.text, want[i]))
		}
	}
	return ps
}

func (d *markdown) checkQuestions() []Problem {
	before, text, found := strings.Cut(d.plain(), "\n## "+questions+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	n, summaries := strings.Count(text, "<details"), strings.Count(text, "<summary>")
	if found && (n < fewestQuestions || n != summaries) {
		return []Problem{d.problem(2+strings.Count(before, "\n"), "%q has %d <details> and %d <summary>: ask at least %d questions, each in a <summary> of its own", questions, n, summaries, fewestQuestions)}
	}
	return nil
}

func (d *markdown) checkDetails() []Problem {
	var open []int // the lines of those not closed yet
	for _, tag := range find(detailsTag, d.plain()) {
		if tag.text != "</details>" {
			open = append(open, tag.line)
		} else if len(open) > 0 {
			open = open[:len(open)-1]
		} else {
			return []Problem{d.problem(tag.line, "</details> without <details>: remove it, or open it above")}
		}
	}
	if len(open) > 0 {
		return []Problem{d.problem(open[0], "<details> without </details>: close it, or it swallows what follows")}
	}
	return nil
}

const (
	longestChapter = 255 // lines
	longestLine    = 100 // columns; most end at about 80
)

// unbreakable matches what may make a line of prose long: pictures, targets of
// links, addresses and tags.
var unbreakable = regexp.MustCompile(`!\[[^\]]*\]\([^)]*\)|\]\([^)]*\)|https?://\S+|<[^>]*>`)

// checkLength reports long chapters and long lines. Generated blocks do not count
// towards the length of a chapter.
func checkLength(_ string, docs []*markdown) []Problem {
	var ps []Problem
	for _, d := range docs {
		written := 0
		for i, l := range d.lines {
			if l.kind != directiveLine && l.kind != generatedLine {
				written++
			}
			text := strings.TrimRight(l.text, "\r\n")
			n := utf8.RuneCountInString(unbreakable.ReplaceAllString(text, ""))
			table := strings.HasPrefix(strings.TrimSpace(text), "|")
			if l.kind == proseLine && !table && n > longestLine {
				ps = append(ps, d.problem(i+1, "the line has %d columns, at most %d are allowed: break it at about 80", n, longestLine))
			}
		}
		if chapterFile.MatchString(d.file) && written > longestChapter {
			ps = append(ps, d.problem(1, "the chapter has %d lines of its own, at most %d are allowed: shorten it; excerpts, diffs and transcripts with a directive do not count", written, longestChapter))
		}
	}
	return ps
}
