package doctest

import (
	"strings"
	"testing"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/checks"
)

// Each check of the profiles is in the list once, with what it needs, under the profiles
// that have to pass it.
func TestChecksOf(t *testing.T) {
	language, text, err := checksOf(t.Context(), " lt et")
	if err != nil || language != "text" {
		t.Fatalf("%s, %v", language, err)
	}
	for _, c := range checks.All {
		want := 0
		for _, p := range c.For {
			if p == exam.LT || p == exam.ET {
				want = 1
			}
		}
		if got := strings.Count("\n"+text, "\n"+c.ID+" "); got != want {
			t.Errorf("%s is there %d times, want %d", c.ID, got, want)
		}
	}
	for _, want := range []string{"lt, et:\nNO_REPLY ", "\nlt:\nNOT_LEVEL              P clients", "\net:\nNOT_EDGE ", "\nPORT_STUCK            S"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, rest := range []string{"", " lt fast"} {
		if _, _, err := checksOf(t.Context(), rest); err == nil {
			t.Errorf("%q was taken", rest)
		}
	}
}
