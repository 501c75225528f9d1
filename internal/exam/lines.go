package exam

import (
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"epoll-step-by-step/internal/procfs"
)

// SPLIT_LINE is for a server that is no echo server: it answers each line with
// its length in bytes and a line end.

// A conversation is what one client sends, and what is to come back.
type conversation struct {
	sent   string   // in words, for the explanation
	pieces []string // each is sent when the server has read those before it
	want   string
	leaves bool // with SHUT_WR, before it reads anything
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
		{sent: fmt.Sprintf(`%d times "x", and a line end`, limits.longLine), pieces: []string{long + "\n"}, want: fmt.Sprintln(limits.longLine)},
		{sent: fmt.Sprintf("%d lines, then shutdown(SHUT_WR), then read", limits.manyLines), pieces: []string{lines.String()}, want: lengths.String(), leaves: true},
		{sent: `"hello\nwor", then shutdown(SHUT_WR): one line, and the beginning of another`, pieces: []string{"hello\nwor"}, want: "5\n", leaves: true},
		{sent: `"hello\n", as the next client after one that left in the middle of a line`, pieces: []string{"hello\n"}, want: "5\n"},
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
	for i, piece := range talk.pieces {
		if i > 0 && !s.awaitRead(c, limits.first) {
			return fmt.Sprintf("nothing: after %v the server had not read what was sent so far", limits.first), nil
		}
		c.SetWriteDeadline(time.Now().Add(limits.newcomer))
		if _, err := c.Write([]byte(piece)); err != nil {
			return fmt.Sprintf("%v, when it was not yet all sent", plain(err)), nil
		}
	}
	if talk.leaves {
		if err := c.CloseWrite(); err != nil {
			return "", plain(err)
		}
	}
	got := make([]byte, len(talk.want))
	c.SetReadDeadline(time.Now().Add(limits.reply))
	n, err := io.ReadFull(c, got)
	if i := differ(got[:n], []byte(talk.want[:n])); i >= 0 {
		rest, _ := c.rest(limits.stalled)
		return unlike(string(got[:n])+rest, talk.want, i), nil
	}
	if err != nil {
		return fmt.Sprintf("%s, then %v", answers(got[:n], talk.want), orSilence(err, limits.reply)), nil
	}
	if !talk.leaves {
		if err := c.CloseWrite(); err != nil {
			return "", plain(err)
		}
	}
	switch rest, err := c.rest(limits.reply); {
	case rest != "":
		s.usually = "what has no line end is taken for a line, or read(2) for one even if it returns 0"
		return fmt.Sprintf("%s, and then %q, for which no line was sent", answers(got, talk.want), rest), nil
	case err != io.EOF:
		s.usually = "read(2) returned 0, so that nothing is owed any more: it is time for close(2)"
		return fmt.Sprintf("%s, and then no EOF: %v", answers(got, talk.want), orSilence(err, limits.reply)), nil
	}
	return "", nil
}

// rest is what comes beyond what was expected, or why nothing does.
func (c *client) rest(d time.Duration) (string, error) {
	buf := make([]byte, 64)
	c.SetReadDeadline(time.Now().Add(d))
	n, err := c.Read(buf)
	return string(buf[:n]), err
}

// awaitRead waits until the server has read all that c has sent: nothing is
// under way, and nothing is in the receive queue. It gives up after d.
func (s *session) awaitRead(c *client, d time.Duration) bool {
	me := c.LocalAddr().(*net.TCPAddr).AddrPort()
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		socks, err := procfs.TCP()
		if err != nil {
			continue
		}
		end, ok := c.serverEnd(socks)
		left := end.RxQueue
		for _, sock := range socks {
			if sock.Local == me && sock.Remote == end.Local {
				left += sock.TxQueue
			}
		}
		// If it has closed the connection, the client will notice.
		if !ok || left == 0 && end.Inode != 0 {
			return true
		}
	}
	return false
}

const shown = 32 // bytes of answers that are quoted, not counted

// answers says how many of the answers got is, which is so far as it should be.
func answers(got []byte, want string) string {
	switch {
	case len(got) == 0:
		return "nothing"
	case len(want) <= shown:
		return fmt.Sprintf("%q", got)
	}
	return fmt.Sprintf("%d of %d answers", strings.Count(string(got), "\n"), strings.Count(want, "\n"))
}

// unlike shows got, and the want that differs from it at byte i: of many lines,
// from that line on.
func unlike(got, want string, i int) string {
	if len(want) <= shown {
		return fmt.Sprintf("%q instead of %q", got, want)
	}
	line := strings.LastIndex(want[:i], "\n") + 1
	few := func(text string) string { return text[line:min(line+16, len(text))] }
	return fmt.Sprintf("%q … instead of %q …, from the %s answer on", few(got), few(want), ordinal(strings.Count(want[:i], "\n")+1))
}
