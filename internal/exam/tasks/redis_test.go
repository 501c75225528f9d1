package tasks_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/checks"
	"epoll-step-by-step/internal/exam/show"
)

// The real Redis passes all checks but two: it keeps the pending bytes of an ordinary
// client without limit, and it closes a connection after a protocol error while bytes are
// unread.
func TestRealRedis(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		// Debian's redis-tools has the same program by another name. It acts
		// according to its name.
		if program, err = exec.LookPath("redis-check-rdb"); err != nil {
			t.Skip("Redis is not installed")
		}
		server := filepath.Join(t.TempDir(), "redis-server")
		if err := os.Symlink(program, server); err != nil {
			t.Fatal(err)
		}
		program = server
	}
	selected, err := checks.Select(exam.Redis)
	if err != nil {
		t.Fatal(err)
	}
	report, err := exam.Run(t.Context(), exam.Options{
		Command: []string{program, "--bind", "127.0.0.1", "--port", "{port}", "--save", "", "--dir", t.TempDir()},
		As:      exam.Redis,
		Checks:  selected,
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.Status != exam.StatusGraded {
		t.Skipf("%s: %s\n%s", report.Status, report.Problem, report.Output)
	}
	for _, r := range report.Results {
		text := show.Style{Width: 100, Verbose: true}.Text(r)
		switch r.ID {
		case "REDIS_UNREAD_REPLIES", "REDIS_PROTOCOL_ERROR":
			t.Logf("Redis differs here, as expected:\n%s", text)
		default:
			if r.Verdict != exam.Pass && r.Verdict != exam.Skip {
				t.Errorf("Redis itself differs:\n%s", text)
			}
		}
	}
}
