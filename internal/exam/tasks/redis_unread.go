package tasks

import (
	"strings"
	"time"

	"epoll-step-by-step/internal/exam"
)

const (
	valueSize  = 50_000 // bytes of a value
	unreadGets = 2000   // times that it is asked for without being read
)

var RedisUnreadReplies = exam.Check{
	ID: "REDIS_UNREAD_REPLIES", Title: "a client that does not read its replies costs little memory, and holds up no other", For: []exam.Profile{exam.Redis}, Run: redisUnread, Looks: true,
	Usually: "the server keeps reading from a client that does not read its replies",
	Reread:  []string{`write(2) "RETURN VALUE"`, `tcp(7) "DESCRIPTION"`}, Chapter: exam.ChapterLevel,
}

// redisUnread has clients send commands and read nothing: short commands with long replies,
// which arrive in one read, then long ones without end, then one that is too long.
func redisUnread(s *exam.Session) error {
	k := newKeyPrefix()
	value := exam.NewPattern(valueSize)
	if err := expectConversation(s, conversation{sent: "a SET", pieces: []string{command("SET", k, string(value))}, want: ok, split: replies}); err != nil {
		return err
	}
	other, err := s.Dial(0)
	if err != nil {
		return err
	}
	before := s.Server.Memory()
	peak := s.PeakMemory()
	c, err := s.Dial(0)
	if err != nil {
		return err
	}
	c.SetWriteDeadline(time.Now().Add(exam.NewcomerTimeout))
	if _, err := c.Write([]byte(strings.Repeat(command("GET", k), unreadGets))); err != nil {
		return exam.PlainError(err)
	}
	s.Note("sent", "%d times GET of a value of %d bytes in one piece, without reading", unreadGets, len(value))
	if err := othersServed(s, other, "while one client reads nothing"); err != nil {
		return err
	}
	if wanted := s.SustainedCPU(exam.StallTime); wanted >= exam.SpinningCPU {
		s.Usually = "a client is owed bytes and does not read: EPOLLOUT is reported when there is room, and until then there is nothing to do"
		return s.Fail("CPU", "wanted %.0f %% of the time while that client read nothing", wanted*100)
	}
	if grew := peak() - before; grew >= exam.MaxGrowth {
		s.Usually = "all commands of one read(2) are executed, however many bytes of their replies are pending"
		return s.Fail("memory", "grew by %d KiB", grew>>10)
	}
	reply := []byte(bulk(string(value)))
	for i := range unreadGets {
		if err := expect(c, reply); err != nil {
			s.Usually = "a command that was read while there was no room for its reply is executed when more bytes come; but none come"
			return s.Fail("then read", "%d of %d replies, then %v", i, unreadGets, err)
		}
	}
	s.Note("then read", "all %d replies", unreadGets)

	if c, err = s.Dial(0); err != nil {
		return err
	}
	if err := sendRepeated(c, []byte(strings.Repeat(command("ECHO", string(value[:1000])), 64)), exam.Flood); err != nil {
		return s.Fail("a second", "client sent ECHO of 1000 bytes again and again, without reading: %v", err)
	}
	grew := peak() - before
	s.Note("a second", "client sent ECHO of 1000 bytes again and again, without reading; %d bytes were taken", c.Sent)
	s.Note("memory", "grew by %d KiB", grew>>10)
	if grew >= exam.MaxGrowth {
		return exam.ErrFailed
	}
	if c, err = s.Dial(0); err != nil {
		return err
	}
	word := exam.NewPattern(maxValue)
	c.SetWriteDeadline(time.Now().Add(exam.NewcomerTimeout))
	if _, err := c.Write([]byte("*1000\r\n")); err != nil {
		return exam.PlainError(err)
	}
	sendRepeated(c, []byte(bulk(string(word))), exam.Flood) // until the server closes the connection, or stops reading
	grew = peak() - before
	s.Note("a third", "client sent a command of 1000 words of 1 MiB each; %d bytes were taken, and memory grew by %d KiB", c.Sent, grew>>10)
	if grew >= exam.MaxGrowth {
		s.Usually = "a word has a limit, and so has the number of words, but not the command"
		return exam.ErrFailed
	}
	return othersServed(s, other, "after all that")
}
