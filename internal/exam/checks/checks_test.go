package checks_test

import (
	"slices"
	"testing"

	"epoll-step-by-step/internal/exam/checks"
)

// internal/doctest looks up the man pages and the chapters.
func TestEveryCheckExplains(t *testing.T) {
	for _, c := range checks.All {
		if c.Title == "" || len(c.Reread) == 0 || c.Usually == "" || c.Chapter == "" {
			t.Errorf("%s explains nothing", c.ID)
		}
	}
}

// A failure follows from an earlier cause, which follows from none of its effects.
func TestCausesHaveNoCycle(t *testing.T) {
	causes := make(map[string][]string)
	for _, c := range checks.All {
		causes[c.ID] = c.FollowsFrom
	}
	var visit func(id string, path []string)
	visit = func(id string, path []string) {
		if slices.Contains(path, id) {
			t.Fatalf("a cycle: %v", append(path, id))
		}
		if _, known := causes[id]; !known {
			t.Fatalf("%v names %q, which is no check", path, id)
		}
		for _, cause := range causes[id] {
			visit(cause, append(slices.Clone(path), id))
		}
	}
	for id := range causes {
		visit(id, nil)
	}
}
