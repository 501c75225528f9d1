package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
)

// A Citation names a man page and a heading in it: epoll(7) "Questions and
// answers". It is what a reader opens with: man 7 epoll.
type Citation struct{ Page, Section, Heading string }

func (c Citation) String() string {
	return fmt.Sprintf("%s(%s), %q", c.Page, c.Section, c.Heading)
}

var citation = regexp.MustCompile(`([a-z_][a-z0-9_]*)\(([1-8])\),?\s+"([^"]+)"`)

// Citations finds those in a text. A line break in one does not matter, nor do
// the slashes of a Go comment.
func Citations(text string) []Citation {
	text = regexp.MustCompile(`\n\s*(//)?\s*`).ReplaceAllString(text, " ")
	var found []Citation
	for _, m := range citation.FindAllStringSubmatch(text, -1) {
		found = append(found, Citation{m[1], m[2], m[3]})
	}
	return found
}

// ManPages tells whether the man pages of system calls are installed.
func ManPages() bool {
	_, err := page("epoll_wait", "2")
	return err == nil
}

// Look looks the citation up in the installed man pages. It fails if there is
// no such page or no such heading.
func (c Citation) Look() error {
	lines, err := page(c.Page, c.Section)
	if err != nil {
		return err
	}
	for _, line := range lines {
		if strings.TrimSpace(line) == c.Heading {
			return nil
		}
	}
	return fmt.Errorf("%s(%s) has no heading %q", c.Page, c.Section, c.Heading)
}

var pages sync.Map // lines by "name(section)"

func page(name, section string) ([]string, error) {
	key := name + "(" + section + ")"
	if lines, ok := pages.Load(key); ok {
		return lines.([]string), nil
	}
	cmd := exec.Command("man", section, name)
	cmd.Env = append(os.Environ(), "MANWIDTH=200", "LC_ALL=C") // no line folds
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("no man page %s (man %s %s: %w)", key, section, name, err)
	}
	lines := strings.Split(string(out), "\n")
	pages.Store(key, lines)
	return lines, nil
}
