package doctest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDocuments(t *testing.T) {
	problems, err := checkDocuments(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Error(problem)
	}
}

// chapterText is a chapter in which all is well.
func chapterText(number, links string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Chapter %s\n\n%s\n", number, links)
	for _, h := range chapterHeadings {
		if slices.Contains(chapterLeavesOut[number], h) {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\nText.\n", h)
		if h == questions {
			b.WriteString(strings.Repeat("\n<details><summary>Why?</summary>\n\nSo.\n\n</details>\n", 3))
		}
	}
	return b.String()
}

// goodTree is a repository that has all that the checks look at, and nothing
// that they object to.
func goodTree() map[string]string {
	return map[string]string{
		"Makefile": "ADDR ?= here\n.PHONY: test $(foreach n,1 2,step$(n))\ntest:\n\t@true\n" +
			"$(foreach n,1 2,step$(n)): step%:\n\t@echo $(ADDR)\n",
		"README.md": "# Read me\n\n[The contents](docs/README.md), [twice](docs/README.md#same-1 \"title\") and\n" +
			"[over\nthere](docs/01-b.md#the-read2-of-step_1--all), <a id=\"here\"></a>[here](#here), [folder](docs),\n" +
			"[far](https://example.com/x#y), `[code](nowhere.md)`, `make\nstep1 ADDR=there`, `docs/README.md:12`,\n" +
			"`made nothing`, `make stepN`, `stepN/x`, `docs/*/x`, `own/file.c`,\nmake nonsense; `bin/exam`.\n" +
			"```console\n[code](nowhere.md)\n2 │ $ make step2 ADDR=x && make test # make what you like\n3$ make -C own all\n" +
			"make: *** [check] Error 1\nONLY=NO_REPLY,LOST_BYTES\n```\n\n" +
			"<picture><source srcset=\"docs/img/a.svg 2x\">\n<img src=\"docs/img/a.svg\"\n alt=\"Three phones > one receptionist\"></picture>\n" +
			"| " + strings.Repeat("wide ", 40) + "|\n[long](https://example.com/" + strings.Repeat("x", 100) + ")\n",
		"docs/README.md":  "# Contents\n\n## Same\n\n## Same\n\n[a](00-a.md) [b](01-b.md)\n",
		"docs/00-a.md":    chapterText("00", "[on](01-b.md)"),
		"docs/01-b.md":    chapterText("01", "### The [`read(2)`](README.md) of `step_1` – all!\n\n![A receptionist and her phones](img/a.svg)"),
		"docs/img/a.svg":  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><title>A</title><style>@media (prefers-color-scheme: dark) {}</style><use href="#a"/></svg>`,
		"step1/README.md": "[not a document](of-ours.md)\n",
	}
}

func TestDocumentsOfFakeTrees(t *testing.T) {
	const readme, chapter, svg = "README.md", "docs/01-b.md", "docs/img/a.svg"
	transcript := func(directive string) string {
		return "The diff\n\n" + directive + "\n```console\n" + strings.Repeat("x\n", 250) + "```\n"
	}
	tests := []struct {
		name, file, old, new string // all of the file if old is ""
		want                 []string
	}{
		{name: "all is well"},
		{"a directive's block is free", chapter, "The diff\n", transcript("<!-- transcript\n$ make test -->"), nil},

		{"no file", readme, "(docs/README.md)", "(docs/README.txt)", []string{"README.md:3: the link to \"docs/README.txt\" leads nowhere"}},
		{"a file above the root", readme, "(docs)", "(../docs)", []string{"README.md:5: the link to \"../docs\""}},
		{"no target", readme, "(docs)", "()", []string{"README.md:5: the link to \"\""}},
		{"a bad address", readme, "(docs)", "(%zz)", []string{"README.md:5: the link to \"%zz\""}},
		{"a reference", readme, "`docs/*/x`", "[x].\n\n[x]: nowhere.md\n\n", []string{"the link to \"nowhere.md\""}},
		{"no src", readme, "img src=\"docs/img", "img src=\"img", []string{"README.md:19: the link to \"img/a.svg\""}},
		{"no srcset", readme, "srcset=\"", "srcset=\"docs/img/a.svg, x", []string{"README.md:18: the link to \"xdocs/img/a.svg\""}},
		{"no href", readme, "# Read me", "# Read me\n<a href=\"x.md\">x</a>", []string{"README.md:2: the link to \"x.md\""}},
		{"no anchor here", readme, "(#here)", "(#there)", []string{"README.md has the anchor #there"}},
		{"no anchor there", "docs/README.md", "## Same\n\n## Same\n", "## Same\n", []string{"docs/README.md has the anchor #same-1"}},
		{"another heading", chapter, "of `step_1`", "of step1", []string{"#the-read2-of-step_1--all"}},

		{"no alternative text", readme, "alt=\"Three phones > one receptionist\"", "", []string{"README.md:19: the picture's alternative text \"\" has 0"}},
		{"a short one", chapter, "A receptionist and her phones", "A picture", []string{"docs/01-b.md:5: the picture's alternative text \"A picture\" has 9"}},
		{"an unused picture", "docs/img/b.png", "", "x", []string{"docs/img/b.png:1: no document shows"}},
		{"not XML", svg, "</title>", "", []string{"not well-formed"}},
		{"empty", svg, "", "", []string{"no viewBox", "no <title>", "prefers-color-scheme"}},
		{"no viewBox", svg, "viewBox=", "viewbox=", []string{"no viewBox"}},
		{"no title", svg, "<title>A</title>", "", []string{"no <title>"}},
		{"a script", svg, "<style>", "<script/><style>", []string{"has a <script>"}},
		{"not dark", svg, "dark", "light", []string{"prefers-color-scheme"}},
		{"a far picture", svg, "#a", "https://example.com", []string{"refers to https://example.com"}},
		{"a far style", svg, "<style>", "<style>@import 'x';", []string{"(@import)"}},
		{"a far font", svg, "<style>", "<style>@font-face {}", []string{"(@font-face)"}},
		{"a far fill", svg, "<use ", "<use fill=\"url('http://x')\" ", []string{"(url('http:)"}},

		{"missing", chapter, "\n## Predict", "", []string{`"## Predict" is missing: add it after "Keep in mind"`}},
		{"unexpected", chapter, "\n## Predict", "\n## Extra\n\n## Predict", []string{`"Extra" is not one`}},
		{"twice", chapter, "\n## Run it", "\n## Predict\n\n## Run it", []string{`"Predict" is not one`}},
		{"left out", "docs/00-a.md", "\n## Walk-through", "\n## The diff\n\n## Walk-through", []string{`"The diff" is not one`}},
		{"out of order", chapter, "Predict\n\nText.\n\n## Run it", "Run it\n\nText.\n\n## Predict", []string{`"Run it" is out of order: "Predict" comes first`}},
		{"no name", chapter, "# Chapter", "\n# Chapter", []string{"docs/01-b.md:1: the first line is not"}},
		{"two names", chapter, "\n## Predict", "\n# Two\n\n## Predict", []string{`another heading of level 1, "Two"`}},
		{"a gap, a stray", "docs/03-d.md", "", chapterText("03", ""), []string{"docs/01-b.md:75: no link leads on", "number 03, and 02 would be next", "docs/README.md:1: no link leads to the chapter 03-d.md"}},
		{"few questions", chapter, "<details><summary>Why?</summary>", "<details>Why?", []string{"docs/01-b.md:51: \"Check yourself\" has 3 <details> and 2 <summary>"}},
		{"open details", readme, "# Read me", "# Read me\n<details>", []string{"README.md:2: <details> without"}},
		{"closed twice", readme, "# Read me", "# Read me\n</details>", []string{"README.md:2: </details> without"}},

		{"long chapter", chapter, "The diff\n", transcript(""), []string{"docs/01-b.md:1: the chapter has 329 lines"}},
		{"a line too far", chapter, "The diff\n", transcript("<!-- transcript -->\n"), []string{"the chapter has 329 lines"}},
		{"long line", readme, "# Read me", "# Read me\n" + strings.Repeat("wide ", 21), []string{"README.md:2: the line has 105 columns"}},

		{"no target in a span", readme, "make\nstep1", "make\nstep9", []string{"README.md:6: the Makefile has no target step9"}},
		{"no target after a prompt", readme, "make step2", "make -s step9", []string{"README.md:12: the Makefile has no target step9"}},
		{"no target after &&", readme, "&& make test", "&& make tests", []string{"README.md:12: the Makefile has no target tests"}},
		{"no target in a script", chapter, "The diff\n", transcript("<!-- transcript\n1$ make tests\n-->"), []string{"the Makefile has no target tests"}},
		{"no variable", readme, "ADDR=there", "PORT=\"1; 2\"", []string{"README.md:6: the Makefile knows no variable PORT"}},
		{"no Makefile", "Makefile", "", "", []string{"Makefile:1: make names no targets"}},

		{"no path", readme, "docs/README.md:12", "./docs/none.md:12", []string{"README.md:7: there is no docs/none.md"}},
		{"no path in a command", readme, "`own/file.c`", "`g++ docs/x.cpp -o bin/x`", []string{"README.md:8: there is no docs/x.cpp"}},
		{"a term", "docs/glossary.md", "", glossaryOf("| read me | it | [r](../README.md#read-me) |"), nil},
		{"not the term", "docs/glossary.md", "", glossaryOf("| edge, brink | it | [r](../README.md#read-me) |"), []string{`docs/glossary.md:5: README.md#read-me does not have the word "edge, brink"`}},
		{"terms out of order", "docs/glossary.md", "", glossaryOf("| read me | it | [r](../README.md#read-me) |\n| Me, edge | it | [r](../README.md#read-me) |"), []string{`docs/glossary.md:6: "Me, edge" comes before "read me"`}},
		{"a translated tone", "docs/README.md", "## Same\n", "It waits for ever.\n\n## Same\n", []string{`docs/README.md:3: "for ever": "forever"`}},
		{"no check", readme, "LOST_BYTES", "LOST_BITS", []string{"README.md:15: the examiner has no check LOST_BITS"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tree := goodTree()
			if test.old != "" && !strings.Contains(tree[test.file], test.old) {
				t.Fatalf("%s has no %q", test.file, test.old)
			} else if test.old != "" {
				tree[test.file] = strings.Replace(tree[test.file], test.old, test.new, 1)
			} else if test.file != "" {
				tree[test.file] = test.new
			}
			problems, err := checkDocuments(writeTree(t, tree))
			if err != nil {
				t.Fatal(err)
			}
			matches := func(p Problem, want string) bool { return strings.Contains(p.String(), want) }
			if !slices.EqualFunc(problems, test.want, matches) {
				t.Errorf("got %q, want %q", problems, test.want)
			}
		})
	}
}

func glossaryOf(rows string) string {
	return "# Glossary\n\n| term | what | taught in |\n|---|---|---|\n" + rows + "\n"
}

func writeTree(t *testing.T, tree map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for file, text := range tree {
		name := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
