package exam_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/checks"
	"epoll-step-by-step/internal/exam/examtest"
	"epoll-step-by-step/internal/exam/show"
	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// Strangers are commands that are not echo servers, servers that the examiner did not
// start, and examiners that are interrupted.

func TestMain(m *testing.M) { examtest.Main(m) }

func TestStrangers(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tt := range []struct {
		name    string
		command []string
		addr    string
		status  exam.Status
		problem string // part of the problem
		output  string // part of its output
	}{
		{"no such program", []string{"./no-such-program", "{port}"}, "", exam.StatusNeverListened, "no such program", ""},
		{"dies at once", []string{"sh", "-c", "echo out of ideas >&2; exit 3", "{port}"}, "", exam.StatusNeverListened, "ended (exit status 3)", "out of ideas"},
		{"dies of a signal", []string{"sh", "-c", "kill -SEGV $$", "{port}"}, "", exam.StatusNeverListened, "segmentation fault", ""},
		{"ends quietly", []string{"true", "{port}"}, "", exam.StatusNeverListened, "ended (exit status 0)", ""},
		{"the port is taken", []string{"sleep", "100"}, taken.Addr().String(), exam.StatusNeverListened, "taken already by process " + strconv.Itoa(os.Getpid()), ""},
		{"nobody there", nil, freeAddr(t), exam.StatusNeverListened, "nobody listens on", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := exam.Options{Command: tt.command, Checks: checks.All, DaemonTimeout: 100 * time.Millisecond}
			if tt.addr != "" {
				o.Addr = netip.MustParseAddrPort(tt.addr)
			}
			report, err := exam.Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if report.Status != tt.status || !strings.Contains(report.Problem, tt.problem) || !strings.Contains(report.Output, tt.output) {
				t.Errorf("%s: %s\n%s", report.Status, report.Problem, report.Output)
			}
			if report.Passed() {
				t.Error("passed")
			}
		})
	}
}

// elsewhereTimeout is how long the examiner waits for a server that listens elsewhere,
// which has done so long before even on a busy machine.
const elsewhereTimeout = 5 * time.Second

// If a server listens on another address, the examiner names that address.
func TestListensElsewhere(t *testing.T) {
	t.Parallel()
	step := examtest.Build(t, "./step3-epoll-lt")
	addr := freeAddr(t)
	report, err := exam.Run(t.Context(), exam.Options{
		Command: []string{step, "-addr", addr},
		Addr:    netip.MustParseAddrPort(strings.Replace(addr, "127.0.0.1", "127.0.0.2", 1)),
		Checks:  checks.All,

		StartTimeout: elsewhereTimeout,
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.Status != exam.StatusNeverListened || !strings.Contains(report.Problem, "it listens on "+addr) {
		t.Errorf("%s: %s", report.Status, report.Problem)
	}
}

// A server listens and never answers: step 1 does while it serves another client.
func TestHang(t *testing.T) {
	t.Parallel()
	_, addr := serve(t, examtest.Build(t, "./step1-blocking"), "-addr", "127.0.0.1:0")
	first, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	report, err := exam.Run(t.Context(), exam.Options{Addr: addr, Checks: profile(t, exam.Echo)})
	if err != nil {
		t.Fatal(err)
	}
	if report.Status != exam.StatusHang || report.Count(exam.Fail) != 1 || report.Count(exam.Pass) != 0 {
		t.Errorf("%s: %s", report.Status, show.Style{Width: 100}.Summary(report))
	}
}

func TestNotEcho(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Log("redis-server is not installed: a listener that says hello stands in for it")
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprint(c, "220 hello, who are you?\r\n")
			}
		}()
		port = ""
	}
	o := exam.Options{Addr: netip.MustParseAddrPort(addr), Checks: profile(t, exam.Echo)}
	if port != "" {
		o.Command = []string{"redis-server", "--port", port, "--save", ""}
	}
	report, err := exam.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if report.Status != exam.StatusNotEcho || report.Count(exam.Fail) != 1 {
		t.Errorf("%s: %s: %s", report.Status, report.Problem, report.Output)
	}
}

