package doctest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var codeForm = regexp.MustCompile(`^(\S+)(?: (\w+))?(?: from "(.*?)")?(?: to "(.*?)")?$`)

// code returns a file or, with NAME, one declaration of a Go file with its comment:
// NAME is the name of a function, a method or a type, or const. With from, the
// excerpt begins at the first line that contains that text. With to, it ends at the
// next line that contains that text.
func code(_ context.Context, rest string) (language, text string, err error) {
	m := codeForm.FindStringSubmatch(strings.Join(strings.Fields(rest), " "))
	if m == nil {
		return "", "", errors.New(`want FILE [NAME] [from "TEXT"] [to "TEXT"]`)
	}
	file, name, from, to := m[1], m[2], m[3], m[4]
	if name != "" {
		text, err = declarationIn(file, name)
	} else {
		text, err = textOf(file)
	}
	if err != nil {
		return "", "", err
	}
	if text == "" {
		return "", "", fmt.Errorf("%s has no %s", file, cmp.Or(name, "text"))
	}
	lines := slices.Collect(strings.Lines(text))
	first, last := 0, len(lines)-1
	if from != "" {
		if first = containing(lines, from); first < 0 {
			return "", "", fmt.Errorf("no line with %q in %s %s", from, file, name)
		}
	}
	if to != "" {
		length := containing(lines[first:], to)
		if length < 0 {
			return "", "", fmt.Errorf("no line with %q, from there on, in %s %s", to, file, name)
		}
		last = first + length
	}
	return languageOf(file), unindent(lines[first : last+1]), nil
}

// containing returns the index of the first line that contains the text, or -1.
func containing(lines []string, text string) int {
	return slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, text) })
}

// unindent joins the lines without their common indentation.
func unindent(lines []string) string {
	indent := lines[0][:len(lines[0])-len(strings.TrimLeft(lines[0], " \t"))]
	for _, line := range lines {
		for strings.TrimSpace(line) != "" && !strings.HasPrefix(line, indent) {
			indent = indent[:len(indent)-1]
		}
	}
	var text strings.Builder
	for _, line := range lines {
		text.WriteString(strings.TrimPrefix(line, indent))
	}
	return strings.TrimSuffix(text.String(), "\n") + "\n"
}

func textOf(file string) (string, error) {
	text, err := os.ReadFile(file)
	return string(text), err
}

func languageOf(file string) string {
	switch {
	case filepath.Base(file) == "Makefile":
		return "make"
	case filepath.Ext(file) == ".go" || filepath.Ext(file) == ".cpp":
		return filepath.Ext(file)[1:]
	}
	return "text"
}

// A declaration is a piece of a Go file.
type declaration struct {
	name string // "listen", "type conn", "const", "imports"; the first is "package comment"
	text string // with its comment
	rest string // the text up to the next one, such as an empty line
}

// declarationIn returns the text of the declaration, or "" if there is none.
func declarationIn(file, name string) (string, error) {
	all, err := declarations(file)
	text := ""
	for _, d := range all {
		if d.name != name && d.name != "type "+name {
			continue
		}
		if text != "" {
			return "", fmt.Errorf("%s has more than one %s", file, name)
		}
		text = d.text
	}
	return text, err
}

// declarations divides a Go file into its declarations. Joined, they are the file.
func declarations(file string) ([]declaration, error) {
	src, err := textOf(file)
	if err != nil {
		return nil, err
	}
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, file, src, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	var all []declaration
	name, from, end := "package comment", 0, parsed.Name.End()
	until := func(next int) { // ends a declaration where the next one begins
		text := src[from:next]
		own := files.Position(end).Offset - from
		own += strings.Index(text[own:]+"\n", "\n") + 1 // a comment at the end of its line belongs to it
		own = min(own, len(text))
		all = append(all, declaration{name, text[:own], text[own:]})
		from = next
	}
	for _, d := range parsed.Decls {
		next, doc := nameOf(d)
		start := d.Pos()
		if doc != nil {
			start = doc.Pos()
		}
		until(files.Position(start).Offset)
		name, end = next, d.End()
	}
	until(len(src))
	return all, nil
}

func nameOf(d ast.Decl) (string, *ast.CommentGroup) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		return d.Name.Name, d.Doc
	case *ast.GenDecl:
		switch spec := d.Specs[0].(type) {
		case *ast.ImportSpec:
			return "imports", d.Doc
		case *ast.TypeSpec:
			return "type " + spec.Name.Name, d.Doc
		}
		return d.Tok.String(), d.Doc // const or var
	}
	return "", nil
}
