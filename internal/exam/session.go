package exam

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Session is what one check works with: a server, clients, and notes. It closes
// the clients when the check has ended.
type Session struct {
	Ctx      context.Context // done when the check is interrupted
	Server   *Server
	Dialogue *Dialogue
	Usually  string // the usual mistake, if it is not the check's

	start func(nofile uint64) (*Server, error) // nil if we have not started the server
	facts []Fact

	mu      sync.Mutex
	clients []*Client
	atEnd   []func() // in the order in which they were given

	sleepless atomic.Int32 // how many waits for sleep in a row a spinning server has met

	delays struct { // the last look of delayed
		sync.Mutex
		begin  time.Time
		result bool
	}
}

// Note records what the check saw, for the explanation. The label is the first word
// or two of the sentence.
func (s *Session) Note(label, format string, args ...any) {
	s.facts = append(s.facts, Fact{label, fmt.Sprintf(format, args...)})
}

// Fail is a Note that fails the check.
func (s *Session) Fail(label, format string, args ...any) error {
	s.Note(label, format, args...)
	return ErrFailed
}

// Owned reports whether the examiner has started the server, and so may stop it and
// start it again.
func (s *Session) Owned() bool { return s.start != nil }

// Restart starts the server again, on the same address. The old one must have
// ended. It may fail with a *StartError.
func (s *Session) Restart() error {
	server, err := s.start(hardNOFILE())
	if err == nil {
		s.Server = server
	}
	return err
}

// Clients returns the clients that the check has not closed with CloseClient.
func (s *Session) Clients() []*Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.clients)
}

// AtEnd calls f when the check has ended: the last f first.
func (s *Session) AtEnd(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.atEnd = append(s.atEnd, f)
}

// interrupt makes all calls of the check's clients fail.
func (s *Session) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		c.Reset()
	}
}

// ResetAll closes the clients with a RST, so no TIME_WAIT keeps the next server from
// the port.
func (s *Session) ResetAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		c.Reset()
	}
	for _, f := range slices.Backward(s.atEnd) {
		f()
	}
	s.atEnd = nil
}
