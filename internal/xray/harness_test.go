package xray

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var bin string // folder of the built steps and xray

// Some servers in these tests are this test program. The variable selects a role.
const roleEnv = "XRAY_TEST_ROLE"

var roles = map[string]func() error{"wrong": wrong, "edge": edge, "worker": worker, "undumpable": undumpable, "observer": observeUndumpable}

// Tests look at the main thread, so a role's goroutine has to stay on it.
func init() { runtime.LockOSThread() }

// waitCall is the system call that unix.EpollWait makes.
var waitCall = map[string]string{"amd64": "epoll_wait", "arm64": "epoll_pwait"}[runtime.GOARCH]

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		if err := roles[role](); err != nil {
			fmt.Println(err)
		}
		return
	}
	os.Exit(func() int {
		var err error
		if bin, err = os.MkdirTemp("", "xray"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(bin)
		os.Chmod(bin, 0o755) // another user runs xray in TestNoPermission
		out, err := exec.Command("go", "build", "-o", bin+"/", "../../tools/xray", "../../step1-blocking", "../../step2-nonblocking",
			"../../step3-epoll-lt", "../../step4-epoll-et").CombinedOutput()
		if err != nil {
			fmt.Fprintf(os.Stderr, "build error: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// A server runs until the test ends.
type server struct {
	pid  int
	addr netip.AddrPort
}

var listens = regexp.MustCompile(`listening on (\S+)`)

func start(t *testing.T, cmd *exec.Cmd) server {
	t.Helper()
	r, w := must2[*os.File, *os.File](t)(os.Pipe())
	t.Cleanup(func() { r.Close() })
	cmd.Stdout, cmd.Stderr = w, w
	stdin := must[io.WriteCloser](t)(cmd.StdinPipe())
	err := cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewReader(r)
	line, err := lines.ReadString('\n')
	found := listens.FindStringSubmatch(line)
	if found == nil {
		t.Fatalf("%s printed %q, %v", cmd.Path, line, err)
	}
	go io.Copy(io.Discard, lines) // its log must not block it
	return server{cmd.Process.Pid, netip.MustParseAddrPort(found[1])}
}

func step(t *testing.T, name string) server {
	t.Helper()
	return start(t, exec.Command(filepath.Join(bin, name), "-addr", "127.0.0.1:0"))
}

func role(t *testing.T, name string, files ...*os.File) server {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"="+name)
	cmd.ExtraFiles = files
	return start(t, cmd)
}

func (s server) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	c := must[net.Conn](t)(net.DialTimeout("tcp", s.addr.String(), 10*time.Second))
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c.(*net.TCPConn)
}

// served returns a client that was accepted: it has received an answer.
func (s server) served(t *testing.T) *net.TCPConn {
	t.Helper()
	c := s.dial(t)
	send(t, c, "hello")
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	return c
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// await inspects the server until the report is as wanted: missing returns "" then, else
// what the report lacks.
func (s server) await(t *testing.T, missing func(r Report) string) Report {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		r, err := inspect(s.pid)
		if err != nil {
			t.Fatal(err)
		}
		what := missing(r)
		if what == "" {
			return r
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s\n%s", what, render(r, 120, 0, false))
		}
	}
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func must2[T, U any](t testing.TB) func(v T, u U, err error) (T, U) {
	return func(v T, u U, err error) (T, U) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v, u
	}
}

// says requires the main thread's sentence to match want, with %d for any number.
func says(want string) func(r Report) string {
	pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(want), "%d", `\d+`) + "$")
	return func(r Report) string {
		if got := r.Threads[0].Says; !pattern.MatchString(got) {
			return fmt.Sprintf("the main thread says %q, want %q", got, want)
		}
		return ""
	}
}

// rests requires the same, and no unacknowledged bytes of the server.
func rests(want string) func(r Report) string {
	return func(r Report) string {
		for _, k := range r.Sockets {
			if k.Unsent > 0 {
				return fmt.Sprintf("all bytes acknowledged: %+v", k)
			}
		}
		return says(want)(r)
	}
}

// own returns the epoll instance that is not the Go runtime's.
func (r Report) own() Epoll {
	for _, e := range r.Epolls {
		if e.Owner == "" {
			return e
		}
	}
	return Epoll{FD: -1}
}

func (r Report) marks() []string {
	var ids []string
	for _, e := range r.Epolls {
		for _, i := range e.Interests {
			for _, m := range i.Marks {
				ids = append(ids, m.ID)
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// peer returns the server's end of a client's connection, and its registration.
func (r Report) peer(c net.Conn) (Socket, Interest) {
	for _, s := range r.Sockets {
		if s.Remote != c.LocalAddr().String() {
			continue
		}
		for _, i := range r.own().Interests {
			if i.FD == s.FD {
				return s, i
			}
		}
		return s, Interest{}
	}
	return Socket{}, Interest{}
}

func listenOn(ip netip.Addr) (int, netip.AddrPort, error) {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		return -1, netip.AddrPort{}, err
	}
	f, err := l.File()
	if err != nil {
		return -1, netip.AddrPort{}, err
	}
	defer f.Close()
	fd, err := unix.Dup(int(f.Fd())) // Fd makes it blocking
	l.Close()
	return fd, l.Addr().(*net.TCPAddr).AddrPort(), err
}

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}
