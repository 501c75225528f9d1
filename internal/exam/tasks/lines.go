package tasks

import (
	"cmp"
	"fmt"
	"strings"

	"epoll-step-by-step/internal/exam"
)

// SPLIT_LINE is not for an echo server: the server answers each line with its length in
// bytes and a line end.

const (
	longLine  = 300_000 // bytes of a line: more than one read of any server
	manyLines = 10_000  // in one piece
)

var SplitLine = exam.Check{
	ID: "SPLIT_LINE", Title: "each line is answered with its length, however its bytes arrive", For: []exam.Profile{exam.Lines}, Run: splitLine,
	Usually: "one read(2) is taken for one line, but it returns the bytes that have arrived: a part of a line, or several lines",
	Reread:  []string{`read(2) "RETURN VALUE"`, `tcp(7) "DESCRIPTION"`}, Chapter: exam.ChapterBlocking,
}

func lineConversations() []conversation {
	const greeting = "hello\n"
	long := strings.Repeat("x", longLine)
	var lines, lengths strings.Builder
	for i := range manyLines {
		fmt.Fprintf(&lines, "%s\n", long[:i%12])
		fmt.Fprintf(&lengths, "%d\n", i%12)
	}
	return []conversation{
		{sent: `"hello\n"`, pieces: []string{"hello\n"}, want: "5\n"},
		{sent: `"hel", and when the server had read it, "lo\n"`, pieces: []string{"hel", "lo\n"}, want: "5\n"},
		{sent: fmt.Sprintf("%q byte by byte, each when the server had read the previous one", greeting), pieces: strings.SplitAfter(greeting, ""), want: "5\n"},
		{sent: `"a\nbb\n\nccc\n" in one write(2)`, pieces: []string{"a\nbb\n\nccc\n"}, want: "1\n2\n0\n3\n"},
		{sent: `"one\ntw", and when the server had read it, "o\n"`, pieces: []string{"one\ntw", "o\n"}, want: "3\n3\n"},
		{sent: `"grüße\n", in which two letters have two bytes each`, pieces: []string{"grüße\n"}, want: "7\n"},
		{sent: `"a\r\n" and "a\x00b\n"`, pieces: []string{"a\r\na\x00b\n"}, want: "2\n3\n",
			usually: "a byte is not counted: all but the line end belong to the line"},
		{sent: fmt.Sprintf(`%d times "x", and a line end`, longLine), pieces: []string{long + "\n"}, want: fmt.Sprintln(longLine)},
		{sent: fmt.Sprintf("%d lines, then shutdown(SHUT_WR), then read", manyLines), pieces: []string{lines.String()}, want: lengths.String(), ends: true},
		{sent: `"hello\nwor", then shutdown(SHUT_WR): one line, and the beginning of another`, pieces: []string{"hello\nwor"}, want: "5\n", ends: true},
		{sent: `"hello\n", as the next client after one that left in the middle of a line`, pieces: []string{"hello\n"}, want: "5\n",
			usually: "the length kept for one connection is counted for the next one"},
	}
}

func splitLine(s *exam.Session) error {
	for _, talk := range lineConversations() {
		problem, err := converse(s, talk)
		if err != nil {
			return err
		}
		if problem != "" {
			s.Note("sent", "%s", talk.sent)
			s.Usually = cmp.Or(s.Usually, talk.usually)
			return s.Fail("got back", "%s", problem)
		}
	}
	s.Note("sent", "lines whole, in pieces and together, a long one, an empty one: each was answered with its length")
	return nil
}
