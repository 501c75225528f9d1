package walk

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// A Client is a client of the program that is walked through. It reads what arrives
// unless it is told to stop. Each method returns once the kernel has delivered what it
// sent, so that the next snapshot shows it.
type Client struct {
	Name   string
	Addr   netip.AddrPort // its own: the Remote of the program's Socket
	server netip.AddrPort
	conn   *net.TCPConn

	mu      sync.Mutex
	changed *sync.Cond // on mu: what the two goroutines wait for
	unsent  []byte     // not yet taken by write(2)
	fin     bool       // to be sent after unsent
	stopped bool
	closed  bool
	unread  strings.Builder // received, and not yet returned by Received
	total   int             // bytes received
	end     string          // how receiving has ended
}

// Connect connects a client to a server.
func Connect(name string, server netip.AddrPort) (*Client, error) {
	if server.Addr().IsUnspecified() {
		server = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), server.Port())
	}
	dialer := net.Dialer{Timeout: 5 * time.Second}
	conn, err := dialer.Dial("tcp", server.String())
	if err != nil {
		return nil, err
	}
	c := &Client{Name: name, server: server, conn: conn.(*net.TCPConn)}
	c.Addr = conn.LocalAddr().(*net.TCPAddr).AddrPort()
	c.changed = sync.NewCond(&c.mu)
	go c.receive()
	go c.send()
	return c, c.settle()
}

const mostUnsent = 64 << 20 // bytes that wait for room

// Send sends text. What the queues do not hold is sent when there is room again.
func (c *Client) Send(text string) error {
	c.mu.Lock()
	tooMuch := len(c.unsent)+len(text) > mostUnsent
	if !tooMuch {
		c.unsent = append(c.unsent, text...)
	}
	c.mu.Unlock()
	if tooMuch {
		return fmt.Errorf("%s keeps %s already: more than %s would wait for room in the queues", c.Name, Bytes(len(c.unsent)), Bytes(mostUnsent))
	}
	c.changed.Broadcast()
	return c.settle()
}

// send writes what is to be sent, until the connection is closed or broken.
func (c *Client) send() {
	for {
		c.mu.Lock()
		for len(c.unsent) == 0 && !c.fin && !c.closed {
			c.changed.Wait()
		}
		data, fin := c.unsent, c.fin
		c.mu.Unlock()
		n, err := c.conn.Write(data[:min(len(data), 64<<10)])
		if len(data) == 0 && fin {
			c.conn.CloseWrite()
		}
		c.mu.Lock()
		c.unsent = c.unsent[n:]
		if err != nil {
			c.unsent = nil
		}
		if len(data) == 0 {
			c.fin = false
		}
		ended := err != nil || c.closed || len(data) == 0 && fin
		c.mu.Unlock()
		if ended {
			return
		}
	}
}

// Stop makes the client stop reading, so that what arrives stays in its queue, or go on.
func (c *Client) Stop(stopped bool) error {
	c.mu.Lock()
	c.stopped = stopped
	c.mu.Unlock()
	var deadline time.Time
	if stopped {
		deadline = time.Unix(1, 0) // ends a read that is under way
	}
	c.conn.SetReadDeadline(deadline)
	c.changed.Broadcast()
	return nil
}

// Shutdown sends a FIN after all else: shutdown(2) with SHUT_WR.
func (c *Client) Shutdown() error {
	c.mu.Lock()
	c.fin = true
	c.mu.Unlock()
	c.changed.Broadcast()
	return c.settle()
}

// Reset ends the connection with an RST: SO_LINGER of socket(7), with 0 seconds.
func (c *Client) Reset() error {
	c.conn.SetLinger(0)
	return c.Close()
}

// Close closes the connection.
func (c *Client) Close() error {
	err := c.conn.Close()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.changed.Broadcast()
	return errors.Join(err, c.settle())
}

