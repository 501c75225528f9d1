package exam

import (
	"fmt"
	"time"
)

// Send writes the next n bytes of requests, and the rest of the last one, within d.
func (c *Client) Send(n int, d time.Duration) error {
	return c.SendPart(c.dialogue.whole(c.Sent+n)-c.Sent, d)
}

// SendPart is Send that may end in the middle of a request.
func (c *Client) SendPart(n int, d time.Duration) error {
	buf := make([]byte, n)
	c.dialogue.request.fill(buf, c.id, c.Sent)
	c.SetWriteDeadline(time.Now().Add(d))
	m, err := c.Write(buf)
	c.Sent += m
	if err != nil {
		return fmt.Errorf("%d of %d bytes could be sent, then: %w", m, n, PlainError(err))
	}
	return nil
}

// Ask sends n bytes of requests, as Send does, and expects all replies that are due. It
// fails after d without a byte.
func (c *Client) Ask(n int, d time.Duration) error {
	if err := c.Send(n, d); err != nil {
		return err
	}
	return c.Receive(c.Owed(), d, nil)
}

// Ping is Ask with one short message.
func (c *Client) Ping(d time.Duration) error { return c.Ask(c.dialogue.MessageSize(), d) }

// MessageDue returns how many units are due for a short message.
func (c *Client) MessageDue() int { return c.dialogue.due(c.dialogue.MessageSize()) }

// PingSize is the number of bytes of a short message to an echo server: one line of the
// pattern.
const PingSize = 16
