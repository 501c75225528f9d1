package tasks

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"epoll-step-by-step/internal/exam"
)

func tooFew(command string) string {
	return fmt.Sprintf("-ERR wrong number of arguments for '%s' command\r\n", command)
}

// commands returns commands and their replies. The keys begin with prefix, so no two
// conversations use the same.
func commands(prefix string) []conversation {
	var list []conversation
	add := func(title, send, want string) {
		quoted := strconv.Quote(send)
		if len(quoted) > 160 {
			quoted = fmt.Sprintf("%s … (%d bytes)", quoted[:60], len(send))
		}
		list = append(list, conversation{sent: title + ": " + quoted, pieces: []string{send}, want: want, split: replies})
	}
	key := func() string { return fmt.Sprintf("%s:%d", prefix, len(list)) }

	add("PING", command("PING"), pong)
	add("PING with a word", command("PING", "hello"), bulk("hello"))
	add("PING, as a line", "PING\r\n", pong)
	add("a line that ends in \\n alone", "PING\n", pong)
	add("a line with spaces, after empty lines", "\r\n\n  PING   hello \r\n", bulk("hello"))
	add("names in lower and in mixed case", command("ping")+command("eChO", "x")+"pInG\r\n", pong+bulk("x")+pong)
	add("ECHO", command("ECHO", "a b"), bulk("a b"))
	add("ECHO of nothing", command("ECHO", ""), bulk(""))
	add("GET of a key that is not there", command("GET", key()), null)
	k := key()
	add("SET, and GET", command("SET", k, "one")+command("GET", k), ok+bulk("one"))
	k = key()
	add("SET twice", command("SET", k, "one")+command("SET", k, "")+command("GET", k), ok+ok+bulk(""))
	k = key()
	add("SET and GET, as lines", "SET "+k+" 1\r\nget "+k+"\r\n", ok+bulk("1"))
	k = key()
	value := "\x00\r\n\xff*1\r\n$4\r\nPING\r\n\x00"
	add("a value with a NUL, line ends and bytes that look like a command", command("SET", k, value)+command("GET", k), ok+bulk(value))
	k = key() + "\x00\r\n\xff"
	add("a key with such bytes", command("SET", k, "x")+command("GET", k)+command("GET", k[:len(k)-1]), ok+bulk("x")+null)
	k = key()
	add("DEL of a key, of the same twice, and of one that is not there", command("SET", k, "x")+command("DEL", k, k, k+"?")+command("GET", k)+command("DEL", k), ok+":1\r\n"+null+":0\r\n")
	k = key()
	add("INCR of a new key, twice", command("INCR", k)+command("INCR", k)+command("GET", k), ":1\r\n:2\r\n"+bulk("2"))
	k = key()
	add("INCR of -1", command("SET", k, "-1")+command("INCR", k)+command("GET", k), ok+":0\r\n"+bulk("0"))
	for _, v := range []string{"one", "", "1.0", " 1", "1 ", "+1", "01", "-0", "0x1", "9223372036854775808"} {
		k = key()
		add(fmt.Sprintf("INCR of %q", v), command("SET", k, v)+command("INCR", k)+command("GET", k), ok+notAnInteger+bulk(v))
	}
	k = key()
	most, before := strconv.Itoa(math.MaxInt64), strconv.Itoa(math.MaxInt64-1)
	add("INCR up to the largest number, and beyond", command("SET", k, before)+command("INCR", k)+command("INCR", k)+command("GET", k),
		ok+":"+most+"\r\n"+wouldOverflow+bulk(most))
	add("an unknown command", command("FOO", "a", "b")+command("PING"),
		"-ERR unknown command 'FOO', with args beginning with: 'a' 'b' \r\n"+pong)
	add("one without arguments", command("foo"), "-ERR unknown command 'foo', with args beginning with: \r\n")
	add("one as a line", "FOO a\r\n", "-ERR unknown command 'FOO', with args beginning with: 'a' \r\n")
	add("one with line ends in its words, which must not end the reply", command("F\rO", "a\r\n+OK\r\nb"),
		"-ERR unknown command 'F O', with args beginning with: 'a  +OK  b' \r\n")
	k = key()
	for _, words := range [][]string{{"GET"}, {"GET", k, k}, {"SET", k}, {"ECHO"}, {"ECHO", k, k}, {"DEL"}, {"INCR"}, {"Incr", k, k}, {"PING", k, k}} {
		add("too few words or too many", command(words...), tooFew(strings.ToLower(words[0])))
	}
	add("SET with too many words", command("SET", k, "a", "b")+command("GET", k), syntaxError+null)
	add("arrays without words", "*0\r\n*-1\r\n"+command("PING"), pong)
	return list
}

// longCommands returns commands that are too long to be sent byte by byte.
func longCommands(prefix string) []conversation {
	value := string(exam.NewPattern(maxValue))
	words, dels := []string{"DEL"}, ""
	for i := range pipelined {
		words = append(words, fmt.Sprint(prefix, ":none:", i))
		dels += command("INCR", prefix+":many")
	}
	var counts strings.Builder
	for i := range pipelined {
		fmt.Fprintf(&counts, ":%d\r\n", i+1)
	}
	return []conversation{
		{sent: "SET and GET of 1 MiB, in one piece", pieces: []string{command("SET", prefix+":big", value) + command("GET", prefix+":big")}, want: ok + bulk(value), split: replies},
		{sent: fmt.Sprintf("DEL of %d keys", pipelined), pieces: []string{command(words...)}, want: ":0\r\n", split: replies},
		{sent: fmt.Sprintf("INCR, %d times in one piece, then shutdown(SHUT_WR), then read", pipelined), pieces: []string{dels}, want: counts.String(), ends: true, split: replies},
		{sent: "half a SET, then shutdown(SHUT_WR)", pieces: []string{command("SET", prefix+":half", "x")[:30]}, ends: true, split: replies},
		{sent: "as the next client, a GET of that key", pieces: []string{command("GET", prefix+":half")}, want: null, split: replies},
	}
}
