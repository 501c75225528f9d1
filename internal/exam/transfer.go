package exam

import (
	"strings"
	"time"
)

// transfer sends n bytes, without reading until the server takes no more; then
// it reads, at its pace, while the rest is sent.
func (s *Session) Transfer(c *Client, n int, pace func()) error {
	before, owed := c.Got, c.Sent-c.Got
	offered, err := c.Offer(n)
	if err != nil {
		s.Note("sent", "%d bytes without reading, then: %v", offered, err)
		return ErrFailed
	}
	s.Note("sent", "%d bytes without reading, then read and sent the rest of %d", offered, n)
	rest := make(chan error, 1)
	go func() {
		var err error
		for left := n - offered; left > 0 && err == nil; {
			m := min(left, 64<<10)
			err = c.Send(m, checkTimeout)
			left -= m
		}
		rest <- err
	}()
	err = c.Receive(owed+n, SilenceTimeout, pace)
	if err != nil {
		s.Note("got back", "%v", c.Outcome(before, owed+n, err))
		s.Note("server", "%s", s.DescribeServer()) // before the sender gives up
		if err == ErrSilence {
			s.ExplainUnread(c)
		}
		c.Reset() // and with it the sender, who would set another deadline
		<-rest
		return ErrFailed
	}
	return <-rest
}

// leftUnread says what is usually wrong if bytes of c are unread and nothing
// comes back.
func (s *Session) ExplainUnread(c *Client) {
	end, _, err := c.ServerEnd()
	if err != nil || end.RxQueue == 0 {
		return
	}
	switch doing := s.Server.Doing(); {
	case strings.HasPrefix(doing, "asleep in epoll"):
		s.Usually = "no event will come for the bytes that are unread: their one edge is used up, " +
			"or after EAGAIN nobody asked for EPOLLOUT or, later, for EPOLLIN again"
	case doing == "running":
		s.Usually = "it is awake and does not read what has come: after EAGAIN, writing was not taken up again, or reading was not"
	}
}

// sipping is the pace of a slow reader: slow at first, so that the server meets
// a full queue again and again; then as fast as it can, or it would never end.
func SlowPace() func() {
	sips := 0
	return func() {
		if sips++; sips <= 200 {
			time.Sleep(time.Millisecond)
		}
	}
}

// recovered connects a client that reads nothing until the server takes no more,
// and then all that it is owed. It is nil if it does not get that: other checks
// say so.
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

// roomy connects a client for which the server's kernel has much room: a connection
// that begins with a flood gets the most. See [client.window].
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
