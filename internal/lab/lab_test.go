package lab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata with the results of this kernel")

// A transcript is a paragraph of a file in testdata, with its title.
type transcript struct{ file, title, text string }

func transcripts(t testing.TB) []transcript {
	t.Helper()
	files, err := filepath.Glob("testdata/*.lab")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var list []transcript
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split("\n\n"+string(text), "\n\n# ")[1:] {
			title, text, _ := strings.Cut(part, "\n")
			list = append(list, transcript{file, title, strings.TrimRight(text, "\n") + "\n"})
		}
	}
	return list
}

func TestTranscripts(t *testing.T) {
	updated := make(map[string][]string)
	for _, tr := range transcripts(t) {
		t.Run(tr.title, func(t *testing.T) {
			got, err := Replay(t.Context(), tr.text)
			if err != nil {
				t.Error(err)
			}
			if got != tr.text && !*update {
				t.Errorf("%s: got\n%s\nwant\n%s", tr.file, got, tr.text)
			}
			updated[tr.file] = append(updated[tr.file], "# "+tr.title+"\n"+got)
		})
	}
	if *update {
		for file, all := range updated {
			if err := os.WriteFile(file, []byte(strings.Join(all, "\n")), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// newSession returns a session in which some lines have run without an error.
func newSession(t testing.TB, lines ...string) *Session {
	t.Helper()
	s := New()
	t.Cleanup(func() { s.Close() })
	s.Patience = time.Minute // never reached, unless a test shortens it
	for _, line := range lines {
		answer(t, s, line)
	}
	return s
}

// answer runs a line and returns the printed result. The line must be correct.
func answer(t testing.TB, s *Session, line string) string {
	t.Helper()
	r := s.Do(t.Context(), line)
	if r.Err != nil {
		t.Fatalf("%s: %v", line, r.Err)
	}
	return strings.Join(r.Lines, "\n")
}

func TestEveryCommandIsInATranscript(t *testing.T) {
	var all strings.Builder
	for _, tr := range transcripts(t) {
		all.WriteString(tr.text)
	}
	for _, c := range Commands {
		elsewhere := c.Name == "quit"
		if !elsewhere && !strings.Contains(all.String(), Prompt+c.Name) {
			t.Errorf("no transcript contains %s", c.Name)
		}
	}
}

func TestResult(t *testing.T) {
	s := newSession(t, "epoll e", "pair a b")
	r := s.Do(t.Context(), "del e a")
	want := Call{Name: "epoll_ctl", Args: []string{"e", "EPOLL_CTL_DEL", "a", "NULL"}, Value: -1, Errno: unix.ENOENT, Answer: "0"}
	if r.Command != "del" || len(r.Calls) != 1 || fmt.Sprint(r.Calls[0]) != fmt.Sprint(want) || r.Calls[0].Errno != unix.ENOENT || r.Calls[0].Value != -1 {
		t.Errorf("got %+v", r)
	}
	r = s.Do(t.Context(), "eventfd v")
	if c := r.Calls[0]; c.Errno != 0 || c.Answer != "v" || c.Value < firstFD {
		t.Errorf("got %+v", r)
	}
	if r = s.Do(t.Context(), "quit"); !r.Quit {
		t.Error("quit: got no Quit")
	}
	if r = s.Do(t.Context(), " # nothing"); r.Command != "" || r.Err != nil || r.Lines != nil {
		t.Errorf("a comment: got %+v, want an empty result", r)
	}
	if r = s.Do(t.Context(), "expect no such thing"); r.Err == nil || r.Err.Kind != Unmet || r.Err.Column != 8 {
		t.Errorf("expect: got %+v, want Unmet in column 8", r.Err)
	}
	if r = s.Do(t.Context(), "pair x\x00"); r.Err == nil || r.Err.Kind != Misuse {
		t.Errorf("a control character: got %+v, want Misuse", r.Err)
	}
}

func TestRaw(t *testing.T) {
	s := newSession(t)
	s.Raw = true
	n := firstFD + s.slot*maxObjects
	for _, tt := range []struct{ line, want string }{
		{"pair a b", fmt.Sprintf("socketpair(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0, [%d, %d]) = 0", n, n+1)},
		{"epoll e", fmt.Sprintf("epoll_create1(EPOLL_CLOEXEC) = %d", n+2)},
		{"add e b in", fmt.Sprintf("epoll_ctl(%d, EPOLL_CTL_ADD, %d, {events=EPOLLIN, data={u32=%d, u64=%d}}) = 0", n+2, n+1, n+1, 1<<32+n+1)},
		{`write a "x"`, fmt.Sprintf(`write(%d, "x", 1) = 1`, n)},
		{"wait e", fmt.Sprintf("epoll_wait(%d, [{events=EPOLLIN, data={u32=%d, u64=%d}}], 16, 0) = 1", n+2, n+1, 1<<32+n+1)},
		{"poll b in", fmt.Sprintf("poll([{%d, POLLIN}], 1, 0) = 1 ([{%d, POLLIN}])", n+1, n+1)},
		{"show", fmt.Sprintf(`name   kind      unread  unsent  poll(2)
a=%d  pair           0          OUT
b=%d  pair           1          IN|OUT
e=%d  epoll                     IN
    b=%d  IN`, n, n+1, n+2, n+1)},
	} {
		if got := answer(t, s, tt.line); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.line, got, tt.want)
		}
	}
}

// The size of a queue depends on the kernel, so this checks only the form of the
// result.
func TestUntil(t *testing.T) {
	s := newSession(t, "tcp a b", "epoll e", "add e a in,out,et", "add e b in", "wait e")
	want := `^write\(a, "abcdefghijklmnopqrstuvwxyzabcdef"\.\.\., 65536\) = 65536
\.\.\. \d+ more, \d+ bytes in all, then
write\(a, "abcdefghijklmnopqrstuvwxyzabcdef"\.\.\., 65536\) = -1 EAGAIN \(Resource temporarily unavailable\)$`
	if got := answer(t, s, "write a until EAGAIN"); !regexp.MustCompile(want).MatchString(got) {
		t.Errorf("got\n%s", got)
	}
	// A late acknowledgement makes room in the queue again. Fill the queue until
	// that no longer happens and a is no longer writable.
	for tries := 0; strings.Contains(answer(t, s, "wait e"), "{a, EPOLLOUT}"); tries++ {
		if tries == 100 {
			t.Fatal("a is still writable")
		}
		answer(t, s, "write a until EAGAIN")
	}
	// Reading makes room, which is an edge for the writer. TCP may need some time
	// until all data has arrived and is acknowledged.
	for tries := 0; !strings.Contains(answer(t, s, "wait e 16 100"), "{a, EPOLLOUT}"); tries++ {
		if tries == 100 {
			t.Fatal("wait never reported EPOLLOUT for a")
		}
		got := answer(t, s, "read b until EAGAIN")
		if !regexp.MustCompile(`(?s)^read\(b, .* = -1 EAGAIN \(Resource temporarily unavailable\)$`).MatchString(got) {
			t.Fatalf("got\n%s", got)
		}
	}
	answer(t, s, "file f")
	r := s.Do(t.Context(), "write f until EAGAIN")
	if r.Err == nil || r.Err.Kind != Misuse || len(r.Calls) != 2 {
		t.Errorf("got %+v", r)
	}
}

// TCP must not delay data until an acknowledgement arrives.
func TestNoDelay(t *testing.T) {
	s := newSession(t, "tcp a b", "listen l", "connect c l", "accept l d", "socket e")
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		if on, err := unix.GetsockoptInt(s.names[name].fd, unix.IPPROTO_TCP, unix.TCP_NODELAY); err != nil || on == 0 {
			t.Errorf("%s: got TCP_NODELAY %d, %v; want it set", name, on, err)
		}
	}
}

// descriptors returns the open descriptors of this process.
func descriptors(t testing.TB) []procfs.FD {
	t.Helper()
	<-time.After(1) // the first timer makes the runtime open its own descriptors
	fds, err := procfs.FDs(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return fds
}

// Each session has its own range of descriptor numbers. Close closes all of them,
// and a later session uses the range again.
func TestDescriptors(t *testing.T) {
	before := descriptors(t)
	one, two := New(), New()
	for i := range maxObjects {
		line := fmt.Sprintf("eventfd v%d", i)
		one.Do(t.Context(), line)
		two.Do(t.Context(), line)
	}
	if r := one.Do(t.Context(), "pair a b"); r.Err == nil || r.Err.Kind != Misuse {
		t.Errorf("more than %d objects: got %+v, want Misuse", maxObjects, r)
	}
	for n, s := range []*Session{one, two} {
		for fd := range s.open {
			if first := firstFD + n*maxObjects; fd < first || fd >= first+maxObjects {
				t.Errorf("session %d has descriptor %d, outside its range", n, fd)
			}
		}
	}
	for _, f := range descriptors(t) {
		if !slices.Contains(before, f) && f.Flags&unix.O_CLOEXEC == 0 {
			t.Errorf("%v is not close-on-exec", f)
		}
	}
	if err := errors.Join(one.Close(), two.Close()); err != nil {
		t.Error(err)
	}
	if after := descriptors(t); !slices.Equal(before, after) {
		t.Errorf("open before: %v; after: %v", before, after)
	}
	three := newSession(t, "eventfd v")
	if three.slot != one.slot {
		t.Errorf("got slot %d, want slot %d again", three.slot, one.slot)
	}
}

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		o            Options
		want, err    string
	}{
		{"answers only", "# a comment\n\nepoll e\n", Options{}, "epoll_create1(EPOLL_CLOEXEC) = e\n", ""},
		{"echo", "# a comment\n\nepoll e", Options{Echo: true}, "lab> # a comment\nlab>\nlab> epoll e\nepoll_create1(EPOLL_CLOEXEC) = e\n", ""},
		{"an error ends the script", "epoll e\n  wiat e\nepoll f", Options{Name: "x.lab"}, "epoll_create1(EPOLL_CLOEXEC) = e\n", `x.lab:2:3: no command "wiat"; did you mean wait?`},
		{"a failed call is not an error", "epoll e\nwait e 0\nexpect EINVAL", Options{}, "epoll_create1(EPOLL_CLOEXEC) = e\nepoll_wait(e, ..., 0, 0) = -1 EINVAL (Invalid argument)\n", ""},
		{"expect", "epoll e\nexpect = f\n", Options{Name: "x.lab"}, "epoll_create1(EPOLL_CLOEXEC) = e\n", `x.lab:2:8: expected "= f", but the answer was "epoll_create1(EPOLL_CLOEXEC) = e"`},
		{"keep going", "wiat e\nexpect x\nepoll e", Options{Name: "x.lab", KeepGoing: true}, "lab: column 1: no command \"wiat\"; did you mean wait?\nlab: column 8: expected \"x\", but the answer was \"\"\nepoll_create1(EPOLL_CLOEXEC) = e\n", `x.lab:2:8: expected "x", but the answer was ""`},
		{"a transcript", "lab> epoll e\nepoll_create1(EPOLL_CLOEXEC) = e\n", Options{}, "epoll_create1(EPOLL_CLOEXEC) = e\n", ""},
		{"quit", "quit\nwiat", Options{}, "", ""},
		{"a very long line", "epoll e\nwrite e " + strings.Repeat("x", 1<<17), Options{Name: "x.lab"}, "epoll_create1(EPOLL_CLOEXEC) = e\n", "x.lab:2: bufio.Scanner: token too long"},
	} {
		var out strings.Builder
		err := Run(t.Context(), newSession(t), strings.NewReader(tt.script), &out, tt.o)
		if out.String() != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, out.String(), tt.want)
		}
		if got := fmt.Sprint(err); got != tt.err && (err != nil || tt.err != "") {
			t.Errorf("%s: error %q, want %q", tt.name, got, tt.err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, newSession(t), strings.NewReader("epoll e\nwait e 16 -1\nepoll f"), &strings.Builder{}, Options{}); err != context.Canceled {
		t.Errorf("cancelled: got %v, want context.Canceled", err)
	}
}

