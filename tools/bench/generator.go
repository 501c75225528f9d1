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
	patience  = 5 * time.Second // without any answer: then it is an error
	bufSize   = 128 << 10       // bytes that one read of ours may return
	maxEvents = 512
)

var errInterrupted = errors.New("interrupted")

// interrupted is set by Ctrl-C. Everything that takes time looks at it.
var interrupted atomic.Bool

// A stream is what each client sends, and what it expects back: both repeat
// after a period, so that a client's state is two positions. The tables are one
// batch longer than the period: what is sent at once lies in one piece.
type stream struct {
	req, resp             []byte
	reqPeriod, respPeriod int // bytes
	reqLen, respLen       int // bytes of one message
	depth                 int // messages that are sent at once
}

// echoStream is random bytes with a prime for a period: each message differs
// from the one before, and a client that got another one's would notice.
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

// redisStream is PING with an argument, which comes back: a request has the
// given size, the reply is shorter by what Redis leaves out.
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

// A client is one of our connections.
type client struct {
	fd            int
	sent, got     int           // positions in the stream's tables
	toSend, toGet int           // bytes of this batch
	began         time.Duration // since the generator's start
	late          int           // open loop: messages that are due and not sent
	due           time.Duration // open loop: when the first of them was
}

// A generator is many clients in one epoll loop: edge-triggered, one read and
// one write a message. Nothing of it is told to the Go scheduler, and it is
// alone in this process while it runs.
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

// connect adds clients. Each has to be answered before the next few hundred
// come: a full backlog would cost a second.
func (g *generator) connect(n int, port int) error {
	for range n {
		fd, err := dial(port, len(g.clients))
		if err != nil {
			return err
		}
		i := len(g.clients)
		c := client{fd: fd}
		if p := g.stream.reqPeriod; p > g.stream.reqLen {
			c.sent = i * 7919 % p // everybody is somewhere else in it
			c.got = c.sent
		}
		g.clients = append(g.clients, c)
		event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(i)}
		if err := unix.EpollCtl(g.epfd, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
			return fmt.Errorf("epoll_ctl: %w", err)
		}
		if (i+1)%500 == 0 {
			if err := g.ping(i, i+1); err != nil {
				return err
			}
		}
	}
	return g.ping(0, len(g.clients))
}

// dial connects, the i-th time, and does not block from then on. 4000 clients
// have an address in common: the kernel searches for a free port, and that
// takes long where most are taken.
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

// leave closes by a reset, as that leaves no TIME_WAIT behind.
func leave(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	unix.Close(fd)
}

