package walk

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"epoll-step-by-step/internal/procfs"
)

// compile compiles a program in C with line information.
func compile(t *testing.T, source string) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("gcc is not installed: make setup")
	}
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file+".c", []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(gcc, "-g", "-O1", "-w", "-o", file, file+".c").CombinedOutput(); err != nil {
		t.Fatalf("%s", out)
	}
	return file
}

// calls walks a program to its end and returns its calls, one a line, and how it ended.
func callsOf(t *testing.T, file string) (text, end string) {
	t.Helper()
	s, err := Start([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	names := NewNames()
	last := until(t, s, func(stop Stop) bool {
		names.Learn(stop.Kernel, nil)
		if stop.Moment == After {
			text += names.Call(stop.Call) + "\n"
		}
		return stop.Moment == Ended
	})
	return text, last.End
}

// Data that are no descriptor are shown as they are, and an event whose data two entries
// have is nobody's.
func TestEventData(t *testing.T) {
	text, end := callsOf(t, compile(t, `
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
int main() {
	int e = epoll_create1(0), a = eventfd(0, 0), b = eventfd(0, 0);
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = 17};
	epoll_ctl(e, EPOLL_CTL_ADD, a, &ev);
	epoll_ctl(e, EPOLL_CTL_ADD, b, &ev);
	long one = 1;
	write(a, &one, 8);
	epoll_wait(e, &ev, 1, -1);
	ev.data.fd = b;
	epoll_ctl(e, EPOLL_CTL_MOD, b, &ev);
	return 7;
}`))
	for _, want := range []string{
		"epoll_ctl(epfd, EPOLL_CTL_ADD, 4, {EPOLLIN, 17}) = 0",
		"epoll_wait(epfd, [{EPOLLIN, 0x11}], 1, -1) = 1",
		"epoll_ctl(epfd, EPOLL_CTL_MOD, 5, {EPOLLIN, 5}) = 0",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if end != "exit status 7" {
		t.Errorf("it ended thus: %s", end)
	}
}

// A program that becomes another one is not killed by that, and not walked any further.
func TestExec(t *testing.T) {
	_, end := callsOf(t, compile(t, `
#include <unistd.h>
int main() { execl("/bin/true", "true", (char *)0); return 1; }`))
	if !strings.Contains(end, "execve(2)") {
		t.Errorf("it ended thus: %s", end)
	}
}

// The children of a program end with the walk.
func TestChildrenEnd(t *testing.T) {
	s, err := Start([]string{compile(t, `
#include <stdio.h>
#include <unistd.h>
int main() { int pid = fork(); if (!pid) { for (;;) pause(); } printf("%d\n", pid); fflush(stdout); pause(); }`)})
	if err != nil {
		t.Fatal(err)
	}
	until(t, s, func(stop Stop) bool { return stop.Moment == Asleep })
	child, err := strconv.Atoi(strings.TrimSpace(s.Output()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := procfs.Stat(child); err != nil {
		t.Fatal(err)
	}
	s.Close()
	gone(t, child)
}
