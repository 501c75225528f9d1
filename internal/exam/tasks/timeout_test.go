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
