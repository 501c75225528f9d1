package exam

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// These checks are for a server that speaks Redis's protocol, RESP2, and knows
// PING, ECHO, SET, GET, DEL and INCR. What it is to answer was taken from Redis
// 7.0, and TestRealRedis asks a real one.

// array is a command as programs send it: the number of words, and each word
// with its length.
func array(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		b.WriteString(bulk(w))
	}
	return b.String()
}

func bulk(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }

// replies cuts a text into what RESP2 has as one reply each.
func replies(text string) []string {
	var list []string
	for text != "" {
		line, _, _ := strings.Cut(text, "\n")
		n := len(line) + 1
		if size, err := strconv.Atoi(strings.TrimSpace(line[1:])); err == nil && line[0] == '$' && size >= 0 {
			n += size + len("\r\n")
		}
		n = min(n, len(text))
		list, text = append(list, text[:n]), text[n:]
	}
	return list
}

const (
	notAnInteger = "-ERR value is not an integer or out of range\r\n"
	wouldFlow    = "-ERR increment or decrement would overflow\r\n"
	syntaxError  = "-ERR syntax error\r\n"
	ok           = "+OK\r\n"
	pong         = "+PONG\r\n"
	null         = "$-1\r\n"
	biggest      = 1 << 20 // bytes of a value
)

func tooFew(command string) string {
	return fmt.Sprintf("-ERR wrong number of arguments for '%s' command\r\n", command)
}

// commands is the table of what is sent and what is to come back. The keys
// begin with mine, so that no two conversations meet.
func commands(mine string) []conversation {
	var list []conversation
	add := func(title, send, want string) {
		quoted := strconv.Quote(send)
		if len(quoted) > 160 {
			quoted = fmt.Sprintf("%s … (%d bytes)", quoted[:60], len(send))
		}
		list = append(list, conversation{sent: title + ": " + quoted, pieces: []string{send}, want: want, split: replies})
	}
	key := func() string { return fmt.Sprintf("%s:%d", mine, len(list)) }

	add("PING", array("PING"), pong)
	add("PING with a word", array("PING", "hello"), bulk("hello"))
	add("PING, as a line", "PING\r\n", pong)
	add("a line that ends in \\n alone", "PING\n", pong)
	add("a line with spaces, after empty lines", "\r\n\n  PING   hello \r\n", bulk("hello"))
	add("names in small letters and in mixed ones", array("ping")+array("eChO", "x")+"pInG\r\n", pong+bulk("x")+pong)
	add("ECHO", array("ECHO", "a b"), bulk("a b"))
	add("ECHO of nothing", array("ECHO", ""), bulk(""))
	add("GET of a key that is not there", array("GET", key()), null)
	k := key()
	add("SET, and GET", array("SET", k, "one")+array("GET", k), ok+bulk("one"))
	k = key()
	add("SET twice", array("SET", k, "one")+array("SET", k, "")+array("GET", k), ok+ok+bulk(""))
	k = key()
	add("SET and GET, as lines", "SET "+k+" 1\r\nget "+k+"\r\n", ok+bulk("1"))
	k = key()
	value := "\x00\r\n\xff*1\r\n$4\r\nPING\r\n\x00"
	add("a value with a NUL, line ends and what looks like a command", array("SET", k, value)+array("GET", k), ok+bulk(value))
	k = key() + "\x00\r\n\xff"
	add("a key with such bytes", array("SET", k, "x")+array("GET", k)+array("GET", k[:len(k)-1]), ok+bulk("x")+null)
	k = key()
	add("DEL of a key, of the same twice, and of one that is not there", array("SET", k, "x")+array("DEL", k, k, k+"?")+array("GET", k)+array("DEL", k), ok+":1\r\n"+null+":0\r\n")
	k = key()
	add("INCR of nothing, and of that", array("INCR", k)+array("INCR", k)+array("GET", k), ":1\r\n:2\r\n"+bulk("2"))
	k = key()
	add("INCR of -1", array("SET", k, "-1")+array("INCR", k)+array("GET", k), ok+":0\r\n"+bulk("0"))
	for _, v := range []string{"one", "", "1.0", " 1", "1 ", "+1", "01", "-0", "0x1", "9223372036854775808"} {
		k = key()
		add(fmt.Sprintf("INCR of %q", v), array("SET", k, v)+array("INCR", k)+array("GET", k), ok+notAnInteger+bulk(v))
	}
	k = key()
	most, before := strconv.Itoa(math.MaxInt64), strconv.Itoa(math.MaxInt64-1)
	add("INCR up to the largest number, and beyond", array("SET", k, before)+array("INCR", k)+array("INCR", k)+array("GET", k),
		ok+":"+most+"\r\n"+wouldFlow+bulk(most))
	add("a command that there is not", array("FOO", "a", "b")+array("PING"),
		"-ERR unknown command 'FOO', with args beginning with: 'a' 'b' \r\n"+pong)
	add("one without a word more", array("foo"), "-ERR unknown command 'foo', with args beginning with: \r\n")
	add("one as a line", "FOO a\r\n", "-ERR unknown command 'FOO', with args beginning with: 'a' \r\n")
	add("one with line ends in its words, which must not end the reply", array("F\rO", "a\r\n+OK\r\nb"),
		"-ERR unknown command 'F O', with args beginning with: 'a  +OK  b' \r\n")
	k = key()
	for _, words := range [][]string{{"GET"}, {"GET", k, k}, {"SET", k}, {"ECHO"}, {"ECHO", k, k}, {"DEL"}, {"INCR"}, {"Incr", k, k}, {"PING", k, k}} {
		add("too few words or too many", array(words...), tooFew(strings.ToLower(words[0])))
	}
	add("SET with a word too many", array("SET", k, "a", "b")+array("GET", k), syntaxError+null)
	add("arrays of no word", "*0\r\n*-1\r\n"+array("PING"), pong)
	return list
}

