package exam

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// A mismatch is a byte that came back different from the one that was sent.
type mismatch struct {
	at        int
	got, want []byte // a few bytes, from there on
}

func (m *mismatch) Error() string {
	return fmt.Sprintf("byte %d came back wrong: got %q, want %q", m.at, m.got, m.want)
}

// ErrSilence means that no byte came for too long.
var ErrSilence = errors.New("silence")

// ReadWithin reads like [net.TCPConn.Read], and fails with ErrSilence if no byte
// comes for d. Lateness alone is not silence: a server that is ready to run, and
// waits for a CPU that other processes use, gets d again, a few times.
func (c *Client) ReadWithin(p []byte, d time.Duration) (int, error) {
	for extensions := 0; ; extensions++ {
		c.SetReadDeadline(time.Now().Add(d))
		n, err := c.Read(p)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		waiting := d >= time.Second && extensions < maxExtensions && c.delayed()
		// The examiner may be late as well: a read whose deadline has passed does
		// not look at what has arrived.
		c.SetReadDeadline(time.Now().Add(offerMoment))
		n, err = c.Read(p)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if !waiting {
			return 0, ErrSilence
		}
	}
}

// Receive reads until n more units of the replies have come. It fails with ErrSilence,
// with io.EOF, with a *mismatch or with the error of read(2). pace, if not nil, is
// called before each read.
func (c *Client) Receive(n int, d time.Duration, pace func()) error {
	size := 64 << 10
	if c.dialogue.ending == nil {
		size = min(n, size)
	}
	buf, want := make([]byte, size), make([]byte, size)
	for end := c.Got + n; c.Got < end; {
		chunk := buf
		if c.dialogue.ending == nil {
			chunk = chunk[:min(end-c.Got, size)]
		}
		if pace != nil {
			pace()
			chunk = chunk[:min(len(chunk), sipSize)]
		}
		m, err := c.ReadWithin(chunk, d)
		if m > 0 {
			if err := c.take(chunk[:m], want); err != nil {
				return err
			}
		}
		switch {
		case c.Got > end:
			return fmt.Errorf("%d replies more than requests", c.Got-end)
		case err == ErrSilence:
			return err
		case err != nil && c.Got < end:
			return PlainError(err)
		}
	}
	return nil
}

// take compares or counts the units in p. It uses the memory of want.
func (c *Client) take(p, want []byte) error {
	if c.dialogue.ending == nil {
		want = want[:len(p)]
		c.dialogue.reply.fill(want, c.id, c.Got)
		if i := FirstDifference(p, want); i >= 0 {
			c.Got += i
			return &mismatch{c.Got, bytes.Clone(Excerpt(p[i:])), bytes.Clone(Excerpt(want[i:]))}
		}
		c.Got += len(p)
		return nil
	}
	c.begun = append(c.begun, p...)
	rest := c.begun
	for len(rest) > 0 {
		n, err := c.dialogue.ending(rest)
		if err != nil {
			return fmt.Errorf("the %s reply is %w", Ordinal(c.Got+1), err)
		}
		if n == 0 {
			break
		}
		rest = rest[n:]
		c.Got++
	}
	if len(rest) > longestReply {
		return fmt.Errorf("%d bytes, in which the reply does not end", len(rest))
	}
	c.begun = append(c.begun[:0], rest...)
	return nil
}

// Drain reads up to n bytes, whatever they are, until the end or silence. It
// passes them to see.
func (c *Client) Drain(n int, see func(p []byte)) {
	buf := make([]byte, 64<<10)
	for n > 0 {
		m, err := c.ReadWithin(buf[:min(n, len(buf))], SilenceTimeout)
		see(buf[:m])
		if n -= m; err != nil {
			return
		}
	}
}

// AwaitEOF waits for the end of the stream: no further byte, and no error.
func (c *Client) AwaitEOF(d time.Duration) error {
	var one [1]byte
	n, err := c.ReadWithin(one[:], d)
	switch {
	case len(c.begun) > 0:
		return fmt.Errorf("%s came after the last reply that was due", Quote(c.begun))
	case n > 0 && !c.dialogue.echo:
		return fmt.Errorf("byte %q came after the last reply that was due", one[:])
	case n > 0:
		return fmt.Errorf("byte %q came after all that was sent had come back", one[:])
	case err == io.EOF:
		return nil
	case err == ErrSilence:
		return err
	}
	return PlainError(err)
}

// Within returns a reader that calls ReadWithin.
func (c *Client) Within(d time.Duration) io.Reader { return reader{c, d} }

type reader struct {
	client *Client
	d      time.Duration
}

func (r reader) Read(p []byte) (int, error) { return r.client.ReadWithin(p, r.d) }
