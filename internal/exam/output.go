package exam

import (
	"strings"
	"sync"
	"time"

	"epoll-step-by-step/internal/terminal"
)

const (
	outputLines = 12       // that are shown
	outputWidth = 400      // characters of a line that are shown
	outputBytes = 32 << 10 // that are kept
)

// lastOutput returns what the server printed last.
func (s *Server) lastOutput() string {
	select {
	case <-s.outputEnd:
	case <-time.After(deathTime): // a process lives and may print more
	}
	return s.output.String()
}

// A tail keeps the end of what the server prints. It never makes the server wait.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*outputBytes {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-outputBytes:]...)
	}
	return len(p), nil
}

// String returns the last lines, or if the server crashed, the first lines of that. Long
// lines are cut.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimRight(string(t.buf), "\n")
	for _, crash := range []string{"\nfatal error: ", "\npanic: ", "\nTraceback "} {
		if i := strings.Index(text, crash); i >= 0 {
			lines := strings.Split(text[i+1:], "\n")
			return joined(lines[:min(len(lines), outputLines)])
		}
	}
	lines := strings.Split(text, "\n")
	return joined(lines[max(0, len(lines)-outputLines):])
}

func joined(lines []string) string {
	var cut []string
	for _, line := range lines {
		cut = append(cut, terminal.Cut(line, outputWidth))
	}
	return strings.Join(cut, "\n")
}
