package owed_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/examtest"
	"epoll-step-by-step/internal/exam/owed"
	"epoll-step-by-step/internal/exam/show"
)

func TestMain(m *testing.M) { examtest.Main(m) }

// TCP is a byte stream, so a message may come back in parts, with pauses between them.
func TestAnswersInParts(t *testing.T) {
	t.Parallel()
	const pause = 100 * time.Millisecond
	addr := serve(t, func(c net.Conn) {
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			c.Write(buf[:n/2])
			if n > 1 {
				time.Sleep(pause)
			}
			c.Write(buf[n/2 : n])
		}
	})
	report, err := exam.Run(t.Context(), exam.Options{Addr: addr, Checks: []exam.Check{owed.NoReply, owed.WrongBytes}})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		if r.Verdict != exam.Pass {
			t.Errorf("%s", show.Style{Width: 100, Verbose: true}.Text(r))
		}
	}
}

// serve serves each client of a new listener in a goroutine, and returns the address.
func serve(t *testing.T, client func(c net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				client(c)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}
