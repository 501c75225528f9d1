package xray

import (
	"fmt"
	"net"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

func TestIdle(t *testing.T) {
	for _, tt := range []struct{ name, listener, client, trigger, ready string }{
		{"step3-epoll-lt", "EPOLLIN", "EPOLLIN", "level", "no"},
		{"step4-epoll-et", "EPOLLIN|EPOLLET", "EPOLLIN|EPOLLOUT|EPOLLRDHUP|EPOLLET", "edge", "told"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := step(t, tt.name)
			clients := []net.Conn{s.served(t), s.served(t)}
			r := s.await(t, rests("asleep in "+waitCall+" on fd %d, which watches 3 descriptors; none is ready now"))
			p := r.Process
			if p.PID != s.pid || p.Name != tt.name || !p.Go || p.Threads != len(r.Threads) || p.Descriptors < 6 ||
				p.Limit == 0 || p.Resident < 1<<20 || p.CPUSeconds <= 0 || p.CPUPercent != -1 ||
				!strings.HasSuffix(p.Command, tt.name+" -addr 127.0.0.1:0") {
				t.Errorf("process: %+v", p)
			}
			e := r.own()
			if th := r.Threads[0]; th.TID != s.pid || th.State != "asleep" || th.Call != waitCall || th.FD != e.FD || th.Timeout != -1 {
				t.Errorf("main thread: %+v", th)
			}
			if len(e.Interests) != 3 || e.Ready != 0 || e.Unknown != 0 || r.marks() != nil {
				t.Errorf("epoll instance: %+v, marks %v", e, r.marks())
			}
			l := r.Sockets[0]
			want := Interest{FD: l.FD, What: "listener on " + s.addr.String(), Asked: tt.listener, Trigger: tt.trigger, Ready: "no", Marks: []Mark{}}
			if got := e.Interests[0]; !reflect.DeepEqual(got, want) {
				t.Errorf("listener: %+v, want %+v", got, want)
			}
			if want := (Socket{FD: l.FD, State: "LISTEN", Local: s.addr.String(), Backlog: backlog(t)}); l != want || len(r.Sockets) != 3 {
				t.Errorf("sockets: %+v, want %+v first and 2 more", r.Sockets, want)
			}
			for _, c := range clients {
				k, i := r.peer(c)
				if want := (Socket{FD: i.FD, State: "ESTABLISHED", Local: s.addr.String(), Remote: c.LocalAddr().String(), Accepted: true, Backlog: -1}); k != want {
					t.Errorf("connection: %+v, want %+v", k, want)
				}
				want := Interest{FD: k.FD, What: "client " + k.Remote, Asked: tt.client, Trigger: tt.trigger, Ready: tt.ready, Marks: []Mark{}}
				if !reflect.DeepEqual(i, want) {
					t.Errorf("client: %+v, want %+v", i, want)
				}
			}
			checkRendered(t, r)
		})
	}
}

// backlog returns the effective backlog of the steps, which ask for 4096: listen(2).
func backlog(t *testing.T) int {
	t.Helper()
	limit := must[[]byte](t)(os.ReadFile("/proc/sys/net/core/somaxconn"))
	return min(4096, must[int](t)(strconv.Atoi(strings.TrimSpace(string(limit)))))
}

