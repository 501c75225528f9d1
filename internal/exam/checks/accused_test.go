package checks_test

import (
	"slices"
	"strings"
	"testing"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/checks"
	"epoll-step-by-step/internal/exam/show"
)

// A server whose answers are wrong fails the checks that are about answers, and
// BLOCKING_FD, which needs none. All others need a client that is served before they
// ask their question: they could not be run.
func TestAccusesNobodyElse(t *testing.T) {
	t.Parallel()
	shop := newWorkshop(t, "accused")
	server := shop.order(t, "prefix")
	if err := shop.build(); err != nil {
		t.Fatal(err)
	}
	fails := strings.Fields("WRONG_BYTES LOST_BYTES STUCK_WRITER BLOCKING_FD")
	all, err := checks.Select(exam.LT)
	if err != nil {
		t.Fatal(err)
	}
	asked := slices.DeleteFunc(all, func(c exam.Check) bool {
		// NO_REPLY ends the grading, and BUSY_LOOP needs no answers.
		return slices.Contains(strings.Fields("NO_REPLY BUSY_LOOP"), c.ID)
	})
	report, err := exam.Run(t.Context(), exam.Options{Command: server, As: exam.LT, Checks: asked})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		want := exam.Error
		if slices.Contains(fails, r.ID) {
			want = exam.Fail
		}
		if r.Verdict != want {
			t.Errorf("%s, want it %s:\n%s", r.Verdict, want, show.Style{Width: 100, Verbose: true}.Text(r))
		}
	}
}
