package lab

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// waitUntilAsleep waits until a thread of this process sleeps in a call on this
// descriptor.
func waitUntilAsleep(t *testing.T, call string, fd int) (thread int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); runtime.Gosched() {
		threads, err := procfs.Threads(os.Getpid())
		if err != nil {
			t.Error(err)
			return 0
		}
		for _, th := range threads {
			if th.Syscall.Name == call && th.Syscall.Args[0] == uint64(fd) {
				return th.TID
			}
		}
	}
	t.Errorf("no thread sleeps in %s(%d)", call, fd)
	return 0
}

// After Ctrl-C at a prompt the call is interrupted, and the session continues.
func TestInterrupt(t *testing.T) {
	for _, tt := range []struct{ name, line, call, on string }{
		{"without a timeout", "wait e 16 -1", "epoll_pwait", "e"},
		{"with a timeout", "wait e 16 60000", "epoll_pwait", "e"},
		{"read", "read a", "read", "a"},
		{"until", "read a until EAGAIN", "read", "a"},
		{"repeat", "repeat 10000 read a", "read", "a"},
		{"accept", "accept l x", "accept4", "l"},
		{"write", "write a 16777216 bytes", "write", "a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSession(t, "epoll e", "pair a b", "listen l", "fcntl a -O_NONBLOCK", "fcntl l -O_NONBLOCK")
			s.Patience = 0
			fd := s.names[tt.on].fd
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				defer cancel()
				waitUntilAsleep(t, tt.call, fd)
			}()
			r := s.Do(ctx, tt.line)
			last := r.Calls[len(r.Calls)-1]
			short := tt.call == "write" && last.Value > 0 && last.Value < 16777216 // it has written a part before
			if r.Err != nil || last.Errno != unix.EINTR && !short {
				t.Errorf("got %+v", r)
			}
			answer(t, s, `write b "x"`)
			answer(t, s, "wait e")
		})
	}
}

func TestPatience(t *testing.T) {
	s := newSession(t, "epoll e", "pair a b", "fcntl a -O_NONBLOCK")
	s.Patience = 50 * time.Millisecond
	for _, line := range []string{"wait e 16 -1", "read a", "repeat 2 read a", "read a until EAGAIN"} {
		r := s.Do(t.Context(), line)
		if r.Err == nil || r.Err.Kind != Asleep || len(r.Calls) != 1 || r.Calls[0].Errno != unix.EINTR {
			t.Errorf("%s: got %+v", line, r)
		}
	}
	if got := answer(t, s, "wait e 16 60"); !strings.HasSuffix(got, " = 0") {
		t.Errorf("Patience must not end a wait with a timeout: got %s", got)
	}
}

// After a signal, read is restarted because Go's handlers have SA_RESTART, but
// epoll_wait is not: signal(7).
func TestAlarm(t *testing.T) {
	s := newSession(t, "epoll e", "pair a b", "fcntl a -O_NONBLOCK")
	answer(t, s, "alarm 0")
	if got, want := answer(t, s, "wait e 16 60000"), "epoll_wait(e, ..., 16, 60000) = -1 EINTR (Interrupted system call)\n--- SIGALRM ---"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	answer(t, s, "alarm 0")
	s.Patience = 50 * time.Millisecond
	r := s.Do(t.Context(), "read a")
	if r.Err == nil || r.Err.Kind != Asleep || !slices.Contains(r.Lines, "--- SIGALRM --- and it slept on, by SA_RESTART, until the lab ended it") {
		t.Errorf("read: got %+v, want it restarted after SIGALRM", r)
	}
	// An alarm is for the next call that sleeps, and for that one only.
	answer(t, s, "alarm 60000")
	answer(t, s, `write b "x"`)
	answer(t, s, "wait e")
	if s.alarm == nil {
		t.Error("a call that does not sleep took the alarm")
	}
	answer(t, s, "read a")
	if s.alarm != nil {
		t.Error("the alarm is still set")
	}
}

// The Go runtime sends SIGURG to its threads, and the kernel SIGCHLD to any thread.
// They must not interrupt a call that sleeps: epoll_wait would fail with EINTR, and write would return early.
func TestForeignSignal(t *testing.T) {
	s := newSession(t, "epoll e", "pair a b", "add e a in", "fcntl b -O_NONBLOCK")
	e, a, b := s.names["e"].fd, s.names["a"].fd, s.names["b"].fd
	const size = 4 << 20 // more than the socket's buffers hold
	for _, tt := range []struct {
		line, call string
		fd         int
		finish     func() // what the call waits for
		want       string
	}{
		{"wait e 16 -1", "epoll_pwait", e, func() { unix.Write(b, []byte("x")) },
			"epoll_wait(e, [{a, EPOLLIN}], 16, -1) = 1"},
		{fmt.Sprintf("write b %d bytes", size), "write", b, func() {
			buf := make([]byte, 64<<10)
			for got := 0; got < size; {
				n, err := unix.Read(a, buf)
				if err == unix.EAGAIN && readable(a) {
					continue
				}
				if err != nil {
					t.Errorf("after %d bytes, read: %v", got, err)
					return
				}
				got += n
			}
		}, fmt.Sprintf("write(b, \"abcdefghijklmnopqrstuvwxyzabcdef\"..., %d) = %d", size, size)},
	} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, sig := range []unix.Signal{unix.SIGURG, unix.SIGCHLD} {
				unix.Tgkill(os.Getpid(), waitUntilAsleep(t, tt.call, tt.fd), sig)
			}
			waitUntilAsleep(t, tt.call, tt.fd) // still, because the signals are blocked
			tt.finish()
		}()
		if got := answer(t, s, tt.line); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
		<-done
	}
}

// readable waits until fd is readable, and reports false if it is not within 10 s.
func readable(fd int) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		if err != unix.EINTR {
			return n == 1
		}
	}
}
