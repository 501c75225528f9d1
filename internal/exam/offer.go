package exam

import (
	"errors"
	"os"
	"time"
)

// Offer sends up to n bytes without reading, until the server reads no more and its
// kernel has no room left either: then no further edge comes. It returns how many
// bytes were taken.
func (c *Client) Offer(n int) (int, error) {
	return c.offer(n, c.nextPattern, func() bool {
		info := c.tcpInfo()
		return info.Snd_wnd == 0 && info.Unacked == 0 && c.asleep()
	})
}

// Stall is Offer that is content with a server that sleeps while it owes something:
// the kernel may have some room left.
func (c *Client) Stall(n int) (int, error) { return c.offer(n, c.nextPattern, c.asleep) }

// StallWith is Stall that sends one letter instead of the pattern.
func (c *Client) StallWith(letter byte, n int) (int, error) {
	return c.offer(n, func(chunk []byte) {
		for i := range chunk {
			chunk[i] = letter
		}
	}, c.asleep)
}

// OfferUntil is Offer with another condition for stopping early.
func (c *Client) OfferUntil(n int, stuck func() bool) (int, error) {
	return c.offer(n, c.nextPattern, stuck)
}

func (c *Client) nextPattern(chunk []byte) { pattern(chunk, c.id, c.Sent) }

func (c *Client) offer(n int, fill func(chunk []byte), stuck func() bool) (int, error) {
	buf := make([]byte, 64<<10)
	sent, last := 0, time.Now()
	timesStuck, extensions := 0, 0
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
			last, timesStuck, extensions = time.Now(), 0, 0
			continue // slow, not stalled
		}
		if timesStuck++; !stuck() {
			timesStuck = 0
		}
		limit := StallTime
		if c.Window() > 0 {
			limit = ReplyTimeout // too little room for TCP to use it at once: that takes 0.2 s or more
		}
		switch {
		case timesStuck == 3:
			return sent, nil
		case time.Since(last) < limit:
		case extensions == maxExtensions || !c.delayed():
			return sent, nil
		default:
			last, extensions = time.Now(), extensions+1
		}
	}
	return sent, nil
}
