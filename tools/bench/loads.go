package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"epoll-step-by-step/tools/bench/record"

	"golang.org/x/sys/unix"
)

// A load describes what the clients of one measurement do.
type load struct {
	Name  string
	Title string
	Conns int
	Size  int  // bytes of a message
	Depth int  // messages that a client sends at once; 0 means 1
	Rate  int  // messages a second of an open loop; 0: closed
	Quick bool // measured with -quick, too
	Tried bool // measured with -tried, too

	run  func(b *bench, p *process, l load) (record.Line, error) // nil: messages
	skip func(s server) string                                   // the reason for leaving a server out, or ""
}

var loads = []load{
	{Name: "PingPong64", Title: "one message of 64 bytes at a time", Conns: 1, Size: 64},
	{Name: "PingPong64", Title: "one message of 64 bytes at a time", Conns: 50, Size: 64, Quick: true, Tried: true},
	{Name: "PingPong64", Title: "one message of 64 bytes at a time", Conns: 1000, Size: 64},
	{Name: "Pipelined64", Title: "16 messages of 64 bytes at a time", Conns: 50, Size: 64, Depth: 16, Quick: true},
	{Name: "PingPong64K", Title: "one message of 64 KiB at a time", Conns: 10, Size: 64 << 10, Quick: true, Tried: true},
	{Name: "OpenLoop64", Title: "20,000 messages of 64 bytes a second, whatever comes back", Conns: 50, Size: 64, Rate: 20_000, Quick: true, Tried: true},
	{Name: "Rare64", Title: "one message of 64 bytes each 20 ms", Conns: 1, Size: 64, Rate: 50, Tried: true},
	{Name: "SlowReaders", Title: "send all they can, read 8 KiB each 20 ms; a message is 8 KiB", Conns: 200, Size: 8 << 10, run: slowReaders,
		skip: func(s server) string {
			if s.Redis {
				return "it answers commands only"
			}
			return ""
		}},
	{Name: "Churn", Title: "connect, one message of 64 bytes, close", Conns: 50, Size: 64, run: churn, Quick: true, Tried: true},
	{Name: "RedisBenchmark", Title: "redis-benchmark -t ping_mbulk", Conns: 50, run: redisBenchmark},
}

// line returns an empty result line. Its conns parameter is part of the benchmark
// name, where benchstat looks for it.
func (l load) line(server string) record.Line {
	return record.Line{Load: l.Name, Server: server, Params: []record.Param{{Key: "conns", Value: strconv.Itoa(l.Conns)}}}
}

// String is for people: PingPong64, 50 clients.
func (l load) String() string {
	if l.Conns == 1 {
		return l.Name + ", 1 client"
	}
	return fmt.Sprintf("%s, %d clients", l.Name, l.Conns)
}

// skipReason returns the reason why a server cannot serve a load, or "".
func (l load) skipReason(s server) string {
	if s.OneClient && l.Conns > 1 && l.Name != "Churn" {
		return "one client at a time"
	}
	if l.skip != nil {
		return l.skip(s)
	}
	return ""
}

func (s server) stream(l load) *stream {
	if s.Redis {
		return redisStream(l.Size, max(l.Depth, 1))
	}
	return echoStream(l.Size, max(l.Depth, 1))
}

const leastMessages = 20 // of an open loop, however low its rate

// messages runs the load of most rows: it warms the server up, then measures.
func messages(b *bench, p *process, l load) (record.Line, error) {
	line := l.line(p.Name)
	g, err := newGenerator(p.stream(l))
	if err != nil {
		return line, err
	}
	defer g.close()
	if err := g.connect(l.Conns, p.port); err != nil {
		return line, err
	}
	if _, err := g.closedLoop(b.window / 5); err != nil {
		return line, err
	}
	u, err := measure(p, func() (int, error) {
		if l.Rate > 0 {
			return g.openLoop(l.Rate, max(b.window, leastMessages*time.Second/time.Duration(l.Rate)))
		}
		return g.closedLoop(b.window)
	})
	if err != nil {
		return line, err
	}
	line.N, line.Values = u.messages, append(u.values(p), g.percentiles()...)
	return line, nil
}

