package tasks

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"epoll-step-by-step/internal/exam"
)

const (
	chatClients = 500              // clients in one chat
	lineTimeout = 15 * time.Second // until the next of many lines
)

var ChatCrowd = exam.Check{
	ID: "CHAT_CROWD", Title: "500 clients hear each other, and then the server sleeps", For: []exam.Profile{exam.Chat}, Run: chatCrowd, Looks: true, Clients: chatClients,
	Usually: "the server skips a client while it serves many, or EPOLLOUT is requested with nothing to write",
	Reread:  []string{`epoll_wait(2) "DESCRIPTION"`, `epoll_ctl(2) "DESCRIPTION"`}, Chapter: exam.ChapterLevel,
}

func chatCrowd(s *exam.Session) error {
	var all []*talker
	for i := range chatClients {
		t, err := join(s, fmt.Sprint("c", i), 0)
		if err != nil {
			s.Note("clients", "%d had joined before", i)
			return err
		}
		all = append(all, t)
	}
	n := len(all)
	s.Note("clients", "%d joined, one after the other", n)
	// collect receives the wanted lines but for skip, in any order, and no others.
	collect := func(t *talker, skip string, wanted map[string]bool) error {
		missing := len(wanted)
		if wanted[skip] {
			missing--
		}
		seen := make(map[string]bool)
		for ; missing > 0; missing-- {
			line, err := t.line(lineTimeout)
			switch {
			case err != nil:
				return fmt.Errorf("%d of the lines were missing, then %v", missing, exam.ReadProblem(err, lineTimeout))
			case !wanted[line] || line == skip:
				return fmt.Errorf("%q came, which no client had said", line)
			case seen[line]:
				return fmt.Errorf("%q came twice", line)
			}
			seen[line] = true
		}
		return nil
	}
	begin := time.Now()
	err := inParallel(all, func(i int, t *talker) error {
		var want strings.Builder
		for j := i + 1; j < n; j++ {
			want.WriteString(hasJoined(all[j].name))
		}
		if problem := t.expects(want.String()); problem != "" {
			return errors.New(problem)
		}
		return nil
	})
	if err != nil {
		return s.Fail("heard", "of the clients that joined later: %v", err)
	}
	hellos := make(map[string]bool)
	for _, t := range all {
		hellos[t.name+": hello"] = true
	}
	for _, t := range all {
		if problem := sendPieces(s, t.Client, "hello\n"); problem != "" {
			return s.Fail(t.name, "got back %s", problem)
		}
	}
	if err := inParallel(all, func(_ int, t *talker) error { return collect(t, t.name+": hello", hellos) }); err != nil {
		s.Note("sent", "a line from each of them, all at the same time")
		return s.Fail("heard", "%v", err)
	}
	s.Note("each sent", "a line, and heard those of the others, %d altogether, within %.1f s", n*(n-1), time.Since(begin).Seconds())
	if err := expectIdle(s, "with all clients there, and none sending anything"); err != nil {
		return err
	}
	// Half of them leave, some with a FIN, some with a RST.
	gone := make(map[string]bool)
	for i, t := range all[:n/2] {
		gone[strings.TrimSpace(hasLeft(t.name))] = true
		if i%2 == 0 {
			s.CloseClient(t.Client)
		} else {
			t.Reset()
		}
	}
	if err := inParallel(all[n/2:], func(_ int, t *talker) error { return collect(t, "", gone) }); err != nil {
		s.Note("left", "%d of them at the same time, some with a RST", n/2)
		return s.Fail("the others", "heard: %v", err)
	}
	last := all[n-1]
	if problem := sendPieces(s, last.Client, "who is left?\n"); problem != "" {
		return s.Fail(last.name, "got back %s", problem)
	}
	if err := inParallel(all[n/2:n-1], func(_ int, t *talker) error {
		if problem := t.expects(saidBy(last.name, "who is left?")); problem != "" {
			return errors.New(problem)
		}
		return nil
	}); err != nil {
		return s.Fail("afterwards", "one said something, and the others heard %v", err)
	}
	return expectIdle(s, "when half of them had left, and none sent anything")
}
