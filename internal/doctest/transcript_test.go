package doctest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"epoll-step-by-step/internal/procfs"
	"epoll-step-by-step/internal/transcript"
)

// play runs a script in a small repository.
func play(t *testing.T, script string) (text string, err error) {
	t.Helper()
	inTree(t, "")
	_, text, err = transcriptBlock(t.Context(), "\n"+script)
	return text, err
}

// A script runs in a copy of the repository, in an environment of its own.
func TestCopy(t *testing.T) {
	tests := []struct{ name, script, want string }{
		{"environment", "$ echo $NO_COLOR $TERM $COLUMNS $GOFLAGS $MAKELEVEL $GIT_DIR",
			"$ echo $NO_COLOR $TERM $COLUMNS $GOFLAGS $MAKELEVEL $GIT_DIR\n1 dumb 72 -trimpath -buildvcs=false\n"},
		{"a copy", "$ sed -i s/first/1st/ text.txt; rm Makefile\n$ grep 1st text.txt\n$ ls -A",
			"$ sed -i s/first/1st/ text.txt; rm Makefile\n$ grep 1st text.txt\n  1st\n$ ls -A\nREADME.md\na.md\nnew\nold\ntext.txt\n"},
		{"git", "$ echo more >>text.txt\n$ git status --short", "$ echo more >>text.txt\n$ git status --short\n M text.txt\n"},
	}
	t.Setenv("MAKELEVEL", "3")
	t.Setenv("GIT_DIR", "/nowhere")
	inTree(t, "")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, got, err := transcriptBlock(t.Context(), "\n"+test.script)
			if err != nil || got != test.want {
				t.Errorf("%v\ngot:\n%s\nwant:\n%s", err, got, test.want)
			}
			for file, want := range map[string]string{"text.txt": "  first\n    second\n\n  third", "Makefile": "all:\n\techo all\n"} {
				if text, err := os.ReadFile(file); string(text) != want {
					t.Errorf("%s of the repository was changed: %q %v", file, text, err)
				}
			}
		})
	}
}

// A problem is reported with its line in the document.
func TestLineOfProblem(t *testing.T) {
	inTree(t, "\n<!-- transcript\n1$ cat\n# no\n1. no\n-->\n")
	if _, _, problems, _ := refreshed(t, false); !strings.HasPrefix(problems, "a.md:5: transcript: 1$ cat: ") {
		t.Error(problems)
	}
	inTree(t, "\n<!-- transcript nunbers vary\n$ cat\n-->\n")
	if _, _, problems, _ := refreshed(t, false); !strings.Contains(problems, "no such option: nunbers vary") {
		t.Error(problems)
	}
}

// The reader sees port 6379, although the server listens on another one.
func TestServerOnPort(t *testing.T) {
	if err := toolsFor(scriptOf(t, "$ nc")); err != nil {
		t.Skip(err)
	}
	t.Chdir(root)
	_, got, err := transcriptBlock(t.Context(), `
1$ make step1
1: listening on 127.0.0.1:6379
2$ readlink /proc/$(pidof step1-blocking)/exe | sed 's/.*bin/bin/'
2.
2$ nc localhost 6379
1: connected
2> hello
2: hello
`)
	want := ` 1 │ $ make step1
 1 │ step1-blocking: listening on 127.0.0.1:6379
 2 │ $ readlink /proc/$(pidof step1-blocking)/exe | sed 's/.*bin/bin/'
 2 │ bin/step1-blocking
 2 │ $ nc localhost 6379
 1 │ step1-blocking: fd 8: 127.0.0.1:50000 connected
 2 │ hello ⏎
 2 │ hello
`
	b := block{text: "transcript\n", fence: want}
	if err != nil || !b.same(got) {
		t.Errorf("%v\n%s", err, b.difference(got))
	}
}

func scriptOf(t *testing.T, source string) transcript.Script {
	t.Helper()
	script, err := transcript.Parse(source)
	if err != nil {
		t.Fatal(err)
	}
	return script
}