// long is what is too long to be sent byte by byte.
func long(mine string) []conversation {
	big := make([]byte, biggest)
	pattern(big, lastID.Add(1), 0)
	value := string(big)
	words, dels := []string{"DEL"}, ""
	for i := range limits.pipelined {
		words = append(words, fmt.Sprint(mine, ":none:", i))
		dels += array("INCR", mine+":many")
	}
	var counts strings.Builder
	for i := range limits.pipelined {
		fmt.Fprintf(&counts, ":%d\r\n", i+1)
	}
	return []conversation{
		{sent: "SET and GET of 1 MiB, in one piece", pieces: []string{array("SET", mine+":big", value) + array("GET", mine+":big")}, want: ok + bulk(value), split: replies},
		{sent: fmt.Sprintf("DEL of %d keys", limits.pipelined), pieces: []string{array(words...)}, want: ":0\r\n", split: replies},
		{sent: fmt.Sprintf("INCR, %d times in one piece, then shutdown(SHUT_WR), then read", limits.pipelined), pieces: []string{dels}, want: counts.String(), leaves: true, split: replies},
		{sent: "half a SET, then shutdown(SHUT_WR)", pieces: []string{array("SET", mine+":half", "x")[:30]}, leaves: true, split: replies},
		{sent: "as the next client, a GET of that key", pieces: []string{array("GET", mine+":half")}, want: null, split: replies},
	}
}

// insist has a conversation, and fails if it goes any other way.
func (s *session) insist(talk conversation) error {
	came, err := s.hold(talk)
	if err == nil && came != "" {
		s.note("sent", "%s", talk.sent)
		return s.fail("got back", "%s", came)
	}
	return err
}

// keys is what this check's keys begin with.
func keys() string { return fmt.Sprintf("exam:%x", lastID.Add(1)) }

