package exam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Client is one connection to the server. It sends the requests of a [Dialogue], and
// compares or counts the replies.
//
// To an echo server it sends a pattern that no other client sends and that does not
// repeat, so a byte that is lost, comes twice or reaches the wrong client is noticed.
// The pattern is text, so explanations can quote it. It has lines of 16 bytes, so a
// server that waits for whole lines fails only the check that sends shorter messages.
type Client struct {
	*net.TCPConn
	id       uint64
	dialogue *Dialogue
	Sent     int    // bytes of requests written
	Got      int    // units of replies that have come: bytes, or replies if their bytes are not known
	begun    []byte // of a reply whose end has not come

	asleep  func() bool // reports whether the server is seen to sleep
	delayed func() bool // reports whether the server waits for a CPU
}

// Dial connects a client. rcvbuf > 0 sets SO_RCVBUF first: socket(7).
func (s *Session) Dial(rcvbuf int) (*Client, error) {
	ctx, cancel := context.WithTimeout(s.Ctx, connectTimeout)
	defer cancel()
	return s.DialContext(ctx, rcvbuf)
}

// DialContext is Dial that gives up when ctx is done.
func (s *Session) DialContext(ctx context.Context, rcvbuf int) (*Client, error) {
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
	nc, err := d.DialContext(ctx, "tcp", s.Server.Addr.String())
	if err != nil {
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.EADDRNOTAVAIL) {
			return nil, CannotRun("the examiner cannot connect: " + err.Error())
		}
		return nil, fmt.Errorf("a client could not connect: %w", PlainError(err))
	}
	c := &Client{TCPConn: nc.(*net.TCPConn), id: lastID.Add(1), dialogue: cmp.Or(s.Dialogue, EchoDialogue), asleep: s.Asleep, delayed: s.delayed}
	s.mu.Lock()
	s.clients = append(s.clients, c)
	s.mu.Unlock()
	return c, nil
}

// DialAndPing connects a client and has it answered once.
func (s *Session) DialAndPing() (*Client, error) {
	c, err := s.Dial(0)
	if err == nil {
		err = c.Ping(ReplyTimeout)
	}
	return c, err
}

// Owed returns how many units are due for the requests that were sent, and have not
// come.
func (c *Client) Owed() int { return c.dialogue.due(c.Sent) - c.Got }

// OwedWhole is Owed for the time when the last request has been sent wholly.
func (c *Client) OwedWhole() int { return c.dialogue.due(c.dialogue.whole(c.Sent)) - c.Got }

// AllDue returns how many bytes of replies are due for all the requests that were sent.
func (c *Client) AllDue() int {
	return c.Sent / c.dialogue.request.size * c.dialogue.reply.size
}

// Reset closes the connection with a RST, which leaves no TIME_WAIT: tcp(7),
// socket(7) SO_LINGER.
func (c *Client) Reset() {
	c.SetLinger(0)
	c.Close()
}

// CloseClient closes the connection in the ordinary way, and the session forgets
// the client.
func (s *Session) CloseClient(c *Client) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = slices.DeleteFunc(s.clients, func(o *Client) bool { return o == c })
}
