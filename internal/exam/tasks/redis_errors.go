package tasks

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"epoll-step-by-step/internal/exam"

	"golang.org/x/sys/unix"
)

var RedisProtocolError = exam.Check{
	ID: "REDIS_PROTOCOL_ERROR", Title: "bytes that are not a command get an error, and only that connection ends", For: []exam.Profile{exam.Redis}, Run: redisProtocolError,
	Usually: "the connection is not closed, and the rest is taken for commands; or it is closed before the error is sent",
	Reread:  []string{`shutdown(2) "DESCRIPTION"`, `close(2) "DESCRIPTION"`}, Chapter: exam.ChapterLevel,
}

// redisProtocolError has clients send bytes that are not a command, while another client
// is in the middle of a command.
func redisProtocolError(s *exam.Session) error {
	k := newKeyPrefix()
	half, rest := command("SET", k, "value")[:20], command("SET", k, "value")[20:]
	other, err := s.Dial(0)
	if err != nil {
		return err
	}
	if problem := sendPieces(s, other, half); problem != "" {
		return s.Fail("another", "sent half a command, and got %s", problem)
	}
	if !s.AwaitRead(other, exam.FirstReplyTimeout) {
		return s.Fail("server", "did not read the bytes of one client within %v", exam.FirstReplyTimeout)
	}
	for _, bad := range []struct{ sent, why string }{
		{"*abc\r\n", "invalid multibulk length"},
		{"*\r\n", "invalid multibulk length"},
		{"*2147483648\r\n", "invalid multibulk length"},
		{"*1\r\n:4\r\nPING\r\n", "expected '$', got ':'"},
		{"*1\r\nPING\r\n", "expected '$', got 'P'"},
		{"*1\r\n$-1\r\n", "invalid bulk length"},
		{"*1\r\n$x\r\n", "invalid bulk length"},
		{"*2\r\n$4\r\nECHO\r\n$536870913\r\n", "invalid bulk length"},
		{strings.Repeat("x", 80<<10), "too big inline request"},
	} {
		sent := strconv.Quote(bad.sent)
		if len(bad.sent) > 60 {
			sent = fmt.Sprintf("%d times %q, without a line end", len(bad.sent), bad.sent[:1])
		}
		if err := expectConversation(s, conversation{
			sent: "a PING, and then " + sent, pieces: []string{command("PING") + bad.sent},
			want: pong + "-ERR Protocol error: " + bad.why + "\r\n", closes: true, split: replies,
		}); err != nil {
			return err
		}
	}
	if err := bytesAfterError(s); err != nil {
		return err
	}
	came := sendPieces(s, other, rest+command("GET", k))
	if came == "" {
		came, err = expectAnswers(s, other, conversation{want: ok + bulk("value"), split: replies})
	}
	if err != nil {
		return err
	}
	if came != "" {
		s.Note("another", "client sent half a SET before all that, the rest of it afterwards, and a GET")
		s.Usually = "the beginning of a command belongs to the connection, not to the server; and an error of one client ends no other"
		return s.Fail("got back", "%s", came)
	}
	s.Note("sent", "nonsense of ten kinds: each time there was the error, and then EOF; another client's SET, half of it before and half after, was executed")
	return nil
}

// bytesAfterError sends commands, an error, and many bytes, and reads only when the server
// has had time to close the connection.
func bytesAfterError(s *exam.Session) error {
	k := newKeyPrefix()
	value := strings.Repeat("x", maxValue/2)
	if err := expectConversation(s, conversation{sent: "a SET", pieces: []string{command("SET", k, value)}, want: ok, split: replies}); err != nil {
		return err
	}
	c, err := s.Dial(exam.TinyBuffer)
	if err != nil {
		return err
	}
	const gets = 4
	c.SetWriteDeadline(time.Now().Add(exam.NewcomerTimeout))
	if _, err := c.Write([]byte(strings.Repeat(command("GET", k), gets) + "*x\r\n")); err != nil {
		return exam.PlainError(err)
	}
	if err := sendRepeated(c, []byte(strings.Repeat("y", 64<<10)), maxValue); err != nil && !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
		return exam.PlainError(err)
	}
	talk := conversation{want: strings.Repeat(bulk(value), gets) + "-ERR Protocol error: invalid multibulk length\r\n", closes: true, split: replies}
	came, err := expectAnswers(s, c, talk)
	if err != nil {
		return err
	}
	if came != "" {
		s.Note("sent", `%d GETs of %d bytes each, "*x\r\n", and more; only then it read`, gets, len(value))
		s.Usually = "close(2) while the client's bytes are unread: the kernel sends a RST, and the bytes in the send queue are lost"
		return s.Fail("got back", "%s", came)
	}
	s.CloseClient(c)
	return nil
}