func TestMissingTool(t *testing.T) {
	for command, lacks := range map[string]string{
		"nc localhost 1": "nc is not", "make trace2": "strace is not", "make count2": "strace is not", "/bin/ss -t": "ss is not",
		"x=$(redis-cli ping)": "redis-cli is not", "redis-benchmark -q": "redis-benchmark is not", "g++ docs/x.cpp": "g++ is not",
		"go run ./beyond/gone": "no network namespace",
	} {
		t.Run(command, func(t *testing.T) {
			inTree(t, "<!-- transcript\n1$ "+command+"\n-->\n")
			path := t.TempDir() // with all that is needed but the tools
			for _, name := range []string{"git", "go"} {
				if real, err := exec.LookPath(name); err == nil {
					os.Symlink(real, filepath.Join(path, name))
				}
			}
			t.Setenv("PATH", path)
			doc, err := read("a.md")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := doc.blocks[0].make(t.Context()); !isMissing(err) {
				t.Errorf("%v: the test would not be skipped", err)
			}
			if _, _, problems, status := refreshed(t, false); status != 1 || !strings.Contains(problems, lacks) {
				t.Errorf("status %d, %q", status, problems)
			}
		})
	}
	if err := toolsFor(scriptOf(t, "1$ rnc ssh make trace9 test-nc\n1> nc")); err != nil {
		t.Error(err)
	}
}

