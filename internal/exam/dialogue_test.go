package exam

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A stream has the same bytes wherever a client begins to fill it.
func TestStreams(t *testing.T) {
	t.Parallel()
	with, err := NewDialogue("id", "ECHO {id} {id}\r\n", "{id}\n")
	if err != nil {
		t.Fatal(err)
	}
	without, err := NewDialogue("ping", "PING\r\n", "+PONG\r\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []*Dialogue{EchoDialogue, with, without} {
		for _, s := range []stream{d.request, d.reply} {
			whole := make([]byte, 1000)
			s.fill(whole, 7, 0)
			for at := 0; at < len(whole); at += 13 {
				p := make([]byte, min(29, len(whole)-at))
				s.fill(p, 7, at)
				if !bytes.Equal(p, whole[at:at+len(p)]) {
					t.Fatalf("%s from byte %d: got %q, want %q", d.Name, at, p, whole[at:at+len(p)])
				}
			}
		}
	}
	p, q := make([]byte, with.request.size), make([]byte, with.reply.size)
	with.request.fill(p, 7, 2*len(p))
	with.reply.fill(q, 7, 2*len(q))
	id := strings.TrimSpace(string(q))
	if want := fmt.Sprintf("ECHO %s %s\r\n", id, id); string(p) != want || len(id) != idSize {
		t.Errorf("the third request is %q, and its reply %q", p, q)
	}
	if !with.Distinct() || without.Distinct() || !EchoDialogue.Distinct() {
		t.Error("only the dialogues of an echo server and with {id} differ for each client")
	}
}

func TestCounting(t *testing.T) {
	t.Parallel()
	ping, _ := NewDialogue("ping", "PING\r\n", "+PONG\r\n")
	http, err := Speaks("http")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		d                *Dialogue
		sent, due, asked int
	}{
		{EchoDialogue, 17, 17, 17},
		{ping, 17, 14, 12},
		{ping, 18, 21, 18},
		{http, 2*http.request.size + 1, 2, 2 * http.request.size},
	} {
		if got := tt.d.due(tt.sent); got != tt.due {
			t.Errorf("%s: %d units are due for %d bytes; want %d", tt.d.Name, got, tt.sent, tt.due)
		}
		if got := tt.d.asked(tt.due); got != tt.asked {
			t.Errorf("%s: %d units answer %d bytes; want %d", tt.d.Name, tt.due, got, tt.asked)
		}
	}
	if got := ping.Asking(8); got != 12 {
		t.Errorf("8 bytes of replies take %d bytes of requests; want 12", got)
	}
	for n, want := range map[int]string{0: "0 of 3 replies", 7: "1 of 3 replies", 15: "2 of 3 replies and 1 byte of the next"} {
		if got := ping.progress(n, 21); got != want {
			t.Errorf("%d of 21 bytes: got %q, want %q", n, got, want)
		}
	}
}

func TestEndings(t *testing.T) {
	t.Parallel()
	like := func(expression string, ending Ending) Ending {
		e, err := Like(expression, ending)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	const length, chunked = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
	for _, tt := range []struct {
		name   string
		ending Ending
		reply  string // the first one
		rest   string
		fails  string // part of the error
	}{
		{"until", EndsWith("\r\n"), "a\nb\r\n", "c\r\n", ""},
		{"after", EndsAfter(len("abc")), "abc", "def", ""},
		{"like", like(`\d+ bottles\n`, nil), "99 bottles\n", "98 bottles\n", ""},
		{"like and until", like(`time: \d+`, EndsWith("\n")), "", "", "which does not match"},
		{"like and until", like(`time: \d+\n`, EndsWith("\n")), "time: 12\n", "time: 13\n", ""},
		{"http", EndsAsHTTP, length, length, ""},
		{"http", EndsAsHTTP, chunked, length, ""},
		{"http", EndsAsHTTP, "", "", "no HTTP/1 response"},
	} {
		if tt.fails != "" {
			if n, err := tt.ending([]byte("time: 12\n")); err == nil || !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("%s: got %d, %v; want an error with %q", tt.name, n, err, tt.fails)
			}
			continue
		}
		p := []byte(tt.reply + tt.rest)
		if n, err := tt.ending(p); n != len(tt.reply) || err != nil {
			t.Errorf("%s: %q ends after %d bytes (%v); want %d", tt.name, p, n, err, len(tt.reply))
		}
		for n := range len(tt.reply) {
			if got, err := tt.ending(p[:n]); got != 0 || err != nil {
				t.Errorf("%s: %q ends after %d bytes (%v), but it is not complete", tt.name, p[:n], got, err)
			}
		}
	}
	for _, bad := range []string{"(", "a*"} {
		if _, err := Like(bad, nil); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// A client that cannot know the bytes of replies finds the end of each, however they
// arrive.
func TestTake(t *testing.T) {
	t.Parallel()
	d, err := NewUnknownDialogue("lines", "x\n", EndsWith("\n"))
	if err != nil {
		t.Fatal(err)
	}
	for size := 1; size < 12; size++ {
		c := &Client{dialogue: d}
		text := []byte("one\ntwo\n\nthree\nfo")
		for p := range slices.Chunk(text, size) {
			if err := c.take(p, nil); err != nil {
				t.Fatal(err)
			}
		}
		if c.Got != 4 || string(c.begun) != "fo" {
			t.Errorf("in pieces of %d bytes: %d replies and %q; want 4 and \"fo\"", size, c.Got, c.begun)
		}
	}
}
