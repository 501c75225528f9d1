// Package tasks has the checks of what a single exercise asks of a server.
package tasks

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"epoll-step-by-step/internal/exam"
)

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

// hold has a conversation on a connection of its own. It returns what came if
// that is not what was to come.
func hold(s *exam.Session, talk conversation) (came string, err error) {
	c, err := s.Dial(0)
	if err != nil {
		return "", err
	}
	defer s.CloseClient(c) // the server may serve one client at a time
	if problem := tell(s, c, talk.pieces...); problem != "" {
		return problem, nil
	}
	return hear(s, c, talk)
}

// tell sends the pieces, each when the server has read those before it.
func tell(s *exam.Session, c *exam.Client, pieces ...string) (problem string) {
	for i, piece := range pieces {
		if i > 0 && !s.AwaitRead(c, exam.FirstReplyTimeout) {
			return fmt.Sprintf("nothing: after %v the server had not read what was sent so far", exam.FirstReplyTimeout)
		}
		c.SetWriteDeadline(time.Now().Add(exam.NewcomerTimeout))
		if _, err := c.Write([]byte(piece)); err != nil {
			return fmt.Sprintf("%v, when it was not yet all sent", exam.PlainError(err))
		}
	}
	return ""
}

// hear is the end of a conversation: all answers, and then EOF.
func hear(s *exam.Session, c *exam.Client, talk conversation) (came string, err error) {
	if talk.leaves {
		if err := c.CloseWrite(); err != nil {
			return "", exam.PlainError(err)
		}
	}
	got := make([]byte, len(talk.want))
	c.SetReadDeadline(time.Now().Add(exam.ReplyTimeout))
	n, err := readLike(c, got, talk.want)
	if i := exam.FirstDifference(got[:n], []byte(talk.want[:n])); i >= 0 {
		rest, _ := rest(c, exam.StallTime)
		return talk.unlike(string(got[:n])+rest, i), nil
	}
	if err != nil {
		return fmt.Sprintf("%s, then %v", talk.answers(string(got[:n])), exam.ReadProblem(err, exam.ReplyTimeout)), nil
	}
	if !talk.leaves && !talk.thrown {
		if err := c.CloseWrite(); err != nil {
			return "", exam.PlainError(err)
		}
	}
	switch rest, err := rest(c, exam.ReplyTimeout); {
	case rest != "":
		if talk.split == nil {
			s.Usually = "what has no line end is taken for a line, or read(2) for one even if it returns 0"
		}
		return fmt.Sprintf("%s, and then %q, for which nothing was sent", talk.answers(string(got)), rest), nil
	case err != io.EOF:
		if !talk.thrown {
			s.Usually = "read(2) returned 0, so that nothing is owed any more: it is time for close(2)"
		}
		return fmt.Sprintf("%s, and then no EOF: %v", talk.answers(string(got)), exam.ReadProblem(err, exam.ReplyTimeout)), nil
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
func rest(c *exam.Client, d time.Duration) (string, error) {
	buf := make([]byte, 64)
	c.SetReadDeadline(time.Now().Add(d))
	n, err := c.Read(buf)
	return string(buf[:n]), err
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
	return fmt.Sprintf("%d of %s", whole, exam.Plural(len(all), noun, noun+"s"))
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
	where := fmt.Sprintf(", in the %s %s", exam.Ordinal(n+1), cmp.Or(t.noun, "answer"))
	if i-at > shown/2 {
		where += fmt.Sprintf(", at its byte %d", i-at)
	}
	return fmt.Sprintf("%s instead of %s%s", few(got), few(t.want), where)
}
