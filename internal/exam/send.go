package exam

import (
	"fmt"
	"time"
)

// send writes the next n bytes of the client's pattern, within d.
func (c *Client) Send(n int, d time.Duration) error {
	buf := make([]byte, n)
	pattern(buf, c.id, c.Sent)
	c.SetWriteDeadline(time.Now().Add(d))
	m, err := c.Write(buf)
	c.Sent += m
	if err != nil {
		return fmt.Errorf("%d of %d bytes could be sent, then: %w", m, n, PlainError(err))
	}
	return nil
}

// echo sends n bytes and wants them back within d.
func (c *Client) Echo(n int, d time.Duration) error {
	if err := c.Send(n, d); err != nil {
		return err
	}
	return c.Receive(n, d, nil)
}

// ping is the smallest thing that a client may expect of an echo server.
func (c *Client) Ping(d time.Duration) error { return c.Echo(PingSize, d) }

const PingSize = 16 // bytes
