package exercises

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// A screen is the output of a command that is still running.
type screen struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // has a value after a Write
}

func newScreen() *screen { return &screen{changed: make(chan struct{}, 1)} }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return s.text.Write(p)
}

// await waits for a text and removes everything up to its end.
func (s *screen) await(t *testing.T, text string) {
	t.Helper()
	limit := time.After(5 * time.Minute) // only so that a defect shows the output
	for {
		s.mu.Lock()
		i := bytes.Index(s.text.Bytes(), []byte(text))
		if i >= 0 {
			s.text.Next(i + len(text))
		}
		output := s.text.String()
		s.mu.Unlock()
		if i >= 0 {
			return
		}
		select {
		case <-s.changed:
		case <-limit:
			t.Fatalf("watch does not print %q; its output:\n%s", text, output)
		}
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	keyboard, typed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer typed.Close()
	seen := newScreen()
	s := &session{root: f.root, in: keyboard, out: seen, err: seen}
	s.style.Width = 60
	code := make(chan int)
	go func() { code <- s.run(ctx, []string{"watch"}) }()

	const prompt = "q (quit): "
	seen.await(t, mine+" is yours now")
	seen.await(t, "02-die: It dies\n")
	seen.await(t, "This failure is expected")
	seen.await(t, prompt)
	f.write(mine, "package main\n\nfunc main() {\n")
	seen.await(t, "saved at")
	seen.await(t, "Build error")
	seen.await(t, prompt)
	os.Remove(filepath.Join(f.root, mine)) // some editors do this before they write
	f.write(mine, fakeSolution)
	seen.await(t, "Passed.")
	seen.await(t, prompt) // it stays
	fmt.Fprintln(typed, "h")
	seen.await(t, "Hint 1 of 3")
	seen.await(t, prompt)
	fmt.Fprintln(typed)
	seen.await(t, "02-die: It dies\n")
	seen.await(t, prompt)
	fmt.Fprintln(typed, "n")
	seen.await(t, "exercises/05-die-again/main.go is yours now")
	seen.await(t, "05-die-again: It dies again\n")
	cancel() // Ctrl-C while it grades
	seen.await(t, "no longer watching")
	if got := <-code; got != 0 {
		t.Errorf("after Ctrl-C: exit code %d, want 0", got)
	}
}
