package tasks

import (
	"fmt"
	"strings"

	"epoll-step-by-step/internal/exam"
)

const murmurLines = 32_000 // lines of one letter in one write(2): ten times as many bytes for those that hear them

var ChatLostLine = exam.Check{
	ID: "CHAT_LOST_LINE", Title: "each line goes to all other clients, whole, once and in order", For: []exam.Profile{exam.Chat}, Run: chatLostLine,
	Usually: "the result of one read(2) is taken for a line, or all clients share the buffer for the beginning of a line",
	Reread:  []string{`read(2) "RETURN VALUE"`, `tcp(7) "DESCRIPTION"`}, Chapter: exam.ChapterLevel,
}

// A chatLine is what one of three clients sends, and what each of them must hear.
type chatLine struct {
	sender int    // 0, 1 or 2
	text   string // pieces in words; empty if they are short
	pieces []string
	hear   [3]string
}

func chatLinesOf(names []string) []chatLine {
	ann, bob, cyd := names[0], names[1], names[2]
	longest := strings.Repeat("x", maxLine)
	others := func(who int, text string) (hear [3]string) {
		for i := range hear {
			if i != who {
				hear[i] = text
			}
		}
		return hear
	}
	only := func(who int, text string) (hear [3]string) {
		hear[who] = text
		return hear
	}
	return []chatLine{
		{0, "", []string{"hello\n"}, others(0, saidBy(ann, "hello"))},
		{1, "", []string{"hi all\n"}, others(1, saidBy(bob, "hi all"))},
		{2, "", []string{"one\ntwo\nthree\n"}, others(2, saidBy(cyd, "one")+saidBy(cyd, "two")+saidBy(cyd, "three"))},
		{0, `"good morning\n" byte by byte, each when the server had read the previous one`, strings.Split("good morning\n", ""), others(0, saidBy(ann, "good morning"))},
		{0, "", []string{"hel", "lo\nthe", "re\n"}, others(0, saidBy(ann, "hello")+saidBy(ann, "there"))},
		{1, "", []string{"with a CR\r\nwith two\r\r\n"}, others(1, saidBy(bob, "with a CR")+saidBy(bob, "with two\r"))},
		{1, "", []string{"\n\r\n\nafter empty lines\n"}, others(1, saidBy(bob, "after empty lines"))},
		{2, "", []string{"a NUL \x00, a CR \r, grüße, \xff\xfe\n"}, others(2, saidBy(cyd, "a NUL \x00, a CR \r, grüße, \xff\xfe"))},
		{0, fmt.Sprintf("a line of %d bytes, which is not too long", maxLine), []string{longest + "\r\n"}, others(0, saidBy(ann, longest))},
		{1, fmt.Sprintf("a line of %d bytes, which is too long", maxLine+1), []string{longest + "x\n"}, only(1, tooLong)},
		{1, "a line of 300000 bytes", []string{strings.Repeat("x", 300_000) + "\n"}, only(1, tooLong)},
		{1, "", []string{"a short one\n"}, others(1, saidBy(bob, "a short one"))},
	}
}

func chatLostLine(s *exam.Session) error {
	names := []string{"ann", "bob", "cyd"}
	all, err := joinAll(s, names...)
	if err != nil {
		return err
	}
	for _, line := range chatLinesOf(names) {
		what := line.text
		if what == "" {
			what = fmt.Sprintf("%q", line.pieces)
			what = strings.ReplaceAll(what[1:len(what)-1], `" "`, `", and when the server had read it, "`)
		}
		problem := sendPieces(s, all[line.sender].Client, line.pieces...)
		if problem != "" {
			s.Note(names[line.sender], "sent %s", what)
			return s.Fail("got back", "%s", problem)
		}
		for i, t := range all {
			if problem := t.expects(line.hear[i]); problem != "" {
				s.Note(names[line.sender], "sent %s", what)
				return s.Fail(t.name, "heard %s", problem)
			}
		}
	}
	if err := interleaved(s, all); err != nil {
		return err
	}
	if err := allAtOnce(s, all); err != nil {
		return err
	}
	if err := manyShortLines(s, all); err != nil {
		return err
	}
	return lastLine(s, all[2], all[:2])
}

