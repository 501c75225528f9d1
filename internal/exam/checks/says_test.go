package checks_test

import (
	"strings"
	"testing"
)

// What the examiner says of a wrong server: a check's ID and the source of a row of
// wrongServers, and parts of the explanation, which lead to the wrong line.
var says = map[string][]string{
	"NO_REPLY no-reply":       {"16 bytes came back", "a buffer has to be full before it is answered"},
	"NO_REPLY no-reply-full":  {"2 extra bytes: 4098 bytes came back", "a read(2) that fills its buffer is taken for a part of a message"},
	"NO_REPLY whole-buffer":   {"512 bytes for 16, the last 496 of them NUL", "write(fd, buf, sizeof buf) in place of the number that read(2) returned"},
	"NO_REPLY old-bytes":      {"16 bytes for 3", "the buffer still holds an earlier one"},
	"NO_REPLY pointer-size":   {"8 of 16 bytes", "where buf is a pointer"},
	"NO_REPLY prefix":         {`"Echo: Hello, Examiner\n"`, "text is put around the message"},
	"NO_REPLY greeting":       {`"Welcome!\nHello, Examiner\n"`, "a greeting is sent before the client has said anything"},
	"NO_REPLY line-end-cut":   {`"Hello, Examiner" without "\n"`, "the line end is cut off"},
	"NO_REPLY line-end-added": {`17 bytes for 16: the last one is "\n"`, "a line end is added"},
	"NO_REPLY upper-case":     {`"HELLO, EXAMINER\n"`, "the case of letters is changed"},
	"NO_REPLY closes-early":   {"close(2) follows the first answer"},
	"NO_REPLY waits-for-line": {`"abc", without a line end`, "a line end: ", "TCP has no lines"},
	"NO_REPLY oneshot":        {"is registered for EPOLLONESHOT", "EPOLL_CTL_MOD has to arm it again"},
	"NO_REPLY not-registered": {"is on no interest list", "EPOLL_CTL_ADD failed or was not called"},
	"NO_REPLY no-epollin":     {"is registered for 0", "EPOLLIN is not requested"},
	"NO_REPLY edge-once":      {"2048 of 4096 bytes, then silence", "EPOLLIN|EPOLLOUT|EPOLLRDHUP|EPOLLET", "one read(2) for each edge"},

	"WRONG_BYTES wrong-bytes": {"line ends are changed"},
	"WRONG_BYTES ends-at-nul": {"a C string, which a NUL ends"},
	"WRONG_BYTES utf8":        {"the bytes are decoded as text and encoded again"},

	"UNBOUNDED_BUFFER reads-on": {"registered for EPOLLIN|EPOLLOUT", "EPOLLIN is requested although bytes are pending"},
	"DIED_ON_RESET sigpipe":     {"SIGPIPE, which a write(2) to a connection that was reset causes"},

	"ONE_AT_A_TIME step1-blocking":   {"sleeps in read(2) on another client's connection", "has no O_NONBLOCK"},
	"ONE_AT_A_TIME listener-paused":  {"the listener, fd", "in its queue: 1 client", "EPOLLIN is not requested for the listener"},
	"SLOW_READER_BLOCKS blocking-fd": {"sleeps in write(2) on another client's connection", "has no O_NONBLOCK"},

	"HALF_CLOSE_LOST half-close-lost": {"registered for EPOLLIN|EPOLLRDHUP", "EPOLLRDHUP"},
	"HALF_CLOSE_LOST never-closes":    {"read(2) returned 0, which means that the client sends no more"},
	"HALF_CLOSE_LOST descriptor-kept": {"is open in 2 processes", "the parent has to close its own"},
	"FD_LEAK never-closes":            {"are in CLOSE_WAIT", "close(2) did not follow"},

	"ACCEPT_LOST accept-lost":   {"the listener, fd", "EPOLLIN|EPOLLET", "Call accept(2) until EAGAIN"},
	"ACCEPT_LOST accept-once":   {"Call accept(2) until EAGAIN"},
	"DIED_ON_RESET accept-once": {"Call accept(2) until EAGAIN"},

	"SPINS_OUT_OF_FDS exclusive-stays": {"registered for EPOLLIN|EPOLLEXCLUSIVE", "EPOLL_CTL_MOD fails with EINVAL"},

	"EDGE_LOST edge-lost": {"one read(2) for each edge"},

	"BUSY_LOOP epollout-stays": {"registered for EPOLLIN|EPOLLOUT", "EPOLLOUT is requested with nothing to write"},
	"BUSY_LOOP busy-stalled":   {"registered for EPOLLIN|EPOLLOUT", "EPOLLIN is requested while bytes are pending"},

	"IGNORES_SIGTERM ignores-sigterm": {"ignores SIGTERM", "SIG_IGN"},

	"BLOCKING_FD blocking-fd": {"O_NONBLOCK was set on the listener alone"},
	"NOT_EDGE edge-no-more":   {"EPOLL_CTL_MOD replaces the whole mask"},
	"NOT_EPOLL not-epoll":     {"a call other than epoll_wait(2) waits for the clients"},

	"EPOLLOUT_ALWAYS_ARMED epollout-always-armed": {"EPOLLOUT is requested although write(2) has not met EAGAIN"},
	"EPOLLOUT_ALWAYS_ARMED epollout-stays":        {"EPOLLOUT was not removed after the last byte was written"},
}

// plain undoes the line breaks of an explanation.
func plain(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestSaysOfWrongServers(t *testing.T) {
	rows := make(map[string]bool)
	for _, w := range wrongServers {
		rows[w.id+" "+w.source] = true
	}
	for key := range says {
		if !rows[key] {
			t.Errorf("%q is no row of wrongServers", key)
		}
	}
}
