package checks_test

import (
	"testing"

	"epoll-step-by-step/internal/exam/checks"
)

// What a failed check says is in the table; what it cites is looked up in
// internal/doctest.
func TestEveryCheckExplains(t *testing.T) {
	for _, c := range checks.All {
		if c.Title == "" || len(c.Reread) == 0 || c.Usually == "" || c.Chapter == "" {
			t.Errorf("%s explains nothing", c.ID)
		}
	}
}
