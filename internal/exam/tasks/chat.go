package tasks

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"epoll-step-by-step/internal/exam"
)

// These checks are for a chat: the first line that a client sends is its name,
// and each other one goes to everybody else. exercises/16-chat/README.md has it
// exactly.

const (
	question = "* your name?\n"
	notName  = "* not a name\n"
	taken    = "* taken\n"
	tooLong  = "* too long\n"

	mostOfLine = 1024 // bytes, without the line end
	mostOfName = 16
)

func joined(name string) string { return "* " + name + " joined\n" }

func left(name string) string { return "* " + name + " left\n" }

func says(name, line string) string { return name + ": " + line + "\n" }

// A talker is a client of the chat.
type talker struct {
	*exam.Client
	name string
	in   *bufio.Reader
}

// arrive connects a client that has not said its name.
func arrive(s *exam.Session, rcvbuf int) (*talker, error) {
	c, err := s.Dial(rcvbuf)
	if err != nil {
		return nil, err
	}
	return &talker{Client: c, in: bufio.NewReaderSize(c, 4<<10)}, nil
}

// join connects a client and lets it say its name.
func join(s *exam.Session, name string, rcvbuf int) (*talker, error) {
	t, err := arrive(s, rcvbuf)
	if err != nil {
		return nil, err
	}
	t.name = name
	if problem := tell(s, t.Client, name+"\n"); problem != "" {
		s.Note("sent", "%q", name+"\n")
		return nil, s.Fail("got back", "%s", problem)
	}
	if problem := t.hears(question + joined(name)); problem != "" {
		s.Note("sent", "%q, the first line of a new client", name+"\n")
		return nil, s.Fail("got back", "%s", problem)
	}
	return t, nil
}

func joinAll(s *exam.Session, names ...string) ([]*talker, error) {
	var all []*talker
	for _, name := range names {
		t, err := join(s, name, 0)
		if err != nil {
			return nil, err
		}
		for _, other := range all {
			if problem := other.hears(joined(name)); problem != "" {
				return nil, s.Fail(other.name, "was there when %s joined, and heard %s", name, problem)
			}
		}
		all = append(all, t)
	}
	return all, nil
}

// hears wants exactly this to come next. It returns what came instead.
func (t *talker) hears(want string) (problem string) {
	got := make([]byte, len(want))
	t.SetReadDeadline(time.Now().Add(exam.SilenceTimeout))
	n, err := readLike(t.in, got, want)
	talk := conversation{want: want, noun: "line"}
	if i := exam.FirstDifference(got[:n], []byte(want[:n])); i >= 0 {
		rest := make([]byte, 64)
		t.SetReadDeadline(time.Now().Add(exam.StallTime))
		m, _ := t.in.Read(rest)
		return talk.unlike(string(got[:n])+string(rest[:m]), i)
	}
	if err != nil {
		if len(want) <= 2*shown {
			return fmt.Sprintf("%q, then %v; it was to be %q", got[:n], exam.ReadProblem(err, exam.SilenceTimeout), want)
		}
		return fmt.Sprintf("%s, then %v", talk.answers(string(got[:n])), exam.ReadProblem(err, exam.SilenceTimeout))
	}
	return ""
}

// line reads one line, without its end. What has come of one whose end does not
// come is returned with the error.
func (t *talker) line(d time.Duration) (string, error) {
	t.SetReadDeadline(time.Now().Add(d))
	text, err := t.in.ReadString('\n')
	return strings.TrimSuffix(text, "\n"), err
}

// leaves wants the end of what t gets. It returns what came instead.
func leaves(s *exam.Session, t *talker) (problem string) {
	rest, err := t.line(exam.SilenceTimeout)
	switch {
	case err == nil || rest != "":
		s.Usually = "who has left is still told what the others are told"
		return fmt.Sprintf("%q instead of EOF", rest)
	case err != io.EOF:
		s.Usually = "read(2) returned 0, so that nothing is owed any more: it is time for close(2)"
		return fmt.Sprintf("no EOF: %v", exam.ReadProblem(err, exam.SilenceTimeout))
	}
	return ""
}

// together has all of them do something at the same time, and returns the first
// error.
func together(all []*talker, f func(i int, t *talker) error) error {
	var wg exam.WaitGroup
	errs := make([]error, len(all))
	for i, t := range all {
		wg.Go(func() { errs[i] = f(i, t) })
	}
	wg.Wait()
	i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if i < 0 {
		return nil
	}
	n := 0
	for _, err := range errs {
		if err != nil {
			n++
		}
	}
	return fmt.Errorf("%w (as with %s of %d clients)", errs[i], all[i].name, n)
}

func restsInCrowd(s *exam.Session, when string) error {
	if wanted := s.SustainedCPU(exam.StallTime); wanted >= exam.SpinningCPU {
		return s.Fail("CPU", "wanted %.0f %% of the time, %s", wanted*100, when)
	}
	return nil
}

func heardWhat(line string, err error) string {
	if err != nil && line == "" {
		return exam.ReadProblem(err, exam.SilenceTimeout).Error()
	}
	if err != nil {
		return fmt.Sprintf("%s, without its end, and then %v,", brief(line), exam.ReadProblem(err, exam.SilenceTimeout))
	}
	return brief(line)
}

func brief(line string) string {
	if len(line) > 2*shown {
		return fmt.Sprintf("%q … (%d bytes)", line[:2*shown], len(line))
	}
	return fmt.Sprintf("%q", line)
}