func redisWrongReply(s *session) error {
	mine := keys()
	for _, talk := range append(commands(mine), long(mine)...) {
		if err := s.insist(talk); err != nil {
			return err
		}
	}
	s.note("sent", "PING, ECHO, SET, GET, DEL, INCR and nonsense, as arrays and as lines: each reply was right")
	return nil
}

// redisSplit sends the same again: all in one piece, and byte by byte by as many
// clients at the same time, so that each has a part of a command on the server
// while the others' come.
func redisSplit(s *session) error {
	all := conversation{pieces: []string{""}, split: replies}
	list := commands(keys())
	for _, talk := range list {
		all.pieces[0] += talk.pieces[0]
		all.want += talk.want
	}
	all.sent = fmt.Sprintf("%d commands in one write(2)", len(replies(all.want)))
	s.usually = "one read(2) is taken for one command, and what is behind the first one is lost"
	if err := s.insist(all); err != nil {
		return err
	}
	s.usually = ""
	list = commands(keys())
	talkers := make([]*client, len(list))
	longest := 0
	for i, talk := range list {
		var err error
		if talkers[i], err = s.dial(0); err != nil {
			return err
		}
		longest = max(longest, len(talk.pieces[0]))
	}
	sent := fmt.Sprintf("byte by byte, each when the server had read the one before, while %d others did the same", len(list)-1)
	for at := range longest {
		for i, talk := range list {
			if at >= len(talk.pieces[0]) {
				continue
			}
			if problem := s.tell(talkers[i], talk.pieces[0][at:at+1]); problem != "" {
				s.note("sent", "%s, %s", talk.sent, sent)
				return s.fail("got back", "%s", problem)
			}
		}
		// What we write is in the server's receive queues at once, and wakes
		// it. To ask all the queues is exact, and takes longer.
		if s.awaitThreads(sleeping, limits.stalled) && len(s.server.processes()) > 0 {
			continue
		}
		if !s.awaitAllRead(talkers, limits.first) {
			s.note("sent", "%d commands, %s", len(list), sent)
			return s.fail("server", "did not read byte %d of each within %v; it was %s", at+1, limits.first, s.state())
		}
	}
	for i, talk := range list {
		came, err := s.hear(talkers[i], talk)
		if err != nil {
			return err
		}
		if came != "" {
			s.note("sent", "%s, %s", talk.sent, sent)
			return s.fail("got back", "%s", came)
		}
	}
	s.note("sent", "%d commands in one write(2); then %s: all replies were the same", len(replies(all.want)), sent)
	return nil
}

// redisProtocolError has one client send what is no command, while another one
// is in the middle of one.
func redisProtocolError(s *session) error {
	k := keys()
	half, rest := array("SET", k, "value")[:20], array("SET", k, "value")[20:]
	other, err := s.dial(0)
	if err != nil {
		return err
	}
	if problem := s.tell(other, half); problem != "" {
		return s.fail("another", "sent half a command, and got %s", problem)
	}
	if !s.awaitRead(other, limits.first) {
		return s.fail("server", "did not read what one client had sent within %v", limits.first)
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
		if err := s.insist(conversation{
			sent: "a PING, and then " + sent, pieces: []string{array("PING") + bad.sent},
			want: pong + "-ERR Protocol error: " + bad.why + "\r\n", thrown: true, split: replies,
		}); err != nil {
			return err
		}
	}
	if err := s.rubbishBehind(); err != nil {
		return err
	}
	came := s.tell(other, rest+array("GET", k))
	if came == "" {
		came, err = s.hear(other, conversation{want: ok + bulk("value"), split: replies})
	}
	if err != nil {
		return err
	}
	if came != "" {
		s.note("another", "client sent half a SET before all that, the rest of it afterwards, and a GET")
		s.usually = "what has come of a command belongs to the connection, not to the server; and an error of one client ends no other"
		return s.fail("got back", "%s", came)
	}
	s.note("sent", "nonsense of ten kinds: each time there was the error, and then EOF; another client's SET, half of it before and half after, was executed")
	return nil
}