// Act lets the client do one of the things that a reader can choose, and describes it:
// send (a line), send64k, send16m, pause (stop reading, or go on), shutdown, close, reset.
func (c *Client) Act(verb string) (did string, err error) {
	switch verb {
	case "send":
		line := "hello from " + c.Name + "\n"
		return fmt.Sprintf("%s sends %q", c.Name, line), c.Send(line)
	case "send64k":
		return c.Name + " sends 64 KiB", c.Send(strings.Repeat("0123456789abcdef", 64<<10/16))
	case "send16m":
		return c.Name + " sends 16 MiB", c.Send(strings.Repeat("0123456789abcdef", 16<<20/16))
	case "pause":
		if c.State().Stopped {
			return c.Name + " reads again", c.Stop(false)
		}
		return c.Name + " stops reading", c.Stop(true)
	case "shutdown":
		return c.Name + " half-closes: shutdown(SHUT_WR)", c.Shutdown()
	case "close":
		return c.Name + " closes", c.Close()
	case "reset":
		return c.Name + " resets the connection", c.Reset()
	}
	return "", fmt.Errorf("%q: a client cannot do that", verb)
}

// Received returns what has arrived since it was last called, the number of bytes that
// have arrived in all, and how receiving has ended: "", "EOF", "reset" or "closed", by the client itself.
func (c *Client) Received() (text string, total int, end string) {
	c.settle()
	c.mu.Lock()
	defer c.mu.Unlock()
	text = c.unread.String()
	c.unread.Reset()
	return text, c.total, c.end
}

const kept = 4096 // bytes of what has arrived; the rest is only counted

func (c *Client) receive() {
	buf := make([]byte, 64<<10)
	for {
		c.mu.Lock()
		for c.stopped && !c.closed {
			c.changed.Wait()
		}
		c.mu.Unlock()
		n, err := c.conn.Read(buf)
		c.mu.Lock()
		c.total += n
		c.unread.Write(buf[:min(n, max(0, kept-c.unread.Len()))])
		switch {
		case err == nil, errors.Is(err, os.ErrDeadlineExceeded): // by Stop
		case errors.Is(err, io.EOF):
			c.end = "EOF"
		case errors.Is(err, net.ErrClosed):
			c.end = "closed"
		default:
			c.end = "reset"
		}
		ended := c.end != ""
		c.mu.Unlock()
		if ended {
			return
		}
	}
}

// settle waits until the kernel has delivered what the client has sent, and the client
// has read what has arrived.
func (c *Client) settle() error {
	const (
		limit = 5 * time.Second
		still = 50 * time.Millisecond // without a change: the server's queue is full
	)
	var last [3]int
	since := time.Now()
	for start := since; time.Since(start) < limit; time.Sleep(100 * time.Microsecond) {
		c.mu.Lock() // first: what is sent after this look is in the queue of the next one
		unsent, fin := len(c.unsent), c.fin
		c.mu.Unlock()
		s, found, err := procfs.Connection(c.Addr, c.server)
		if err != nil {
			return err
		}
		under, err := procfs.PacketsUnderWay()
		if err != nil {
			return err
		}
		now := [3]int{unsent, s.TxQueue, s.RxQueue}
		if now != last {
			last, since = now, time.Now()
		}
		if under > 0 || found && s.State == procfs.TCPSynSent {
			continue
		}
		delivered := unsent+s.TxQueue == 0 && !fin
		if !found || delivered && c.hasRead() || time.Since(since) > still {
			return nil
		}
	}
	return nil
}

// hasRead reports whether the client has nothing more to read, or does not read.
func (c *Client) hasRead() bool {
	var info *unix.TCPInfo
	raw, err := c.conn.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.stopped || c.end != "" || err != nil || info == nil: // the last: it has been closed
		return true
	case procfs.State(info.State) == procfs.TCPEstablished || procfs.State(info.State) == procfs.TCPFinWait2:
		return uint64(c.total) == info.Bytes_received
	}
	return false // a FIN or an RST has arrived: receive will end
}