// What varies does not make a document stale; everything else does.
func TestVarying(t *testing.T) {
	tests := []struct {
		options, old, now string
		same              bool
	}{
		{"", "fd 8: 127.0.0.1:54678 closed", "fd 11: 127.0.0.1:38112 closed", true},
		{"", "at 127.0.0.1:6379", "at 127.0.0.1:7000", false},
		{"", "htons(54678)", "htons(38112)", true},
		{"", "htons(6379)", "htons(7000)", false},
		{"", `read(8, "hello\n", 65536)               = 6`, `read(11, "hello\n", 65536)              = 6`, true},
		{"", `read(8, "hello\n", 65536) = 6`, `read(8, "hello\n", 65536) = 5`, false},
		{"", `read(8, "hello\n", 65536) = 6`, `write(8, "hello\n", 65536) = 6`, false},
		{"", "close(8)    = 0", "close(10)   = 0", true},
		{"", "accept(7, █", "accept(8, █", true},
		{"", "accept4(7, {sa_family=AF_INET}, [112 => 16], SOCK_CLOEXEC) = 9", "accept4(6, {sa_family=AF_INET}, [112 => 16], SOCK_CLOEXEC) = 19", true},
		{"", "accept4(7, 0x12493bd04150, [112], 0) = -1 EAGAIN", "accept4(7, 0xc000012345, [112], 0) = -1 EAGAIN", true},
		{"", "accept4(7, NULL) = 9", "accept4(7, NULL) = -1 EAGAIN", false},
		{"", "epoll_ctl(8, EPOLL_CTL_ADD, 9, {events=EPOLLIN, data={u32=9, u64=9}}) = 0", "epoll_ctl(4, EPOLL_CTL_ADD, 5, {events=EPOLLIN, data={u32=5, u64=5}}) = 0", true},
		{"", "epoll_ctl(8, EPOLL_CTL_ADD, 9, {events=EPOLLIN})", "epoll_ctl(8, EPOLL_CTL_DEL, 9, {events=EPOLLIN})", false},
		{"", "epoll_pwait(8, [{events=EPOLLIN, data={u32=9, u64=9}}], 256, -1, NULL, 0) = 1", "epoll_pwait(8, [{events=EPOLLIN, data={u32=9, u64=9}}], 256, -1, NULL, 0) = 2", false},
		{"", "tfd:        9 events:       19 data:                9  pos:0 ino:5e2 sdev:8", "tfd:       11 events:       19 data:                b  pos:0 ino:4f sdev:9", true},
		{"", "tfd: 9 events: 19", "tfd: 9 events: 1d", false},
		{"", `users:(("step1",pid=123,fd=7))`, `users:(("step1",pid=4567,fd=8))`, true},
		{"", "1 check in 2.9 s: 0 passed", "1 check in 12 s: 0 passed", true},
		{"", "1 check in 2.9 s: 0 passed", "2 checks in 2.9 s: 0 passed", false},
		{"", "p50=0.031 msec, 12ms", "p50=0.9 msec, 3ms", true},
		{"", "make: *** [Makefile:68: check] Error 1", "make: *** [Makefile:70: check] Error 1", true},
		{"", "make: *** [Makefile:68: check] Error 1", "make: *** [Makefile:68: check] Error 2", false},
		{"", "1 do_epoll_wait", "1 ep_poll", true},
		{"", "4 futex_do_wait", "4 futex_wait_queue_me", true},
		{"", "4 futex_wait_queue", "4 futex_do_wait", true},
		{"", "4 futex_do_wait", "4 ep_poll", false},
		{"", "epoll_wait(6, [], 256, -1) = 0", "epoll_pwait(8, [], 256, -1, NULL, 0) = 0", true},
		{"", "epoll_wait(6, [], 256, -1) = 0", "epoll_pwait(8, [], 256, 0, NULL, 0) = 0", false},
		{"", "asleep in epoll_wait", "asleep in epoll_pwait", true},
		{"", "[pid 12] close(3) = 0", "close(4) = 0", true},
		{"", "Peer Address:Port Process", "Peer Address:PortProcess", true},
		{"numbers vary", "647 B", "-3 B", true},
		{"", "2 of 3", "2 of 4", false},
		{"numbers vary", "2 of 3.5", "17 of 4", true},
		{"numbers vary", "2 of 3", "2 off 3", false},
		{"numbers vary", " 5 │ 29295 asleep: none is\n 5 │ ready", " 5 │ 978 asleep: none is ready", true},
		{"numbers vary", "  103       100 read", "  101           read", true}, // strace -c
		{"numbers vary", "  103       100 read", "  101           write", false},
		{"numbers vary", "$ sleep 1", "$ sleep 2", false},
		{"numbers vary", " 1 │ 1 ⏎", " 1 │ 2 ⏎", false},
		{"", " 1 │ $ nc localhost  54678", " 1 │ $ nc localhost 54678", false},
		{"", "one", "one\n", false},
	}
	for _, test := range tests {
		b := block{text: "transcript " + test.options + "\n", fence: "```text\n" + test.old + "\n```\n"}
		if fresh := "```text\n" + test.now + "\n```\n"; b.same(fresh) != test.same {
			t.Errorf("same(%q, %q) = %v", test.old, test.now, !test.same)
		}
	}
}

// Observations in an examiner's report may differ, verdicts may not.
func TestVaryingReport(t *testing.T) {
	const report = `$ make check
FAIL  LOST_BYTES            a reader that stalls still gets every byte
      sent      14738657 bytes
      got back  4243968 of 16777216 bytes, then
                silence
      usually   the rest of a short write(2) is forgotten
      reread    write(2) "RETURN VALUE"

1 check in 2.9 s: 0 passed, 1 failed (LOST_BYTES)
`
	tests := []struct {
		old, new string
		same     bool
	}{
		{"14738657 bytes", "1 byte", true},
		{"then\n                silence", "then \"x\" instead", true},
		{"FAIL", "PASS", false},
		{"every byte", "some bytes", false},
		{"forgotten", "remembered", false},
		{"RETURN VALUE", "ERRORS", false},
		{"0 passed", "1 passed", false},
	}
	b := block{text: "transcript\n", fence: "```console\n" + report + "```\n"}
	for _, test := range tests {
		fresh := strings.Replace(b.fence, test.old, test.new, 1)
		if fresh == b.fence || b.same(fresh) != test.same {
			t.Errorf("%q for %q: same is %v", test.new, test.old, !test.same)
		}
	}
}