// slowReaders fills the queues of all connections until no client can send any
// more. Then each client reads a little at a fixed pace.
func slowReaders(b *bench, p *process, l load) (record.Line, error) {
	const pace, room = 20 * time.Millisecond, 64 << 10
	line := l.line(p.Name)
	s := echoStream(room, 1)
	clients := make([]client, 0, l.Conns)
	defer func() { (&generator{clients: clients, epfd: -1}).close() }()
	for range l.Conns {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return line, err
		}
		clients = append(clients, client{fd: fd})
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<10), // before connect: tcp(7)
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 32<<10),
			unix.Connect(fd, loopback(p.port)), unix.SetNonblock(fd, true))
		if err != nil {
			return line, err
		}
	}
	received := 0
	serveAll := func(size int) error {
		for i := range clients {
			c := &clients[i]
			n, errno := rawWrite(c.fd, s.req[c.sent:c.sent+room])
			if errno == 0 {
				c.sent = (c.sent + n) % s.reqPeriod
			} else if errno != unix.EAGAIN {
				return fmt.Errorf("write: %w", errno)
			}
			if size == 0 {
				continue
			}
			n, errno = rawRead(c.fd, b.buf[:size])
			if errno == unix.EAGAIN {
				continue
			}
			if errno != 0 || n == 0 {
				return fmt.Errorf("read: %d bytes, %w", n, errno)
			}
			if string(b.buf[:n]) != string(s.resp[c.received:c.received+n]) {
				return errors.New("wrong: what came back is not what was sent")
			}
			c.received = (c.received + n) % s.respPeriod
			received += n
		}
		if interrupted.Load() {
			return errInterrupted
		}
		return nil
	}
	paced := func(d time.Duration, size int) error {
		begin := time.Now()
		for i := 0; time.Since(begin) < d; i++ {
			if err := serveAll(size); err != nil {
				return err
			}
			time.Sleep(time.Until(begin.Add(time.Duration(i+1) * pace)))
		}
		return nil
	}
	if err := paced(10*pace, 0); err != nil { // fill
		return line, err
	}
	if err := paced(5*pace, l.Size); err != nil {
		return line, err
	}
	u, err := measure(p, func() (int, error) {
		received = 0
		err := paced(max(b.window, 10*pace), l.Size)
		return received / l.Size, err
	})
	if err != nil {
		return line, err
	}
	line.N, line.Values = u.messages, u.values(p)
	return line, nil
}

// churn keeps a fixed number of connections open. Each one connects, exchanges a
// message, shuts down its sending side, reads the server's end of file and closes;
// then another one takes its place.
func churn(b *bench, p *process, l load) (record.Line, error) {
	line := l.line(p.Name)
	g, err := newGenerator(p.stream(l))
	if err != nil {
		return line, err
	}
	defer g.close()
	g.clients = make([]client, l.Conns)
	for i := range g.clients {
		g.clients[i].fd = -1
	}
	if _, err := b.churnFor(g, p.port, b.window/5); err != nil {
		return line, err
	}
	u, err := measure(p, func() (int, error) { return b.churnFor(g, p.port, b.window) })
	if err != nil {
		return line, err
	}
	line.N, line.Values = u.messages, append(u.values(p), g.percentiles()...)
	return line, nil
}

