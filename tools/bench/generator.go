package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
	"unsafe"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

const (
	answerTimeout = 5 * time.Second // without any answer, a load fails
	bufSize       = 128 << 10       // bytes that one read of the generator may return
	maxEvents     = 512
)

var errInterrupted = errors.New("interrupted")

// interrupted is set when the user types Ctrl-C. Every loop that takes time checks it.
var interrupted atomic.Bool

// A stream holds the bytes that each client sends and those that it expects
// back. Both repeat after a period, so that a client's state is two positions.
// The tables are one batch longer than the period, so that a batch is always
// one contiguous slice.
type stream struct {
	req, resp             []byte
	reqPeriod, respPeriod int // bytes
	reqLen, respLen       int // bytes of one message
	depth                 int // messages that are sent at once
}

// echoStream consists of random bytes with a prime as its period. Each message
// differs from the one before, so a client detects another client's bytes.
func echoStream(size, depth int) *stream {
	const period = 65521
	table := make([]byte, period+size*depth)
	random := rand.NewChaCha8([32]byte{})
	random.Read(table[:period])
	for i := period; i < len(table); i++ {
		table[i] = table[i-period]
	}
	return &stream{table, table, period, period, size, size, depth}
}

// redisStream is PING with an argument, which the reply repeats. A request has
// the given size; the reply lacks the command name and is shorter.
func redisStream(size, depth int) *stream {
	n := size
	request := func() []byte {
		return fmt.Appendf(nil, "*2\r\n$4\r\nPING\r\n$%d\r\n%s\r\n", n, bytes.Repeat([]byte("x"), n))
	}
	for n > 0 && len(request()) > size {
		n--
	}
	reply := fmt.Appendf(nil, "$%d\r\n%s\r\n", n, bytes.Repeat([]byte("x"), n))
	req := request()
	return &stream{
		bytes.Repeat(req, depth+1), bytes.Repeat(reply, depth+1),
		len(req), len(reply), len(req), len(reply), depth,
	}
}

// A client is one connection of the generator.
type client struct {
	fd                int
	sent, received    int           // positions in the stream's tables
	toSend, toReceive int           // bytes of this batch
	startedAt         time.Duration // of this batch, since the generator's start
	overdue           int           // open loop: messages that are due and not sent
	overdueSince      time.Duration // open loop: when the first of them was due
}

// A generator runs many clients in one edge-triggered epoll loop, with one read
// and one write per message. It makes raw system calls, of which the Go scheduler
// does not know; nothing else may run in the process meanwhile.
type generator struct {
	stream  *stream
	epfd    int
	clients []client
	events  []unix.EpollEvent
	buf     []byte
	start   time.Time
	latency *hdr.Histogram // ns, of a batch
}

func newGenerator(s *stream) (*generator, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	return &generator{
		stream: s, epfd: epfd, events: make([]unix.EpollEvent, maxEvents), buf: make([]byte, bufSize),
		start: time.Now(), latency: hdr.New(1, int64(10*time.Second), 3),
	}, nil
}

// connect adds clients. It waits for their answers every few hundred clients,
// because a full backlog would cost a second.
func (g *generator) connect(n int, port int) error {
	for range n {
		fd, err := dial(port, len(g.clients))
		if err != nil {
			return err
		}
		i := len(g.clients)
		c := client{fd: fd}
		if p := g.stream.reqPeriod; p > g.stream.reqLen {
			c.sent = i * 7919 % p // each client starts at another position
			c.received = c.sent
		}
		g.clients = append(g.clients, c)
		event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(i)}
		if err := unix.EpollCtl(g.epfd, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
			return fmt.Errorf("epoll_ctl: %w", err)
		}
		if (i+1)%500 == 0 {
			if err := g.exchangeOne(i, i+1); err != nil {
				return err
			}
		}
	}
	return g.exchangeOne(0, len(g.clients))
}

// dial connects the i-th client and makes its socket nonblocking. 4000 clients
// share a source address: the kernel searches for a free port, which takes long
// where most ports are taken.
func dial(port, i int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	from := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 1, byte(1 + i/4000%200)}}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1), unix.Bind(fd, from),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.Connect(fd, loopback(port)), unix.SetNonblock(fd, true))
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}

