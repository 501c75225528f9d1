package doctest

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"epoll-step-by-step/internal/exam/checks"
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

// documentChecks is every check that needs the documents and the tree only.
var documentChecks = []func(root string, docs []*markdown) []Problem{
	checkLinks, checkPictures, checkChapters, checkLength, checkMake, checkPaths, checkIDs, checkGlossary,
}

// checkDocuments checks all documents of the repository at root.
func checkDocuments(root string) ([]Problem, error) {
	docs, err := readDocuments(root)
	if err != nil {
		return nil, err
	}
	var ps []Problem
	for _, check := range documentChecks {
		ps = append(ps, check(root, docs)...)
	}
	return ps, nil
}

// documents lists the documents of the repository, relative to root.
func documents(root string) []string {
	var files []string
	for _, pattern := range []string{"*.md", "bench/*.md", "docs/*.md", "exercises/*.md", "exercises/*/*.md"} {
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

// prose is the document with all other lines empty, so that a line keeps its
// number.
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

// plain is the prose with its code spans blotted out.
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

// find returns what re matches: of several groups, the one that did.
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

// slug is the anchor that GitHub gives to a heading, the first of its name.
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

// exists tells whether the repository has the file or folder. What make put
// into bin does not count: the next clone has none.
func exists(root, file string) bool {
	_, err := fs.Stat(os.DirFS(root), file) // fails above the root, too
	return err == nil && !strings.HasPrefix(file+"/", "bin/")
}

// checkLinks reports links and images that lead nowhere.
func checkLinks(root string, docs []*markdown) []Problem {
	var ps []Problem
	anchors := make(map[string]map[string]bool)
	for _, d := range docs {
		anchors[d.file] = d.anchors()
	}
	for _, d := range docs {
		for _, l := range d.links() {
			file, anchor, ok := d.resolve(l.text)
			if !ok {
				continue
			}
			if !exists(root, file) {
				ps = append(ps, d.problem(l.line, "the link to %q leads nowhere: there is no file %q in the repository; correct the path, which starts at this document, or add the file", l.text, file))
			} else if a := anchors[file]; a != nil && anchor != "" && !a[anchor] {
				ps = append(ps, d.problem(l.line, "the link to %q leads nowhere: no heading of %s has the anchor #%s; correct the anchor or the heading", l.text, file, anchor))
			}
		}
	}
	return ps
}

var (
	mdImage   = regexp.MustCompile(`!\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(`)
	htmlImage = regexp.MustCompile(`<img\b(?:[^>"]|"[^"]*")*>`)
)

// shortestAlt is the number of characters below which an alternative text
// names a picture rather than tells what it shows.
const shortestAlt = 20

// checkPictures reports pictures that a blind reader, a dark screen or no
// document has anything of, and such as GitHub would not show.
func checkPictures(root string, docs []*markdown) []Problem {
	var ps []Problem
	used := make(map[string]bool)
	for _, d := range docs {
		for file := range d.linked() {
			used[file] = true
		}
		alts := find(mdImage, d.plain())
		for _, img := range find(htmlImage, d.plain()) {
			_, alt, _ := strings.Cut(img.text, ` alt="`)
			alt, _, _ = strings.Cut(alt, `"`)
			alts = append(alts, excerpt{img.line, alt})
		}
		for _, alt := range alts {
			text := strings.Join(strings.Fields(alt.text), " ")
			if n := utf8.RuneCountInString(text); n < shortestAlt {
				ps = append(ps, d.problem(alt.line, "the picture's alternative text %q has %d characters, at least %d are needed: say what the picture shows to somebody who cannot see it", text, n, shortestAlt))
			}
		}
	}
	files, _ := fs.Glob(os.DirFS(root), "docs/img/*") // the pattern is right
	for _, file := range files {
		if !used[file] {
			ps = append(ps, Problem{file, 1, "no document shows this picture: show it or remove it"})
		}
		if path.Ext(file) == ".svg" {
			ps = append(ps, checkSVG(root, file)...)
		}
	}
	return ps
}

var (
	inside   = regexp.MustCompile(`^(#|data:)`)
	external = regexp.MustCompile(`@import|@font-face|url\(\s*['"]?\s*(?:https?:|//)`)
	darkRule = regexp.MustCompile(`prefers-color-scheme:\s*dark`)
)

func checkSVG(root, file string) (ps []Problem) {
	data, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		return []Problem{{file, 1, err.Error()}}
	}
	dec := xml.NewDecoder(bytes.NewReader(data))
	report := func(format string, args ...any) {
		line, _ := dec.InputPos()
		ps = append(ps, Problem{file, line, fmt.Sprintf(format, args...)})
	}
	var title, viewBox, dark bool
	style := func(text string) {
		dark = dark || darkRule.MatchString(text)
		if m := external.FindString(text); m != "" {
			report("the picture needs something from elsewhere (%s), which GitHub does not load: put it in here or do without", m)
		}
	}
	for {
		token, err := dec.Token()
		if err == io.EOF {
			break
		} else if err != nil {
			report("the picture is not well-formed XML: %v", err)
			return ps
		}
		switch token := token.(type) {
		case xml.CharData:
			style(string(token))
		case xml.StartElement:
			title = title || token.Name.Local == "title"
			if token.Name.Local == "script" {
				report("the picture has a <script>, which never runs: remove it")
			}
			for _, a := range token.Attr {
				viewBox = viewBox || token.Name.Local == "svg" && a.Name.Local == "viewBox"
				if a.Name.Local == "href" && !inside.MatchString(a.Value) {
					report("the picture refers to %s, which GitHub does not load: refer to nothing but #parts of the picture", a.Value)
				}
				style(a.Value)
			}
		}
	}
	if !viewBox {
		report("the picture has no viewBox: without one it does not scale")
	}
	if !title {
		report("the picture has no <title>: say there what it shows")
	}
	if !dark {
		report("the picture has no rule @media (prefers-color-scheme: dark): give one, and look at it in both")
	}
	return ps
}

// chapterHeadings is what every chapter consists of, in this order.
var chapterHeadings = []string{
	"The question", "You will be able to", "Keep in mind", "Predict", "Run it",
	"The diff", "Walk-through", "Watch the kernel", "Break it",
	"What is still wrong", "Exercises", "Check yourself", "Man pages",
}

// chapterLeavesOut is what a chapter, by its number, does without.
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

// checkChapters reports chapters that are not of the form that all share, and
// those that a reader does not get to.
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
	longestChapter = 250 // lines
	longestLine    = 100 // columns; most end at about 80
)

