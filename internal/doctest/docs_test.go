package doctest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		flag.Set("test.parallel", "4") // transcripts mostly wait
	}
	os.Exit(m.Run())
}

// The documents quote what the code contains and what the programs print.
func TestDocs(t *testing.T) {
	t.Chdir(root)
	t.Cleanup(prepare(t.Context()))
	for _, file := range documents(".") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			doc, err := read(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range doc.problems {
				t.Error(p)
			}
			transcripts, leftOut := 0, 0
			for _, b := range doc.blocks {
				if b.isTranscript() {
					transcripts++
					if testing.Short() && (transcripts > 1 || !chapterFile.MatchString(file)) {
						leftOut++
						continue
					}
				}
				t.Run(fmt.Sprint(b.line, " ", b.title()), func(t *testing.T) {
					t.Parallel()
					fresh, err := b.make(t.Context())
					switch {
					case isMissing(err):
						t.Skip(err)
					case err != nil:
						t.Error(b.problem(err))
					case fresh != b.fence:
						t.Error(b.stale(fresh))
					}
				})
			}
			if leftOut > 0 {
				t.Logf("%d transcripts only with make test ALL=1", leftOut)
			}
		})
	}
}

func isMissing(err error) bool {
	var m missing
	return errors.As(err, &m)
}

const (
	oldStep = `// Step old.
package main

import "fmt"

const n = 1

// serve serves.
func (s *server) serve() {
	fmt.Println("one")
	if n > 0 {
		fmt.Println("two")
	}
}

type server struct{ fd int } // as small as can be

func gone() {}

func main() {}
`
	newStep = `// Step new.
package main

import "fmt"

const n = 1

// serve serves.
func (s *server) serve() {
	fmt.Println("three")
	if n > 0 {
		fmt.Println("two")
	}
}

type server struct{ fd int } // as small as can be

func main() {
	added()
}

func added() {
}
`
	serveFence = "```go\n" + `// serve serves.
func (s *server) serve() {
	fmt.Println("one")
	if n > 0 {
		fmt.Println("two")
	}
}
` + "```\n"
)

// inTree runs the test in a repository with two steps and a document.
func inTree(t *testing.T, doc string) {
	t.Helper()
	t.Chdir(writeTree(t, map[string]string{
		"README.md": "", "a.md": doc, "old/main.go": oldStep, "new/main.go": newStep,
		"Makefile": "all:\n\techo all\n", "text.txt": "  first\n    second\n\n  third",
	}))
}

// refreshed refreshes a.md and returns it with both outputs and the exit status.
func refreshed(t *testing.T, dry bool) (doc, log, problems string, status int) {
	t.Helper()
	var out, err strings.Builder
	status = refresh(t.Context(), []string{"a.md"}, dry, false, &out, &err)
	text, readErr := os.ReadFile("a.md")
	if readErr != nil {
		t.Fatal(readErr)
	}
	return string(text), out.String(), err.String(), status
}

