package exam_test

import (
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/show"
)

// The report begins with the failure that explains most, and names what follows from it.
func TestOrderOfReport(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	check := func(id string, verdict error, followsFrom ...string) exam.Check {
		return exam.Check{ID: id, Title: id, FollowsFrom: followsFrom, Run: func(*exam.Session) error { return verdict }}
	}
	failed, cannot := exam.ErrFailed, exam.CannotRun("no client was served")
	for _, tt := range []struct {
		name    string
		checks  []exam.Check
		begin   []string
		follows string // the cause of each check, - if there is none
		says    string
	}{
		{"all passed", []exam.Check{check("A", nil), check("B", nil, "A")}, nil, "- -", ""},
		{"alone", []exam.Check{check("A", nil), check("B", failed, "A")}, nil, "- -", ""},
		{"one of two", []exam.Check{check("A", failed), check("B", failed, "A"), check("C", failed)}, []string{"A"}, "- A -", "begin with A: B usually follows from it\n"},
		{"could not be run", []exam.Check{check("A", failed), check("B", cannot, "A"), check("C", failed, "A")}, []string{"A"}, "- A A", "begin with A: B C usually follow from it\n"},
		{"no cause", []exam.Check{check("A", cannot), check("B", failed, "A")}, nil, "- -", ""},
		{"over another one", []exam.Check{check("A", failed), check("B", failed, "A"), check("C", failed, "B")}, []string{"A"}, "- A A", ""},
		{"the first that failed", []exam.Check{check("A", nil), check("B", failed), check("C", failed, "A", "B")}, []string{"B"}, "- - B", ""},
		{"a later cause", []exam.Check{check("A", failed, "B"), check("B", failed)}, []string{"B"}, "B -", "begin with B: A usually follows from it\n"},
		{"most first", []exam.Check{check("A", failed), check("B", failed, "A"), check("C", failed), check("D", failed, "C"), check("E", failed, "C")},
			[]string{"C", "A"}, "- A - C C", "begin with C: D E usually follow from it\nbegin with A: B usually follows from it\n5 checks"},
	} {
		report, err := exam.Run(t.Context(), exam.Options{Addr: netip.MustParseAddrPort(l.Addr().String()), Checks: tt.checks})
		if err != nil {
			t.Fatal(err)
		}
		var follows []string
		for _, r := range report.Results {
			follows = append(follows, strings.TrimSpace(r.FollowsFrom))
			if r.FollowsFrom == "" {
				follows[len(follows)-1] = "-"
			}
		}
		summary := show.Style{Width: 100}.Summary(report)
		if !slices.Equal(report.Begin, tt.begin) || strings.Join(follows, " ") != tt.follows || !strings.HasPrefix(summary, tt.says) {
			t.Errorf("%s: begin with %q, follows %q; want %q, %q\n%s", tt.name, report.Begin, follows, tt.begin, tt.follows, summary)
		}
		text, err := json.Marshal(report)
		if err != nil || strings.Contains(string(text), `"begin_with":["`) != (tt.begin != nil) {
			t.Errorf("%s: %v: %s", tt.name, err, text)
		}
	}
}
