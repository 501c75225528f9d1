package exam_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/examtest"
	"epoll-step-by-step/internal/exam/show"
)

// daemonTimeout is less than the first daemon of TestDaemon takes to listen, and more than
// the last one lives.
const daemonTimeout = time.Second

// A daemon has left the family and the process group of its command, and may need longer
// than daemonTimeout to listen. One that listens elsewhere is named, and stopped, too.
func TestDaemon(t *testing.T) {
	t.Parallel()
	server := examtest.Build(t, "./step3-epoll-lt")
	elsewhere, nowhere := freeAddr(t), freeAddr(t)
	for _, tt := range []struct {
		name, script string // with an address of {addr}, one to listen on elsewhere, and the server
		addr         string // {addr}, if not the examiner's choice
		start        time.Duration
		status       exam.Status
		problem      string
	}{
		{"takes 2 s", `(setsid sh -c 'sleep 2; exec "$2" -addr "$0"' "$0" "$@" >/dev/null 2>&1 &)`, "", 0, exam.StatusGraded, ""},
		{"listens elsewhere", `(setsid "$2" -addr "$1" >/dev/null 2>&1 &)`, nowhere, elsewhereTimeout, exam.StatusNeverListened, "it listens on " + elsewhere},
		{"dies", `(setsid sh -c 'sleep 0.2; exit 1' &)`, "", 0, exam.StatusNeverListened, "ended (exit status 0), and nobody listens"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := exam.Options{
				Command: []string{"sh", "-c", tt.script, "{addr}", elsewhere, server},
				Checks:  only(t, "NO_REPLY", "PORT_STUCK"),

				StartTimeout: tt.start, DaemonTimeout: daemonTimeout,
			}
			if tt.addr != "" {
				o.Addr = netip.MustParseAddrPort(tt.addr)
			}
			report, err := exam.Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if report.Status != tt.status || !strings.Contains(report.Problem, tt.problem) {
				t.Errorf("%s: %s\n%s", report.Status, report.Problem, report.Output)
			}
			if tt.status == exam.StatusGraded && !report.Passed() {
				for _, r := range report.Results {
					t.Errorf("%s", show.Style{Width: 100, Verbose: true}.Text(r))
				}
			}
		})
	}
	t.Cleanup(func() { // when the rows have ended
		eventually(t, "the daemons are gone", func() bool { return len(running(t, server)) == 0 })
	})
}

// A command may print much, before it listens and meanwhile. It has a time limit to
// listen, so what it prints before fits even a busy machine.
func TestPrintsMuch(t *testing.T) {
	t.Parallel()
	const (
		print4MB   = `head -c 4000000 /dev/zero | tr '\0' x; `
		print100MB = `head -c 100000000 /dev/zero | tr '\0' x; `
	)
	server := examtest.Build(t, "./step3-epoll-lt")
	for _, tt := range []struct {
		name, script string
		status       exam.Status
	}{
		{"before it listens", print4MB + `exec "$0" -addr "$1"`, exam.StatusGraded},
		{"beside its server", `(` + print100MB + `) & exec "$0" -addr "$1"`, exam.StatusGraded},
		{"and ends", print4MB + `exit 3`, exam.StatusNeverListened},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			report, err := exam.Run(t.Context(), exam.Options{
				Command: []string{"sh", "-c", tt.script, server, "{addr}"},
				Checks:  only(t, "NO_REPLY", "LOST_BYTES"),
			})
			if err != nil {
				t.Fatal(err)
			}
			if report.Status != tt.status || tt.status == exam.StatusGraded && !report.Passed() {
				t.Errorf("%s: %s", report.Status, report.Problem)
			}
			if n := len(report.Output); tt.status == exam.StatusNeverListened && (n == 0 || n > 10000) {
				t.Errorf("%d bytes of the output are shown, want a few lines", n)
			}
		})
	}
}