// rubbishBehind sends commands, what is none, and much more, and reads only when
// the server has had the time to close the connection.
func (s *session) rubbishBehind() error {
	k := keys()
	value := strings.Repeat("x", biggest/2)
	if err := s.insist(conversation{sent: "a SET", pieces: []string{array("SET", k, value)}, want: ok, split: replies}); err != nil {
		return err
	}
	c, err := s.dial(limits.tiny)
	if err != nil {
		return err
	}
	const gets = 4
	c.SetWriteDeadline(time.Now().Add(limits.newcomer))
	if _, err := c.Write([]byte(strings.Repeat(array("GET", k), gets) + "*x\r\n")); err != nil {
		return plain(err)
	}
	if err := c.fill([]byte(strings.Repeat("y", 64<<10)), biggest); err != nil && !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
		return plain(err)
	}
	talk := conversation{want: strings.Repeat(bulk(value), gets) + "-ERR Protocol error: invalid multibulk length\r\n", thrown: true, split: replies}
	came, err := s.hear(c, talk)
	if err != nil {
		return err
	}
	if came != "" {
		s.note("sent", `%d GETs of %d bytes each, "*x\r\n", and more; only then it read`, gets, len(value))
		s.usually = "close(2) while the client's bytes are unread: the kernel sends a RST, and what was in the send queue is lost"
		return s.fail("got back", "%s", came)
	}
	s.forget(c)
	return nil
}

// fill sends p again and again, n bytes altogether, or until the server takes no
// more.
func (c *client) fill(p []byte, n int) error {
	for sent := 0; sent < n; {
		c.SetWriteDeadline(time.Now().Add(limits.stalled))
		m, err := c.Write(p[sent%len(p):])
		sent += m
		c.sent += m
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if m > 0 {
				continue
			}
			return nil
		}
		if err != nil {
			return plain(err)
		}
	}
	return nil
}

// redisUnread has one client ask for much and read nothing: short commands with
// long replies, which come by one read, and then long ones, without an end.
func redisUnread(s *session) error {
	k := keys()
	value := make([]byte, limits.value)
	pattern(value, lastID.Add(1), 0)
	if err := s.insist(conversation{sent: "a SET", pieces: []string{array("SET", k, string(value))}, want: ok, split: replies}); err != nil {
		return err
	}
	other, err := s.dial(0)
	if err != nil {
		return err
	}
	before := s.server.rss()
	peak := s.peak()
	c, err := s.dial(0)
	if err != nil {
		return err
	}
	c.SetWriteDeadline(time.Now().Add(limits.newcomer))
	if _, err := c.Write([]byte(strings.Repeat(array("GET", k), limits.gets))); err != nil {
		return plain(err)
	}
	s.note("sent", "%d times GET of a value of %d bytes in one piece, without reading", limits.gets, len(value))
	if err := s.othersServed(other, "while one client reads nothing"); err != nil {
		return err
	}
	if wanted := s.spins(limits.stalled); wanted >= limits.spinCPU {
		s.usually = "somebody is owed something and takes nothing: EPOLLOUT says when there is room, and until then there is nothing to do"
		return s.fail("CPU", "wanted %.0f %% of the time while that client read nothing", wanted*100)
	}
	if grew := peak() - before; grew >= limits.growth {
		s.usually = "all commands of a read are executed, however much of their replies has not been taken"
		return s.fail("memory", "grew by %d KiB", grew>>10)
	}
	reply := []byte(bulk(string(value)))
	for i := range limits.gets {
		if err := c.expect(reply); err != nil {
			s.usually = "a command that was read while there was no room for its reply is looked at when more comes; but there is no more"
			return s.fail("then read", "%d of %d replies, then %v", i, limits.gets, err)
		}
	}
	s.note("then read", "all %d replies", limits.gets)

	if c, err = s.dial(0); err != nil {
		return err
	}
	if err := c.fill([]byte(strings.Repeat(array("ECHO", string(value[:1000])), 64)), limits.flood); err != nil {
		return s.fail("a second", "client sent ECHO of 1000 bytes again and again, without reading: %v", err)
	}
	grew := peak() - before
	s.note("a second", "client sent ECHO of 1000 bytes again and again, without reading; %d bytes were taken", c.sent)
	s.note("memory", "grew by %d KiB", grew>>10)
	if grew >= limits.growth {
		return errFailed
	}
	if c, err = s.dial(0); err != nil {
		return err
	}
	word := make([]byte, biggest)
	pattern(word, c.id, 0)
	c.SetWriteDeadline(time.Now().Add(limits.newcomer))
	if _, err := c.Write([]byte("*1000\r\n")); err != nil {
		return plain(err)
	}
	c.fill([]byte(bulk(string(word))), limits.flood) // until it is thrown out, or not read any more
	grew = peak() - before
	s.note("a third", "client sent a command of 1000 words of 1 MiB each; %d bytes were taken, and memory grew by %d KiB", c.sent, grew>>10)
	if grew >= limits.growth {
		s.usually = "a word has a limit, and so has their number, but not the command"
		return errFailed
	}
	return s.othersServed(other, "after all that")
}

