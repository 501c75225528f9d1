// Package source parses a program that is a single Go file, such as a step or
// an exercise, for the tests that check how such a program is written.
package source

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// A Program is a parsed Go file.
type Program struct {
	Text  string
	Funcs []Func // in file order
	fset  *token.FileSet
	file  *ast.File
}

// A Func is a function or a method.
type Func struct {
	Name  string
	Text  string // including its comment
	Lines int    // without its comment
}

// Read reads and parses a file.
func Read(name string) (*Program, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	p := &Program{Text: string(text), fset: token.NewFileSet()}
	if p.file, err = parser.ParseFile(p.fset, name, text, parser.ParseComments); err != nil {
		return nil, err
	}
	for _, d := range p.file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		begin, from, to := f.Pos(), p.fset.Position(f.Pos()), p.fset.Position(f.End())
		if f.Doc != nil {
			begin = f.Doc.Pos()
		}
		p.Funcs = append(p.Funcs, Func{f.Name.Name, p.Text[p.fset.Position(begin).Offset:to.Offset], to.Line - from.Line + 1})
	}
	return p, nil
}

// Functions returns the text of each function, by name.
func (p *Program) Functions() map[string]string {
	all := make(map[string]string)
	for _, f := range p.Funcs {
		all[f.Name] += f.Text
	}
	return all
}

// Body returns the lines after the package comment.
func (p *Program) Body() []string {
	return strings.Split(p.Text[p.fset.Position(p.file.Package).Offset:], "\n")
}

// Imports returns the imports that are not allowed. Allowed are the standard
// library except net and syscall, and golang.org/x/sys/unix.
func (p *Program) Imports() (forbidden []string) {
	standard := regexp.MustCompile(`^[a-z]+(/[a-z0-9]+)*$`)
	for _, spec := range p.file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		network := path == "net" || strings.HasPrefix(path, "net/") && path != "net/netip"
		if network || path == "syscall" || !standard.MatchString(path) && path != "golang.org/x/sys/unix" {
			forbidden = append(forbidden, path)
		}
	}
	return forbidden
}

// Concurrency returns the places that use goroutines or channels.
func (p *Program) Concurrency() (found []string) {
	ast.Inspect(p.file, func(n ast.Node) bool {
		switch n.(type) {
		case *ast.GoStmt, *ast.ChanType, *ast.SelectStmt, *ast.SendStmt:
			found = append(found, fmt.Sprintf("%v: %T", p.fset.Position(n.Pos()), n))
		}
		return true
	})
	return found
}

// Changed returns the number of lines that a diff of a and b removes and adds:
// those that are not in the longest common subsequence of a and b.
func Changed(a, b []string) int {
	common := make([]int, len(b)+1)
	for _, line := range a {
		diagonal := 0
		for j := range b {
			above := common[j+1]
			if line == b[j] {
				common[j+1] = diagonal + 1
			} else {
				common[j+1] = max(above, common[j])
			}
			diagonal = above
		}
	}
	return len(a) + len(b) - 2*common[len(b)]
}
