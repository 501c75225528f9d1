package owed

import (
	"fmt"
	"time"

	"epoll-step-by-step/internal/exam"
)

const (
	promptReply = 500 * time.Millisecond // for an answer while other clients keep the server busy
	promptTries = 3                      // one of so many answers must come within that time
)

// serveAnother connects a new client and expects an answer.
func serveAnother(s *exam.Session, when string) error {
	c, err := s.Dial(0)
	if err == nil {
		err = c.Ping(exam.NewcomerTimeout)
	}
	if err != nil {
		s.Note("a new", "client %s: %v", when, exam.SilenceFor(err, exam.NewcomerTimeout))
		if err == exam.ErrSilence {
			s.ExplainSilence(c, false)
		}
		return exam.ErrFailed
	}
	return nil
}

// servesOne has one client answered, which leaves with a RST. It is what a check needs
// before it asks what happens to others.
func servesOne(s *exam.Session) error {
	c, err := s.DialAndPing()
	if err != nil {
		return exam.NotPrepared(err)
	}
	c.Reset()
	s.CloseClient(c)
	return nil
}

// pingPromptly has c answered within promptReply, and returns the time. The time
// that the server has waited for a CPU does not count. A ping without an answer is
// not repeated.
func pingPromptly(s *exam.Session, c *exam.Client) (time.Duration, error) {
	const patience = 4 * promptReply
	var took time.Duration
	for range promptTries {
		_, before := s.Server.CPUTime()
		begin, received := time.Now(), c.Got
		if err := c.Ping(patience); err != nil {
			return 0, fmt.Errorf("and got %v", c.Outcome(received, c.MessageDue(), exam.SilenceFor(err, patience)))
		}
		took = time.Since(begin).Round(10 * time.Microsecond)
		_, after := s.Server.CPUTime()
		if took-(after-before) < promptReply {
			return took, nil
		}
	}
	return took, fmt.Errorf("and was answered only after %v", took)
}
