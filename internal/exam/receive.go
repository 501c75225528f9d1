package exam

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// A mismatch is a byte that came back other than it was sent.
type mismatch struct {
	at        int
	got, want []byte // from there on, a few
}

func (m *mismatch) Error() string {
	return fmt.Sprintf("byte %d came back wrong: got %q, want %q", m.at, m.got, m.want)
}

// errSilence means that nothing came for too long.
var ErrSilence = errors.New("silence")

// receive reads until n more bytes of the pattern have come back. It fails with
// errSilence if none comes for d, with io.EOF, with a *mismatch or with what
// read(2) said. pace, if not nil, is called before each read.
func (c *Client) Receive(n int, d time.Duration, pace func()) error {
	size := min(n, 64<<10)
	buf, want := make([]byte, size), make([]byte, size)
	for n > 0 {
		chunk := buf[:min(n, size)]
		if pace != nil {
			pace()
			chunk = chunk[:min(len(chunk), sipSize)]
		}
		c.SetReadDeadline(time.Now().Add(d))
		m, err := c.Read(chunk)
		if m > 0 {
			pattern(want[:m], c.id, c.Got)
			if i := FirstDifference(chunk[:m], want[:m]); i >= 0 {
				c.Got += i
				return &mismatch{c.Got, bytes.Clone(Excerpt(chunk[i:m])), bytes.Clone(Excerpt(want[i:m]))}
			}
			c.Got += m
			n -= m
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ErrSilence
		}
		if err != nil && n > 0 {
			return PlainError(err)
		}
	}
	return nil
}

// drain reads n bytes, whatever they are, or as many as come. It shows them to
// see.
func (c *Client) Drain(n int, see func(p []byte)) {
	buf := make([]byte, 64<<10)
	for n > 0 {
		c.SetReadDeadline(time.Now().Add(SilenceTimeout))
		m, err := c.Read(buf[:min(n, len(buf))])
		see(buf[:m])
		if n -= m; err != nil {
			return
		}
	}
}

// eof waits for the end of the stream: nothing more, and no error.
func (c *Client) AwaitEOF(d time.Duration) error {
	var one [1]byte
	c.SetReadDeadline(time.Now().Add(d))
	n, err := c.Read(one[:])
	switch {
	case n > 0:
		return fmt.Errorf("byte %q came after all that was sent had come back", one[:])
	case err == io.EOF:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrSilence
	}
	return PlainError(err)
}