func TestComplete(t *testing.T) {
	s := newSession(t, "pair a b", "pair alpha beta", "epoll e", "close b")
	for _, tt := range []struct{ line, want string }{
		{"re", "0 read repeat reset"},
		{"  wa", "2 wait"},
		{"nope ", "5"},
		{"add e a", "6 a alpha"},
		{"add e ", "6 a alpha b beta e"},
		{"add e a o", "8+ oneshot out"},
		{"add e a in,rdh", "11+ rdhup"},
		{"poll a in|r", "10+ rdband rdhup rdnorm"},
		{"add e a in ", "11"},
		{"shutdown a ", "11 both rd wr"},
		{"read a u", "7 until"},
		{"read a until ", "13 EAGAIN"},
		{"write a 5 b", "10 bytes"},
		{"fcntl a +", "8 +O_NONBLOCK"},
		{"setsockopt a SO_R", "13 SO_RCVBUF"},
		{"pair x", "5"},
		{"connect a", "8 a alpha"},
		{"repeat 5 wa", "9 wait"},
		{"repeat  5  add e  al", "18 alpha"},
		{"repeat 5 add e a i", "17+ in"},
		{"help sh", "5 show shutdown"},
		{"expect w", "7"},
	} {
		begin, candidates, extensible := s.Complete(tt.line)
		got := fmt.Sprint(begin)
		if extensible {
			got += "+"
		}
		if got = strings.TrimSpace(got + " " + strings.Join(candidates, " ")); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.line, got, tt.want)
		}
	}
	if _, all, _ := s.Complete(""); len(all) != len(Commands) {
		t.Errorf("an empty line: got %v, want all commands", all)
	}
}

