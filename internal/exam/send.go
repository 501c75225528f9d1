package exam

import (
	"fmt"
	"time"
)

// Send writes the next n bytes of the client's pattern, within d.
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

// Echo sends n bytes and expects them back. It fails after d without a byte.
func (c *Client) Echo(n int, d time.Duration) error {
	if err := c.Send(n, d); err != nil {
		return err
	}
	return c.Receive(n, d, nil)
}

// Ping is Echo with one short message.
func (c *Client) Ping(d time.Duration) error { return c.Echo(PingSize, d) }

// PingSize is the number of bytes of a short message: one line of the pattern.
const PingSize = 16
