package doctest

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"
)

var (
	mdImage   = regexp.MustCompile(`!\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(`)
	htmlImage = regexp.MustCompile(`<img\b(?:[^>"]|"[^"]*")*>`)
)

// shortestAlt is the number of characters below which an alternative text
// names a picture rather than tells what it shows.
const shortestAlt = 20

// checkPictures reports pictures that no document shows, that lack a useful
// alternative text or a dark version, or that GitHub would not show.
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
