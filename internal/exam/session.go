package exam

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// A session is what one check works with: a server, and clients that are gone
// when the check has ended.
type Session struct {
	Ctx        context.Context
	Server     *Server
	startAgain func(nofile uint64) (*Server, error) // the server once more, nil if it was not started by us
	facts      []Fact
	Usually    string // if it is not what the table says

	mu      sync.Mutex
	clients []*Client
	raw     []int    // descriptors of those that are not the net package's
	ends    []func() // what else is to be done at the end
}

func (s *Session) AtEnd(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = append(s.ends, f)
}

// note records what the check saw, for the explanation.
func (s *Session) Note(label, format string, args ...any) {
	s.facts = append(s.facts, Fact{label, fmt.Sprintf(format, args...)})
}

// fail is note, as the verdict.
func (s *Session) Fail(label, format string, args ...any) error {
	s.Note(label, format, args...)
	return ErrFailed
}

// owned reports whether the examiner has started the server, and so may stop it
// and start it again.
func (s *Session) Owned() bool { return s.startAgain != nil }

// restart starts the server again, on the same address. The old one must have
// ended.
func (s *Session) Restart() error {
	again, err := s.startAgain(hardNOFILE())
	if err == nil {
		s.Server = again
	}
	return err
}

// allClients returns the clients that are connected.
func (s *Session) Clients() []*Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.clients)
}

// keepFD makes the session shut down a socket that is not the net package's when
// the check is interrupted.
func (s *Session) KeepFD(fd int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw = append(s.raw, fd)
}

// wake ends whatever a check waits for: what it does with its clients fails from
// now on. Until it has ended, no number of a descriptor that it uses is free.
func (s *Session) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		c.Reset()
	}
	for _, fd := range s.raw {
		unix.Shutdown(fd, unix.SHUT_RDWR)
	}
}

// resetAll closes the clients with a RST: no TIME_WAIT stays behind, and the
// next server can have the port.
func (s *Session) ResetAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		c.Reset()
	}
	for _, f := range slices.Backward(s.ends) {
		f()
	}
	s.raw, s.ends = nil, nil
}
