package tasks

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"epoll-step-by-step/internal/exam"
)

// These checks are for a server that speaks Redis's protocol, RESP2, and knows PING,
// ECHO, SET, GET, DEL and INCR. The expected replies are those of Redis 7.0, and
// TestRealRedis runs the checks on a real one.

const pipelined = 1000 // commands in one piece

// command returns a command as programs send it: the number of words, and each word with
// its length.
func command(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		b.WriteString(bulk(w))
	}
	return b.String()
}

// bulk returns a string with its length: RESP2's bulk string.
func bulk(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }

// replies splits a text into single replies.
func replies(text string) []string {
	var list []string
	for text != "" {
		line, _, _ := strings.Cut(text, "\n")
		n := len(line) + 1
		if size, err := strconv.Atoi(strings.TrimSpace(line[1:])); err == nil && line[0] == '$' && size >= 0 {
			n += size + len("\r\n")
		}
		n = min(n, len(text))
		list, text = append(list, text[:n]), text[n:]
	}
	return list
}

const (
	notAnInteger  = "-ERR value is not an integer or out of range\r\n"
	wouldOverflow = "-ERR increment or decrement would overflow\r\n"
	syntaxError   = "-ERR syntax error\r\n"
	ok            = "+OK\r\n"
	pong          = "+PONG\r\n"
	null          = "$-1\r\n"
	maxValue      = 1 << 20 // bytes of a value
)

// expectConversation has a conversation, and fails if it goes any other way.
func expectConversation(s *exam.Session, talk conversation) error {
	problem, err := converse(s, talk)
	if err == nil && problem != "" {
		s.Note("sent", "%s", talk.sent)
		return s.Fail("got back", "%s", problem)
	}
	return err
}

// newKeyPrefix returns a text that the keys of one check begin with.
func newKeyPrefix() string { return fmt.Sprintf("exam:%x", exam.UniqueID()) }

// sendRepeated sends p again and again, n bytes altogether, or until the server takes no
// more.
func sendRepeated(c *exam.Client, p []byte, n int) error {
	for sent := 0; sent < n; {
		c.SetWriteDeadline(time.Now().Add(exam.StallTime))
		m, err := c.Write(p[sent%len(p):])
		sent += m
		c.Sent += m
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if m > 0 {
				continue
			}
			return nil
		}
		if err != nil {
			return exam.PlainError(err)
		}
	}
	return nil
}

// othersServed expects another client's PING to be answered.
func othersServed(s *exam.Session, c *exam.Client, when string) error {
	c.SetDeadline(time.Now().Add(exam.NewcomerTimeout))
	_, err := c.Write([]byte(command("PING")))
	if err == nil {
		err = expect(c, []byte(pong))
	}
	if err != nil {
		s.Usually = "write(2) sleeps because that client's descriptor is blocking, or the loop repeats it until everything is sent"
		return s.Fail("another", "client sent PING %s: %v", when, exam.ReadProblem(err, exam.NewcomerTimeout))
	}
	return nil
}

// expect receives exactly want.
func expect(c *exam.Client, want []byte) error {
	got := make([]byte, len(want))
	n, err := readExpected(c.Within(exam.SilenceTimeout), got, string(want))
	if i := exam.FirstDifference(got[:n], want[:n]); i >= 0 {
		return fmt.Errorf("%q instead of %q", exam.Excerpt(got[i:n]), exam.Excerpt(want[i:]))
	}
	if err != nil {
		return fmt.Errorf("%d of %d bytes, and %w", n, len(want), exam.ReadProblem(err, exam.SilenceTimeout))
	}
	return nil
}