// unbreakable is what may make a line of prose long: pictures, targets of
// links, addresses and tags.
var unbreakable = regexp.MustCompile(`!\[[^\]]*\]\([^)]*\)|\]\([^)]*\)|https?://\S+|<[^>]*>`)

// checkLength reports long chapters and long lines. What a directive puts into
// a chapter costs nothing.
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

var (
	consolePrompt = regexp.MustCompile(`^[\s>]*(?:\d+ *│ *)?(?:\d*\$ +)?`)
	shellToken    = regexp.MustCompile(`(?:"[^"]*"|'[^']*'|[^\s"';&|#])+|[;&|]+|#.*`)
	makeName      = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)
	makeVariable  = regexp.MustCompile(`^([A-Z][A-Z0-9_]*)=`)
	makeTarget    = regexp.MustCompile(`(?m)^([a-z][a-z0-9_-]*):`)
)

// checkMake reports make commands that name targets or variables that the
// Makefile has not.
func checkMake(root string, docs []*markdown) []Problem {
	targets, err := makeTargets(root)
	if err != nil {
		return []Problem{{"Makefile", 1, err.Error()}}
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		return []Problem{{"Makefile", 1, err.Error()}}
	}
	var ps []Problem
	for _, d := range docs {
		for _, c := range d.commandLines() {
			names, variables := makeArguments(c.text)
			for _, name := range names {
				if !targets[name] {
					ps = append(ps, d.problem(c.line, "the Makefile has no target %s: correct \"make %s\", or add the target", name, name))
				}
			}
			for _, v := range variables {
				if !regexp.MustCompile(`\b` + v + `\b`).Match(makefile) {
					ps = append(ps, d.problem(c.line, "the Makefile knows no variable %s: correct \"%s=\", or let the Makefile use it", v, v))
				}
			}
		}
	}
	return ps
}

