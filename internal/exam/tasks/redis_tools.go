package tasks

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"epoll-step-by-step/internal/exam"

	"golang.org/x/sys/unix"
)

const (
	benchmarkRequests = 20_000           // of each kind
	toolTimeout       = 15 * time.Second // for one run of redis-cli or redis-benchmark
)

const maxCalls = 100 // of read(2), and of write(2), for the pipelined commands

var RedisManyWrites = exam.Check{
	ID: "REDIS_MANY_WRITES", Title: "commands that come together are read together, and answered together", For: []exam.Profile{exam.Redis}, Run: redisManyWrites, Looks: true,
	Usually: "each reply has a write(2) of its own",
	Reread:  []string{`write(2) "DESCRIPTION"`, `tcp(7) "Socket options"`}, Chapter: exam.ChapterLevel,
}

var RedisTools = exam.Check{
	ID: "REDIS_TOOLS", Title: "redis-cli and redis-benchmark can work with it", For: []exam.Profile{exam.Redis}, Run: redisTools,
	Usually: "a reply is missing, or there is an extra one: the tools count them",
	Reread:  []string{`read(2) "RETURN VALUE"`}, Chapter: exam.ChapterLevel,
}

// redisManyWrites sends many commands in one piece, and counts the calls of read(2) and
// write(2) that they take; or if the server makes other calls, the segments in which the
// replies come.
func redisManyWrites(s *exam.Session) error {
	c, err := s.Dial(0)
	if err != nil {
		return err
	}
	if err := othersServed(s, c, "at the beginning"); err != nil {
		return err
	}
	s.AwaitSleep()
	count := func() (reads, writes, segments int) {
		for _, t := range s.Server.Threads() {
			reads, writes = reads+int(t.Reads), writes+int(t.Writes)
		}
		return reads, writes, segmentsReceived(c)
	}
	r, w, seg := count()
	c.SetWriteDeadline(time.Now().Add(exam.NewcomerTimeout))
	if _, err := c.Write([]byte(strings.Repeat(command("PING"), pipelined))); err != nil {
		return exam.PlainError(err)
	}
	s.Note("sent", "PING, %d times in one write(2)", pipelined)
	if err := expect(c, bytes.Repeat([]byte(pong), pipelined)); err != nil {
		return s.Fail("got back", "%v", err)
	}
	s.AwaitSleep()
	r2, w2, seg2 := count()
	s.Note("server", "called read(2) %d and write(2) %d times; the replies came in %s", r2-r, w2-w, exam.Plural(seg2-seg, "segment", "segments"))
	if max(r2-r, w2-w, seg2-seg) > maxCalls {
		return exam.ErrFailed
	}
	return nil
}

// segmentsReceived returns how many segments with data have come: tcp(7), TCP_INFO.
func segmentsReceived(c *exam.Client) (n int) {
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
func redisTools(s *exam.Session) error {
	for _, name := range []string{"redis-cli", "redis-benchmark"} {
		if _, err := exec.LookPath(name); err != nil {
			return exam.SkipCheck(name + " is not installed: make setup")
		}
	}
	k, many := newKeyPrefix(), strconv.Itoa(benchmarkRequests)
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
		out, err := runTool(s, "redis-cli", append([]string{"--no-raw"}, cmd.args...)...)
		if got := strings.TrimSpace(out); got != cmd.want || err != nil {
			s.Note("ran", "%s", line)
			if err != nil {
				s.Note("it", "%v", err)
			}
			return s.Fail("printed", "%s", got)
		}
	}
	if err := benchmark(s, "-t", "ping,set,get,incr", "-n", many); err != nil {
		return err
	}
	runTool(s, "redis-cli", "DEL", k)
	if err := benchmark(s, "-n", many, "INCR", k); err != nil {
		return err
	}
	out, err := runTool(s, "redis-cli", "GET", k)
	if got := strings.TrimSpace(out); got != many || err != nil {
		return s.Fail("GET", "of the counter after %s times INCR says %q", many, got)
	}
	return nil
}

// benchmark runs redis-benchmark with 16 commands in each piece.
func benchmark(s *exam.Session, args ...string) error {
	args = append([]string{"-P", "16", "-q"}, args...)
	begin := time.Now()
	out, err := runTool(s, "redis-benchmark", args...)
	// It also prints its progress, each time over the previous one.
	var results []string
	for line := range strings.FieldsFuncSeq(out, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if strings.Contains(line, "requests per second") {
			results = append(results, strings.TrimSpace(line))
		}
	}
	s.Note("ran", "redis-benchmark %s", strings.Join(args, " "))
	switch {
	case err != nil:
		s.Note("it", "%v", err)
		return s.Fail("printed", "%q", strings.TrimSpace(out[max(0, len(out)-200):]))
	case strings.Contains(out, "Error") || len(results) == 0:
		return s.Fail("printed", "%q", strings.TrimSpace(out[max(0, len(out)-200):]))
	}
	s.Note("it took", "%.1f s: %s", time.Since(begin).Seconds(), strings.Join(results, "; "))
	return nil
}

// runTool runs a program with the server, and returns its output, even if it fails or does
// not end.
func runTool(s *exam.Session, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.Ctx, toolTimeout)
	defer cancel()
	host, port, _ := net.SplitHostPort(s.Server.Addr.String())
	cmd := exec.CommandContext(ctx, name, append([]string{"-h", host, "-p", port}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	err := exam.Launch(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("did not end within %v", toolTimeout)
	}
	return out.String(), err
}
