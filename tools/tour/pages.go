package main

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/chroma/v2"
	"github.com/alecthomas/chroma/v2/formatters/html"
	"github.com/alecthomas/chroma/v2/lexers"
	"github.com/alecthomas/chroma/v2/styles"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	htmlrenderer "github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

//go:embed static
var static embed.FS

var pageTemplate = template.Must(template.ParseFS(static, "static/page.html"))

// A page is what the template fills in.
type page struct {
	Title          string
	File           string // as in "docs/03-epoll-level-triggered.md"
	Body           template.HTML
	Chapters       []chapter
	Previous, Next *chapter
}

// A chapter is an entry of the navigation.
type chapter struct {
	File, Title string
	Current     bool
}

var (
	documents = regexp.MustCompile(`^(README\.md|CONTRIBUTING\.md|docs/[\w-]+\.md|exercises/(\d\d-[\w-]+/)?README\.md)$`)
	heading   = regexp.MustCompile(`(?m)^# (.+)$`)
)

// chapters lists the documents in reading order.
func chapters() []chapter {
	files, _ := filepath.Glob("docs/[0-9]*.md") // the pattern is right
	files = append([]string{"README.md"}, files...)
	files = append(files, "docs/myths.md", "docs/questions.md", "docs/man-epoll-7.md", "docs/man-pages.md", "docs/examiner.md", "docs/glossary.md", "docs/teaching.md", "exercises/README.md")
	var list []chapter
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if m := heading.FindSubmatch(text); m != nil {
			list = append(list, chapter{File: file, Title: string(m[1])})
		}
	}
	return list
}

// document serves a Markdown file as a page, and the pictures beside it.
func (t *tour) document(w http.ResponseWriter, r *http.Request) {
	file := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	switch {
	case file == "" || file == ".":
		file = "README.md"
	case strings.HasPrefix(file, "docs/img/") && path.Ext(file) == ".svg":
		http.ServeFile(w, r, file)
		return
	case !documents.MatchString(file):
		if info, err := os.Stat(filepath.Join(file, "README.md")); err == nil && info.Mode().IsRegular() {
			http.Redirect(w, r, "/"+file+"/README.md", http.StatusFound)
			return
		}
		if source := filepath.Clean(file); strings.HasSuffix(source, ".go") || strings.HasSuffix(source, ".cpp") {
			t.source(w, source)
			return
		}
		http.Error(w, "there is no such page", http.StatusNotFound)
		return
	}
	markdown, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		http.Error(w, "there is no such page", http.StatusNotFound)
		return
	}
	var body bytes.Buffer
	if err == nil {
		err = converter.Convert(markdown, &body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	t.show(w, file, template.HTML(body.String())) // of the repository's own files
}

func (t *tour) show(w http.ResponseWriter, file string, body template.HTML) {
	p := page{File: file, Title: file, Body: body, Chapters: chapters()}
	i := slices.IndexFunc(p.Chapters, func(c chapter) bool { return c.File == file })
	if i >= 0 {
		p.Chapters[i].Current = true
		p.Title = p.Chapters[i].Title
		if i > 0 {
			p.Previous = &p.Chapters[i-1]
		}
		if i+1 < len(p.Chapters) {
			p.Next = &p.Chapters[i+1]
		}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := pageTemplate.Execute(w, p); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// sources are the programs that the documents link to.
var sources = regexp.MustCompile(`^(step\d-[\w-]+|exercises/\d\d-[\w-]+/(starter|solution)|beyond/\w+|internal/[\w/]+|tools/[\w/]+|docs|\.)/?[\w-]+\.(go|cpp)$`)

func (t *tour) source(w http.ResponseWriter, file string) {
	code, err := os.ReadFile(file)
	if err != nil || !sources.MatchString(file) {
		http.Error(w, "there is no such file", http.StatusNotFound)
		return
	}
	var body bytes.Buffer
	body.WriteString("<h1>" + template.HTMLEscapeString(file) + "</h1>")
	highlight(&body, strings.TrimPrefix(path.Ext(file), "."), string(code), html.WithLineNumbers(true), html.WithLinkableLineNumbers(true, "L"))
	t.show(w, file, template.HTML(body.String()))
}

// converter turns GitHub's dialect of Markdown into HTML. The documents are the
// repository's own; their HTML, such as <details>, is kept.
var converter = goldmark.New(
	goldmark.WithExtensions(extension.GFM),
	goldmark.WithParserOptions(parser.WithAutoHeadingID()),
	goldmark.WithRendererOptions(htmlrenderer.WithUnsafe(), renderer.WithNodeRenderers(util.Prioritized(blocks{}, 100))),
)

// blocks renders fenced blocks: code in colours, and those that can be run with what the
// script of the page needs.
type blocks struct{}

func (b blocks) RegisterFuncs(r renderer.NodeRendererFuncRegisterer) {
	r.Register(ast.KindFencedCodeBlock, b.render)
}

func (blocks) render(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkSkipChildren, nil
	}
	block := node.(*ast.FencedCodeBlock)
	language := string(block.Language(source))
	code := string(lines(block.Lines(), source))
	switch language {
	case "lab", "walk":
		w.WriteString(`<section class="replay ` + language + `" data-kind="` + language + `"><pre tabindex="0">`)
		w.WriteString(template.HTMLEscapeString(code))
		w.WriteString("</pre></section>\n")
		return ast.WalkSkipChildren, nil
	}
	highlight(w, language, code)
	return ast.WalkSkipChildren, nil
}

func lines(segments *text.Segments, source []byte) []byte {
	var b bytes.Buffer
	for i := range segments.Len() {
		at := segments.At(i)
		b.Write(at.Value(source))
	}
	return b.Bytes()
}

// highlight writes code in colours. Their names are classes: see style.
func highlight(w interface{ WriteString(string) (int, error) }, language, code string, options ...html.Option) {
	lexer := lexers.Get(language)
	if lexer == nil {
		lexer = lexers.Fallback
	}
	tokens, err := chroma.Coalesce(lexer).Tokenise(nil, code)
	var b bytes.Buffer
	if err == nil {
		err = html.New(append(options, html.WithClasses(true))...).Format(&b, styles.Fallback, tokens)
	}
	if err != nil {
		b.Reset()
		b.WriteString("<pre>" + template.HTMLEscapeString(code) + "</pre>")
	}
	w.WriteString(b.String())
}