func TestBlocks(t *testing.T) {
	fence := func(language, text string) string { return "```" + language + "\n" + text + "```\n" }
	tests := []struct{ directive, want string }{
		{"code: old/main.go serve", serveFence},
		{"code: old/main.go server", fence("go", "type server struct{ fd int } // as small as can be\n")},
		{"code: old/main.go const", fence("go", "const n = 1\n")},
		{`code: old/main.go serve from "if n" to "}"`, fence("go", "if n > 0 {\n\tfmt.Println(\"two\")\n}\n")},
		{`code: old/main.go from "Println("two")" to "}"`, fence("go", "\tfmt.Println(\"two\")\n}\n")},
		{`code: old/main.go serve to "(s *"`, fence("go", "// serve serves.\nfunc (s *server) serve() {\n")},
		{`code: text.txt`, fence("text", "  first\n    second\n\n  third\n"[2:8]+"  second\n\nthird\n")},
		{`code: text.txt from "second"`, fence("text", "  second\n\nthird\n")},
		{"code: Makefile", fence("make", "all:\n\techo all\n")},
		{"code:\n  old/main.go\n  const", fence("go", "const n = 1\n")},
		{"diff: old new serve", fence("diff", ` // serve serves.
 func (s *server) serve() {
-	fmt.Println("one")
+	fmt.Println("three")
 	if n > 0 {
 		fmt.Println("two")
 	}
 }
`)},
		{"diff: old new gone", fence("diff", "-func gone() {}\n")},
		{"diff: old new added", fence("diff", "+func added() {\n+}\n")},
		{"diff: old new", fence("diff", `@@ -1,4 +1,4 @@
-// Step old.
+// Step new.
 package main
 
 import "fmt"
@@ -7,7 +7,7 @@ const n = 1
 
 // serve serves.
 func (s *server) serve() {
-	fmt.Println("one")
+	fmt.Println("three")
 	if n > 0 {
 		fmt.Println("two")
 	}
@@ -15,6 +15,9 @@ func (s *server) serve() {
 
 type server struct{ fd int } // as small as can be
 
-func gone() {}
+func main() {
+	added()
+}
 
-func main() {}
+func added() {
+}
`)},
		{"changes: old new", fence("text", `package comment +1 −1
serve           +1 −1
gone               −2   gone
main            +4 −1
added           +2      new
in all          +8 −5
`)},
	}
	for _, test := range tests {
		t.Run(test.directive, func(t *testing.T) {
			before, after := "before\n\n<!-- "+test.directive+" -->\n", "\nafter, without a line end"
			inTree(t, before+after)
			got, log, problems, status := refreshed(t, false)
			if want := before + test.want + after; got != want || status != 0 {
				t.Fatalf("status %d, %s\ngot:\n%s\nwant:\n%s", status, problems, got, want)
			}
			if !strings.Contains(log, "a.md:3: "+strings.Fields(test.directive)[0]) {
				t.Errorf("the log does not say what was refreshed: %q", log)
			}
			info, _ := os.Stat("a.md")
			again, log, problems, status := refreshed(t, false)
			if now, _ := os.Stat("a.md"); again != got || status != 0 || !os.SameFile(info, now) {
				t.Errorf("the second time it changed again: %s %s", log, problems)
			}
		})
	}
}

// The totals in the table of changes are those of git.
func TestChangesAddUp(t *testing.T) {
	t.Chdir(root)
	for i, step := range steps[1:] {
		_, table, err := changes(t.Context(), steps[i]+" "+step)
		if err != nil {
			t.Fatal(err)
		}
		out, _ := exec.Command("git", "diff", "--no-index", "--numstat", steps[i]+"/main.go", step+"/main.go").Output()
		var plus, minus int
		if _, err := fmt.Sscan(string(out), &plus, &minus); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(table), "\n")
		if want := fmt.Sprintf("in all +%d −%d", plus, minus); strings.Join(strings.Fields(lines[len(lines)-1]), " ") != want {
			t.Errorf("want %s:\n%s", want, table)
		}
	}
}

func TestProblems(t *testing.T) {
	tests := []struct{ doc, want string }{
		{"<!-- code: old/main.go nobody -->", "a.md:1: code: old/main.go nobody: old/main.go has no nobody"},
		{"<!-- code: old/other.go -->", "open old/other.go: no such file"},
		{`<!-- code: old/main.go from "nowhere" -->`, `no line with "nowhere" in old/main.go`},
		{`<!-- code: old/main.go serve from "if" to "main" -->`, `no line with "main", from there on, in old/main.go serve`},
		{"<!-- code: old/main.go serve of server -->", "want FILE"},
		{"<!-- code: broken.go main -->", "broken.go:1:1: expected 'package'"},
		{"<!-- diff: old -->", "want STEP STEP"},
		{"<!-- diff: old new nobody -->", "neither step has nobody"},
		{"<!-- diff: old new const -->", "the two are the same"},
		{"<!-- diff: old old -->", "the two are the same"},
		{"<!-- diff: old other -->", "open other/main.go"},
		{"<!-- changes: old old -->", "the two are the same"},
		{"\n<!-- coed: old/main.go serve -->", "a.md:2: <!-- coed:: no such directive"},
		{"<!-- transcript: -->", "no such directive"},
		{"<!-- code: old/main.go serve", "the comment has no end"},
		{"  <!-- code: old/main.go serve -->", "a directive has its lines for itself"},
		{"<!-- code: old/main.go serve --> text", "a directive has its lines for itself"},
		{"<!-- code: old/main.go serve -->\n```go\nfunc serve()\n", "the fenced block below has no end"},
	}
	for _, test := range tests {
		t.Run(test.doc, func(t *testing.T) {
			inTree(t, test.doc)
			if err := os.WriteFile("broken.go", []byte("func"), 0o644); err != nil {
				t.Fatal(err)
			}
			got, _, problems, status := refreshed(t, false)
			if status != 1 || !strings.Contains(problems, test.want) {
				t.Errorf("status %d, got %q, want %q", status, problems, test.want)
			}
			if got != test.doc {
				t.Errorf("the document was changed: %q", got)
			}
		})
	}
}

