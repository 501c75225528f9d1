package tasks

import (
	"strings"

	"epoll-step-by-step/internal/exam"
)

var ChatWrongName = exam.Check{
	ID: "CHAT_WRONG_NAME", Title: "each client has a name of its own, and the others learn that it joins and leaves", For: []exam.Profile{exam.Chat}, Run: chatWrongName,
	Usually: "the name outlives its connection, or a client without a name is treated like the others",
	Reread:  []string{`close(2) "DESCRIPTION"`, `read(2) "RETURN VALUE"`}, Chapter: exam.ChapterLevel,
}

func chatWrongName(s *exam.Session) error {
	all, err := joinAll(s, "ann", "bob")
	if err != nil {
		return err
	}
	ann, bob := all[0], all[1]
	t, err := connect(s, 0)
	if err != nil {
		return err
	}
	if problem := t.expects(question); problem != "" {
		s.Note("connected", "a client that has not said anything yet")
		return s.Fail("it heard", "%s", problem)
	}
	for _, try := range []struct{ name, reply string }{
		{"two words", notName}, {"a:", notName}, {"*", notName}, {"grüße", notName}, {"\x00", notName},
		{strings.Repeat("x", maxName+1), notName}, {strings.Repeat("x", maxLine+1), tooLong},
		{"ann", taken}, {"bob", taken}, {"", ""},
	} {
		problem := sendPieces(s, t.Client, try.name+"\n")
		if problem == "" {
			problem = t.expects(try.reply)
		}
		if problem != "" {
			s.Note("a client", "without a name sent %q; there were an ann and a bob", try.name[:min(len(try.name), 2*maxName)]+"\n")
			return s.Fail("it heard", "%s", problem)
		}
	}
	// The other clients have heard nothing of that, and this one hears nothing of them.
	if problem := sendPieces(s, ann.Client, "are we alone?\n"); problem != "" {
		return s.Fail("ann", "got back %s", problem)
	}
	if problem := bob.expects(saidBy("ann", "are we alone?")); problem != "" {
		s.Note("a client", "without a name tried some, and ann said something")
		return s.Fail("bob", "heard %s", problem)
	}
	t.name = "Ann"
	if problem := sendPieces(s, t.Client, "Ann\nhello\n"); problem != "" {
		return s.Fail("Ann", "got back %s", problem)
	}
	for _, h := range []struct {
		t    *talker
		want string
	}{{t, hasJoined("Ann")}, {ann, hasJoined("Ann") + saidBy("Ann", "hello")}, {bob, hasJoined("Ann") + saidBy("Ann", "hello")}} {
		if problem := h.t.expects(h.want); problem != "" {
			s.Note("a client", "sent %q in one write(2), after names that were refused and a line of ann's, whose name is another one", "Ann\nhello\n")
			return s.Fail(h.t.name, "heard %s", problem)
		}
	}
	// Nobody hears of a client that leaves before it has a name.
	unnamed, err := connect(s, 0)
	if err != nil {
		return err
	}
	if problem := unnamed.expects(question); problem != "" {
		return s.Fail("a client", "that connected heard %s", problem)
	}
	s.CloseClient(unnamed.Client)
	for _, how := range []string{"closed its connection", "reset its connection"} {
		if how[0] == 'c' {
			s.CloseClient(t.Client)
		} else {
			t.Reset()
		}
		for _, other := range []*talker{ann, bob} {
			if problem := other.expects(hasLeft("Ann")); problem != "" {
				s.Note("Ann", "%s", how)
				return s.Fail(other.name, "heard %s", problem)
			}
		}
		if t, err = join(s, "Ann", 0); err != nil {
			s.Note("that was", "after another one of this name had left")
			return err
		}
		for _, other := range []*talker{ann, bob} {
			if problem := other.expects(hasJoined("Ann")); problem != "" {
				return s.Fail(other.name, "heard %s, when an Ann joined again", problem)
			}
		}
	}
	s.Note("names", "were given, refused, and given again; and the other clients heard of each that joined and left")
	return nil
}