// makeTargets asks make itself, which has expanded what the Makefile only
// implies. It is to make ":", which does not exist, so it prints what it knows
// and fails.
func makeTargets(root string) (map[string]bool, error) {
	cmd := exec.Command("make", "-pRrq", "--no-print-directory", ":")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	targets := make(map[string]bool)
	for _, t := range find(makeTarget, string(out)) {
		targets[t.text] = true
	}
	if len(targets) == 0 {
		return nil, fmt.Errorf("make names no targets: %v: %s", err, stderr.Bytes())
	}
	return targets, nil
}

// commandLines returns what may be a command: code spans, and without its
// prompt each line of blocks and of directives, where the scripts are.
func (d *markdown) commandLines() []excerpt {
	all := d.codeSpans()
	for i, l := range d.lines {
		if l.kind != proseLine && l.kind != commentLine {
			all = append(all, excerpt{i + 1, consolePrompt.ReplaceAllString(l.text, "")})
		}
	}
	return all
}

// makeArguments returns the first target, for prose may follow it, and the
// variables of each make command in a line.
func makeArguments(line string) (targets, variables []string) {
	position := 0 // in the command; -1 if that is not make
	for _, token := range shellToken.FindAllString(line, -1) {
		switch {
		case strings.ContainsAny(token[:1], ";&|#"):
			position = 0
			continue
		case position < 0:
			continue
		case position == 0 && token != "make", token == "-C", token == "-f":
			position = -1 // another Makefile is none of our business
			continue
		}
		if v := makeVariable.FindStringSubmatch(token); v != nil {
			variables = append(variables, v[1])
		} else if position == 1 && !strings.HasPrefix(token, "-") {
			if makeName.MatchString(token) {
				targets = append(targets, token)
			}
			position++
		} else if position == 0 {
			position++
		}
	}
	return targets, variables
}

var lineNumber = regexp.MustCompile(`:\d+(-\d+)?$`)

// checkPaths reports files in code spans that the repository has not. A path
// is what begins with a folder at the root: others are the reader's own.
func checkPaths(root string, docs []*markdown) []Problem {
	var ps []Problem
	for _, d := range docs {
		for _, span := range d.codeSpans() {
			for word := range strings.FieldsSeq(span.text) {
				file, _, _ := strings.Cut(strings.Trim(word, `"',;`), "#")
				file = strings.TrimPrefix(lineNumber.ReplaceAllString(file, ""), "./")
				top, _, nested := strings.Cut(file, "/")
				pattern := strings.ContainsAny(file, "{}*<>…") || strings.Contains(file, "...") || strings.Contains(file, "NAME")
				if nested && !pattern && exists(root, top) && !exists(root, path.Clean(file)) {
					ps = append(ps, d.problem(span.line, "there is no %s in the repository: correct the path, or add the file", file))
				}
			}
		}
	}
	return ps
}

var onlyIDs = regexp.MustCompile(`\bONLY=["']?([A-Z0-9_,]+)`)

// checkIDs reports checks that the examiner is asked for and has not.
func checkIDs(_ string, docs []*markdown) []Problem {
	var ps []Problem
	for _, d := range docs {
		for i, l := range d.lines {
			for _, only := range find(onlyIDs, l.text) {
				for id := range strings.SplitSeq(only.text, ",") {
					known := slices.Contains(checks.IDs(), id)
					if !known && id != "ID" && id != "" { // "make help" says ONLY=ID,ID
						ps = append(ps, d.problem(i+1, "the examiner has no check %s: see \"go run ./exam -list\"", id))
					}
				}
			}
		}
	}
	return ps
}

// section returns the text below the heading with this anchor.
func (d *markdown) section(anchor string) string {
	var text strings.Builder
	level := 0 // the heading's; 0: not there
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
				continue // checkLinks says so
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
