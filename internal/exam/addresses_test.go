package exam_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/examtest"
	"epoll-step-by-step/internal/exam/show"
)

// needIPv6 skips the test on a machine where IPv6 is switched off.
func needIPv6(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	l.Close()
}

// A server may listen on an address of IPv6, or on all addresses. Checks find both ends
// of its connections, and count and time what goes through them.
func TestIPv6(t *testing.T) {
	t.Parallel()
	needIPv6(t)
	server := examtest.Build(t, "./internal/exam/testdata/stranger")
	for _, tt := range []struct{ name, network, address, addr string }{
		{"::1", "tcp6", "{addr}", "[::1]:0"},
		{"host and port", "tcp6", "[{host}]:{port}", "[::1]:0"},
		{"all addresses, by IPv4", "tcp", "[::]:{port}", ""},
		{"all addresses, by IPv6", "tcp", "[::]:{port}", "[::1]:0"},
		{"IPV6_V6ONLY", "tcp6", "[::]:{port}", "[::1]:0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := exam.Options{
				Command: []string{server, tt.network, tt.address},
				Checks:  only(t, "NO_REPLY", "LOST_BYTES", "STARVED", "FD_LEAK", "PORT_STUCK"),
			}
			if tt.addr != "" {
				o.Addr = netip.MustParseAddrPort(tt.addr)
			}
			report, err := exam.Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if !report.Passed() || report.Count(exam.Pass) != len(o.Checks) {
				t.Errorf("%s: %s\n%s", report.Status, report.Problem, report.Output)
				for _, r := range report.Results {
					t.Errorf("%s", show.Style{Width: 100, Verbose: true}.Text(r))
				}
			}
		})
	}
}

// With IPV6_V6ONLY, a server that listens on [::] does not listen on 127.0.0.1. It is
// found on the same port of [::1], and by its PID.
func TestAttachIPv6(t *testing.T) {
	t.Parallel()
	needIPv6(t)
	server, addr := serve(t, examtest.Build(t, "./internal/exam/testdata/stranger"), "tcp6", "[::]:0")
	on := func(host string) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr(host), addr.Port())
	}
	for _, tt := range []struct {
		name    string
		options exam.Options
		status  exam.Status
		problem string
	}{
		{"by IPv4", exam.Options{Addr: on("127.0.0.1")}, exam.StatusNeverListened, "there is a listener on [::]:"},
		{"by IPv6", exam.Options{Addr: on("::1")}, exam.StatusGraded, ""},
		{"by PID", exam.Options{PID: server.Pid}, exam.StatusGraded, ""},
	} {
		tt.options.Checks = only(t, "NO_REPLY")
		report, err := exam.Run(t.Context(), tt.options)
		if err != nil {
			t.Fatal(err)
		}
		if report.Status != tt.status || !strings.Contains(report.Problem, tt.problem) {
			t.Errorf("%s: %s: %s", tt.name, report.Status, report.Problem)
		}
	}
}

// An address that the machine does not have is the machine's problem, not the server's.
func TestNoSuchAddress(t *testing.T) {
	t.Parallel()
	for _, command := range [][]string{nil, {"true", "{addr}"}} {
		report, err := exam.Run(t.Context(), exam.Options{
			Command: command, Addr: netip.MustParseAddrPort("[2001:db8::1]:7000"), Checks: only(t, "NO_REPLY"),
		})
		if err != nil {
			t.Fatal(err)
		}
		if report.Status != exam.StatusNeverListened || !strings.Contains(report.Problem, "does not have the address 2001:db8::1") {
			t.Errorf("%s: %s", report.Status, report.Problem)
		}
	}
}