func loopback(port int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

// ping lets some clients send one batch each, and waits for the answers.
func (g *generator) ping(from, to int) error {
	for i := from; i < to; i++ {
		if err := g.begin(&g.clients[i], g.now()); err != nil {
			return err
		}
	}
	_, err := g.loop(to-from, func(*client) (bool, error) { return false, nil })
	return err
}

func (g *generator) close() {
	for _, c := range g.clients {
		leave(c.fd)
	}
	unix.Close(g.epfd)
}

func (g *generator) now() time.Duration { return time.Since(g.start) }

// closed is a closed loop: each client sends its next batch when the last one
// is back. It returns the number of messages, all of which have been answered.
func (g *generator) closed(d time.Duration) (messages int, err error) {
	until := g.now() + d
	g.latency.Reset()
	batches := 0
	for i := range g.clients {
		if err := g.begin(&g.clients[i], g.now()); err != nil {
			return 0, err
		}
	}
	_, err = g.loop(len(g.clients), func(c *client) (bool, error) {
		now := g.now()
		g.latency.RecordValue(int64(now - c.began))
		batches++
		if now > until {
			return false, nil
		}
		return true, g.begin(c, now)
	})
	return batches * g.stream.depth, err
}

// count is a closed loop of a fixed number of batches from each client.
func (g *generator) count(each int) (messages int, err error) {
	left := each * len(g.clients)
	for i := range g.clients {
		left--
		if err := g.begin(&g.clients[i], 0); err != nil {
			return 0, err
		}
	}
	_, err = g.loop(len(g.clients), func(c *client) (bool, error) {
		if left == 0 {
			return false, nil
		}
		left--
		return true, g.begin(c, 0)
	})
	return each * len(g.clients) * g.stream.depth, err
}

// open is an open loop: messages are due at a rate, whether or not the last
// ones are back. A message's time begins when it was due, so one that had to
// wait for another is as slow as it was for whoever sent it.
func (g *generator) open(rate int, d time.Duration) (messages int, err error) {
	g.latency.Reset()
	gap := time.Second / time.Duration(rate)
	begin := g.now()
	total := int(d / gap)
	sent, answered := 0, 0
	for i := range g.clients {
		g.clients[i].late = 0
	}
	done := func(c *client) (bool, error) {
		answered++
		g.latency.RecordValue(int64(g.now() - c.began))
		if c.late == 0 {
			return false, nil
		}
		c.late--
		began := c.due
		c.due += gap * time.Duration(len(g.clients))
		return true, g.begin(c, began)
	}
	for answered < total {
		now := g.now()
		for ; sent < total && begin+gap*time.Duration(sent) <= now; sent++ {
			c, due := &g.clients[sent%len(g.clients)], begin+gap*time.Duration(sent)
			if c.toGet == 0 {
				err = g.begin(c, due)
			} else if c.late++; c.late == 1 {
				c.due = due
			}
			if err != nil {
				return answered, err
			}
		}
		wait := 10 * time.Millisecond
		if sent < total {
			wait = begin + gap*time.Duration(sent) - g.now()
		}
		if _, err := g.turn(max(wait, 0), done); err != nil {
			return answered, err
		}
		if g.now() > begin+d+patience {
			return answered, fmt.Errorf("%d of %d messages have no answer after %v", total-answered, total, d+patience)
		}
	}
	return answered, nil
}

// begin sends a client's next batch, or what fits of it.
func (g *generator) begin(c *client, at time.Duration) error {
	c.toSend, c.toGet = g.stream.reqLen*g.stream.depth, g.stream.respLen*g.stream.depth
	c.began = at
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

// receive reads what there is and compares it. A read that returns less than
// was asked for has emptied the queue: what comes then is a new edge.
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
		case n > c.toGet:
			return fmt.Errorf("wrong: %d bytes more came back than were sent", n-c.toGet)
		case !bytes.Equal(g.buf[:n], g.stream.resp[c.got:c.got+n]):
			return errors.New("wrong: what came back is not what was sent")
		}
		c.got = (c.got + n) % g.stream.respPeriod
		c.toGet -= n
		if n < len(g.buf) {
			return nil
		}
	}
}

// loop serves until no client is busy any more. done is called for each batch
// that is back, and says whether the client goes on.
func (g *generator) loop(busy int, done func(*client) (bool, error)) (int, error) {
	total := 0
	for last := g.now(); busy > 0; {
		finished, err := g.turn(100*time.Millisecond, func(c *client) (bool, error) {
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
		if busy > 0 && g.now()-last > patience {
			return total, fmt.Errorf("no answer for %v; %d clients wait", patience, busy)
		}
	}
	return total, nil
}

// turn waits for events once and serves them.
func (g *generator) turn(wait time.Duration, done func(*client) (bool, error)) (finished int, err error) {
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
		if c.toGet == 0 {
			if event.Events&(unix.EPOLLRDHUP|unix.EPOLLERR) != 0 {
				return finished, errors.New("the server has closed a connection")
			}
			continue
		}
		if err := g.receive(c); err != nil {
			return finished, err
		}
		if c.toGet == 0 {
			finished++
			if _, err := done(c); err != nil {
				return finished, err
			}
		}
	}
	return finished, nil
}

// The calls below cannot block, or not for long, and this process has nothing
// else to do: exercise 19.

func rawRead(fd int, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), errno
}

func rawWrite(fd int, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), errno
}

// rawWait is epoll_pwait2(2), of which the timeout is in nanoseconds, or on a
// kernel before 5.11 the one with milliseconds, rounded up.
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
