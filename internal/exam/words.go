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

// ReadProblem puts into words why a read with a deadline of d failed.
func ReadProblem(err error, d time.Duration) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errors.New("the server closed the connection")
	}
	if err == ErrSilence || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("silence for %v", d)
	}
	return PlainError(err)
}

// SilenceFor adds to ErrSilence how long it lasted.
func SilenceFor(err error, d time.Duration) error {
	if err == ErrSilence {
		return fmt.Errorf("silence for %v", d)
	}
	return err
}

// PlainError strips what package net wraps around an error: "write tcp 127.0.0.1:…"
// helps a learner less than "connection reset by peer".
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

// Outcome puts into words what came back of n units, when c had received before
// units earlier, and err ended it.
func (c *Client) Outcome(before, n int, err error) error {
	received := c.dialogue.progress(c.Got-before, n)
	if c.Got == before {
		received = "nothing"
	}
	var wrong *mismatch
	switch {
	case errors.As(err, &wrong):
		return fmt.Errorf("%s, and then %q instead of %q", received, wrong.got, wrong.want)
	case err == ErrSilence:
		return fmt.Errorf("%s, then silence", received)
	case err == io.EOF:
		return fmt.Errorf("%s, then EOF", received)
	}
	return fmt.Errorf("%s, then: %w", received, err)
}

// Ordinal returns "1st", "2nd", "3rd" and so on.
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

// Plural returns the number with the noun that fits it.
func Plural(n int, one, many string) string {
	if n == 1 {
		many = one
	}
	return fmt.Sprint(n, " ", many)
}
