package exam

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// SPLIT_LINE is for a server that is no echo server: it answers each line with
// its length in bytes and a line end.

// A conversation is what one client sends, and what is to come back.
type conversation struct {
	sent   string   // in words, for the explanation
	pieces []string // each is sent when the server has read those before it
	want   string
	leaves bool // with SHUT_WR, before it reads anything
	thrown bool // the server is to close the connection by itself

	split func(string) []string // into answers; nil if they are lines
	noun  string                // for "answer"

	usually string // wrong, if this one is the first that fails
}

func conversations() []conversation {
	const greeting = "hello\n"
	long := strings.Repeat("x", limits.longLine)
	var lines, lengths strings.Builder
	for i := range limits.manyLines {
		fmt.Fprintf(&lines, "%s\n", long[:i%12])
		fmt.Fprintf(&lengths, "%d\n", i%12)
	}
	return []conversation{
		{sent: `"hello\n"`, pieces: []string{"hello\n"}, want: "5\n"},
		{sent: `"hel", and when the server had read it, "lo\n"`, pieces: []string{"hel", "lo\n"}, want: "5\n"},
		{sent: fmt.Sprintf("%q byte by byte, each when the server had read the one before", greeting), pieces: strings.SplitAfter(greeting, ""), want: "5\n"},
		{sent: `"a\nbb\n\nccc\n" in one write(2)`, pieces: []string{"a\nbb\n\nccc\n"}, want: "1\n2\n0\n3\n"},
		{sent: `"one\ntw", and when the server had read it, "o\n"`, pieces: []string{"one\ntw", "o\n"}, want: "3\n3\n"},
		{sent: `"grüße\n", in which two letters have two bytes each`, pieces: []string{"grüße\n"}, want: "7\n"},
		{sent: `"a\r\n" and "a\x00b\n"`, pieces: []string{"a\r\na\x00b\n"}, want: "2\n3\n",
			usually: "a byte is not counted: all but the line end are the line's"},
		{sent: fmt.Sprintf(`%d times "x", and a line end`, limits.longLine), pieces: []string{long + "\n"}, want: fmt.Sprintln(limits.longLine)},
		{sent: fmt.Sprintf("%d lines, then shutdown(SHUT_WR), then read", limits.manyLines), pieces: []string{lines.String()}, want: lengths.String(), leaves: true},
		{sent: `"hello\nwor", then shutdown(SHUT_WR): one line, and the beginning of another`, pieces: []string{"hello\nwor"}, want: "5\n", leaves: true},
		{sent: `"hello\n", as the next client after one that left in the middle of a line`, pieces: []string{"hello\n"}, want: "5\n",
			usually: "what was remembered of one connection is counted for the next one"},
	}
}

func splitLine(s *session) error {
	for _, talk := range conversations() {
		came, err := s.hold(talk)
		if err != nil {
			return err
		}
		if came != "" {
			s.note("sent", "%s", talk.sent)
			s.usually = cmp.Or(s.usually, talk.usually)
			return s.fail("got back", "%s", came)
		}
	}
	s.note("sent", "lines whole, in pieces and together, a long one, an empty one: each was answered with its length")
	return nil
}

// hold has a conversation on a connection of its own. It returns what came if
// that is not what was to come.
func (s *session) hold(talk conversation) (came string, err error) {
	c, err := s.dial(0)
	if err != nil {
		return "", err
	}
	defer s.forget(c) // the server may serve one client at a time
	if problem := s.tell(c, talk.pieces...); problem != "" {
		return problem, nil
	}
	return s.hear(c, talk)
}

// tell sends the pieces, each when the server has read those before it.
func (s *session) tell(c *client, pieces ...string) (problem string) {
	for i, piece := range pieces {
		if i > 0 && !s.awaitRead(c, limits.first) {
			return fmt.Sprintf("nothing: after %v the server had not read what was sent so far", limits.first)
		}
		c.SetWriteDeadline(time.Now().Add(limits.newcomer))
		if _, err := c.Write([]byte(piece)); err != nil {
			return fmt.Sprintf("%v, when it was not yet all sent", plain(err))
		}
	}
	return ""
}

