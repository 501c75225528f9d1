package doctest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Each rule finds something in its bad example, and no rule does in its good one.
func TestProseRules(t *testing.T) {
	for _, rule := range proseRules {
		t.Run(rule.bad, func(t *testing.T) {
			if rule.good == "" || rule.advice == "" {
				t.Error("no good example, or no advice")
			}
			if !rule.find.MatchString(rule.bad) {
				t.Errorf("%s finds nothing", rule.find)
			}
			for _, p := range parseMarkdown("good", rule.good).wording() {
				t.Errorf("in %q: %s", rule.good, p)
			}
		})
	}
}

// A sentence may begin in several places and go over a line end, but not out of its
// paragraph, and code is not prose.
func TestProse(t *testing.T) {
	tests := []struct {
		text string
		want []int // lines
	}{
		{"Who waits\nloses.", []int{1}},
		{"It waits. Who waits loses.", []int{1}},
		{"It waits.\nWho waits loses.", []int{2}},
		{"It waits:\n\n- Who waits loses.", []int{3}},
		{"It waits.\n\nWho waits loses.", []int{3}},
		{"Who waits? A client.", nil},
		{"# Who waits\n\nA client.", nil},
		{"Who waits\n\nA client.", nil},
		{"| Who waits | A client. |", nil},
		{"In\nvain.", []int{1}},
		{"`once more`\n\n```text\nonce more\n```\n<!-- once more -->\n", nil},
	}
	for _, test := range tests {
		var lines []int
		for _, p := range parseMarkdown("a.md", test.text).wording() {
			lines = append(lines, p.Line)
		}
		if !slices.Equal(lines, test.want) {
			t.Errorf("%q: found something in the lines %v, want %v", test.text, lines, test.want)
		}
	}
}

// The rules hold for what the programs print, too.
func TestProseOfPrograms(t *testing.T) {
	for _, dir := range []string{"internal", "tools", "beyond"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(file string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") ||
				strings.HasSuffix(file, "doctest/prose.go") || strings.Contains(file, "/testdata/") {
				return err
			}
			files := token.NewFileSet()
			f, err := parser.ParseFile(files, file, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				l, ok := n.(*ast.BasicLit)
				if !ok || l.Kind != token.STRING {
					return true
				}
				text, err := strconv.Unquote(l.Value)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range parseMarkdown(file, text).wording() {
					t.Errorf("%s: in a text: %s", files.Position(l.Pos()), p.Text)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
