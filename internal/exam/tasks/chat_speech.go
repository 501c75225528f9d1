package tasks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"epoll-step-by-step/internal/exam"

	"golang.org/x/sys/unix"
)

// speechLine is line i of the one who speaks. A line that is put together of two
// is none of them.
func speechLine(i int) string {
	text := fmt.Sprintf("%08d ", i)
	return text + strings.Repeat(text, 100)
}

// speech is a burst of lines, so many bytes, from line next on, and each reader
// hears it.
func speech(s *exam.Session, size int, speaker *talker, readers []*talker, next int, thrown map[string]bool) (int, error) {
	var said, heard bytes.Buffer
	for ; said.Len() < size; next++ {
		said.WriteString(speechLine(next) + "\n")
		heard.WriteString(says("speaker", speechLine(next)))
	}
	if problem := tell(s, speaker.Client, said.String()); problem != "" {
		return next, s.Fail("speaker", "got back %s", problem)
	}
	for _, t := range readers {
		for want := heard.String(); want != ""; {
			line, err := t.line(exam.SilenceTimeout)
			if err == nil && line+"\n" == left("slow") && !thrown[t.name] {
				thrown[t.name] = true
				continue
			}
			expected, rest, _ := strings.Cut(want, "\n")
			if err != nil || line != expected {
				return next, s.Fail(t.name, "heard %s when this was next: %s", heardWhat(line, err), brief(expected))
			}
			want = rest
		}
	}
	return next, nil
}

// A listener reads what the speaker said. Some lines may be missing. None may
// be there twice, or be put together of two.
type listener struct {
	*talker
	next, heard int // the line that may come next at the earliest; how many have come
}

// read reads n lines at most. It returns errSilence if no more comes, and io.EOF
// if the connection has ended.
func (l *listener) read(s *exam.Session, n int) error {
	for range n {
		line, err := l.line(exam.ReplyTimeout)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && line != "":
			s.Usually = "a line was written in part, and the rest of it forgotten: what is begun must be finished"
			return s.Fail("slow", "read %s, and then a part of one, %s, whose rest did not come", exam.Plural(l.heard, "line", "lines"), brief(line))
		case errors.Is(err, os.ErrDeadlineExceeded):
			return exam.ErrSilence
		case err == io.EOF || errors.Is(err, unix.ECONNRESET):
			return io.EOF // in the middle of a line, maybe
		case err != nil:
			return exam.PlainError(err)
		}
		text, _ := strings.CutPrefix(line, "speaker: ")
		i, err := strconv.Atoi(text[:min(len(text), 8)])
		if err != nil || line != "speaker: "+speechLine(i) {
			s.Usually = "a line was written in part, and the rest of it dropped for lack of room: what is begun must be finished"
			return s.Fail("slow", "read %s, and then one that nobody had said: %s", exam.Plural(l.heard, "line", "lines"), brief(line))
		}
		if i < l.next {
			return s.Fail("slow", "read line %d when it had read line %d", i, l.next-1)
		}
		l.next, l.heard = i+1, l.heard+1
	}
	return nil
}
