package tasks

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"epoll-step-by-step/internal/exam"
)

// A speaker ends when the exam is interrupted.
func TestSpeakerInterrupted(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			io.Copy(c, c)
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	s := &exam.Session{Ctx: ctx, Server: &exam.Server{Addr: l.Addr().(*net.TCPAddr).AddrPort()}}
	defer s.ResetAll()
	sp, err := startSpeaker(s)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-sp.end:
		if err != context.Canceled {
			t.Errorf("the speaker ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the speaker has not reported its end")
	}
}

// A client is closed after its second message. If that comes long after the first answer,
// a busy machine may be the reason, and another client goes on.
func TestSpeakerClosed(t *testing.T) {
	for _, tc := range []struct {
		name     string
		closedIn time.Duration // after the second message
		fails    bool
	}{
		{"at once", 0, true},
		{"late", tooSoon, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for first := true; ; first = false {
					c, err := l.Accept()
					if err != nil {
						return
					}
					if !first {
						io.Copy(c, c)
						return
					}
					io.CopyN(c, c, exam.PingSize)
					io.CopyN(io.Discard, c, exam.PingSize)
					time.Sleep(tc.closedIn)
					c.Close()
				}
			}()
			s := &exam.Session{Ctx: t.Context(), Server: &exam.Server{Addr: l.Addr().(*net.TCPAddr).AddrPort()}}
			defer s.ResetAll()
			sp, err := startSpeaker(s)
			if err != nil {
				t.Fatal(err)
			}
			sp.over.Store(true)
			if err := <-sp.end; (err != nil) != tc.fails {
				t.Errorf("the speaker ended with %v", err)
			}
		})
	}
}