func (s *session) othersServed(c *client, when string) error {
	c.SetDeadline(time.Now().Add(limits.newcomer))
	_, err := c.Write([]byte(array("PING")))
	if err == nil {
		err = c.expect([]byte(pong))
	}
	if err != nil {
		s.usually = "write(2) sleeps because that client's descriptor is blocking, or the loop repeats it until all is sent"
		return s.fail("another", "client sent PING %s: %v", when, orSilence(err, limits.newcomer))
	}
	return nil
}

// expect reads exactly this.
func (c *client) expect(want []byte) error {
	got := make([]byte, len(want))
	c.SetReadDeadline(time.Now().Add(limits.silence))
	n, err := readLike(c, got, string(want))
	if i := differ(got[:n], want[:n]); i >= 0 {
		return fmt.Errorf("%q instead of %q", few(got[i:n]), few(want[i:]))
	}
	if err != nil {
		return fmt.Errorf("%d of %d bytes, and %w", n, len(want), orSilence(err, limits.silence))
	}
	return nil
}

// peak samples the server's resident memory until the session ends. What it
// returns says how much there has been at most.
func (s *session) peak() func() int64 {
	ask, done := make(chan chan int64), make(chan struct{})
	s.atEnd(func() { close(done) })
	go func() {
		most := int64(0)
		for {
			most = max(most, s.server.rss())
			select {
			case answer := <-ask:
				answer <- max(most, s.server.rss())
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() int64 {
		answer := make(chan int64)
		select {
		case ask <- answer:
			return <-answer
		case <-done:
			return 0
		}
	}
}

// redisManyWrites sends many commands in one piece, and counts what it takes to
// answer them: calls of read(2) and write(2), or if the server has others, the
// segments in which the replies come.
func redisManyWrites(s *session) error {
	c, err := s.dial(0)
	if err != nil {
		return err
	}
	if err := s.othersServed(c, "first of all"); err != nil {
		return err
	}
	s.awaitSleep()
	count := func() (reads, writes, segments int) {
		for _, t := range s.server.threads() {
			reads, writes = reads+int(t.Reads), writes+int(t.Writes)
		}
		return reads, writes, c.segments()
	}
	r, w, seg := count()
	c.SetWriteDeadline(time.Now().Add(limits.newcomer))
	if _, err := c.Write([]byte(strings.Repeat(array("PING"), limits.pipelined))); err != nil {
		return plain(err)
	}
	s.note("sent", "PING, %d times in one write(2)", limits.pipelined)
	if err := c.expect(bytes.Repeat([]byte(pong), limits.pipelined)); err != nil {
		return s.fail("got back", "%v", err)
	}
	s.awaitSleep()
	r2, w2, seg2 := count()
	s.note("server", "called read(2) %d and write(2) %d times; the replies came in %s", r2-r, w2-w, plural(seg2-seg, "segment", "segments"))
	if max(r2-r, w2-w, seg2-seg) > limits.calls {
		return errFailed
	}
	return nil
}

// segments is how many segments with data have come: tcp(7), TCP_INFO.
func (c *client) segments() (n int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = int(info.Data_segs_in)
		}
	})
	return n
}

