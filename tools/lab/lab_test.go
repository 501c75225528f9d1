package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"epoll-step-by-step/internal/lab"

	"golang.org/x/term"
)

func TestComplete(t *testing.T) {
	s := lab.New()
	defer s.Close()
	for _, line := range []string{"pair alice albert", "epoll e"} {
		if r := s.Do(t.Context(), line); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	// ^ marks the cursor.
	for _, tt := range []struct{ line, want, list string }{
		{"wa^", "wait ^", ""},
		{"re^", "re^", "[read repeat reset]"},
		{"s^ x", "s^ x", "[setsockopt show shutdown sleep socket]"},
		{"sh^ x", "sh^ x", "[show shutdown]"},
		{"read a^", "read al^", ""},
		{"read al^", "read al^", "[albert alice]"},
		{"read ali^ 10", "read alice ^ 10", ""},
		{"add e alice i^", "add e alice in^", ""},
		{"add e alice in,rdh^", "add e alice in,rdhup^", ""},
		{"repeat 10 read ali^", "repeat 10 read alice ^", ""},
		{"nope ^", "nope ^", ""},
		{"pair x^", "pair x^", ""},
	} {
		before, after, _ := strings.Cut(tt.line, "^")
		line, pos, list := complete(s, before+after, len(before))
		got, choices := line[:pos]+"^"+line[pos:], ""
		if list != nil {
			choices = fmt.Sprint(list)
		}
		if got != tt.want || choices != tt.list {
			t.Errorf("%s: got %s %s, want %s %s", tt.line, got, choices, tt.want, tt.list)
		}
	}
}

func TestHistory(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "made", "when needed")
	h := historyIn(folder)
	for _, line := range []string{"one", "", "  ", "two", "two", "three"} {
		h.Add(line)
	}
	h.close()
	h = historyIn(folder)
	if got := fmt.Sprint(h.lines); got != "[one two three]" || h.Len() != 3 || h.At(0) != "three" {
		t.Errorf("got %s", got)
	}
	for i := range 2 * maxHistory {
		h.Add(fmt.Sprint("line ", i))
	}
	h.close()
	h = historyIn(folder)
	defer h.close()
	if h.Len() != maxHistory || h.At(0) != fmt.Sprint("line ", 2*maxHistory-1) {
		t.Errorf("got %d lines, the last is %s", h.Len(), h.At(0))
	}
}

// The lab must work without a history file.
func TestNoHistory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := historyIn(filepath.Join(file, "folder"))
	defer h.close()
	h.Add("one")
	if h.Len() != 1 || h.At(0) != "one" {
		t.Errorf("got %v", h.lines)
	}
}

// In the line editor Ctrl-C drops the line, and Ctrl-D ends the input.
func TestKeys(t *testing.T) {
	typed := "one\rtwo\x1b[D\x1b[D\x03three\r\x1b[A\x1b[A\r\x04"
	terminal := term.NewTerminal(screen{&keys{Reader: strings.NewReader(typed)}, io.Discard}, lab.Prompt)
	terminal.History = &history{}
	var got []string
	for {
		line, err := terminal.ReadLine()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, line)
	}
	if want := `["one" "" "three" "one"]`; fmt.Sprintf("%q", got) != want {
		t.Errorf("got %q, want %s", got, want)
	}
}

func TestCommand(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "lab")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build error: %v\n%s", err, out)
	}
	script := filepath.Join(t.TempDir(), "x.lab")
	if err := os.WriteFile(script, []byte("epoll e\nexpect = f\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const made = "lab> epoll e\nepoll_create1(EPOLL_CLOEXEC) = e\n"
	for _, tt := range []struct {
		name, stdin string
		args        []string
		status      int
		want, err   string
	}{
		{"standard input", "epoll e", nil, 0, made, ""},
		{"-", "epoll e", []string{"-"}, 0, made, ""},
		{"raw", "epoll e", []string{"-raw"}, 0, "lab> epoll e\nepoll_create1(EPOLL_CLOEXEC) = 100\n", ""},
		{"file", "", []string{script}, 1, made + "lab> expect = f\n", script + `:2:8: expected "= f", but the answer was "epoll_create1(EPOLL_CLOEXEC) = e"` + "\n"},
		{"no file", "", []string{"/nowhere/x.lab"}, 2, "", "lab: open /nowhere/x.lab: no such file or directory\n"},
		{"an error", "wiat", nil, 1, "lab> wiat\n", `standard input:1:1: no command "wiat"; did you mean wait?` + "\n"},
	} {
		var out, errs strings.Builder
		cmd := exec.Command(bin, tt.args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(tt.stdin), &out, &errs
		cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != tt.status || out.String() != tt.want || errs.String() != tt.err {
			t.Errorf("%s: got %d, %q, %q; want %d, %q, %q", tt.name, got, out.String(), errs.String(), tt.status, tt.want, tt.err)
		}
	}
	if out, err := exec.Command(bin, "-nope").CombinedOutput(); err == nil || !strings.Contains(string(out), "usage: lab [-raw] [FILE…]") {
		t.Errorf("got %v, %s", err, out)
	}
}