// A running server, given by its address or its PID, is graded and keeps running. Checks
// that need a server of the examiner's own are skipped.
func TestAttach(t *testing.T) {
	t.Parallel()
	server, addr := serve(t, examtest.Build(t, "./step3-epoll-lt"), "-addr", "127.0.0.1:0")
	byAddress := profile(t, exam.LT)
	if testing.Short() {
		t.Log("by its address, most checks only with make test ALL=1")
		byAddress = only(t, "NO_REPLY", "BUSY_LOOP", "NOT_LEVEL", "DIED_OUT_OF_FDS", "SPINS_OUT_OF_FDS",
			"DEAF_AFTER_OUT_OF_FDS", "DIED_ON_SIGNAL", "IGNORES_SIGTERM", "PORT_STUCK")
	}
	for name, o := range map[string]exam.Options{
		"by address": {Addr: addr, Checks: byAddress},
		"by PID":     {PID: server.Pid, Checks: only(t, "NO_REPLY", "NOT_LEVEL", "IGNORES_SIGTERM")},
	} {
		o.As = exam.LT
		report, err := exam.Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if !report.Passed() {
			t.Errorf("%s: %s", name, show.Style{Width: 100}.Summary(report))
		}
		for _, r := range report.Results {
			switch r.ID {
			case "IGNORES_SIGTERM", "PORT_STUCK", "DIED_ON_SIGNAL", "DIED_OUT_OF_FDS", "SPINS_OUT_OF_FDS", "DEAF_AFTER_OUT_OF_FDS", "STARVED":
				if r.Verdict != exam.Skip || r.Reason == "" {
					t.Errorf("%s: %s: %s (%s), want it skipped with a reason", name, r.ID, r.Verdict, r.Reason)
				}
			}
		}
	}
	if err := server.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the server is gone: %v", err)
	}
}

// Wrappers, daemons and children that leave the process group are stopped, too.
func TestLeavesNoProcess(t *testing.T) {
	server := examtest.Build(t, "./step3-epoll-lt")
	for name, script := range map[string]string{
		"a wrapper":     `"$0" -addr "$1"; echo never reached`,
		"a daemon":      `setsid "$0" -addr "$1" >/dev/null 2>&1 & exit 0`,
		"a quiet child": `sleep 1000 & exec "$0" -addr "$1"`,
	} {
		t.Run(name, func(t *testing.T) {
			before := family(t)
			report, err := exam.Run(t.Context(), exam.Options{
				Command: []string{"sh", "-c", script, server, "{addr}"},
				Checks:  only(t, "NO_REPLY", "DIED_ON_SIGNAL", "IGNORES_SIGTERM", "PORT_STUCK"),
			})
			if err != nil {
				t.Fatal(err)
			}
			if !report.Passed() {
				t.Errorf("%s: %s: %s", report.Status, report.Problem, report.Output)
			}
			for _, r := range report.Results {
				if r.Verdict != exam.Pass {
					t.Errorf("%s", show.Style{Width: 100, Verbose: true}.Text(r))
				}
			}
			none(t, server, before)
		})
	}
}

