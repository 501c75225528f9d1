package doctest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/checks"
)

// README.md says how many there are, and the list of exercises has them all.
func TestCounts(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	selected, err := checks.Select(exam.Echo)
	if err != nil {
		t.Fatal(err)
	}
	exercises, err := filepath.Glob(filepath.Join(root, "exercises/[0-9]*"))
	if err != nil {
		t.Fatal(err)
	}
	readme := read("README.md")
	for _, want := range []string{
		fmt.Sprintf("lists the %d checks", len(selected)),
		fmt.Sprintf("there are %d. `make exercises`", len(exercises)),
		fmt.Sprintf("decides %d claims", strings.Count(read("docs/myths.md"), "\n### “")),
	} {
		if !strings.Contains(readme, want) {
			t.Errorf("README.md does not say %q", want)
		}
	}
	list, teaching := read("exercises/README.md"), read("docs/teaching.md")
	for _, e := range exercises {
		name := filepath.Base(e)
		if !strings.Contains(list, "]("+name+"/README.md) |") {
			t.Errorf("%s is not in exercises/README.md, \"The list\"", name)
		}
		if !strings.Contains(teaching, "\n| "+name[:2]+" ") {
			t.Errorf("%s is not in docs/teaching.md", name)
		}
	}
}

// The tests that CONTRIBUTING.md names are there, in the package that it names
// on the same line, if it does.
func TestContributing(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	group := regexp.MustCompile(`Test\(([^)]*)\)`) // Test(A|B) is TestA and TestB
	expanded := group.ReplaceAllStringFunc(string(text), func(s string) string {
		return "Test" + strings.ReplaceAll(group.FindStringSubmatch(s)[1], "|", " Test")
	})
	goTest := regexp.MustCompile(`go test (\S+) `)
	named := regexp.MustCompile(`\bTest[A-Z]\w*`)
	found := 0
	for line := range strings.Lines(expanded) {
		folders := []string{".", "exercises", "internal/*"}
		if m := goTest.FindStringSubmatch(line); m != nil {
			folders = []string{m[1]}
		}
		var tests strings.Builder
		for _, folder := range folders {
			files, _ := filepath.Glob(filepath.Join(root, folder, "*_test.go")) // the pattern is right
			for _, file := range files {
				source, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				tests.Write(source)
			}
		}
		for _, name := range named.FindAllString(line, -1) {
			found++
			if !strings.Contains(tests.String(), "\nfunc "+name) { // -run takes a beginning, too
				t.Errorf("%s: there is no %s in %v", strings.TrimSpace(line), name, folders)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d tests are named", found)
	}
}