func (b *bench) churnFor(g *generator, port int, d time.Duration) (int, error) {
	g.latency.Reset()
	until := g.now() + d
	open, done := 0, 0
	connect := func(i int) error {
		c := &g.clients[i]
		*c = client{fd: -1, startedAt: g.now()}
		b.addressIndex += 4000 // another source address each time: each connection leaves its port in TIME_WAIT
		fd, err := dial(port, b.addressIndex)
		if err != nil {
			return err
		}
		c.fd = fd
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		if err := unix.EpollCtl(g.epfd, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
			return fmt.Errorf("epoll_ctl: %w", err)
		}
		return g.sendBatch(c, c.startedAt)
	}
	for i := range g.clients {
		if err := connect(i); err != nil {
			return done, err
		}
		open++
	}
	last := g.now()
	for open > 0 {
		n, errno := rawWait(g.epfd, g.events, 100*time.Millisecond)
		if errno != 0 && errno != unix.EINTR {
			return done, fmt.Errorf("epoll_pwait2: %w", errno)
		}
		if interrupted.Load() {
			return done, errInterrupted
		}
		if g.now()-last > answerTimeout {
			return done, fmt.Errorf("no answer for %v; %d clients wait", answerTimeout, open)
		}
		for _, event := range g.events[:max(n, 0)] {
			c := &g.clients[event.Fd]
			last = g.now()
			if c.toReceive > 0 {
				if err := g.receive(c); err != nil {
					return done, err
				}
				if c.toReceive == 0 {
					unix.Shutdown(c.fd, unix.SHUT_WR)
				}
				continue
			}
			if n, errno := rawRead(c.fd, g.buf); errno != 0 || n > 0 {
				return done, fmt.Errorf("read: %d bytes, %v; want the end", n, errno)
			}
			unix.Close(c.fd)
			c.fd = -1
			done++
			g.latency.RecordValue(int64(last - c.startedAt))
			if last > until {
				open--
			} else if err := connect(int(event.Fd)); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

// redisBenchmark measures with a client from another project. An echo server
// returns the request itself, which redis-benchmark accepts as a reply.
func redisBenchmark(b *bench, p *process, l load) (record.Line, error) {
	line := l.line(p.Name)
	n := max(int(b.window/(10*time.Microsecond)), 1000)
	var out []byte
	u, err := measure(p, func() (int, error) {
		ctx, cancel := context.WithTimeout(b.ctx, 4*answerTimeout)
		defer cancel()
		cmd := exec.CommandContext(ctx, "redis-benchmark", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port),
			"-t", "ping_mbulk", "-c", strconv.Itoa(l.Conns), "-n", strconv.Itoa(n), "--csv")
		var err error
		out, err = cmd.Output() // it inherits the generator's CPU
		return n, err
	})
	if interrupted.Load() {
		err = errInterrupted
	}
	if err != nil {
		return line, err
	}
	line.N = n
	line.Values = slices.DeleteFunc(u.values(p), func(v record.Value) bool {
		return !slices.Contains([]string{"cpu-ns/msg", "thread-cpu-ns/msg", "rw-calls/msg", "rss-B"}, v.Unit) // the other figures include its start and exit
	})
	figures, err := parseRedisBenchmark(string(out))
	line.Values = append(line.Values, figures...)
	return line, err
}

// parseRedisBenchmark reads the figures from CSV: a header and one row.
func parseRedisBenchmark(text string) ([]record.Value, error) {
	at := strings.Index(text, `"test"`)
	if at < 0 {
		return nil, fmt.Errorf("redis-benchmark printed no table: %q", text)
	}
	rows, err := csv.NewReader(strings.NewReader(text[at:])).ReadAll()
	if err != nil || len(rows) < 2 {
		return nil, fmt.Errorf("redis-benchmark printed %d rows (%v): %q", len(rows), err, text)
	}
	var values []record.Value
	for i, name := range rows[0] {
		unit, scale := map[string]string{"rps": "msgs/s", "p50_latency_ms": "p50-ns", "p99_latency_ms": "p99-ns"}[name], 1e6
		if unit == "msgs/s" {
			scale = 1
		}
		if unit == "" {
			continue
		}
		is, err := strconv.ParseFloat(rows[1][i], 64)
		if err != nil {
			return nil, err
		}
		values = append(values, record.Value{Unit: unit, Number: round(is * scale)})
		if unit == "msgs/s" {
			values = append([]record.Value{{Unit: "ns/op", Number: round(1e9 / is)}}, values...)
		}
	}
	return values, nil
}
