package checks_test

import (
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