// Text that is not a directive stays as it is.
func TestAuthorsText(t *testing.T) {
	tests := []string{
		"<!-- a comment --> and a code: block\r\n\r\n", "code: x", "<!-- code -->", "a <!-- code: x -->",
		"```\n<!-- code: old/main.go serve -->\n```\n", "~~~~md\n```\n<!-- coed: x -->\n```\n~~~\n~~~~",
		"<!-- of\n<!-- code: old/main.go serve -->\n", "<!---->", "<!--", "```\nno end\n<!-- coed: x -->", "",
	}
	for _, doc := range tests {
		inTree(t, doc)
		if got, _, problems, status := refreshed(t, false); got != doc || status != 0 {
			t.Errorf("%q became %q, status %d, %s", doc, got, status, problems)
		}
	}
}

func TestStale(t *testing.T) {
	doc := "<!-- code: old/main.go serve -->\n" + serveFence + "text\n<!-- code: old/main.go nobody -->\n"
	inTree(t, doc)
	changed := strings.Replace(oldStep, `"two"`, `"2"`, 1)
	if err := os.WriteFile("old/main.go", []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	got, _, problems, status := refreshed(t, true)
	want := `a.md:1: code: old/main.go serve: stale; "make docs" refreshes it
- 		fmt.Println("two")
+ 		fmt.Println("2")
a.md:12: `
	if got != doc || status != 1 || !strings.HasPrefix(problems, want) {
		t.Errorf("status %d, got %q, want %q; document: %q", status, problems, want, got)
	}
	// A block that cannot be made does not keep another one from being refreshed.
	got, _, problems, status = refreshed(t, false)
	if got != strings.Replace(doc, `"two"`, `"2"`, 1) || status != 1 || strings.Contains(problems, "stale") {
		t.Errorf("status %d, %s, got %q", status, problems, got)
	}
}

func TestNoBlockYet(t *testing.T) {
	doc := "<!-- code: old/main.go const -->" // and no line end
	inTree(t, doc)
	if got, _, problems, status := refreshed(t, true); got != doc || status != 1 || !strings.Contains(problems, "there is no block yet") {
		t.Errorf("status %d, %s, got %q", status, problems, got)
	}
	if got, _, _, _ := refreshed(t, false); got != doc+"\n```go\nconst n = 1\n```\n" {
		t.Errorf("got %q", got)
	}
}

// A text that contains a fence gets a longer one.
func TestFenceInFence(t *testing.T) {
	inTree(t, "<!-- code: b.md -->\n")
	if err := os.WriteFile("b.md", []byte("````\n```\n````\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, _, problems, _ := refreshed(t, false); got != "<!-- code: b.md -->\n`````text\n````\n```\n````\n`````\n" {
			t.Errorf("got %q %s", got, problems)
		}
	}
}

// A document that was saved while it was refreshed stays as it was saved.
func TestChangedMeanwhile(t *testing.T) {
	inTree(t, "<!-- transcript\n$ echo mine >"+filepath.Join(t.TempDir(), "x")+"\n-->\n")
	doc, err := read("a.md")
	if err != nil {
		t.Fatal(err)
	}
	doc.blocks[0].fence = "new"
	if err := os.WriteFile("a.md", []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := doc.save(); err == nil || !strings.Contains(err.Error(), "meanwhile") {
		t.Error(err)
	}
	if text, _ := os.ReadFile("a.md"); string(text) != "mine" {
		t.Errorf("got %q", text)
	}
}

func TestNoSuchFile(t *testing.T) {
	t.Chdir(t.TempDir())
	if status := refresh(t.Context(), []string{"b.md"}, false, false, &strings.Builder{}, &strings.Builder{}); status != 2 {
		t.Errorf("status %d", status)
	}
}

// With -static, code is refreshed and nothing is run.
func TestStatic(t *testing.T) {
	doc := "<!-- code: old/main.go const -->\n<!-- transcript\n$ touch ran\n-->\n```lab\nlab> epoll e\n```\n"
	inTree(t, doc)
	var out, problems strings.Builder
	if status := refresh(t.Context(), []string{"a.md"}, false, true, &out, &problems); status != 0 {
		t.Errorf("status %d: %s", status, problems.String())
	}
	want := strings.Replace(doc, "-->\n", "-->\n```go\nconst n = 1\n```\n", 1)
	if text, err := os.ReadFile("a.md"); string(text) != want || err != nil {
		t.Errorf("%v, got %q, want %q", err, text, want)
	}
}