// The old text stays if it means the same, and is replaced if it does not.
func TestOldTranscript(t *testing.T) {
	doc := "<!-- transcript\n$ echo fd 9\n-->\n```console\n$ echo fd 9\nfd 4\n```\n"
	inTree(t, doc)
	if got, _, problems, status := refreshed(t, false); got != doc || status != 0 {
		t.Errorf("status %d, %s, got %q", status, problems, got)
	}
	inTree(t, strings.Replace(doc, "fd 4", "df 4", 1))
	_, _, problems, _ := refreshed(t, true)
	if want := "a.md:1: transcript: $ echo fd 9: stale; \"make docs\" refreshes it\n- df 4\n+ fd 9\n"; problems != want {
		t.Errorf("got %q, want %q", problems, want)
	}
	if got, _, _, _ := refreshed(t, false); got != strings.Replace(doc, "fd 4", "fd 9", 1) {
		t.Errorf("got %q", got)
	}
}

// hold is a script that starts processes, some of which ignore SIGTERM, and writes
// their numbers to the file.
func hold(file string) string {
	return `1$ trap "" TERM; sleep 1000 >/dev/null 2>&1 & echo $! $$ >` + file + `.part; mv ` + file + `.part ` + file + `; echo ready; while :; do sleep 1000; done
1: ready
`
}

// pids waits for the file.
func pids(t *testing.T, file string) []int {
	t.Helper()
	var found []int
	eventually(t, "the command runs", func() bool {
		text, err := os.ReadFile(file)
		for field := range strings.FieldsSeq(string(text)) {
			pid, _ := strconv.Atoi(field)
			found = append(found, pid)
		}
		return err == nil
	})
	return found
}

func alive(pid int) bool {
	p, err := procfs.Stat(pid)
	return err == nil && p.State != 'Z' && p.State != 'X'
}

func eventually(t *testing.T, what string, true func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !true(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func dead(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		eventually(t, fmt.Sprintf("process %d is gone", pid), func() bool { return !alive(pid) })
	}
}

func TestNothingIsLeft(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	file := filepath.Join(t.TempDir(), "pids")
	if _, err := play(t, hold(file)); err != nil {
		t.Fatal(err)
	}
	dead(t, pids(t, file))
	if _, err := play(t, "1$ false\n"+strings.NewReplacer("1$", "2$", "1: ", "2: ").Replace(hold(file+"2"))+"1: x"); err == nil {
		t.Error("no error")
	}
	dead(t, pids(t, file+"2"))
	if left, _ := filepath.Glob(temp + "/doctest*"); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestInterrupted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pids")
	doc := "<!-- code: old/main.go const -->\n<!-- transcript\n" + hold(file) + "1: never\n-->\n"
	inTree(t, doc)
	ctx, cancel := context.WithCancel(t.Context())
	var found []int
	go func() {
		defer cancel()
		found = pids(t, file)
	}()
	var problems strings.Builder
	if status := refresh(ctx, []string{"a.md"}, false, false, &strings.Builder{}, &problems); status != 1 || problems.String() != "docs: interrupted\n" {
		t.Errorf("status %d, %s", status, problems.String())
	}
	<-ctx.Done()
	dead(t, found)
	if text, _ := os.ReadFile("a.md"); string(text) != doc {
		t.Errorf("the document was changed: %s", text)
	}
}

// If this process is killed, what it started is killed too. A second process
// runs this test to be killed.
func TestKilled(t *testing.T) {
	if file := os.Getenv("DOCTEST_HOLD"); file != "" {
		play(t, hold(file)+"1: never")
		return
	}
	file := filepath.Join(t.TempDir(), "pids")
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), "DOCTEST_HOLD="+file, "TMPDIR="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found := pids(t, file)
	err := errors.Join(cmd.Process.Kill(), cmd.Wait())
	t.Log(err)
	dead(t, found)
}
