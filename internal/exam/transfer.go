package exam

import "time"

// Transfer sends requests whose replies come to n bytes, without reading until the
// server takes no more. Then it reads, at pace, while the rest is sent.
func (s *Session) Transfer(c *Client, n int, pace func()) error {
	before, end := c.Got, c.dialogue.whole(c.Sent+c.dialogue.Asking(n))
	offered, err := c.Offer(n)
	if err != nil {
		s.Note("sent", "%d bytes without reading, then: %v", offered, err)
		return ErrFailed
	}
	if !c.dialogue.echo {
		// Millions of short replies take long, and twice what filled the queues is enough.
		end = min(end, c.dialogue.whole(c.Sent+max(offered, atLeastThen)))
	}
	s.Note("sent", "%d bytes without reading, then read and sent the rest of %d", offered, end-c.Sent+offered)
	rest := make(chan error, 1)
	go func() {
		var err error
		for c.Sent < end && err == nil {
			err = c.Send(min(end-c.Sent, 64<<10), checkTimeout)
		}
		rest <- err
	}()
	due := c.dialogue.due(end) - before
	err = c.Receive(due, SilenceTimeout, pace)
	if err != nil {
		s.Note("got back", "%v", c.Outcome(before, due, err))
		s.Note("server", "%s", s.DescribeServer()) // while the sender still tries
		if err == ErrSilence {
			s.ExplainSilence(c, true)
		}
		c.Reset() // which ends the sender, too
		<-rest
		return ErrFailed
	}
	return <-rest
}

const atLeastThen = 1 << 20 // bytes of requests that are sent in addition

const slowReads = 200 // with a pause of 1 ms

// SlowPace is the pace of a slow reader: slow at first, so the server meets a full
// queue many times; then without pauses, or it would take too long.
func SlowPace() func() {
	reads := 0
	return func() {
		if reads++; reads <= slowReads {
			time.Sleep(time.Millisecond)
		}
	}
}

// DialRecovered connects a client that reads nothing until the server takes no more,
// and then reads all that it is owed. It returns nil if the client does not get that,
// which is for other checks to report.
func (s *Session) DialRecovered() (*Client, error) {
	c, err := s.Dial(0)
	if err != nil {
		return nil, err
	}
	facts, usually := s.facts, s.Usually
	err = s.Transfer(c, BigMessage, nil)
	s.facts, s.Usually = facts, usually
	if err == nil {
		err = c.Ping(ReplyTimeout)
	}
	if err != nil {
		s.CloseClient(c)
		return nil, nil
	}
	return c, nil
}

// DialRoomy connects a client for which the server's kernel has much room. See
// [Client.Window]. A connection that begins with a flood gets the most.
func (s *Session) DialRoomy() (*Client, error) {
	c, err := s.DialAndPing()
	if err != nil {
		return nil, err
	}
	if err := s.WhileStopped(func() error { _, err := c.Offer(Flood); return err }); err != nil {
		return nil, err
	}
	facts := s.facts
	if err := s.Transfer(c, BigMessage, nil); err != nil {
		return nil, err
	}
	s.facts = facts
	return c, nil
}
