package owed

import (
	"fmt"
	"time"

	"epoll-step-by-step/internal/exam"
)

const promptReply = 500 * time.Millisecond // for an answer while others keep the server busy

// serveAnother connects a new client, which is to be answered soon.
func serveAnother(s *exam.Session, when string) error {
	c, err := s.Dial(0)
	if err == nil {
		err = c.Ping(exam.NewcomerTimeout)
	}
	if err != nil {
		return s.Fail("a new", "client %s: %v", when, exam.SilenceFor(err, exam.NewcomerTimeout))
	}
	return nil
}

// pingWithin has three tries, so that one moment at which the machine had
// other things to do is not the server's fault. An unanswered try ends it.
func pingWithin(c *exam.Client, d time.Duration) (time.Duration, error) {
	var took time.Duration
	for range 3 {
		begin, before := time.Now(), c.Got
		if err := c.Ping(4 * d); err != nil {
			return 0, fmt.Errorf("and got %v", c.Outcome(before, exam.PingSize, exam.SilenceFor(err, 4*d)))
		}
		if took = time.Since(begin).Round(10 * time.Microsecond); took < d {
			return took, nil
		}
	}
	return took, fmt.Errorf("and was answered only after %v", took)
}
