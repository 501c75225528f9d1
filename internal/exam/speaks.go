package exam

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Spoken has the names of the dialogues that [Speaks] knows.
var Spoken = []string{"echo", "redis", "memcached", "http"}

// Speaks returns the dialogue with one of the names in [Spoken].
func Speaks(name string) (*Dialogue, error) {
	switch name {
	case "echo":
		return EchoDialogue, nil
	case "redis": // PING, as redis-cli sends it
		return NewDialogue(name, "*1\r\n$4\r\nPING\r\n", "+PONG\r\n")
	case "memcached": // a key that does not exist
		return NewDialogue(name, "get "+IDMark+"\r\n", "END\r\n")
	case "http":
		return NewUnknownDialogue(name, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", EndsAsHTTP)
	}
	return nil, fmt.Errorf("there is no dialogue %q; there are %s", name, strings.Join(Spoken, ", "))
}

const (
	learnedFrom  = 3                      // connections on which an unknown reply is asked for
	replyIsWhole = 500 * time.Millisecond // without a further byte
)

// LearnDialogue returns a dialogue whose reply the examiner has to learn from the server
// before the first check.
func LearnDialogue(name, request string) (*Dialogue, error) {
	d, err := NewUnknownDialogue(name, request, func([]byte) (int, error) { return 0, nil })
	if err == nil {
		d.learn = true
	}
	return d, err
}

// meet prepares a dialogue whose replies are not known: it learns the reply, or its
// length. It fails if the replies differ.
func (g *grading) meet(ctx context.Context) error {
	if g.dialogue.ending == nil {
		return nil
	}
	d := *g.dialogue
	g.dialogue = &d
	s := g.session(ctx)
	if err := g.findServer(s, Check{}); err != nil {
		return nil // the first check reports that
	}
	defer s.Server.Stop()
	defer s.ResetAll()
	var replies [][]byte
	for range learnedFrom {
		reply, err := s.FirstReply()
		if err != nil {
			return nil // the first check reports that
		}
		replies = append(replies, reply)
		if !d.learn {
			break
		}
	}
	d.reply.size = len(replies[0])
	if !d.learn {
		return nil
	}
	for _, r := range replies[1:] {
		if string(r) != string(replies[0]) {
			return differing(replies)
		}
	}
	d.reply, d.ending, d.learn = newTemplate(string(replies[0])), nil, false
	return nil
}

// FirstReply asks once on a connection of its own and returns what comes until the
// server is silent.
func (s *Session) FirstReply() ([]byte, error) {
	c, err := s.Dial(0)
	if err != nil {
		return nil, err
	}
	defer s.CloseClient(c)
	if err := c.Send(c.dialogue.MessageSize(), FirstReplyTimeout); err != nil {
		return nil, err
	}
	var reply []byte
	buf := make([]byte, 64<<10)
	for d := FirstReplyTimeout; ; d = replyIsWhole {
		n, err := c.ReadWithin(buf, d)
		reply = append(reply, buf[:n]...)
		switch {
		case err == ErrSilence && len(reply) > 0:
			return bytes.ReplaceAll(reply, idText(c.id, 0), []byte(IDMark)), nil
		case err != nil:
			return nil, err
		}
	}
}

func differing(replies [][]byte) error {
	var quoted []string
	for _, r := range replies {
		quoted = append(quoted, Quote(r))
	}
	text := "the reply is not the same on each of three connections: " + strings.Join(quoted, ", ") + "; give -reply-until, or -reply-like with a regular expression"
	if !slices.ContainsFunc(replies, func(r []byte) bool { return len(r) != len(replies[0]) }) {
		text += fmt.Sprintf(", or -reply-bytes %d", len(replies[0]))
	}
	return errors.New(text)
}
