package exam

import (
	"errors"
	"os"
	"time"
)

// offer sends up to n bytes without reading, until the server takes no more and
// its kernel has no room, either: then no more edge comes. It returns how many
// bytes have been taken.
func (c *Client) Offer(n int) (int, error) {
	return c.offerBy(n, c.next, func() bool {
		info := c.tcpInfo()
		return info.Snd_wnd == 0 && info.Unacked == 0 && c.asleep()
	})
}

// stall is offer, but it is enough that the server owes something and sleeps: there
// may be some room left.
func (c *Client) Stall(n int) (int, error) { return c.offerBy(n, c.next, c.asleep) }

// stallWith is stall with one letter instead of the pattern.
func (c *Client) StallWith(letter byte, n int) (int, error) {
	return c.offerBy(n, func(chunk []byte) {
		for i := range chunk {
			chunk[i] = letter
		}
	}, c.asleep)
}

// offerUntil is offer with another condition for having offered enough.
func (c *Client) OfferUntil(n int, enough func() bool) (int, error) {
	return c.offerBy(n, c.next, enough)
}

func (c *Client) next(chunk []byte) { pattern(chunk, c.id, c.Sent) }

func (c *Client) offerBy(n int, fill func(chunk []byte), enough func() bool) (int, error) {
	buf := make([]byte, 64<<10)
	sent, last, naps := 0, time.Now(), 0
	for sent < n {
		chunk := buf[:min(len(buf), n-sent)]
		fill(chunk)
		c.SetWriteDeadline(time.Now().Add(offerMoment))
		m, err := c.Write(chunk)
		sent, c.Sent = sent+m, c.Sent+m
		switch {
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return sent, PlainError(err)
		case m > 0:
			last, naps = time.Now(), 0
			continue // slow, not stalled
		}
		if naps++; !enough() {
			naps = 0
		}
		patience := StallTime
		if c.Window() > 0 {
			patience = ReplyTimeout // too little for TCP to use it at once: that takes 0.2 s, or more
		}
		if naps == 3 || time.Since(last) >= patience {
			return sent, nil
		}
	}
	return sent, nil
}
