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

// A conversation is what one client sends, and the answers that it must get.
type conversation struct {
	sent   string   // pieces in words, for the explanation
	pieces []string // each is sent when the server has read the previous ones
	want   string
	ends   bool // the client calls shutdown(SHUT_WR) before it reads
	closes bool // the server must close the connection by itself

	split func(string) []string // splits want into answers; nil if they are lines
	noun  string                // for "answer"

	usually string // the usual mistake, if this conversation is the first that fails
}

// converse has a conversation on a connection of its own. It returns what came instead
// of the answers.
func converse(s *exam.Session, talk conversation) (problem string, err error) {
	c, err := s.Dial(0)
	if err != nil {
		return "", err
	}
	defer s.CloseClient(c) // the server may serve one client at a time
	if problem := sendPieces(s, c, talk.pieces...); problem != "" {
		return problem, nil
	}
	return expectAnswers(s, c, talk)
}

// sendPieces sends the pieces, each when the server has read the previous ones.
func sendPieces(s *exam.Session, c *exam.Client, pieces ...string) (problem string) {
	for i, piece := range pieces {
		if i > 0 && !s.AwaitRead(c, exam.FirstReplyTimeout) {
			return fmt.Sprintf("nothing: after %v the server had not read the bytes sent so far", exam.FirstReplyTimeout)
		}
		c.SetWriteDeadline(time.Now().Add(exam.NewcomerTimeout))
		if _, err := c.Write([]byte(piece)); err != nil {
			return fmt.Sprintf("%v, before everything was sent", exam.PlainError(err))
		}
	}
	return ""
}

// expectAnswers receives the answers of a conversation, and then EOF. It returns what
// came instead.
func expectAnswers(s *exam.Session, c *exam.Client, talk conversation) (problem string, err error) {
	if talk.ends {
		if err := c.CloseWrite(); err != nil {
			return "", exam.PlainError(err)
		}
	}
	got := make([]byte, len(talk.want))
	n, err := readExpected(c.Within(exam.ReplyTimeout), got, talk.want)
	if i := exam.FirstDifference(got[:n], []byte(talk.want[:n])); i >= 0 {
		rest, _ := rest(c, exam.StallTime)
		return talk.difference(string(got[:n])+rest, i), nil
	}
	if err != nil {
		return fmt.Sprintf("%s, then %v", talk.countAnswers(string(got[:n])), exam.ReadProblem(err, exam.ReplyTimeout)), nil
	}
	if !talk.ends && !talk.closes {
		if err := c.CloseWrite(); err != nil {
			return "", exam.PlainError(err)
		}
	}
	switch rest, err := rest(c, exam.ReplyTimeout); {
	case rest != "":
		if talk.split == nil {
			s.Usually = "bytes without a line end are taken for a line, or a read(2) that returns 0 is"
		}
		return fmt.Sprintf("%s, and then %q, although no more was sent", talk.countAnswers(string(got)), rest), nil
	case err != io.EOF:
		if !talk.closes {
			s.Usually = "read(2) returned 0, and nothing more is owed: it is time for close(2)"
		}
		return fmt.Sprintf("%s, and then no EOF: %v", talk.countAnswers(string(got)), exam.ReadProblem(err, exam.ReplyTimeout)), nil
	}
	return "", nil
}

// readExpected is io.ReadFull that stops at the first byte that differs from want.
func readExpected(r io.Reader, got []byte, want string) (n int, err error) {
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

// rest reads bytes that come after the expected ones, or returns why none come.
func rest(c *exam.Client, d time.Duration) (string, error) {
	buf := make([]byte, 64)
	n, err := c.ReadWithin(buf, d)
	return string(buf[:n]), err
}

const quotedBytes = 32 // answers of up to so many bytes are quoted, longer ones are counted

// countAnswers says how many of the answers have come. got is the beginning of want.
func (t conversation) countAnswers(got string) string {
	switch {
	case len(got) == 0:
		return "nothing"
	case len(t.want) <= quotedBytes:
		return fmt.Sprintf("%q", got)
	}
	whole, all := 0, t.list(t.want)
	for left := len(got); whole < len(all) && left >= len(all[whole]); whole++ {
		left -= len(all[whole])
	}
	noun := cmp.Or(t.noun, "answer")
	return fmt.Sprintf("%d of %s", whole, exam.Plural(len(all), noun, noun+"s"))
}

// list splits a text into answers.
func (t conversation) list(text string) []string {
	if t.split != nil {
		return t.split(text)
	}
	return slices.Collect(strings.Lines(text))
}

// difference shows got and want, which differ at byte i: of many answers, from that one
// on.
func (t conversation) difference(got string, i int) string {
	if len(t.want) <= quotedBytes {
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
		from, more := max(at, i-quotedBytes/2), ""
		if text = text[from:]; len(text) > quotedBytes {
			text, more = text[:quotedBytes], " …"
		}
		return fmt.Sprintf("%q%s", text, more)
	}
	where := fmt.Sprintf(", in the %s %s", exam.Ordinal(n+1), cmp.Or(t.noun, "answer"))
	if i-at > quotedBytes/2 {
		where += fmt.Sprintf(", at its byte %d", i-at)
	}
	return fmt.Sprintf("%s instead of %s%s", few(got), few(t.want), where)
}
