package owed

import "epoll-step-by-step/internal/exam"

var EdgeLost = exam.Check{
	ID: "EDGE_LOST", Title: "much data in one edge, then silence: all of it is answered", For: echoServers, Run: edgeLost,
	Usually: "one read(2) for each edge: what it left is only noticed when more arrives; or the loop sleeps although it knows of work",
	Reread:  []string{`epoll(7) "Level-triggered and edge-triggered"`, `epoll(7) "Questions and answers"`}, Chapter: exam.ChapterEdge,
}

func edgeLost(s *exam.Session) error {
	c, err := s.Dial(0)
	if err != nil {
		return err
	}
	// The receive queue grows with use: tcp(7), tcp_rmem. Let it.
	for range 16 {
		before := c.Got
		if err := c.Echo(exam.EdgeSize, exam.SilenceTimeout); err != nil {
			s.Note("sent", "%d bytes, and nothing after them", exam.EdgeSize)
			return s.Fail("got back", "%v", c.Outcome(before, exam.EdgeSize, err))
		}
	}
	for range 4 {
		if err := oneEdge(s, c, exam.EdgeSize); err != nil {
			return err
		}
	}
	s.Note("sent", "4 times %d bytes in one edge, and nothing after them: all came back", exam.EdgeSize)
	if !s.Owned() {
		return nil
	}
	// And as much as one edge can be, for a loop that has a limit of its own.
	s.CloseClient(c) // the server may serve one client at a time
	most := 0
	for range 2 {
		c, err := s.DialRoomy()
		if err != nil {
			return err
		}
		n := max(exam.EdgeSize, min(c.Window(), exam.BigMessage))
		if err := oneEdge(s, c, n); err != nil {
			return err
		}
		s.CloseClient(c)
		most = max(most, n)
	}
	s.Note("then", "on 2 more connections, up to %d bytes in one edge", most)
	return nil
}

// oneEdge sends n bytes, which make one edge if we can stop the server, and wants
// them back.
func oneEdge(s *exam.Session, c *exam.Client, n int) error {
	before := c.Got
	send := func() error { return c.Send(n, exam.ReplyTimeout) }
	how, err := "in one piece", error(nil)
	if !s.Owned() {
		err = send()
	} else {
		how = "while the server was stopped"
		s.AwaitSleep()
		err = s.WhileStopped(func() error {
			if err := send(); err != nil {
				return err
			}
			s.AwaitArrival(exam.StallTime, c) // what is still under way would be an edge of its own
			return nil
		})
	}
	if err == nil {
		err = c.Receive(n, exam.SilenceTimeout, nil)
	}
	if err == nil {
		return nil
	}
	if s.Owned() {
		if _, dead := s.Server.AwaitDeath(); dead {
			return exam.SkipCheck("the server does not survive SIGSTOP and SIGCONT: see DIED_ON_SIGNAL")
		}
	}
	s.Note("sent", "%d bytes %s, and nothing after them", n, how)
	return s.Fail("got back", "%v", c.Outcome(before, n, err))
}