// A server may be several processes, which start one by one. The examiner looks at all of
// them and stops all of them. A signal that asks the server to end goes to their parent,
// which replaces a process that dies.
func TestManyProcesses(t *testing.T) {
	server := examtest.Build(t, "./exercises/18-many-cores/solution")
	for name, script := range map[string]string{
		"as they are": `exec "$0" -addr "$1" -workers 4`,
		"a wrapper":   `"$0" -addr "$1" -workers 4; echo never reached`,
		"daemons":     `setsid "$0" -addr "$1" -workers 4 >/dev/null 2>&1 & exit 0`,
	} {
		t.Run(name, func(t *testing.T) {
			before := family(t)
			report, err := exam.Run(t.Context(), exam.Options{
				Command: []string{"sh", "-c", script, server, "{addr}"},
				Checks:  only(t, "DIED_ON_SIGNAL", "IGNORES_SIGTERM", "PORT_STUCK", "NOT_EDGE", "LEFT_BEHIND"),
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range report.Results {
				text := show.Style{Width: 100, Verbose: true}.Text(r)
				if r.Verdict != exam.Pass || r.ID == "NOT_EDGE" && !strings.Contains(text, " 7 clients are registered") {
					t.Errorf("%s", text)
				}
			}
			none(t, server, before)
		})
	}
}

// No signal makes the examiner leave a process behind.
func TestInterrupted(t *testing.T) {
	examiner, server := examtest.Build(t, "./tools/exam"), examtest.Build(t, "./step3-epoll-lt")
	for _, sig := range []syscall.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGKILL} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			before := family(t)
			// The server is a daemon in a session of its own, which a signal to the
			// process group does not reach. The wrapper stays.
			cmd := exec.Command(examiner, "-v", "-only", "NO_REPLY,BUSY_LOOP", "--", "sh", "-c", `setsid "$0" -addr "$1" >/dev/null 2>&1 & sleep 1000`, server, "{addr}")
			var out bytes.Buffer
			cmd.Stderr = &out
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			bufio.NewReader(stdout).ReadString('\n') // the first verdict
			eventually(t, "the server has clients", func() bool {
				pids := running(t, server)
				if len(pids) != 1 {
					return false
				}
				n, _ := procfs.FDCount(pids[0])
				return n > 100
			})
			cmd.Process.Signal(sig)
			err = cmd.Wait()
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				t.Errorf("the examiner ended with %v", err)
			} else if sig != unix.SIGKILL && exit.ExitCode() != 130 {
				t.Errorf("exit code %d, want 130\n%s", exit.ExitCode(), out.String())
			}
			none(t, server, before)
		})
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	examiner, server := examtest.Build(t, "./tools/exam"), examtest.Build(t, "./step4-epoll-et")
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"", 2, "nothing to grade"},
		{"-as quick -- true", 2, "want one of [echo lt et"},
		{"-only LOST_BITES -- true", 2, `no check "LOST_BITES"; there are NO_REPLY`},
		{"-addr 10.0.0.1:6379", 2, "127.0.0.0/8 and ::1 only"},
		{"-addr [::2]:6379", 2, "127.0.0.0/8 and ::1 only"},
		{"-addr ::1:6379", 2, "such as 127.0.0.1:6379 or [::1]:6379"},
		{"-addr [::1]:0 -- true", 2, "port 0 is not a port to connect to"},
		{"-addr nowhere -- true", 2, "want HOST:PORT"},
		{"-pid 1 -- true", 2, "give only one of them"},
		{"-pid 4194304", 2, "no such process"},
		{"-only NOT_EDGE -- " + server + " -addr {addr}", 0, "1 check in"},
		{"-only NOT_LEVEL -- " + server + " -addr {addr}", 1, "1 failed (NOT_LEVEL)"},
		{"-list -as et -only edge_lost", 0, "EDGE_LOST"},
	} {
		cmd := exec.Command(examiner, strings.Fields(tt.args)...)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != tt.code || !strings.Contains(string(out), tt.want) {
			t.Errorf("exam %s: exit code %d, want %d with %q\n%s", tt.args, code, tt.code, tt.want, out)
		}
	}

	out, _ := exec.Command(examiner, "-json", "-only", "NOT_LEVEL,NOT_EDGE", "--", server, "-addr", "{addr}").Output()
	var report exam.Report
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if len(report.Results) != 2 || report.Kernel == "" || report.Seconds == 0 || report.Server[0] != server {
		t.Errorf("%+v", report)
	}
	if r := report.Results[0]; r.ID != "NOT_LEVEL" || r.Verdict != exam.Fail || r.Failure != "NOT_LEVEL" ||
		len(r.Facts) == 0 || r.Usually == "" || len(r.Reread) == 0 {
		t.Errorf("%+v", r)
	}
	if r := report.Results[1]; r.ID != "NOT_EDGE" || r.Verdict != exam.Pass || r.Failure != "" {
		t.Errorf("%+v", r)
	}
}

// serve runs a server until the test ends. It returns the address that the server logs
// first.
func serve(t *testing.T, command ...string) (*os.Process, netip.AddrPort) {
	t.Helper()
	server := exec.Command(command[0], command[1:]...)
	stderr, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Kill(); server.Wait() })
	lines := bufio.NewReader(stderr)
	line, _ := lines.ReadString('\n')
	_, listening, _ := strings.Cut(strings.TrimSpace(line), "listening on ")
	addr, err := netip.ParseAddrPort(listening)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	go io.Copy(io.Discard, lines)
	return server.Process, addr
}

// profile returns the checks of a profile.
func profile(t *testing.T, p exam.Profile) []exam.Check {
	t.Helper()
	selected, err := checks.Select(p)
	if err != nil {
		t.Fatal(err)
	}
	return selected
}

// only returns the checks with these IDs.
func only(t *testing.T, ids ...string) []exam.Check {
	t.Helper()
	selected, err := checks.Select("", ids...)
	if err != nil {
		t.Fatal(err)
	}
	return selected
}

// freeAddr returns an address on which no process listens. During the test, only
// servers that set SO_REUSEADDR can bind it: socket(7).
func freeAddr(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
}

// running returns the processes that run the program.
func running(t *testing.T, program string) []int {
	t.Helper()
	pids, err := procfs.PIDs()
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, pid := range pids {
		args, _ := procfs.Cmdline(pid)
		if len(args) > 0 && args[0] == program {
			found = append(found, pid)
		}
	}
	return found
}

// family returns the descendants of this process.
func family(t *testing.T) map[int]bool {
	t.Helper()
	pids, err := procfs.Descendants(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	set := make(map[int]bool)
	for _, pid := range pids {
		set[pid] = true
	}
	return set
}

// none waits until no process runs the program, and this process has no new descendant.
func none(t *testing.T, program string, before map[int]bool) {
	t.Helper()
	eventually(t, "all processes are gone", func() bool {
		for pid := range family(t) {
			if !before[pid] {
				return false
			}
		}
		return len(running(t, program)) == 0
	})
}

// patience limits a wait for a state. Only a test that fails reaches it.
const patience = 2 * time.Minute

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v, this is still not so: %s", patience, what)
		}
	}
}
