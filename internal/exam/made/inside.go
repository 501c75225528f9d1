package made

import (
	"slices"

	"epoll-step-by-step/internal/exam"
)

const answeredClients = 5 // clients that are answered once and are silent then

// acceptedSockets connects a client that sends nothing and some that are answered
// once, and finds the server's ends of the connections that it has accepted. A server
// that sleeps in read(2) on the silent one does not answer the others.
func acceptedSockets(s *exam.Session) ([]exam.Place, error) {
	clients, err := dialAll(s)
	if len(clients) == 0 {
		return nil, exam.NotPrepared(err)
	}
	return placesOf(s, clients)
}

// registeredSockets is acceptedSockets for a server that answers. withStalled adds a
// client that did not read for a while, if the server can deal with it: EAGAIN may have
// changed how that one is registered.
func registeredSockets(s *exam.Session, withStalled bool) ([]exam.Place, error) {
	clients, err := dialAll(s)
	if err != nil {
		return nil, exam.NotPrepared(err)
	}
	if withStalled {
		if c, err := s.DialRecovered(); err != nil {
			return nil, exam.NotPrepared(err)
		} else if c != nil {
			clients = append(clients, c)
		}
	}
	return placesOf(s, clients)
}

func dialAll(s *exam.Session) ([]*exam.Client, error) {
	silent, err := s.Dial(0)
	if err != nil {
		return nil, err
	}
	clients := []*exam.Client{silent}
	for range answeredClients {
		c, err := s.DialAndPing()
		if err != nil {
			return clients, err
		}
		clients = append(clients, c)
	}
	return clients, nil
}

func placesOf(s *exam.Session, clients []*exam.Client) ([]exam.Place, error) {
	// The answer may come before the server calls epoll_ctl(2). When the server
	// sleeps, it has called it.
	s.AwaitThreads(exam.Sleeping, exam.ReplyTimeout)
	found, err := s.PlacesOf(clients...)
	if err != nil {
		return nil, err
	}
	// A process without a listening socket may have copies of the descriptors.
	servers := s.Server.Processes()
	found = slices.DeleteFunc(found, func(p exam.Place) bool { return !slices.Contains(servers, p.PID) })
	if len(found) == 0 {
		return nil, exam.CannotRun("the server's ends of the connections are not among its descriptors")
	}
	return found, nil
}

// watched reports whether the client is on the interest list that has the listener.
func watched(p exam.Place) bool { return p.Registered() && p.Epfd == p.ListenerEpfd }
