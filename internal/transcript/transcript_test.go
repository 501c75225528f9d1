package transcript

import (
	"net"
	"os"
	"os/signal"
	"strings"
	"testing"
	"time"
)

// play runs a script in an empty folder.
func play(t *testing.T, source string) (string, error) {
	t.Helper()
	script, err := Parse(source)
	if err != nil {
		return "", err
	}
	return script.Run(t.Context(), t.TempDir(), os.Environ())
}

func TestTranscript(t *testing.T) {
	tests := []struct{ name, script, want string }{
		{"one terminal", "$ echo one; echo two >&2\n# a comment\n$ cat\n$ printf no-end\n$ echo",
			"$ echo one; echo two >&2\none\ntwo\n$ cat\n$ printf no-end\nno-end\n$ echo\n\n"},
		{"typing", "1$ cat\n1> hello\n1: ell\n1>\n1> bye\n1: bye\n1^D\n1.",
			" 1 │ $ cat\n 1 │ hello ⏎\n 1 │ hello\n 1 │  ⏎\n 1 │ bye ⏎\n 1 │\n 1 │ bye\n 1 │ ^D\n"},
		{"in the order of the script", "1$ echo a\n2$ echo b\n2: b\n1: a",
			" 1 │ $ echo a\n 2 │ $ echo b\n 2 │ b\n 1 │ a\n"},
		{"nothing", "1$ cat\n1 nothing", " 1 │ $ cat\n 1 │ (nothing)\n"},
		{"asleep", "1$ for i in {1..20000}; do :; done; echo a; cat\n1 asleep\n2$ echo b\n1: a\n2: b",
			" 1 │ $ for i in {1..20000}; do :; done; echo a; cat\n 2 │ $ echo b\n 1 │ a\n 2 │ b\n"},
		{"a line that looks like one without an end", `1$ printf 'sleep(1, '; for i in {1..20000}; do :; done; printf '1) = 0\nsleep(2, '; read -r x` + "\n1~ sleep(",
			" 1 │ $ printf 'sleep(1, '; for i in {1..20000}; do :; done; printf '1) = 0\\nsleep(2, '; read -r x\n 1 │ sleep(1, 1) = 0\n 1 │ sleep(2, █\n"},
		{"a line without an end", `1$ echo first; printf 'read(7, '; read -r x; echo "$x) = 1"` + "\n1~ read\n1 nothing\n1> a\n1: = 1",
			" 1 │ $ echo first; printf 'read(7, '; read -r x; echo \"$x) = 1\"\n 1 │ first\n 1 │ read(7, █\n 1 │ (nothing)\n 1 │ a ⏎\n 1 │ read(7, a) = 1\n"},
		{"the next line without an end", `1$ for i in 1 2; do printf 'sleep '; read -r x; echo; done` + "\n1~ sleep\n1> a\n1~ sleep",
			" 1 │ $ for i in 1 2; do printf 'sleep '; read -r x; echo; done\n 1 │ sleep █\n 1 │ a ⏎\n 1 │ sleep\n 1 │ sleep █\n"},
		{"the same line without an end again", `1$ for i in 1 2; do printf 'sleep '; read -r x; echo; done` + "\n1~ sleep\n1> a\n1: sleep\n1~ sleep",
			" 1 │ $ for i in 1 2; do printf 'sleep '; read -r x; echo; done\n 1 │ sleep █\n 1 │ a ⏎\n 1 │ sleep\n 1 │ sleep █\n"},
		{"a line that never had an end", "1$ printf sleep; read -r x\n1~ sleep\n1^D\n1.",
			" 1 │ $ printf sleep; read -r x\n 1 │ sleep █\n 1 │ ^D\n"},
		{"interrupt", "1$ trap 'echo caught; exit' INT; echo set; while :; do sleep 0.01; done\n1: set\n1^C\n1.",
			" 1 │ $ trap 'echo caught; exit' INT; echo set; while :; do sleep 0.01; done\n 1 │ set\n 1 │ ^C\n 1 │ caught\n"},
		{"the last command ends first", "1$ read -r x; echo got $x\n1> it\n1$ echo next\n1: next",
			" 1 │ $ read -r x; echo got $x\n 1 │ it ⏎\n 1 │ got it\n 1 │ $ echo next\n 1 │ next\n"},
		{"progress on one line", `$ printf '10 %%\r20 %%\r\n'`, "$ printf '10 %%\\r20 %%\\r\\n'\n20 %\n"},
		{"until", "1$ sleep 0.1; touch it; cat\n2? ls it\n2$ ls it\n2.", " 1 │ $ sleep 0.1; touch it; cat\n 2 │ $ ls it\n 2 │ it\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := play(t, test.script)
			if err != nil || got != test.want {
				t.Errorf("%v\ngot:\n%s\nwant:\n%s", err, got, test.want)
			}
		})
	}
}

