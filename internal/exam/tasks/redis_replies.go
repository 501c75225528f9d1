package tasks

import (
	"fmt"

	"epoll-step-by-step/internal/exam"
)

var RedisWrongReply = exam.Check{
	ID: "REDIS_WRONG_REPLY", Title: "each command gets the reply that Redis gives", For: []exam.Profile{exam.Redis}, Run: redisWrongReply,
	Usually: "a length is ignored and the code looks for a line end, or a command has a case that was overlooked",
	Reread:  []string{`read(2) "RETURN VALUE"`}, Chapter: exam.ChapterLevel,
}

var RedisSplit = exam.Check{
	ID: "REDIS_SPLIT", Title: "commands work however they are split, and however many come together", For: []exam.Profile{exam.Redis}, Run: redisSplit,
	Usually: "one read(2) is taken for one command, or the beginning of a command is kept for all clients together",
	Reread:  []string{`read(2) "RETURN VALUE"`, `tcp(7) "DESCRIPTION"`}, Chapter: exam.ChapterLevel,
}

func redisWrongReply(s *exam.Session) error {
	prefix := newKeyPrefix()
	for _, talk := range append(commands(prefix), longCommands(prefix)...) {
		if err := expectConversation(s, talk); err != nil {
			return err
		}
	}
	s.Note("sent", "PING, ECHO, SET, GET, DEL, INCR and nonsense, as arrays and as lines: each reply was right")
	return nil
}

// redisSplit sends the same again: all in one piece, and byte by byte by as many
// clients at the same time, so that each has a part of a command on the server
// while the others' come.
func redisSplit(s *exam.Session) error {
	all := conversation{pieces: []string{""}, split: replies}
	list := commands(newKeyPrefix())
	for _, talk := range list {
		all.pieces[0] += talk.pieces[0]
		all.want += talk.want
	}
	all.sent = fmt.Sprintf("%d commands in one write(2)", len(replies(all.want)))
	s.Usually = "one read(2) is taken for one command, and the bytes behind the first one are lost"
	if err := expectConversation(s, all); err != nil {
		return err
	}
	s.Usually = ""
	list = commands(newKeyPrefix())
	talkers := make([]*exam.Client, len(list))
	longest := 0
	for i, talk := range list {
		var err error
		if talkers[i], err = s.Dial(0); err != nil {
			return err
		}
		longest = max(longest, len(talk.pieces[0]))
	}
	sent := fmt.Sprintf("byte by byte, each when the server had read the previous one, while %d others did the same", len(list)-1)
	for at := range longest {
		for i, talk := range list {
			if at >= len(talk.pieces[0]) {
				continue
			}
			if problem := sendPieces(s, talkers[i], talk.pieces[0][at:at+1]); problem != "" {
				s.Note("sent", "%s, %s", talk.sent, sent)
				return s.Fail("got back", "%s", problem)
			}
		}
		// Bytes that we write are in the server's receive queues at once, and wake
		// it. To look at all the queues is exact, and takes longer.
		if s.AwaitThreads(exam.Sleeping, exam.StallTime) && len(s.Server.Processes()) > 0 {
			continue
		}
		if !s.AwaitAllRead(talkers, exam.FirstReplyTimeout) {
			s.Note("sent", "%d commands, %s", len(list), sent)
			return s.Fail("server", "did not read byte %d of each within %v; it was %s", at+1, exam.FirstReplyTimeout, s.DescribeServer())
		}
	}
	for i, talk := range list {
		came, err := expectAnswers(s, talkers[i], talk)
		if err != nil {
			return err
		}
		if came != "" {
			s.Note("sent", "%s, %s", talk.sent, sent)
			return s.Fail("got back", "%s", came)
		}
	}
	s.Note("sent", "%d commands in one write(2); then %s: all replies were the same", len(replies(all.want)), sent)
	return nil
}
