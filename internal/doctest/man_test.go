package doctest

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
)

// A citation names a man page and a heading in it: epoll(7) "Questions and
// answers". It is what a reader opens with: man 7 epoll.
type citation struct{ page, section, heading string }

func (c citation) String() string {
	return fmt.Sprintf("%s(%s), %q", c.page, c.section, c.heading)
}

var citationText = regexp.MustCompile(`([a-z_][a-z0-9_]*)\(([1-8])\),?\s+"([^"]+)"`)

// citations finds those in a text. A line break in one does not matter, nor do
// the slashes of a Go comment.
func citations(text string) []citation {
	text = regexp.MustCompile(`\n\s*(//)?\s*`).ReplaceAllString(text, " ")
	var found []citation
	for _, m := range citationText.FindAllStringSubmatch(text, -1) {
		found = append(found, citation{m[1], m[2], m[3]})
	}
	return found
}

// haveManPages tells whether the man pages of system calls are installed.
func haveManPages() bool {
	_, err := page("epoll_wait", "2")
	return err == nil
}

// look looks the citation up in the installed man pages. It fails if there is
// no such page or no such heading.
func (c citation) look() error {
	lines, err := page(c.page, c.section)
	if err != nil {
		return err
	}
	for _, line := range lines {
		if strings.TrimSpace(line) == c.heading {
			return nil
		}
	}
	return fmt.Errorf("%s(%s) has no heading %q", c.page, c.section, c.heading)
}

var pages sync.Map // lines by "name(section)"

func page(name, section string) ([]string, error) {
	key := name + "(" + section + ")"
	if lines, ok := pages.Load(key); ok {
		return lines.([]string), nil
	}
	cmd := exec.Command("man", section, name)
	// No line folds; and to shut itself in, by seccomp(2), takes man(1) four tenths
	// of its time.
	cmd.Env = append(os.Environ(), "MANWIDTH=200", "LC_ALL=C", "MAN_DISABLE_SECCOMP=1")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("no man page %s (man %s %s: %w)", key, section, name, err)
	}
	lines := strings.Split(string(out), "\n")
	pages.Store(key, lines)
	return lines, nil
}
