package xray

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// checkRendered checks what holds for every rendered report, and returns it with 80
// columns.
func checkRendered(t *testing.T, r Report) string {
	t.Helper()
	for _, width := range []int{20, 40, 60, 80, 120} {
		for _, height := range []int{0, 1, 5, 10, 22, 50} {
			page := render(r, width, height, false)
			lines := strings.Split(strings.TrimSuffix(page, "\n"), "\n")
			if height > 0 && len(lines) > height {
				t.Errorf("width %d, height %d: %d lines", width, height, len(lines))
			}
			for _, l := range lines {
				if utf8.RuneCountInString(l) > width || strings.TrimRight(l, " ") != l {
					t.Errorf("width %d: %q", width, l)
				}
			}
			if coloured := render(r, width, height, true); regexp.MustCompile(`\x1b\[\d+m`).ReplaceAllString(coloured, "") != page {
				t.Errorf("width %d, height %d: colour changes the text", width, height)
			}
			checkComplete(t, r, page, width, height, lines)
		}
	}
	return render(r, 80, 0, false)
}

// checkComplete checks that everything is shown, or, with a height, counted.
func checkComplete(t *testing.T, r Report, page string, width, height int, lines []string) {
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
	// Rows of this section begin with a descriptor or "-".
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

// reportOfMany returns a report of 1,000 clients. All but one, with a mark, are idle.
func reportOfMany() Report {
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
	r := reportOfMany()
	checkRendered(t, r)
	page := render(r, 60, 22, false)
	for _, want := range []string{"\n  … 99", "! asks for EPOLLOUT", "client [2001:db8::1]:10700\n", " 710  ESTABLISHED       0      77"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	if n := strings.Count(page, "\n"); n < 20 {
		t.Errorf("only %d of 22 lines are used:\n%s", n, page)
	}
	r.Epolls[0].Interests[1].Marks = r.Epolls[0].Interests[700].Marks
	if page := render(r, 60, 13, false); !strings.Contains(page, "not all idle") {
		t.Errorf("a mark is omitted without notice:\n%s", page)
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
		if got := programName(tt.comm, tt.args); got != tt.want {
			t.Errorf("%s %q: %s, want %s", tt.comm, tt.args, got, tt.want)
		}
	}
}