// redisTools runs the programs that come with Redis.
func redisTools(s *session) error {
	for _, name := range []string{"redis-cli", "redis-benchmark"} {
		if _, err := exec.LookPath(name); err != nil {
			return &skip{name + " is not installed: make setup"}
		}
	}
	k, many := keys(), strconv.Itoa(limits.benchmark)
	for _, cmd := range []struct {
		args []string
		want string
	}{
		{[]string{"PING"}, "PONG"},
		{[]string{"SET", k, "41"}, "OK"},
		{[]string{"INCR", k}, "(integer) 42"},
		{[]string{"GET", k}, `"42"`},
		{[]string{"DEL", k, k + "?"}, "(integer) 1"},
		{[]string{"GET", k}, "(nil)"},
		{[]string{"ECHO", "two words"}, `"two words"`},
		{[]string{"NONSENSE", "a"}, "(error) ERR unknown command 'NONSENSE', with args beginning with: 'a'"},
		{[]string{"-r", "3", "INCR", k}, "(integer) 1\n(integer) 2\n(integer) 3"},
	} {
		line := "redis-cli " + strings.Join(cmd.args, " ")
		out, err := s.tool("redis-cli", append([]string{"--no-raw"}, cmd.args...)...)
		if got := strings.TrimSpace(out); got != cmd.want || err != nil {
			s.note("ran", "%s", line)
			if err != nil {
				s.note("it", "%v", err)
			}
			return s.fail("printed", "%s", got)
		}
	}
	if err := s.benchmark("-t", "ping,set,get,incr", "-n", many); err != nil {
		return err
	}
	s.tool("redis-cli", "DEL", k)
	if err := s.benchmark("-n", many, "INCR", k); err != nil {
		return err
	}
	out, err := s.tool("redis-cli", "GET", k)
	if got := strings.TrimSpace(out); got != many || err != nil {
		return s.fail("GET", "of the counter after %s times INCR says %q", many, got)
	}
	return nil
}

// benchmark runs redis-benchmark with 16 commands in each piece.
func (s *session) benchmark(args ...string) error {
	args = append([]string{"-P", "16", "-q"}, args...)
	begin := time.Now()
	out, err := s.tool("redis-benchmark", args...)
	// It prints its progress, too, each time over the last one.
	var results []string
	for line := range strings.FieldsFuncSeq(out, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if strings.Contains(line, "requests per second") {
			results = append(results, strings.TrimSpace(line))
		}
	}
	s.note("ran", "redis-benchmark %s", strings.Join(args, " "))
	switch {
	case err != nil:
		s.note("it", "%v", err)
		return s.fail("printed", "%q", strings.TrimSpace(out[max(0, len(out)-200):]))
	case strings.Contains(out, "Error") || len(results) == 0:
		return s.fail("printed", "%q", strings.TrimSpace(out[max(0, len(out)-200):]))
	}
	s.note("it took", "%.1f s: %s", time.Since(begin).Seconds(), strings.Join(results, "; "))
	return nil
}

// tool runs a program against the server. What it prints is returned, too, if
// it fails or does not come to its end.
func (s *session) tool(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.ctx, limits.tool)
	defer cancel()
	host, port, _ := net.SplitHostPort(s.server.addr.String())
	cmd := exec.CommandContext(ctx, name, append([]string{"-h", host, "-p", port}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	err := launch(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("did not come to its end within %v", limits.tool)
	}
	return out.String(), err
}