// The help and the table of show are at most 72 columns wide.
func TestWidth(t *testing.T) {
	s := newSession(t)
	lines := []string{"help"}
	for _, c := range Commands {
		lines = append(lines, "help "+c.Name)
	}
	for _, e := range errnos {
		lines = append(lines, "help "+e.name)
	}
	lines = append(lines, "epoll epolleleven1", "tcp tcpeleven11a tcpeleven11b", "dup tcpeleven11a duponeduptwo",
		"add epolleleven1 tcpeleven11a in,out,pri,rdhup,et", "write tcpeleven11b until EAGAIN", "close tcpeleven11a", "eventfd twelveletter", "show")
	for _, line := range lines {
		for _, got := range strings.Split(answer(t, s, line), "\n") {
			if n := len([]rune(got)); n > width && (strings.HasPrefix(line, "help") || line == "show") {
				t.Errorf("%s: got %d columns: %s", line, n, got)
			}
		}
	}
}

func TestErrnos(t *testing.T) {
	names := make(map[string]bool)
	for n := range 200 {
		names[errnoName(unix.Errno(n))] = true
	}
	for _, e := range errnos {
		if !names[e.name] {
			t.Errorf("no errno has the name %s", e.name)
		}
	}
}

// TestCitations of internal/doctest checks that the pages and headings exist.
func TestEveryCommandIsCited(t *testing.T) {
	citation := regexp.MustCompile(`^(\w+)\((\d)\) "(.*)"$`)
	for _, c := range Commands {
		if c.Read != "" && !citation.MatchString(c.Read) {
			t.Errorf("%s: %s is not a citation", c.Name, c.Read)
		}
	}
}
