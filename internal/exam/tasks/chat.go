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

// These checks are for a chat: the first line that a client sends is its name, and each
// further line goes to all other clients. exercises/16-chat/README.md has the rules.

const (
	question = "* your name?\n"
	notName  = "* not a name\n"
	taken    = "* taken\n"
	tooLong  = "* too long\n"

	maxLine = 1024 // bytes, without the line end
	maxName = 16   // bytes
)

func hasJoined(name string) string { return "* " + name + " joined\n" }

func hasLeft(name string) string { return "* " + name + " left\n" }

func saidBy(name, line string) string { return name + ": " + line + "\n" }

// A timedReader fails with exam.ErrSilence if no byte comes for d.
type timedReader struct {
	client *exam.Client
	d      time.Duration
}

func (r *timedReader) Read(p []byte) (int, error) { return r.client.ReadWithin(p, r.d) }

// A talker is a client of the chat.
type talker struct {
	*exam.Client
	name  string
	in    *bufio.Reader // reads from timed
	timed *timedReader
}

// connect connects a client that has not sent its name.
func connect(s *exam.Session, rcvbuf int) (*talker, error) {
	c, err := s.Dial(rcvbuf)
	if err != nil {
		return nil, err
	}
	timed := &timedReader{client: c}
	return &talker{Client: c, in: bufio.NewReaderSize(timed, 4<<10), timed: timed}, nil
}

// join connects a client that sends its name.
func join(s *exam.Session, name string, rcvbuf int) (*talker, error) {
	t, err := connect(s, rcvbuf)
	if err != nil {
		return nil, err
	}
	t.name = name
	if problem := sendPieces(s, t.Client, name+"\n"); problem != "" {
		s.Note("sent", "%q", name+"\n")
		return nil, s.Fail("got back", "%s", problem)
	}
	if problem := t.expects(question + hasJoined(name)); problem != "" {
		s.Note("sent", "%q, the first line of a new client", name+"\n")
		return nil, s.Fail("got back", "%s", problem)
	}
	return t, nil
}

// joinAll has clients join one after the other, each of which learns of the later ones.
func joinAll(s *exam.Session, names ...string) ([]*talker, error) {
	var all []*talker
	for _, name := range names {
		t, err := join(s, name, 0)
		if err != nil {
			return nil, err
		}
		for _, other := range all {
			if problem := other.expects(hasJoined(name)); problem != "" {
				return nil, s.Fail(other.name, "was there when %s joined, and heard %s", name, problem)
			}
		}
		all = append(all, t)
	}
	return all, nil
}

// expects receives exactly want. It returns what came instead.
func (t *talker) expects(want string) (problem string) {
	got := make([]byte, len(want))
	t.timed.d = exam.SilenceTimeout
	n, err := readExpected(t.in, got, want)
	talk := conversation{want: want, noun: "line"}
	if i := exam.FirstDifference(got[:n], []byte(want[:n])); i >= 0 {
		rest := make([]byte, 64)
		t.timed.d = exam.StallTime
		m, _ := t.in.Read(rest)
		return talk.difference(string(got[:n])+string(rest[:m]), i)
	}
	if err != nil {
		if len(want) <= 2*quotedBytes {
			return fmt.Sprintf("%q, then %v; want %q", got[:n], exam.ReadProblem(err, exam.SilenceTimeout), want)
		}
		return fmt.Sprintf("%s, then %v", talk.countAnswers(string(got[:n])), exam.ReadProblem(err, exam.SilenceTimeout))
	}
	return ""
}

// line reads one line, without its end. If the end does not come, it returns the part of
// the line that has come, with the error.
func (t *talker) line(d time.Duration) (string, error) {
	t.timed.d = d
	text, err := t.in.ReadString('\n')
	return strings.TrimSuffix(text, "\n"), err
}

// expectEOF receives EOF. It returns what came instead.
func expectEOF(s *exam.Session, t *talker) (problem string) {
	rest, err := t.line(exam.SilenceTimeout)
	switch {
	case err == nil || rest != "":
		s.Usually = "a client that has left still gets the lines of the others"
		return fmt.Sprintf("%q instead of EOF", rest)
	case err != io.EOF:
		s.Usually = "read(2) returned 0, and nothing more is owed: it is time for close(2)"
		return fmt.Sprintf("no EOF: %v", exam.ReadProblem(err, exam.SilenceTimeout))
	}
	return ""
}

// inParallel calls f for all talkers at the same time, and returns the first error.
func inParallel(all []*talker, f func(i int, t *talker) error) error {
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

// expectIdle fails if the server spins.
func expectIdle(s *exam.Session, when string) error {
	if wanted := s.SustainedCPU(exam.StallTime); wanted >= exam.SpinningCPU {
		return s.Fail("CPU", "wanted %.0f %% of the time, %s", wanted*100, when)
	}
	return nil
}

// describeLine says which line came, or why none came.
func describeLine(line string, err error) string {
	if err != nil && line == "" {
		return exam.ReadProblem(err, exam.SilenceTimeout).Error()
	}
	if err != nil {
		return fmt.Sprintf("%s, without its end, and then %v,", quoted(line), exam.ReadProblem(err, exam.SilenceTimeout))
	}
	return quoted(line)
}

// quoted quotes a line, or the beginning of a long one.
func quoted(line string) string {
	if len(line) > 2*quotedBytes {
		return fmt.Sprintf("%q … (%d bytes)", line[:2*quotedBytes], len(line))
	}
	return fmt.Sprintf("%q", line)
}