// hear is the end of a conversation: all answers, and then EOF.
func (s *session) hear(c *client, talk conversation) (came string, err error) {
	if talk.leaves {
		if err := c.CloseWrite(); err != nil {
			return "", plain(err)
		}
	}
	got := make([]byte, len(talk.want))
	c.SetReadDeadline(time.Now().Add(limits.reply))
	n, err := readLike(c, got, talk.want)
	if i := differ(got[:n], []byte(talk.want[:n])); i >= 0 {
		rest, _ := c.rest(limits.stalled)
		return talk.unlike(string(got[:n])+rest, i), nil
	}
	if err != nil {
		return fmt.Sprintf("%s, then %v", talk.answers(string(got[:n])), orSilence(err, limits.reply)), nil
	}
	if !talk.leaves && !talk.thrown {
		if err := c.CloseWrite(); err != nil {
			return "", plain(err)
		}
	}
	switch rest, err := c.rest(limits.reply); {
	case rest != "":
		if talk.split == nil {
			s.usually = "what has no line end is taken for a line, or read(2) for one even if it returns 0"
		}
		return fmt.Sprintf("%s, and then %q, for which nothing was sent", talk.answers(string(got)), rest), nil
	case err != io.EOF:
		if !talk.thrown {
			s.usually = "read(2) returned 0, so that nothing is owed any more: it is time for close(2)"
		}
		return fmt.Sprintf("%s, and then no EOF: %v", talk.answers(string(got)), orSilence(err, limits.reply)), nil
	}
	return "", nil
}

// readLike is io.ReadFull, which does not wait for more when what has come is not
// as it should be.
func readLike(r io.Reader, got []byte, want string) (n int, err error) {
	for n < len(got) && err == nil && string(got[:n]) == want[:n] {
		var m int
		m, err = r.Read(got[n:])
		n += m
	}
	if n == len(got) {
		err = nil
	}
	return n, err
}

// rest is what comes beyond what was expected, or why nothing does.
func (c *client) rest(d time.Duration) (string, error) {
	buf := make([]byte, 64)
	c.SetReadDeadline(time.Now().Add(d))
	n, err := c.Read(buf)
	return string(buf[:n]), err
}

// awaitRead waits until the server has read all that c has sent. It gives up
// after d.
func (s *session) awaitRead(c *client, d time.Duration) bool { return s.awaitAllRead([]*client{c}, d) }

func (s *session) awaitAllRead(cs []*client, d time.Duration) bool {
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if !slices.ContainsFunc(cs, (*client).underWay) {
			return true
		}
	}
	return false
}

// underWay tells whether the server has not read all that c has sent: there is
// something on its way, or in the receive queue.
func (c *client) underWay() bool {
	own, _, err := c.ownEnd() // first: what is not on its way any more, has arrived
	end, found, err2 := c.serverEnd()
	if err != nil || err2 != nil {
		return true // we cannot see it
	}
	// If it has closed the connection, the client will notice.
	return found && (own.TxQueue+end.RxQueue > 0 || unaccepted(end))
}

const shown = 32 // bytes of answers that are quoted, not counted

// answers says how many of the answers got is, which is so far as it should be.
func (t conversation) answers(got string) string {
	switch {
	case len(got) == 0:
		return "nothing"
	case len(t.want) <= shown:
		return fmt.Sprintf("%q", got)
	}
	whole, all := 0, t.list(t.want)
	for left := len(got); whole < len(all) && left >= len(all[whole]); whole++ {
		left -= len(all[whole])
	}
	noun := cmp.Or(t.noun, "answer")
	return fmt.Sprintf("%d of %s", whole, plural(len(all), noun, noun+"s"))
}

// list is the text as a list of answers.
func (t conversation) list(text string) []string {
	if t.split != nil {
		return t.split(text)
	}
	return slices.Collect(strings.Lines(text))
}

// unlike shows got, and the want that differs from it at byte i: of many
// answers, from that one on.
func (t conversation) unlike(got string, i int) string {
	if len(t.want) <= shown {
		return fmt.Sprintf("%q instead of %q", got, t.want)
	}
	at, n := 0, 0
	for _, answer := range t.list(t.want) {
		if at+len(answer) > i {
			break
		}
		at, n = at+len(answer), n+1
	}
	few := func(text string) string {
		from, more := max(at, i-shown/2), ""
		if text = text[from:]; len(text) > shown {
			text, more = text[:shown], " …"
		}
		return fmt.Sprintf("%q%s", text, more)
	}
	where := fmt.Sprintf(", in the %s %s", ordinal(n+1), cmp.Or(t.noun, "answer"))
	if i-at > shown/2 {
		where += fmt.Sprintf(", at its byte %d", i-at)
	}
	return fmt.Sprintf("%s instead of %s%s", few(got), few(t.want), where)
}
