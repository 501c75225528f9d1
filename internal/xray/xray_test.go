package xray

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"epoll-step-by-step/internal/procfs"
	"epoll-step-by-step/internal/terminal"

	"golang.org/x/sys/unix"
)

var bin string // folder with the steps and xray, built

// The servers that are wrong are this same program: roleEnv says which.
const roleEnv = "XRAY_TEST_ROLE"

var roles = map[string]func() error{"wrong": wrong, "edge": edge, "worker": worker, "hides": hides, "mourns": mourns}

// A role's main thread is its only one that calls epoll_wait.
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
		os.Chmod(bin, 0o755) // another user runs xray, too
		out, err := exec.Command("go", "build", "-o", bin+"/", "../../tools/xray", "../../step1-blocking", "../../step2-nonblocking",
			"../../step3-epoll-lt", "../../step4-epoll-et").CombinedOutput()
		if err != nil {
			fmt.Fprintf(os.Stderr, "build error: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// A server runs until the test ends, and printed its address.
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
		t.Fatalf("%s said %q, %v", cmd.Path, line, err)
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

// served is a client that has had an answer, so it has been accepted.
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

// await looks until it sees what is wanted: that says what is missing, or "".
func (s server) await(t *testing.T, missing func(r Report) string) Report {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		r, err := look(s.pid)
		if err != nil {
			t.Fatal(err)
		}
		what := missing(r)
		if what == "" {
			return r
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s\n%s", what, text(r, 120, 0, false))
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

// says wants the main thread to say that, with %d for any number.
func says(want string) func(r Report) string {
	pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(want), "%d", `\d+`) + "$")
	return func(r Report) string {
		if got := r.Threads[0].Says; !pattern.MatchString(got) {
			return fmt.Sprintf("the main thread says %q, want %q", got, want)
		}
		return ""
	}
}

// rests wants that, and all that the server has sent to be acknowledged.
func rests(want string) func(r Report) string {
	return func(r Report) string {
		for _, k := range r.Sockets {
			if k.Unsent > 0 {
				return fmt.Sprintf("acknowledged: %+v", k)
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

func TestIdle(t *testing.T) {
	for _, tt := range []struct{ name, listener, client, trigger, ready string }{
		{"step3-epoll-lt", "EPOLLIN", "EPOLLIN", "level", "no"},
		{"step4-epoll-et", "EPOLLIN|EPOLLET", "EPOLLIN|EPOLLOUT|EPOLLRDHUP|EPOLLET", "edge", "told"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := step(t, tt.name)
			clients := []net.Conn{s.served(t), s.served(t)}
			r := s.await(t, rests("asleep in "+waitCall+" on fd %d, which watches 3 descriptors; none is ready now"))
			p := r.Process
			if p.PID != s.pid || p.Name != tt.name || !p.Go || p.Threads != len(r.Threads) || p.Descriptors < 6 ||
				p.Limit == 0 || p.Resident < 1<<20 || p.CPUSeconds <= 0 || p.CPUPercent != -1 ||
				!strings.HasSuffix(p.Command, tt.name+" -addr 127.0.0.1:0") {
				t.Errorf("process: %+v", p)
			}
			e := r.own()
			if th := r.Threads[0]; th.TID != s.pid || th.State != "asleep" || th.Call != waitCall || th.FD != e.FD || th.Timeout != -1 {
				t.Errorf("main thread: %+v", th)
			}
			if len(e.Interests) != 3 || e.Ready != 0 || e.Unknown != 0 || r.marks() != nil {
				t.Errorf("epoll instance: %+v, marks %v", e, r.marks())
			}
			l := r.Sockets[0]
			want := Interest{FD: l.FD, What: "listener on " + s.addr.String(), Asked: tt.listener, Trigger: tt.trigger, Ready: "no", Marks: []Mark{}}
			if got := e.Interests[0]; !reflect.DeepEqual(got, want) {
				t.Errorf("listener: %+v, want %+v", got, want)
			}
			if want := (Socket{FD: l.FD, State: "LISTEN", Local: s.addr.String(), Backlog: backlog(t)}); l != want || len(r.Sockets) != 3 {
				t.Errorf("sockets: %+v, want %+v first and 2 more", r.Sockets, want)
			}
			for _, c := range clients {
				k, i := r.peer(c)
				if want := (Socket{FD: i.FD, State: "ESTABLISHED", Local: s.addr.String(), Remote: c.LocalAddr().String(), Accepted: true, Backlog: -1}); k != want {
					t.Errorf("connection: %+v, want %+v", k, want)
				}
				want := Interest{FD: k.FD, What: "client " + k.Remote, Asked: tt.client, Trigger: tt.trigger, Ready: tt.ready, Marks: []Mark{}}
				if !reflect.DeepEqual(i, want) {
					t.Errorf("client: %+v, want %+v", i, want)
				}
			}
			drawn(t, r)
		})
	}
}

// backlog is what listen(2) makes of the steps' 4096.
func backlog(t *testing.T) int {
	t.Helper()
	most := must[[]byte](t)(os.ReadFile("/proc/sys/net/core/somaxconn"))
	return min(4096, must[int](t)(strconv.Atoi(strings.TrimSpace(string(most)))))
}

// A stopped server does not read: what clients send stays, and so do clients.
func TestStopped(t *testing.T) {
	s := step(t, "step3-epoll-lt")
	c := s.served(t)
	s.await(t, says("asleep in "+waitCall+" on fd %d, which watches 2 descriptors; none is ready now"))
	if err := unix.Kill(s.pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	send(t, c, "12345")
	s.await(t, says("stopped in "+waitCall+" on fd %d, which watches 2 descriptors; 1 is ready now"))
	c.CloseWrite()
	d := s.dial(t)
	send(t, d, "123")
	r := s.await(t, func(r Report) string {
		k, i := r.peer(c)
		if k.State != "CLOSE_WAIT" || k.Unread != 5 || !k.EndUnread || i.Ready != "yes" {
			return fmt.Sprintf("5 bytes and the end unread: %+v, %+v", k, i)
		}
		if k, _ := r.peer(d); r.Sockets[0].Waiting != 1 || k.FD != -1 || k.Unread != 3 || k.Accepted {
			return fmt.Sprintf("a client with 3 bytes not accepted: %+v, %+v", r.Sockets[0], k)
		}
		return says("stopped in " + waitCall + " on fd %d, which watches 2 descriptors; 2 are ready now")(r)
	})
	if r.own().Ready != 2 || r.marks() != nil {
		t.Errorf("epoll: %+v, marks %v", r.own(), r.marks())
	}
	drawn(t, r)
}

func TestUnaccepted(t *testing.T) {
	s := step(t, "step1-blocking")
	c := s.served(t)
	d := s.dial(t)
	send(t, d, "hello")
	r := s.await(t, func(r Report) string {
		if k, _ := r.peer(d); k.Unread != 5 || r.Sockets[0].Waiting != 1 {
			return fmt.Sprintf("5 bytes unread, and 1 waits: %+v, %+v", k, r.Sockets[0])
		}
		if !slices.ContainsFunc(r.Threads, func(th Thread) bool { return th.Call == "futex" }) {
			return "a thread of the runtime asleep"
		}
		return says(fmt.Sprintf("asleep in read on fd %%d (%s <- %s): nothing unread", s.addr, c.LocalAddr()))(r)
	})
	if l := r.Sockets[0]; l.State != "LISTEN" || l.Waiting != 1 || l.Backlog != backlog(t) {
		t.Errorf("listener: %+v, want 1 to wait", l)
	}
	want := Socket{FD: -1, State: "ESTABLISHED", Local: s.addr.String(), Remote: d.LocalAddr().String(), Unread: 5, Backlog: -1}
	if r.Sockets[1] != want {
		t.Errorf("not accepted: %+v, want %+v", r.Sockets[1], want)
	}
	if k, _ := r.peer(c); !k.Accepted || r.own().FD != -1 {
		t.Errorf("connection: %+v, epoll: %+v, want none", k, r.own())
	}
	page := drawn(t, r)
	for _, want := range []string{"1 of 4096 waits for accept", "not accepted yet", "more asleep in futex: the Go runtime's"} {
		if !strings.Contains(page, want) && backlog(t) == 4096 {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	c.Close()
	d.Close()
	s.await(t, says(fmt.Sprintf("asleep in accept4 on fd %%d (listener on %s): 0 of %d wait for accept", s.addr, backlog(t))))
}

// A client that does not read: EPOLLOUT is asked for, and rightly so.
func TestStalled(t *testing.T) {
	s := step(t, "step3-epoll-lt")
	s.served(t)
	c := s.dial(t)
	stall(t, c)
	r := s.await(t, func(r Report) string {
		k, i := r.peer(c)
		if k.Unsent == 0 || i.Asked != "EPOLLOUT" || i.Ready != "no" {
			return fmt.Sprintf("stalled: %+v, %+v", k, i)
		}
		return says("asleep in " + waitCall + " on fd %d, which watches 3 descriptors; none is ready now")(r)
	})
	if r.marks() != nil {
		t.Errorf("marks %v, want none", r.marks())
	}
	drawn(t, r)
}

// stall sends in the background, until the test ends, and reads nothing.
func stall(t *testing.T, c *net.TCPConn) {
	done := make(chan bool)
	go func() {
		defer close(done)
		for buf := make([]byte, 64<<10); ; {
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
}

func TestRunning(t *testing.T) {
	s := step(t, "step2-nonblocking")
	s.served(t)
	before := s.await(t, says("running"))
	r := s.await(t, func(r Report) string {
		if r.since(before, 0.001); r.Process.CPUPercent < 100 {
			return "1 ms of CPU time"
		}
		return says("running")(r)
	})
	if th := r.Threads[0]; th.State != "running" || th.Call != "" || th.FD != -1 {
		t.Errorf("main thread: %+v", th)
	}
	drawn(t, r)
}

// wrong has an epoll instance with everything on it that should not be.
func wrong() error {
	listener, addr, err := listenOn(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		return err
	}
	fmt.Println("listening on", addr)
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	add := func(fd int, events uint32) error {
		return unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
	}
	// Numbers that do not depend on what Go has open.
	move := func(fd, to int) error { return errors.Join(unix.Dup2(fd, to), unix.Close(fd)) }
	if err := move(listener, 100); err != nil {
		return err
	}
	for to := 101; to <= 105; to++ {
		fd, _, err := unix.Accept4(100, unix.SOCK_NONBLOCK)
		if err = errors.Join(err, move(fd, to)); err != nil {
			return err
		}
	}
	const armed, blocking, closed, reused, fine = 101, 102, 103, 104, 105
	if err := unix.SetNonblock(blocking, false); err != nil {
		return err
	}
	err = errors.Join(add(100, unix.EPOLLIN), add(armed, unix.EPOLLIN|unix.EPOLLOUT), add(blocking, unix.EPOLLIN),
		add(closed, unix.EPOLLIN), add(reused, unix.EPOLLIN), add(fine, unix.EPOLLIN|unix.EPOLLONESHOT))
	if err != nil {
		return err
	}
	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		return err
	}
	if err := errors.Join(unix.Dup2(closed, 203), unix.Dup2(reused, 204)); err != nil {
		return err
	}
	unix.Close(closed)
	if err := unix.Dup2(pipe[0], reused); err != nil {
		return err
	}
	_, err = unix.Read(0, make([]byte, 1))
	return err
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

func TestMarks(t *testing.T) {
	s := role(t, "wrong")
	for range 5 {
		s.dial(t)
	}
	want := []string{"BLOCKING_FD", "BLOCKING_FD", "CLOSED_FD", "EPOLLOUT_ALWAYS_ARMED", "REUSED_FD"}
	// All is done: a look reads descriptors first and threads last, so the
	// next one sees all of it.
	const done = "asleep in read on fd 0 (pipe, the end to read)"
	s.await(t, says(done))
	r := s.await(t, func(r Report) string {
		if got := r.marks(); !slices.Equal(got, want) {
			return fmt.Sprintf("marks %v, want %v", got, want)
		}
		return ""
	})
	e := r.own()
	for i, tt := range []struct{ what, asked, ready, id, says string }{
		{"listener on", "EPOLLIN", "no", "BLOCKING_FD", "an accept that finds it not ready"},
		{"client", "EPOLLIN|EPOLLOUT", "yes", "EPOLLOUT_ALWAYS_ARMED", "epoll_wait will return at once, always"},
		{"client", "EPOLLIN", "no", "BLOCKING_FD", "a read or write that finds it not ready"},
		{"client", "EPOLLIN", "no", "CLOSED_FD", "lives on as fd 203"},
		{"client", "EPOLLIN", "no", "REUSED_FD", "another file now (pipe); the one that was registered lives on as fd 204"},
		{"client", "EPOLLIN|EPOLLONESHOT", "no", "", ""},
	} {
		got := e.Interests[i]
		if !strings.HasPrefix(got.What, tt.what) || got.Asked != tt.asked || got.Ready != tt.ready {
			t.Errorf("entry %d: %+v, want %+v", i, got, tt)
		}
		if tt.id != "" && (len(got.Marks) != 1 || got.Marks[0].ID != tt.id || !strings.Contains(got.Marks[0].Says, tt.says)) {
			t.Errorf("entry %d: marks %v, want %s: %s", i, got.Marks, tt.id, tt.says)
		}
	}
	if got := e.Interests[5].Trigger; got != "level, oneshot" {
		t.Errorf("trigger %q", got)
	}
	if missing := says(done)(r); e.Ready != 1 || missing != "" {
		t.Errorf("%+v; %s", e, missing)
	}
	drawn(t, r)

	// A mark is shown if two looks have it.
	shown, clean := r, r
	clean.Epolls = nil
	if shown.since(r, 1); !slices.Equal(shown.marks(), want) {
		t.Errorf("twice seen: %v", shown.marks())
	}
	if shown.since(clean, 1); shown.marks() != nil {
		t.Errorf("once seen: %v", shown.marks())
	}
	if !slices.Equal(r.marks(), want) { // or the next look would find none to compare with
		t.Errorf("what was not shown is forgotten: %v", r.marks())
	}
}

// edge is edge-triggered, and reads one byte for each event.
func edge() error {
	listener, addr, err := listenOn(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		return err
	}
	fmt.Println("listening on", addr)
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	conn, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK)
	if err != nil {
		return err
	}
	err = unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, conn, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(conn)})
	for err == nil || err == unix.EINTR {
		var events [1]unix.EpollEvent
		var n int
		if n, err = unix.EpollWait(epfd, events[:], -1); n == 1 {
			_, err = unix.Read(conn, make([]byte, 1))
		}
	}
	return err
}

func TestEdgeUnread(t *testing.T) {
	s := role(t, "edge")
	c := s.dial(t)
	send(t, c, "12345")
	r := s.await(t, func(r Report) string {
		if k, i := r.peer(c); k.Unread != 4 || i.Ready != "told" {
			return fmt.Sprintf("4 bytes unread: %+v %+v", k, i)
		}
		return says("asleep in " + waitCall + " on fd %d, which watches 1 descriptor; none is ready now")(r)
	})
	if got := r.marks(); !slices.Equal(got, []string{"EDGE_UNREAD"}) {
		t.Errorf("marks %v", got)
	}
}

// This process: a Go program with IPv4 and IPv6, in the runtime's own instance.
func TestItself(t *testing.T) {
	for _, tt := range []struct{ ip, dial string }{{"127.0.0.1", "127.0.0.1"}, {"::1", "::1"}, {"::", "::1"}, {"::", "127.0.0.1"}} {
		t.Run(tt.ip+" "+tt.dial, func(t *testing.T) { testItself(t, tt.ip, tt.dial) })
	}
}

func testItself(t *testing.T, ip, dial string) {
	able := func(err error) {
		t.Helper()
		if strings.Contains(ip, ":") && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)) {
			t.Skip("no IPv6 here:", err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.ParseIP(ip)})
	able(err)
	defer l.Close()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	self := server{os.Getpid(), at}
	c, err := net.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr(dial), at.Port()).String())
	able(err)
	defer c.Close()
	r := self.await(t, func(r Report) string {
		var listener, out, waiting bool
		for _, k := range r.Sockets {
			listener = listener || k.State == "LISTEN" && k.Local == at.String() && k.Waiting == 1
			out = out || k.Local == c.LocalAddr().String() && !k.Accepted && k.FD >= 0
			waiting = waiting || k.Remote == c.LocalAddr().String() && k.FD == -1
		}
		if !listener || !out || !waiting {
			return fmt.Sprintf("%s: listener %t, connection %t, unaccepted %t", ip, listener, out, waiting)
		}
		return ""
	})
	i := slices.IndexFunc(r.Epolls, func(e Epoll) bool { return e.Owner == "the Go runtime" })
	if i < 0 || !slices.ContainsFunc(r.Epolls[i].Interests, func(i Interest) bool { return i.What == "listener on "+at.String() }) {
		t.Errorf("%s: epoll instances %+v", ip, r.Epolls)
	}
	drawn(t, r)
	addrs := must[[]netip.AddrPort](t)(addresses(c.RemoteAddr().String()))
	if pid, note, err := find(addrs); pid != self.pid || note != "" || err != nil {
		t.Errorf("find %v: %d, %q, %v", addrs, pid, note, err)
	}
}

// worker accepts one connection of a listener that it has inherited.
func worker() error {
	fmt.Println("listening on", "0.0.0.0:0")
	if _, _, err := unix.Accept(3); err != nil {
		return err
	}
	_, err := unix.Read(0, make([]byte, 1))
	return err
}

// Several processes have the listener: the one with a connection is chosen.
func TestManyOwners(t *testing.T) {
	l := must[*net.TCPListener](t)(net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}))
	defer l.Close()
	f := must[*os.File](t)(l.File())
	defer f.Close()
	w := role(t, "worker", f)
	w.addr = l.Addr().(*net.TCPAddr).AddrPort()
	w.await(t, says(fmt.Sprintf("asleep in accept4 on fd 3 (listener on %s): 0 of %d wait for accept", w.addr, backlog(t))))
	c := w.dial(t)
	w.await(t, func(r Report) string {
		if k, _ := r.peer(c); !k.Accepted {
			return "accepted"
		}
		return ""
	})
	pid, note, err := find([]netip.AddrPort{w.addr})
	want := fmt.Sprintf("2 processes listen on %s; this is %d, with 1 connection there; for another: -pid, with one of %d", w.addr, w.pid, os.Getpid())
	if pid != w.pid || note != want || err != nil {
		t.Errorf("got %d, %q, %v; want %d, %q", pid, note, err, w.pid, want)
	}
	// The other one is told where the clients are.
	note = fmt.Sprintf("children that have connections through its listener: 1; to look at one: -pid %d (make: PID=%d)", w.pid, w.pid)
	for pid, want := range map[int][]string{os.Getpid(): {note}, w.pid: {}} {
		if r := must[Report](t)(look(pid)); !slices.Equal(r.Notes, want) {
			t.Errorf("notes of %d: %q, want %q", pid, r.Notes, want)
		}
	}
	// Nobody accepts the next. This process has the listener twice: one queue.
	d := w.dial(t)
	self := server{os.Getpid(), w.addr}
	self.await(t, func(r Report) string {
		var queues, waiting int
		for _, k := range r.Sockets {
			if k.Local == w.addr.String() && k.State == "LISTEN" && k.Waiting == 1 {
				queues++
			} else if k.FD == -1 && k.Remote == d.LocalAddr().String() {
				waiting++
			}
		}
		if queues != 2 || waiting != 1 {
			return fmt.Sprintf("%d listeners, %d clients not accepted; want 2, 1", queues, waiting)
		}
		return ""
	})
	out, _, code := xray(t, "-addr", w.addr.String(), "-interval", "10ms")
	if got := strings.Join(strings.Fields(out), " "); code != 0 || !strings.Contains(got, want) {
		t.Errorf("exit %d, no %q in\n%s", code, want, out)
	}
}

func TestReaches(t *testing.T) {
	listening := func(list string) (sockets []procfs.Socket) {
		for _, text := range strings.Fields(list) {
			sockets = append(sockets, procfs.Socket{Local: netip.MustParseAddrPort(text), State: procfs.TCPListen})
		}
		return sockets
	}
	for _, tt := range []struct{ listening, addr, want string }{
		{"0.0.0.0:80 127.0.0.1:80 [::]:80", "127.0.0.1:80", "127.0.0.1:80"},
		{"[::]:80 0.0.0.0:80", "127.0.0.1:80", "0.0.0.0:80"},
		{"[::]:80 127.0.0.2:80", "127.0.0.1:80", "[::]:80"},
		{"[::]:80 0.0.0.0:80", "[::1]:80", "[::]:80"},
		{"0.0.0.0:80 127.0.0.1:80", "[::1]:80", ""},
		{"0.0.0.0:80 0.0.0.0:81 0.0.0.0:80", "127.0.0.1:80", "0.0.0.0:80 0.0.0.0:80"},
	} {
		var got []string
		for _, s := range reaches(listening(tt.listening), netip.MustParseAddrPort(tt.addr)) {
			got = append(got, s.Local.String())
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s among %s: got %v, want %s", tt.addr, tt.listening, got, tt.want)
		}
	}
}

// Where Yama hides system calls, the kernel function tells.
func TestDenied(t *testing.T) {
	v := &view{threads: []procfs.Thread{
		{State: 'S', Wchan: "ep_poll", Syscall: procfs.Syscall{State: procfs.SyscallDenied, Number: -1}},
		{State: 'S', Wchan: "pipe_read", Syscall: procfs.Syscall{State: procfs.SyscallDenied, Number: -1}},
		{State: 'S', Wchan: "", Syscall: procfs.Syscall{State: procfs.SyscallDenied, Number: -1}},
		{State: 'D', Wchan: "x", Syscall: procfs.Syscall{State: procfs.SyscallNone, Number: -1}},
		{State: 'T', Wchan: "do_signal_stop", Syscall: procfs.Syscall{State: procfs.SyscallDenied, Number: -1}},
	}}
	var got []string
	for _, th := range v.sleepers() {
		got = append(got, th.Says)
	}
	want := []string{"asleep in epoll_wait", "asleep in the kernel's pipe_read", "asleep",
		"in an uninterruptible sleep in the kernel's x", "stopped"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if notes := v.notes(Report{}); len(notes) != 1 || !strings.Contains(notes[0], "ptrace(2)") {
		t.Errorf("notes %q", notes)
	}
}

// drawn checks what must hold of every text, and returns that of 80 columns.
func drawn(t *testing.T, r Report) string {
	t.Helper()
	for _, width := range []int{20, 40, 60, 80, 120} {
		for _, height := range []int{0, 1, 5, 10, 22, 50} {
			page := text(r, width, height, false)
			lines := strings.Split(strings.TrimSuffix(page, "\n"), "\n")
			if height > 0 && len(lines) > height {
				t.Errorf("width %d, height %d: %d lines", width, height, len(lines))
			}
			for _, l := range lines {
				if utf8.RuneCountInString(l) > width || strings.TrimRight(l, " ") != l {
					t.Errorf("width %d: %q", width, l)
				}
			}
			if coloured := text(r, width, height, true); regexp.MustCompile(`\x1b\[\d+m`).ReplaceAllString(coloured, "") != page {
				t.Errorf("width %d, height %d: colour changes more than colour", width, height)
			}
			complete(t, r, page, width, height, lines)
		}
	}
	return text(r, 80, 0, false)
}

// complete checks that nothing is lost silently: without a limit all is there;
// with one, what is not is counted.
func complete(t *testing.T, r Report, page string, width, height int, lines []string) {
	t.Helper()
	flat := strings.Join(strings.Fields(page), " ")
	if height == 0 && width >= 60 {
		for _, e := range r.Epolls {
			for _, i := range e.Interests {
				for _, m := range i.Marks {
					if !strings.Contains(flat, "! "+m.Says) {
						t.Errorf("width %d: no %q in\n%s", width, m.Says, page)
					}
				}
				if !strings.Contains(flat, i.What) {
					t.Errorf("width %d: no %q in\n%s", width, i.What, page)
				}
			}
		}
		for _, k := range r.Sockets {
			if !strings.Contains(flat, cmp.Or(k.Remote, k.Local)) {
				t.Errorf("width %d: no %s in\n%s", width, k.Remote, page)
			}
		}
		if !strings.Contains(flat, r.Threads[0].Says) {
			t.Errorf("width %d: no %q in\n%s", width, r.Threads[0].Says, page)
		}
		return
	}
	if height == 0 || strings.Contains(page, " more lines\n") {
		return
	}
	// Rows of the last section that is a table begin with a number or "-".
	at := slices.Index(lines, "TCP SOCKETS")
	if at < 0 {
		return
	}
	shown := 0
	for _, l := range lines[at+2:] {
		if l == "NOTES" {
			break
		}
		if regexp.MustCompile(`^ {2,4}(\d+|-)( |$)`).MatchString(l) {
			shown++
		} else if n, found := strings.CutPrefix(l, "  … "); found {
			more, _ := strconv.Atoi(strings.Fields(n)[0])
			shown += more
		}
	}
	if shown != len(r.Sockets) {
		t.Errorf("width %d, height %d: %d sockets shown or counted, want %d in\n%s", width, height, shown, len(r.Sockets), page)
	}
}

// many is a report with a thousand idle clients, one that is not, and a mark.
func many() Report {
	r := Report{Process: Process{PID: 4711, Name: "server", Command: "server -v"},
		Threads: []Thread{{TID: 4711, Name: "server", State: "asleep", Call: "epoll_wait", FD: 4, Says: "asleep in epoll_wait on fd 4"}},
		Epolls:  []Epoll{{FD: 4}}, Notes: []string{}}
	for i := range 1000 {
		peer := fmt.Sprintf("[2001:db8::1]:%d", 10000+i)
		in := Interest{FD: 10 + i, What: "client " + peer, Asked: "EPOLLIN", Trigger: "level", Ready: "no", Marks: []Mark{}}
		k := Socket{FD: 10 + i, State: "ESTABLISHED", Local: "[2001:db8::2]:80", Remote: peer, Accepted: true, Backlog: -1}
		if i == 700 {
			in.Marks = []Mark{{"EPOLLOUT_ALWAYS_ARMED", "asks for EPOLLOUT with nothing to send"}}
			k.Unsent = 77
		}
		r.Epolls[0].Interests = append(r.Epolls[0].Interests, in)
		r.Sockets = append(r.Sockets, k)
	}
	return r
}

func TestManyClients(t *testing.T) {
	r := many()
	drawn(t, r)
	page := text(r, 60, 22, false)
	for _, want := range []string{"\n  … 99", "! asks for EPOLLOUT", "client [2001:db8::1]:10700\n", " 710  ESTABLISHED       0      77"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	if n := strings.Count(page, "\n"); n < 20 {
		t.Errorf("only %d of 22 lines are used:\n%s", n, page)
	}
	r.Epolls[0].Interests[1].Marks = r.Epolls[0].Interests[700].Marks
	if page := text(r, 60, 13, false); !strings.Contains(page, "not all idle") {
		t.Errorf("a mark is lost silently:\n%s", page)
	}
}

func TestClean(t *testing.T) {
	if got, want := clean("a\x1b[2J\"b\nc\xff é"), `a\x1b[2J"b\nc\xff \u00e9`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, tt := range []struct {
		comm string
		args []string
		want string
	}{
		{"step2-nonblocki", []string{"bin/step2-nonblocking", "-addr"}, "step2-nonblocking"},
		{"nginx", []string{"nginx: worker process"}, "nginx"},
		{"redis-server", []string{"/usr/bin/redis-server 127.0.0.1:6379"}, "redis-server"},
		{"kthreadd", nil, "kthreadd"},
	} {
		if got := name(tt.comm, tt.args); got != tt.want {
			t.Errorf("%s %q: %s, want %s", tt.comm, tt.args, got, tt.want)
		}
	}
}

// xray runs the command.
func xray(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "xray"), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestCommand(t *testing.T) {
	s := step(t, "step3-epoll-lt")
	s.served(t)
	for _, tt := range []struct {
		args string
		code int
		want string // of standard error, or of output if all is well
	}{
		{"-addr " + s.addr.String(), 0, "step3-epoll-lt, process " + strconv.Itoa(s.pid) + ": "},
		{"-pid " + strconv.Itoa(s.pid), 0, "EPOLL on fd "},
		{fmt.Sprintf("-addr localhost:%d", s.addr.Port()), 0, "TCP SOCKETS"},
		{fmt.Sprintf("-addr :%d", s.addr.Port()), 0, "TCP SOCKETS"},
		{"-addr 127.0.0.1:1", 1, "nobody listens on 127.0.0.1:1: start a server first"},
		{"-pid 2147483647", 1, "there is no process 2147483647"},
		{"-pid 0", 2, "positive"},
		{"-pid 1 -addr :1", 2, "not both"},
		{"-addr 6379", 2, "want HOST:PORT"},
		{"-addr 127.0.0.1:0", 2, "want HOST:PORT"},
		{"-interval 1ms", 2, "at least 10ms"},
		{"-nonsense", 2, "not defined"},
		{"nonsense", 2, "takes no argument"},
	} {
		out, errs, code := xray(t, strings.Fields("-interval 20ms "+tt.args)...)
		if tt.code == 0 && errs != "" || tt.code > 0 && out != "" {
			t.Errorf("%s: standard output %q, error %q", tt.args, out, errs)
		}
		if !strings.Contains(out+errs, tt.want) || code != tt.code || strings.Contains(out, "\x1b") {
			t.Errorf("%s: exit %d, %q%q; want exit %d, %q", tt.args, code, out, errs, tt.code, tt.want)
		}
	}
}

func TestJSON(t *testing.T) {
	s := step(t, "step3-epoll-lt")
	s.served(t)
	want := s.await(t, rests("asleep in "+waitCall+" on fd %d, which watches 2 descriptors; none is ready now"))
	out, _, code := xray(t, "-json", "-interval", "10ms", "-pid", strconv.Itoa(s.pid))
	dec := json.NewDecoder(strings.NewReader(out))
	dec.DisallowUnknownFields()
	var got Report
	if err := dec.Decode(&got); err != nil || code != 0 {
		t.Fatalf("%v, exit %d", err, code)
	}
	var again bytes.Buffer
	if err := write(&again, got); err != nil || again.String() != out {
		t.Errorf("decoded and written again: %v\n%s\n%s", err, again.String(), out)
	}
	got.Process, want.Process = Process{}, Process{} // CPU and memory change
	got.Threads, want.Threads = got.Threads[:1], want.Threads[:1]
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if strings.Contains(out, "null") {
		t.Error("null in", out)
	}
}

// A number that is given to another process means the end, too.
func TestReusedPID(t *testing.T) {
	p := &patient{pid: os.Getpid()}
	if err := p.first(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.again(); err != nil {
		t.Fatal(err)
	}
	p.last.Process.Start--
	if _, err := p.again(); !errors.Is(err, errEnded) {
		t.Errorf("got %v, want %v", err, errEnded)
	}
}

// hides makes its files in /proc root's, as those of a process are that has
// lost its memory: prctl(2), PR_SET_DUMPABLE.
func hides() error {
	unix.Read(0, make([]byte, 1))
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	_, err := unix.Read(0, make([]byte, 1))
	return err
}

// mourns looks at a child that hides and is killed then.
func mourns() error {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"=hides")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	p := &patient{pid: cmd.Process.Pid}
	if err := p.first(); err != nil {
		return err
	}
	stdin.Write([]byte("x"))
	for deadline := time.Now().Add(20 * time.Second); !errors.Is(err, fs.ErrPermission); _, err = p.look() {
		if time.Now().After(deadline) {
			return errors.New("it does not hide")
		}
	}
	time.AfterFunc(50*time.Millisecond, func() { cmd.Process.Kill() })
	_, err = p.again()
	return err
}

func TestKilled(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"=mourns")
	if os.Getuid() == 0 { // who may look always
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Skip(err) // root of a few users, and not of that one
	}
	if err != nil || !strings.HasSuffix(string(out), " (exe) has ended\n") {
		t.Errorf("%v, %q, want it to have ended", err, out)
	}
}

func TestNoPermission(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	s := step(t, "step1-blocking")
	for _, args := range [][]string{{"-pid", strconv.Itoa(s.pid)}, {"-addr", s.addr.String()}} {
		cmd := exec.Command(filepath.Join(bin, "xray"), args...)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if errors.Is(err, fs.ErrPermission) {
			t.Skip(err) // a folder on the way is closed
		}
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), `ptrace(2), "Ptrace access mode checking"`) {
			t.Errorf("%v: %v, %q", args, err, out)
		}
	}
}

// A screen is a terminal that xray runs on: pty(7).
type screen struct {
	cmd    *exec.Cmd
	master *os.File
	mu     sync.Mutex
	output []byte
	done   chan error
	copied chan bool
}

func onScreen(t *testing.T, cols, rows uint16, env string, args ...string) *screen {
	t.Helper()
	master := must[*os.File](t)(os.OpenFile("/dev/ptmx", os.O_RDWR, 0))
	number := must[int](t)(unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN))
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave := must[*os.File](t)(os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0))
	s := &screen{master: master, done: make(chan error, 1), copied: make(chan bool)}
	s.resize(t, cols, rows)
	s.cmd = exec.Command(filepath.Join(bin, "xray"), append([]string{"-interval", "20ms"}, args...)...)
	s.cmd.Env = append(os.Environ(), "TERM=xterm", env)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = slave, slave, slave
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	go func() { s.done <- s.cmd.Wait() }()
	go func() {
		defer close(s.copied)
		for buf := make([]byte, 4096); ; {
			n, err := master.Read(buf)
			s.mu.Lock()
			s.output = append(s.output, buf[:n]...)
			s.mu.Unlock()
			if err != nil {
				return // EIO: nobody has the other end any more
			}
		}
	}()
	t.Cleanup(func() { s.cmd.Process.Kill(); <-s.copied; master.Close() })
	return s
}

