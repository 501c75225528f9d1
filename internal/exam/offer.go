package exam

import (
	"errors"
	"os"
	"time"
)

// Offer sends requests whose replies come to n bytes, or fewer, without reading, until
// the server reads no more and its kernel has no room left either: then no further edge
// comes. It returns how many bytes of requests were taken. The last request may be
// incomplete: see [Client.Finish].
func (c *Client) Offer(n int) (int, error) {
	return c.offer(n, c.nextRequests, never, func() bool {
		info := c.tcpInfo()
		return info.Snd_wnd == 0 && info.Unacked == 0 && c.asleep()
	})
}

// Stall is Offer that is content with a server that sleeps while it owes something, or
// that keeps much of it: the kernel may have some room left.
func (c *Client) Stall(n int) (int, error) {
	return c.offer(n, c.nextRequests, func() bool { return c.kept() > muchKept }, c.asleep)
}

const muchKept = 1 << 20 // bytes

// kept returns how many bytes of replies are due for the requests that the server has
// read, and have not been given to the kernel.
func (c *Client) kept() int {
	own, _, err := c.clientEnd()
	end, _, err2 := c.ServerEnd()
	if err != nil || err2 != nil {
		return 0
	}
	read := c.Sent - own.TxQueue - end.RxQueue
	return read/c.dialogue.request.size*c.dialogue.reply.size - own.RxQueue - end.TxQueue
}

// StallWith is Stall that sends one letter again and again, to an echo server.
func (c *Client) StallWith(letter byte, n int) (int, error) {
	return c.offer(n, func(chunk []byte) {
		for i := range chunk {
			chunk[i] = letter
		}
	}, never, c.asleep)
}

// OfferUntil is Offer that goes on while the server takes nothing, for a while, and
// stops when enough returns true.
func (c *Client) OfferUntil(n int, enough func() bool) (int, error) {
	return c.offer(n, c.nextRequests, enough, never)
}

func never() bool { return false }

func (c *Client) nextRequests(chunk []byte) { c.dialogue.request.fill(chunk, c.id, c.Sent) }

// Finish sends the rest of the last request, within d.
func (c *Client) Finish(d time.Duration) error { return c.Send(0, d) }

// offer sends until n bytes of replies are asked for, or enough returns true, or the
// server takes nothing and stuck returns true three times in a row.
func (c *Client) offer(n int, fill func(chunk []byte), enough, stuck func() bool) (int, error) {
	n = c.dialogue.Asking(n)
	buf := make([]byte, 64<<10)
	sent, last := 0, time.Now()
	timesStuck, extensions := 0, 0
	for sent < n && !enough() {
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