// A stopped server neither reads nor accepts.
func TestStopped(t *testing.T) {
	s := step(t, "step3-epoll-lt")
	c := s.served(t)
	s.await(t, says("asleep in "+waitCall+" on fd %d, which watches 2 descriptors; none is ready now"))
	if err := unix.Kill(s.pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	send(t, c, "12345")
	s.await(t, says("stopped in "+waitCall+" on fd %d, which watches 2 descriptors; 1 is ready now"))
	c.CloseWrite()
	d := s.dial(t)
	send(t, d, "123")
	r := s.await(t, func(r Report) string {
		k, i := r.peer(c)
		if k.State != "CLOSE_WAIT" || k.Unread != 5 || !k.EndUnread || i.Ready != "yes" {
			return fmt.Sprintf("5 bytes and the end unread: %+v, %+v", k, i)
		}
		if k, _ := r.peer(d); r.Sockets[0].Waiting != 1 || k.FD != -1 || k.Unread != 3 || k.Accepted {
			return fmt.Sprintf("a client with 3 bytes not accepted: %+v, %+v", r.Sockets[0], k)
		}
		return says("stopped in " + waitCall + " on fd %d, which watches 2 descriptors; 2 are ready now")(r)
	})
	if r.own().Ready != 2 || r.marks() != nil {
		t.Errorf("epoll: %+v, marks %v", r.own(), r.marks())
	}
	checkRendered(t, r)
}

func TestUnaccepted(t *testing.T) {
	s := step(t, "step1-blocking")
	c := s.served(t)
	d := s.dial(t)
	send(t, d, "hello")
	r := s.await(t, func(r Report) string {
		if k, _ := r.peer(d); k.Unread != 5 || r.Sockets[0].Waiting != 1 {
			return fmt.Sprintf("5 bytes unread, and 1 waits: %+v, %+v", k, r.Sockets[0])
		}
		if !slices.ContainsFunc(r.Threads, func(th Thread) bool { return th.Call == "futex" }) {
			return "a thread of the runtime asleep"
		}
		return says(fmt.Sprintf("asleep in read on fd %%d (%s <- %s): nothing unread", s.addr, c.LocalAddr()))(r)
	})
	if l := r.Sockets[0]; l.State != "LISTEN" || l.Waiting != 1 || l.Backlog != backlog(t) {
		t.Errorf("listener: %+v, want 1 to wait", l)
	}
	want := Socket{FD: -1, State: "ESTABLISHED", Local: s.addr.String(), Remote: d.LocalAddr().String(), Unread: 5, Backlog: -1}
	if r.Sockets[1] != want {
		t.Errorf("not accepted: %+v, want %+v", r.Sockets[1], want)
	}
	if k, _ := r.peer(c); !k.Accepted || r.own().FD != -1 {
		t.Errorf("connection: %+v, epoll: %+v, want none", k, r.own())
	}
	page := checkRendered(t, r)
	for _, want := range []string{"1 of 4096 waits for accept", "not accepted yet", "more asleep in futex: the Go runtime's"} {
		if !strings.Contains(page, want) && backlog(t) == 4096 {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	c.Close()
	d.Close()
	s.await(t, says(fmt.Sprintf("asleep in accept4 on fd %%d (listener on %s): 0 of %d wait for accept", s.addr, backlog(t))))
}

// While a client does not read, EPOLLOUT is registered for good reason: no mark.
func TestStalled(t *testing.T) {
	s := step(t, "step3-epoll-lt")
	s.served(t)
	c := s.dial(t)
	stall(t, c)
	r := s.await(t, func(r Report) string {
		k, i := r.peer(c)
		if k.Unsent == 0 || i.Asked != "EPOLLOUT" || i.Ready != "no" {
			return fmt.Sprintf("stalled: %+v, %+v", k, i)
		}
		return says("asleep in " + waitCall + " on fd %d, which watches 3 descriptors; none is ready now")(r)
	})
	if r.marks() != nil {
		t.Errorf("marks %v, want none", r.marks())
	}
	checkRendered(t, r)
}

// stall sends in the background until the test ends, and never reads.
func stall(t *testing.T, c *net.TCPConn) {
	done := make(chan bool)
	go func() {
		defer close(done)
		for buf := make([]byte, 64<<10); ; {
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
}

func TestRunning(t *testing.T) {
	s := step(t, "step2-nonblocking")
	s.served(t)
	before := s.await(t, says("running"))
	r := s.await(t, func(r Report) string {
		if r.compare(before, 0.001); r.Process.CPUPercent < 100 {
			return "1 ms of CPU time"
		}
		return says("running")(r)
	})
	if th := r.Threads[0]; th.State != "running" || th.Call != "" || th.FD != -1 {
		t.Errorf("main thread: %+v", th)
	}
	checkRendered(t, r)
}

// Where Yama hides system calls, the kernel function is shown.
func TestDenied(t *testing.T) {
	v := &snapshot{threads: []procfs.Thread{
		{State: 'S', Wchan: "ep_poll", Syscall: procfs.Syscall{State: procfs.SyscallDenied, Number: -1}},
		{State: 'S', Wchan: "pipe_read", Syscall: procfs.Syscall{State: procfs.SyscallDenied, Number: -1}},
		{State: 'S', Wchan: "", Syscall: procfs.Syscall{State: procfs.SyscallDenied, Number: -1}},
		{State: 'D', Wchan: "x", Syscall: procfs.Syscall{State: procfs.SyscallNone, Number: -1}},
		{State: 'T', Wchan: "do_signal_stop", Syscall: procfs.Syscall{State: procfs.SyscallDenied, Number: -1}},
	}}
	var got []string
	for _, th := range v.threadList() {
		got = append(got, th.Says)
	}
	want := []string{"asleep in epoll_wait", "asleep in the kernel's pipe_read", "asleep",
		"in an uninterruptible sleep in the kernel's x", "stopped"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if notes := v.notes(Report{}); len(notes) != 1 || !strings.Contains(notes[0], "ptrace(2)") {
		t.Errorf("notes %q", notes)
	}
}