func (s *screen) resize(t *testing.T, cols, rows uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: cols, Row: rows}); err != nil {
		t.Fatal(err)
	}
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The terminal makes \r\n of a \n, and \r\r\n of a \r\n.
	return strings.ReplaceAll(string(s.output), "\r", "")
}

// frame waits for one that is complete and like that, and returns its lines.
func (s *screen) frame(t *testing.T, want func(lines []string) bool) []string {
	t.Helper()
	var lines []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		frames := strings.Split(s.text(), terminal.Home)
		if len(frames) < 3 {
			continue
		}
		last := regexp.MustCompile(`\x1b\[[0-9?]*[A-Za-z]`).ReplaceAllString(frames[len(frames)-2], "")
		if lines = strings.Split(last, "\n"); want(lines) {
			return lines
		}
	}
	t.Fatalf("no such frame within 20 s: %q", lines)
	return nil
}

// until asks again and again until the answer is yes.
func until(t *testing.T, what string, yes func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !yes(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func widest(lines []string) (n int) {
	for _, l := range lines {
		n = max(n, utf8.RuneCountInString(l))
	}
	return n
}

func TestLive(t *testing.T) {
	s := step(t, "step3-epoll-lt")
	pid := strconv.Itoa(s.pid)
	for _, tt := range []struct {
		name, env string
		sig       unix.Signal
	}{
		{"Ctrl-C", "", unix.SIGINT},
		{"SIGTERM", "NO_COLOR=1", unix.SIGTERM},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sc := onScreen(t, 100, 40, tt.env, "-pid", pid)
			fits := func(cols, rows int) func([]string) bool {
				return func(lines []string) bool {
					return len(lines) <= rows && widest(lines) <= cols && strings.Contains(lines[len(lines)-1], "Ctrl-C")
				}
			}
			sc.frame(t, fits(100, 40))
			sc.resize(t, 60, 12)
			sc.frame(t, func(lines []string) bool { return len(lines) > 8 && fits(60, 12)(lines) })
			sc.resize(t, 30, 3)
			sc.frame(t, fits(30, 3))
			c := s.served(t)
			sc.resize(t, 100, 40)
			sc.frame(t, func(lines []string) bool {
				return strings.Contains(strings.Join(lines, "\n"), "client "+c.LocalAddr().String())
			})
			if tt.sig == unix.SIGINT {
				sc.master.Write([]byte{3}) // the terminal makes the signal
			} else if err := unix.Kill(sc.cmd.Process.Pid, tt.sig); err != nil {
				t.Fatal(err)
			}
			if err := <-sc.done; err != nil {
				t.Error("exit:", err)
			}
			<-sc.copied
			out := sc.text()
			if !strings.HasPrefix(out, terminal.EnterAlternate) || !strings.HasSuffix(out, terminal.LeaveAlternate) {
				t.Errorf("the screen is not given back: %q … %q", out[:20], out[len(out)-20:])
			}
			if coloured := strings.Contains(out, "\x1b[1m"); coloured != (tt.env == "") {
				t.Errorf("colour: %t with %q", coloured, tt.env)
			}
		})
	}
	t.Run("Ctrl-Z", func(t *testing.T) {
		sc := onScreen(t, 100, 40, "", "-pid", pid)
		sc.frame(t, func(lines []string) bool { return len(lines) > 8 })
		tty := must[*os.File](t)(os.OpenFile(fmt.Sprintf("/proc/%d/fd/1", sc.cmd.Process.Pid), os.O_WRONLY|unix.O_NOCTTY, 0))
		defer tty.Close()
		sc.master.Write([]byte{26}) // the terminal makes the signal
		until(t, "all its threads are stopped", func() bool {
			threads := must[[]procfs.Thread](t)(procfs.Threads(sc.cmd.Process.Pid))
			return !slices.ContainsFunc(threads, func(th procfs.Thread) bool {
				return th.State != 'T' || th.Syscall.State == procfs.SyscallRunning
			})
		})
		const shell = "$ what the shell prints\n" // behind all that xray has written
		fmt.Fprint(tty, shell)
		until(t, "the shell's turn", func() bool { return strings.HasSuffix(sc.text(), shell) })
		out := strings.TrimSuffix(sc.text(), shell)
		if out = strings.ReplaceAll(out, "^Z", ""); !strings.HasSuffix(out, terminal.LeaveAlternate) { // the echo may come late
			t.Fatalf("the screen is not given back: … %q", out[max(0, len(out)-40):])
		}
		if err := unix.Kill(sc.cmd.Process.Pid, unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		until(t, "it goes on, with a frame after the next", func() bool {
			_, after, _ := strings.Cut(sc.text(), shell)
			return strings.HasPrefix(after, terminal.EnterAlternate) && strings.Count(after, terminal.Home) > 2
		})
	})
	t.Run("-once", func(t *testing.T) {
		sc := onScreen(t, 60, 5, "", "-once", "-pid", pid)
		if err := <-sc.done; err != nil {
			t.Error("exit:", err)
		}
		<-sc.copied
		if out := sc.text(); strings.Contains(out, terminal.EnterAlternate) || !strings.Contains(out, "TCP SOCKETS") {
			t.Errorf("%q", out)
		}
	})
	t.Run("its end", func(t *testing.T) {
		sc := onScreen(t, 100, 40, "", "-pid", pid)
		sc.frame(t, func(lines []string) bool { return len(lines) > 8 })
		if err := unix.Kill(s.pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := <-sc.done; err != nil {
			t.Error("exit:", err)
		}
		<-sc.copied
		if out, want := sc.text(), terminal.LeaveAlternate+"xray: process "+pid+" (step3-epoll-lt) has ended\n"; !strings.HasSuffix(out, want) {
			t.Errorf("%q, want %q at the end", out[max(0, len(out)-100):], want)
		}
	})
}
