package exam

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A client is one connection to the server. What it sends is a pattern that
// nobody else sends and that does not repeat, so that a byte which went astray,
// came twice or got lost is noticed. It is text, so that explanations can be
// read, in lines of 16 bytes, so that a server that waits for lines fails only
// where short messages are asked for: NO_REPLY.
type Client struct {
	*net.TCPConn
	id   uint64
	Sent int // bytes of the pattern written
	Got  int // bytes of the pattern that have come back

	asleep func() bool // whether the server is seen to sleep
}

// dial connects to the server; rcvbuf > 0 sets SO_RCVBUF first: socket(7).
func (s *Session) Dial(rcvbuf int) (*Client, error) {
	return s.DialUntil(rcvbuf, time.Now().Add(connectTimeout))
}

func (s *Session) DialUntil(rcvbuf int, deadline time.Time) (*Client, error) {
	ctx, cancel := context.WithDeadline(s.Ctx, deadline)
	defer cancel()
	d := net.Dialer{KeepAlive: -1}
	if rcvbuf > 0 {
		d.Control = func(_, _ string, raw syscall.RawConn) error {
			var err error
			raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, rcvbuf)
			})
			return os.NewSyscallError("setsockopt(SO_RCVBUF)", err)
		}
	}
	nc, err := d.DialContext(ctx, "tcp4", s.Server.Addr.String())
	if err != nil {
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.EADDRNOTAVAIL) {
			return nil, CannotRun("the examiner cannot connect: " + err.Error())
		}
		return nil, fmt.Errorf("a client could not connect: %w", PlainError(err))
	}
	c := &Client{TCPConn: nc.(*net.TCPConn), id: lastID.Add(1), asleep: s.Asleep}
	s.mu.Lock()
	s.clients = append(s.clients, c)
	s.mu.Unlock()
	return c, nil
}

// reset closes the connection with a RST, which leaves no TIME_WAIT: tcp(7),
// socket(7) SO_LINGER.
func (c *Client) Reset() {
	c.SetLinger(0)
	c.Close()
}

// served connects a client and sees it answered once.
func (s *Session) DialAndPing() (*Client, error) {
	c, err := s.Dial(0)
	if err == nil {
		err = c.Ping(ReplyTimeout)
	}
	return c, err
}

// forget closes the connection in the ordinary way.
func (s *Session) CloseClient(c *Client) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = slices.DeleteFunc(s.clients, func(o *Client) bool { return o == c })
}