// interleaved sends two lines piece by piece, in turn.
func interleaved(s *exam.Session, all []*talker) error {
	s.Note("in turn", `ann sent "hel", bob "in bet", ann "lo\n", and bob "ween\n", each when the server had read the previous one`)
	for i, piece := range []string{"hel", "in bet", "lo\n", "ween\n"} {
		t := all[i%2]
		if problem := sendPieces(s, t.Client, piece); problem != "" {
			return s.Fail(t.name, "got back %s", problem)
		}
		if !s.AwaitRead(t.Client, exam.FirstReplyTimeout) {
			return s.Fail("server", "did not read that within %v", exam.FirstReplyTimeout)
		}
	}
	hello, between := saidBy("ann", "hello"), saidBy("bob", "in between")
	for i, want := range []string{between, hello, hello + between} {
		if problem := all[i].expects(want); problem != "" {
			return s.Fail(all[i].name, "heard %s", problem)
		}
	}
	return nil
}

// allAtOnce has all clients send many lines at the same time. Each must hear the lines of
// one client in their order; the server may mix those of several.
func allAtOnce(s *exam.Session, all []*talker) error {
	const n = 300 // lines
	s.Note("at once", "each of the three sent %d lines in one write(2)", n)
	for _, t := range all {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "line %d\n", i)
		}
		if problem := sendPieces(s, t.Client, b.String()); problem != "" {
			return s.Fail(t.name, "got back %s", problem)
		}
	}
	for _, t := range all {
		next := make(map[string]int)
		for range n * (len(all) - 1) {
			line, err := t.line(exam.SilenceTimeout)
			if err != nil {
				return s.Fail(t.name, "heard lines up to %v, then %v", next, exam.ReadProblem(err, exam.SilenceTimeout))
			}
			name, text, _ := strings.Cut(line, ": ")
			if want := fmt.Sprintf("line %d", next[name]); text != want || name == t.name {
				return s.Fail(t.name, "heard %q, when %q was next", line, name+": "+want)
			}
			next[name]++
		}
	}
	return nil
}

// manyShortLines has a client with a long name send many short lines in one write(2).
// They are many more bytes for the clients that hear them, which read all the time; the
// kernel has room for that.
func manyShortLines(s *exam.Session, all []*talker) error {
	sender, err := join(s, strings.Repeat("m", maxName), 0)
	if err != nil {
		return err
	}
	s.Note("another", "whose name has %d letters joined, and sent %d lines of one letter in one write(2)", maxName, murmurLines)
	for _, t := range all {
		if problem := t.expects(hasJoined(sender.name)); problem != "" {
			return s.Fail(t.name, "heard %s", problem)
		}
	}
	s.AwaitSleep()
	if problem := sendPieces(s, sender.Client, strings.Repeat("y\n", murmurLines)); problem != "" {
		return s.Fail("that one", "got back %s", problem)
	}
	err = inParallel(all, func(_ int, t *talker) error {
		for i := range murmurLines {
			line, err := t.line(exam.SilenceTimeout)
			if err != nil || line+"\n" != saidBy(sender.name, "y") {
				return fmt.Errorf("%d of them, and then %s", i, describeLine(line, err))
			}
		}
		return nil
	})
	if err != nil {
		s.Usually = "one read(2) may bring more lines than are kept for a client: try write(2) before taking the client for slow"
		return s.Fail("the others", "read all the time, and heard %v", err)
	}
	return nil
}

// lastLine has one client send a line and end its stream.
func lastLine(s *exam.Session, t *talker, others []*talker) error {
	s.Note(t.name, `sent "bye\nthis is no li", and called shutdown(SHUT_WR)`)
	if problem := sendPieces(s, t.Client, "bye\nthis is no li"); problem != "" {
		return s.Fail("got back", "%s", problem)
	}
	if err := t.CloseWrite(); err != nil {
		return exam.PlainError(err)
	}
	for _, other := range others {
		if problem := other.expects(saidBy(t.name, "bye") + hasLeft(t.name)); problem != "" {
			return s.Fail(other.name, "heard %s", problem)
		}
	}
	if problem := expectEOF(s, t); problem != "" {
		return s.Fail(t.name, "got %s", problem)
	}
	return nil
}
