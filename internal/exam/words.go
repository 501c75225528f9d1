package exam

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

func ReadProblem(err error, d time.Duration) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errors.New("the server closed the connection")
	}
	err = PlainError(err)
	if err != nil && err.Error() == "timed out" {
		return fmt.Errorf("silence for %v", d)
	}
	return err
}

func SilenceFor(err error, d time.Duration) error {
	if err == ErrSilence {
		return fmt.Errorf("silence for %v", d)
	}
	return err
}

// plain strips what net wraps around an error: "write tcp 127.0.0.1:…" says
// less to a learner than "connection reset by peer".
func PlainError(err error) error {
	if err == io.EOF {
		return err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return errors.New("timed out")
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// outcome words what came back of the n bytes after the first before.
func (c *Client) Outcome(before, n int, err error) error {
	had := fmt.Sprintf("%d of %d bytes", c.Got-before, n)
	if c.Got == before {
		had = "nothing"
	}
	var wrong *mismatch
	switch {
	case errors.As(err, &wrong):
		return fmt.Errorf("%s, and then %q instead of %q", had, wrong.got, wrong.want)
	case err == ErrSilence:
		return fmt.Errorf("%s, then silence", had)
	case err == io.EOF:
		return fmt.Errorf("%s, then EOF", had)
	}
	return fmt.Errorf("%s, then: %w", had, err)
}

func Ordinal(n int) string {
	switch {
	case n%10 == 1 && n%100 != 11:
		return fmt.Sprint(n, "st")
	case n%10 == 2 && n%100 != 12:
		return fmt.Sprint(n, "nd")
	case n%10 == 3 && n%100 != 13:
		return fmt.Sprint(n, "rd")
	}
	return fmt.Sprint(n, "th")
}

func Plural(n int, one, many string) string {
	if n == 1 {
		many = one
	}
	return fmt.Sprint(n, " ", many)
}
