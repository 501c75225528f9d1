package doctest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/checks"
	"epoll-step-by-step/internal/terminal"
)

const (
	checksWidth   = 80 // columns
	checksTitle   = 25 // the column at which a title begins
	checksUsually = 4  // the column at which the usual mistake begins
)

// checksOf lists the checks that servers of these profiles have to pass, in the order in
// which they are run. Those that the same profiles have to pass are together.
func checksOf(_ context.Context, rest string) (language, text string, err error) {
	var profiles []exam.Profile
	for _, word := range strings.Fields(rest) {
		if !slices.Contains(exam.Profiles, exam.Profile(word)) {
			return "", "", fmt.Errorf("%s: want some of %v", word, exam.Profiles)
		}
		profiles = append(profiles, exam.Profile(word))
	}
	var groups []string // the profiles of each, in the order of their first checks
	lines := make(map[string]string)
	for _, c := range checks.All {
		var of []string
		for _, p := range profiles {
			if slices.Contains(c.For, p) {
				of = append(of, string(p))
			}
		}
		group := strings.Join(of, ", ")
		if group == "" {
			continue
		}
		if !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
		lines[group] += describe(c)
	}
	if groups == nil {
		return "", "", fmt.Errorf("no check: name some of %v", exam.Profiles)
	}
	var out strings.Builder
	for i, group := range groups {
		if i > 0 {
			out.WriteString("\n")
		}
		out.WriteString(group + ":\n" + lines[group])
	}
	return "text", out.String(), nil
}

// describe returns what the check needs, what passes, and what is usually wrong.
func describe(c exam.Check) string {
	needs := ""
	for _, n := range []struct {
		needed bool
		mark   string
	}{{c.EchoOnly, "E"}, {c.NotEcho, "R"}, {c.Starts, "S"}, {c.Looks, "P"}} {
		if n.needed {
			needs += n.mark
		}
	}
	lines := terminal.Wrap(fmt.Sprintf("%-22s%2s ", c.ID, needs), c.Title, checksTitle, checksWidth)
	lines = append(lines, terminal.Wrap(strings.Repeat(" ", checksUsually), c.Usually, checksUsually, checksWidth)...)
	return strings.Join(lines, "\n") + "\n"
}
