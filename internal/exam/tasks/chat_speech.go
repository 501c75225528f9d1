package tasks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"epoll-step-by-step/internal/exam"

	"golang.org/x/sys/unix"
)

// speechLine returns line i of the speaker. A line that is made of parts of two lines
// does not look like any of them.
func speechLine(i int) string {
	text := fmt.Sprintf("%08d ", i)
	return text + strings.Repeat(text, 100)
}

// sayLines has the speaker send lines of size bytes or more, from line next on, and each
// reader hear them. It returns the line that comes next.
func sayLines(s *exam.Session, size int, speaker *talker, readers []*talker, next int, toldOfLeaving map[string]bool) (int, error) {
	var said, heard bytes.Buffer
	for ; said.Len() < size; next++ {
		said.WriteString(speechLine(next) + "\n")
		heard.WriteString(saidBy("speaker", speechLine(next)))
	}
	if problem := sendPieces(s, speaker.Client, said.String()); problem != "" {
		return next, s.Fail("speaker", "got back %s", problem)
	}
	for _, t := range readers {
		for want := heard.String(); want != ""; {
			line, err := t.line(exam.SilenceTimeout)
			if err == nil && line+"\n" == hasLeft("slow") && !toldOfLeaving[t.name] {
				toldOfLeaving[t.name] = true
				continue
			}
			expected, rest, _ := strings.Cut(want, "\n")
			if err != nil || line != expected {
				return next, s.Fail(t.name, "heard %s when this was next: %s", describeLine(line, err), quoted(expected))
			}
			want = rest
		}
	}
	return next, nil
}

// A slowReader reads what the speaker said. Lines may be missing, but none may come
// twice, or be made of parts of two lines.
type slowReader struct {
	*talker
	next  int // no earlier line may come
	heard int // lines that have come
}

// read reads up to n lines. It returns exam.ErrSilence if no further line comes, and
// io.EOF if the connection has ended.
func (l *slowReader) read(s *exam.Session, n int) error {
	for range n {
		line, err := l.line(exam.ReplyTimeout)
		switch {
		case err == exam.ErrSilence && line != "":
			s.Usually = "a line was written in part, and the rest was dropped: a line that was started must be finished"
			return s.Fail("slow", "read %s, and then a part of one, %s, without the rest", exam.Plural(l.heard, "line", "lines"), quoted(line))
		case err == exam.ErrSilence:
			return exam.ErrSilence
		case err == io.EOF || errors.Is(err, unix.ECONNRESET):
			return io.EOF // perhaps in the middle of a line
		case err != nil:
			return exam.PlainError(err)
		}
		text, _ := strings.CutPrefix(line, "speaker: ")
		i, err := strconv.Atoi(text[:min(len(text), 8)])
		if err != nil || line != "speaker: "+speechLine(i) {
			s.Usually = "a line was written in part, and the rest was dropped for lack of room: a line that was started must be finished"
			return s.Fail("slow", "read %s, and then one that no client had said: %s", exam.Plural(l.heard, "line", "lines"), quoted(line))
		}
		if i < l.next {
			return s.Fail("slow", "read line %d when it had read line %d", i, l.next-1)
		}
		l.next, l.heard = i+1, l.heard+1
	}
	return nil
}
