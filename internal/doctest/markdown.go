package doctest

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
)

// A markdown is a document, line by line.
type markdown struct {
	file  string // relative to the root
	lines []markdownLine
}

type markdownLine struct {
	text string // with its line end
	kind lineKind
}

type lineKind int

const (
	proseLine     lineKind = iota
	fencedLine             // in a fenced block, fences included
	commentLine            // in a comment of HTML
	directiveLine          // in a comment that says what the block below shows
	generatedLine          // in that block, fences included
)

// An excerpt is a piece of a document and where it begins.
type excerpt struct {
	line int
	text string
}

// documents lists the documents of the repository, relative to root.
func documents(root string) []string {
	var files []string
	for _, pattern := range []string{"*.md", "tools/bench/*.md", "docs/*.md", "exercises/*.md", "exercises/*/*.md"} {
		found, _ := fs.Glob(os.DirFS(root), pattern)
		files = append(files, found...)
	}
	return files
}

func readDocuments(root string) ([]*markdown, error) {
	var docs []*markdown
	for _, file := range documents(root) {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return nil, err
		}
		docs = append(docs, parseMarkdown(file, string(text)))
	}
	return docs, nil
}

func parseMarkdown(file, text string) *markdown {
	doc := parse(file, text)
	d := &markdown{file: file}
	for line := range strings.Lines(text) {
		d.lines = append(d.lines, markdownLine{line, proseLine})
	}
	mark := func(from, to int, kind lineKind) {
		for i := from; i < min(to, len(d.lines)); i++ {
			d.lines[i].kind = kind
		}
	}
	for i := 0; i < len(doc.lines); {
		end, kind := fenceEnd(doc.lines, i), fencedLine
		if end == i && strings.HasPrefix(strings.TrimSpace(doc.lines[i]), "<!--") {
			kind = commentLine
			for end++; end < len(doc.lines) && !strings.Contains(doc.lines[end-1], "-->"); end++ {
			}
		}
		mark(i, end, kind)
		i = max(end, i+1)
	}
	for _, b := range doc.blocks {
		mark(b.line-1, b.from, directiveLine)
		mark(b.from, b.to, generatedLine)
	}
	return d
}

// prose returns the document with all other lines empty, so that each line keeps
// its number.
func (d *markdown) prose() string {
	var b strings.Builder
	for _, l := range d.lines {
		if l.kind == proseLine {
			b.WriteString(l.text)
		} else {
			b.WriteString("\n")
		}
	}
	return b.String()
}

var (
	// A code span may go over a line end, but not out of its paragraph.
	codeSpan = regexp.MustCompile("``+(?:[^\n]|\n[^\n])+?``+|`(?:[^`\n]|\n[^`\n])+`")
	anyByte  = regexp.MustCompile(`[^\n]`)
)

// plain returns the prose with the text of its code spans replaced.
func (d *markdown) plain() string {
	return codeSpan.ReplaceAllStringFunc(d.prose(), func(s string) string {
		return anyByte.ReplaceAllString(s, "x")
	})
}

func (d *markdown) codeSpans() []excerpt {
	spans := find(codeSpan, d.prose())
	for i := range spans {
		spans[i].text = strings.Trim(spans[i].text, "`")
	}
	return spans
}

// find returns all matches of re. If re has groups, the one that matched counts.
func find(re *regexp.Regexp, text string) []excerpt {
	var found []excerpt
	for _, m := range re.FindAllStringSubmatchIndex(text, -1) {
		at := m[:2]
		for g := 2; g < len(m); g += 2 {
			if m[g] >= 0 {
				at = m[g : g+2]
			}
		}
		found = append(found, excerpt{1 + strings.Count(text[:at[0]], "\n"), text[at[0]:at[1]]})
	}
	return found
}

func (d *markdown) problem(line int, format string, args ...any) Problem {
	return Problem{d.file, line, fmt.Sprintf(format, args...)}
}

var (
	mdTarget   = regexp.MustCompile(`\]\(\s*([^()\s]*)(?:\s+"[^"]*")?\s*\)|(?m:^\[[^\]^][^\]]*\]:\s*(\S+))`)
	htmlTarget = regexp.MustCompile(`\b(?:src|href)="([^"]*)"`)
	srcset     = regexp.MustCompile(`\bsrcset="([^"]*)"`)
)

// links returns the targets of all links and images.
func (d *markdown) links() []excerpt {
	text := d.plain()
	all := append(find(mdTarget, text), find(htmlTarget, text)...)
	for _, set := range find(srcset, text) {
		for one := range strings.SplitSeq(set.text, ",") {
			name, _, _ := strings.Cut(strings.TrimSpace(one), " ") // what follows is a size
			all = append(all, excerpt{set.line, name})
		}
	}
	return all
}

// resolve returns the file, relative to the root, and the anchor that a link
// leads to. It is not ok if the link leaves the repository for another host.
func (d *markdown) resolve(target string) (file, anchor string, ok bool) {
	u, err := url.Parse(target)
	if err != nil {
		return target, "", true // there will be no such file
	}
	if u.Path == "" && u.Fragment != "" {
		file = d.file
	} else if u.Path != "" {
		file = path.Join(path.Dir(d.file), u.Path)
	}
	return file, u.Fragment, u.Scheme == "" && u.Host == ""
}

// linked returns the files of the repository to which the document leads.
func (d *markdown) linked() map[string]bool {
	files := make(map[string]bool)
	for _, l := range d.links() {
		if file, _, ok := d.resolve(l.text); ok {
			files[file] = true
		}
	}
	return files
}

var mdHeading = regexp.MustCompile(`(?m)^(#{1,6}[ \t].*)$`)

// headings returns those of a level, or of all levels if it is 0.
func (d *markdown) headings(level int) []excerpt {
	var some []excerpt
	for _, h := range find(mdHeading, d.prose()) {
		title := strings.TrimLeft(h.text, "#")
		if level == 0 || level == len(h.text)-len(title) {
			some = append(some, excerpt{h.line, strings.TrimSpace(title)})
		}
	}
	return some
}

var (
	imageInHeading = regexp.MustCompile(`!\[[^\]]*\]\([^)]*\)|</?(?:a|img)\b[^>]*>`)
	linkInHeading  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	explicitAnchor = regexp.MustCompile(`<a\s[^>]*\b(?:id|name)="([^"]*)"`)
)

// slug returns the anchor that GitHub gives to the first heading of this text.
func slug(heading string) string {
	heading = imageInHeading.ReplaceAllString(heading, "")
	heading = linkInHeading.ReplaceAllString(heading, "$1")
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.In(r, unicode.L, unicode.M, unicode.N):
			return unicode.ToLower(r)
		}
		return -1
	}, strings.TrimSpace(heading))
}

func (d *markdown) anchors() map[string]bool {
	all, count := make(map[string]bool), make(map[string]int)
	for _, h := range d.headings(0) {
		s := slug(h.text)
		count[s]++
		if n := count[s] - 1; n > 0 {
			s = fmt.Sprintf("%s-%d", s, n)
		}
		all[s] = true
	}
	for _, a := range find(explicitAnchor, d.plain()) {
		all[a.text] = true
	}
	return all
}