func TestFailingTranscript(t *testing.T) {
	const touched = "3$ until [ -e a ] && [ -e b ]; do sleep 0.01; done\n3.\n" // what the others printed before is collected
	tests := []struct{ name, script, want string }{
		{"not printed", "1$ echo one; echo two; touch a; cat\n2$ printf three; touch b; cat\n" + touched + "1: four",
			"1: four: not within 300ms\n 1 │ one\n 1 │ two\n 1 │ \n 2 │ three\n"},
		{"ended", "1$ echo one\n1: two", "1: two: not printed, and the command has ended\n 1 │ one\n 1 │ \n"},
		{"has an end", "1$ echo one; touch a b; cat\n" + touched + "1~ one", "1~ one: not within 300ms\n 1 │ one\n 1 │ \n"},
		{"does not end", "1$ cat\n1.", "1. : not within 300ms\n"},
		{"does not end either", "$ sleep 1000", "$ sleep 1000: not within 300ms\n"},
		{"not nothing", "1$ printf 'zero\\none\\n'; cat\n1: zero\n1 nothing", "1 nothing : it printed something\n 1 │ one\n 1 │ \n"},
		{"left over", "1$ printf 'zero\\none\\n'; cat\n1: zero\n2$ cat", "the reader also sees this, for which the script does not wait\n 1 │ one\n 1 │ \n"},
		{"a line came to its end", "1$ printf one; read -r x; echo\n1~ one\n1> x", "the reader also sees this, for which the script does not wait\n 1 │ one\n 1 │ \n"},
		{"no command", "1$ cat\n2> x", "2> x: no command was started there\n"},
		{"not until", "1$ echo one; touch a b; cat\n" + touched + "1? false", "1? false: not within 300ms\n 1 │ one\n 1 │ \n"},
		{"never asleep", "1$ while :; do :; done\n1 asleep", "1 asleep : not within 300ms\n"},
		{"never until", "1? sleep 1000", "1? sleep 1000: not within 300ms\n"},
		{"nobody listens", "1$ kill $(pidof step1-blocking)", "1$ kill $(pidof step1-blocking): no step listens\n"},
		{"no statement", "1$ cat\n1! cat", `"1! cat" is no statement`},
		{"no text", "1$ cat\n1:", `"1:" is no statement`},
		{"a text", "1$ cat\n1. x", `"1. x" is no statement`},
		{"no terminal", "$ cat\n> x", `"> x" is no statement: it names no terminal`},
		{"mixed", "$ cat\n1$ x", "either all statements name a terminal or none does"},
		{"empty", "# nothing", "the script has no statement"},
	}
	set(t, &limits.last, time.Second)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			// What has to happen has time; only what must not happen is awaited briefly.
			set(t, &limits.print, 5*time.Second)
			set(t, &limits.end, 5*time.Second)
			switch {
			case strings.HasPrefix(test.name, "does not end"):
				limits.end = 300 * time.Millisecond
			case strings.Contains(test.want, "within 300ms"):
				limits.print = 300 * time.Millisecond
			}
			if _, err := play(t, test.script); err == nil || err.Error() != test.want && !strings.Contains(test.want, "statement") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}

// Ctrl-C works although this process ignores SIGINT, as it does if a shell
// started it in the background.
func TestIgnoredInterrupt(t *testing.T) {
	signal.Ignore(os.Interrupt)
	t.Cleanup(func() {
		// Reset would make the process ignore SIGINT again, and the next run with it.
		interrupted := make(chan os.Signal, 1)
		signal.Notify(interrupted, os.Interrupt)
		go func() { <-interrupted; os.Exit(130) }()
	})
	got, err := play(t, "1$ cat\n1> a\n1: a\n1^C\n1.")
	if want := " 1 │ $ cat\n 1 │ a ⏎\n 1 │ a\n 1 │ ^C\n"; err != nil || got != want {
		t.Errorf("%v, got %q, want %q", err, got, want)
	}
}

func set[T any](t *testing.T, what *T, value T) {
	old := *what
	*what = value
	t.Cleanup(func() { *what = old })
}

// Scripts name 6379 and use another port.
func TestPort(t *testing.T) {
	s := session{port: "9123"}
	tests := []struct{ command, want string }{
		{"make step1", "make step1 ADDR=127.0.0.1:9123"},
		{"make count3 2>&1 | head", "make count3 ADDR=127.0.0.1:9123 2>&1 | head"},
		{"make trace2 ADDR=127.0.0.1:7000", "make trace2 ADDR=127.0.0.1:7000"},
		{"make diff2", "make diff2"},
		{"nc localhost 6379", "nc localhost 9123"},
		{"ss sport = :6379; echo 16379 63790", "ss sport = :9123; echo 16379 63790"},
	}
	for _, test := range tests {
		if got, err := s.here(test.command); got != test.want || err != nil {
			t.Errorf("%s: got %s %v, want %s", test.command, got, err, test.want)
		}
	}
	got, err := play(t, "$ echo 6379 :6379, 16379 | sed s/^6379/a9/\n")
	if want := "$ echo 6379 :6379, 16379 | sed s/^6379/a9/\na9 :6379, 16379\n"; got != want || err != nil {
		t.Errorf("%v, got %q, want %q", err, got, want)
	}
}

// Scripts that run at the same time have different ports, and a server may
// listen on a reserved one.
func TestReservePort(t *testing.T) {
	given := make(map[string]bool)
	for range 50 {
		port, release, err := reservePort()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(release)
		if given[port] {
			t.Errorf("port %s was reserved twice", port)
		}
		given[port] = true
	}
	for port := range given {
		l, err := net.Listen("tcp4", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}
