package exam

import (
	"strings"
	"sync"
	"time"
)

// lastWords is what the server printed last.
func (s *Server) lastOutput() string {
	select {
	case <-s.said:
	case <-time.After(200 * time.Millisecond): // somebody lives and may print more
	}
	return s.output.String()
}

// tail keeps the end of what the server prints, and never makes it wait.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 64<<10 {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-32<<10:]...)
	}
	return len(p), nil
}

// String returns the last lines, at most twelve; those that a crash begins with
// if there is one.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimRight(string(t.buf), "\n")
	for _, crash := range []string{"\nfatal error: ", "\npanic: ", "\nTraceback "} {
		if i := strings.Index(text, crash); i >= 0 {
			lines := strings.Split(text[i+1:], "\n")
			return strings.Join(lines[:min(len(lines), 12)], "\n")
		}
	}
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}