// closeWithReset sends a reset, which leaves no socket in TIME_WAIT.
func closeWithReset(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	unix.Close(fd)
}

func loopback(port int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

// exchangeOne lets some clients send one batch each and waits for the answers.
func (g *generator) exchangeOne(from, to int) error {
	for i := from; i < to; i++ {
		if err := g.sendBatch(&g.clients[i], g.now()); err != nil {
			return err
		}
	}
	_, err := g.serveUntilIdle(to-from, func(*client) (bool, error) { return false, nil })
	return err
}

func (g *generator) close() {
	for _, c := range g.clients {
		closeWithReset(c.fd)
	}
	unix.Close(g.epfd)
}

func (g *generator) now() time.Duration { return time.Since(g.start) }

// closedLoop makes each client send its next batch when the previous one is
// back. It returns the number of messages, all of which were answered.
func (g *generator) closedLoop(d time.Duration) (messages int, err error) {
	until := g.now() + d
	g.latency.Reset()
	batches := 0
	for i := range g.clients {
		if err := g.sendBatch(&g.clients[i], g.now()); err != nil {
			return 0, err
		}
	}
	_, err = g.serveUntilIdle(len(g.clients), func(c *client) (bool, error) {
		now := g.now()
		g.latency.RecordValue(int64(now - c.startedAt))
		batches++
		if now > until {
			return false, nil
		}
		return true, g.sendBatch(c, now)
	})
	return batches * g.stream.depth, err
}

// fixedCount is a closed loop with a fixed number of batches: each, on average,
// from each client.
func (g *generator) fixedCount(each int) (messages int, err error) {
	left := each * len(g.clients)
	for i := range g.clients {
		left--
		if err := g.sendBatch(&g.clients[i], 0); err != nil {
			return 0, err
		}
	}
	_, err = g.serveUntilIdle(len(g.clients), func(c *client) (bool, error) {
		if left == 0 {
			return false, nil
		}
		left--
		return true, g.sendBatch(c, 0)
	})
	return each * len(g.clients) * g.stream.depth, err
}

// openLoop sends messages at a fixed rate, whether or not the previous ones are
// back. A message's latency counts from the time it was due, so it includes the
// time that the message waited for an earlier one.
func (g *generator) openLoop(rate int, d time.Duration) (messages int, err error) {
	g.latency.Reset()
	gap := time.Second / time.Duration(rate)
	begin := g.now()
	total := int(d / gap)
	sent, answered := 0, 0
	for i := range g.clients {
		g.clients[i].overdue = 0
	}
	done := func(c *client) (bool, error) {
		answered++
		g.latency.RecordValue(int64(g.now() - c.startedAt))
		if c.overdue == 0 {
			return false, nil
		}
		c.overdue--
		began := c.overdueSince
		c.overdueSince += gap * time.Duration(len(g.clients))
		return true, g.sendBatch(c, began)
	}
	for answered < total {
		now := g.now()
		for ; sent < total && begin+gap*time.Duration(sent) <= now; sent++ {
			c, due := &g.clients[sent%len(g.clients)], begin+gap*time.Duration(sent)
			if c.toReceive == 0 {
				err = g.sendBatch(c, due)
			} else if c.overdue++; c.overdue == 1 {
				c.overdueSince = due
			}
			if err != nil {
				return answered, err
			}
		}
		wait := 10 * time.Millisecond
		if sent < total {
			wait = begin + gap*time.Duration(sent) - g.now()
		}
		if _, err := g.waitOnce(max(wait, 0), done); err != nil {
			return answered, err
		}
		if g.now() > begin+d+answerTimeout {
			return answered, fmt.Errorf("%d of %d messages have no answer after %v", total-answered, total, d+answerTimeout)
		}
	}
	return answered, nil
}

// sendBatch starts a client's next batch and sends as much of it as the socket
// takes. The latency of the batch counts from the time at.
func (g *generator) sendBatch(c *client, at time.Duration) error {
	c.toSend, c.toReceive = g.stream.reqLen*g.stream.depth, g.stream.respLen*g.stream.depth
	c.startedAt = at
	return g.send(c)
}

func (g *generator) send(c *client) error {
	for c.toSend > 0 {
		n, errno := rawWrite(c.fd, g.stream.req[c.sent:c.sent+c.toSend])
		if errno == unix.EAGAIN {
			return nil
		}
		if errno != 0 {
			return fmt.Errorf("write: %w", errno)
		}
		c.sent = (c.sent + n) % g.stream.reqPeriod
		c.toSend -= n
	}
	return nil
}

// receive reads the bytes in the receive queue and compares them. A short read
// has emptied the queue: bytes that arrive later produce a new edge.
func (g *generator) receive(c *client) error {
	for {
		n, errno := rawRead(c.fd, g.buf)
		switch {
		case errno == unix.EAGAIN:
			return nil
		case errno != 0:
			return fmt.Errorf("read: %w", errno)
		case n == 0:
			return errors.New("the server has closed a connection")
		case n > c.toReceive:
			return fmt.Errorf("wrong: the server sent %d bytes more than it received", n-c.toReceive)
		case !bytes.Equal(g.buf[:n], g.stream.resp[c.received:c.received+n]):
			return errors.New("wrong: what came back is not what was sent")
		}
		c.received = (c.received + n) % g.stream.respPeriod
		c.toReceive -= n
		if n < len(g.buf) {
			return nil
		}
	}
}

// serveUntilIdle serves until no client is busy. It calls done for each batch
// that is back; done reports whether it started another one. The result is the
// number of batches.
func (g *generator) serveUntilIdle(busy int, done func(*client) (bool, error)) (int, error) {
	total := 0
	for last := g.now(); busy > 0; {
		finished, err := g.waitOnce(100*time.Millisecond, func(c *client) (bool, error) {
			last = g.now()
			again, err := done(c)
			if !again {
				busy--
			}
			return again, err
		})
		total += finished
		if err != nil {
			return total, err
		}
		if busy > 0 && g.now()-last > answerTimeout {
			return total, fmt.Errorf("no answer for %v; %d clients wait", answerTimeout, busy)
		}
	}
	return total, nil
}

// waitOnce waits for events once and serves them.
func (g *generator) waitOnce(wait time.Duration, done func(*client) (bool, error)) (finished int, err error) {
	n, errno := rawWait(g.epfd, g.events, wait)
	if errno != 0 && errno != unix.EINTR {
		return 0, fmt.Errorf("epoll_pwait2: %w", errno)
	}
	if interrupted.Load() {
		return 0, errInterrupted
	}
	for _, event := range g.events[:max(n, 0)] {
		c := &g.clients[event.Fd]
		if c.toSend > 0 {
			if err := g.send(c); err != nil {
				return finished, err
			}
		}
		if c.toReceive == 0 {
			if event.Events&(unix.EPOLLRDHUP|unix.EPOLLERR) != 0 {
				return finished, errors.New("the server has closed a connection")
			}
			continue
		}
		if err := g.receive(c); err != nil {
			return finished, err
		}
		if c.toReceive == 0 {
			finished++
			if _, err := done(c); err != nil {
				return finished, err
			}
		}
	}
	return finished, nil
}

// The calls below cannot block for long, and this process has nothing else to do.
// That is why they may be raw: exercise 19.

func rawRead(fd int, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), errno
}

func rawWrite(fd int, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), errno
}

// rawWait calls epoll_pwait2(2), whose timeout has nanoseconds. On a kernel
// before 5.11 it calls epoll_pwait(2) and rounds up to milliseconds.
func rawWait(epfd int, events []unix.EpollEvent, wait time.Duration) (int, unix.Errno) {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(events)))
	if !noPwait2 {
		timeout := unix.NsecToTimespec(int64(wait))
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(epfd), at, uintptr(len(events)), uintptr(unsafe.Pointer(&timeout)), 0, 0)
		if errno != unix.ENOSYS {
			return int(n), errno
		}
		noPwait2 = true
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), at, uintptr(len(events)), uintptr((wait+time.Millisecond-1)/time.Millisecond), 0, 0)
	return int(n), errno
}

var noPwait2 bool
