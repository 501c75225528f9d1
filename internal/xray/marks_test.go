package xray

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// wrong has an epoll instance with one entry for each mark of a level-triggered server.
func wrong() error {
	listener, addr, err := listenOn(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		return err
	}
	fmt.Println("listening on", addr)
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	add := func(fd int, events uint32) error {
		return unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
	}
	// Fixed numbers that do not depend on the descriptors of the Go runtime.
	move := func(fd, to int) error { return errors.Join(unix.Dup2(fd, to), unix.Close(fd)) }
	if err := move(listener, 100); err != nil {
		return err
	}
	for to := 101; to <= 105; to++ {
		fd, _, err := unix.Accept4(100, unix.SOCK_NONBLOCK)
		if err = errors.Join(err, move(fd, to)); err != nil {
			return err
		}
	}
	const armed, blocking, closed, reused, fine = 101, 102, 103, 104, 105
	if err := unix.SetNonblock(blocking, false); err != nil {
		return err
	}
	err = errors.Join(add(100, unix.EPOLLIN), add(armed, unix.EPOLLIN|unix.EPOLLOUT), add(blocking, unix.EPOLLIN),
		add(closed, unix.EPOLLIN), add(reused, unix.EPOLLIN), add(fine, unix.EPOLLIN|unix.EPOLLONESHOT))
	if err != nil {
		return err
	}
	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		return err
	}
	if err := errors.Join(unix.Dup2(closed, 203), unix.Dup2(reused, 204)); err != nil {
		return err
	}
	unix.Close(closed)
	if err := unix.Dup2(pipe[0], reused); err != nil {
		return err
	}
	_, err = unix.Read(0, make([]byte, 1))
	return err
}

func TestMarks(t *testing.T) {
	s := role(t, "wrong")
	for range 5 {
		s.dial(t)
	}
	want := []string{"BLOCKING_FD", "BLOCKING_FD", "CLOSED_FD", "EPOLLOUT_ALWAYS_ARMED", "REUSED_FD"}
	// In this state the server is ready. A look reads the descriptors before the
	// threads, so only the next look is certain to show all of them.
	const done = "asleep in read on fd 0 (read end of a pipe)"
	s.await(t, says(done))
	r := s.await(t, func(r Report) string {
		if got := r.marks(); !slices.Equal(got, want) {
			return fmt.Sprintf("marks %v, want %v", got, want)
		}
		return ""
	})
	e := r.own()
	for i, tt := range []struct{ what, asked, ready, id, says string }{
		{"listener on", "EPOLLIN", "no", "BLOCKING_FD", "an accept that finds it not ready"},
		{"client", "EPOLLIN|EPOLLOUT", "yes", "EPOLLOUT_ALWAYS_ARMED", "every epoll_wait returns at once"},
		{"client", "EPOLLIN", "no", "BLOCKING_FD", "a read or write that finds it not ready"},
		{"client", "EPOLLIN", "no", "CLOSED_FD", "lives on as fd 203"},
		{"client", "EPOLLIN", "no", "REUSED_FD", "another file now (pipe); the one that was registered lives on as fd 204"},
		{"client", "EPOLLIN|EPOLLONESHOT", "no", "", ""},
	} {
		got := e.Interests[i]
		if !strings.HasPrefix(got.What, tt.what) || got.Asked != tt.asked || got.Ready != tt.ready {
			t.Errorf("entry %d: %+v, want %+v", i, got, tt)
		}
		if tt.id != "" && (len(got.Marks) != 1 || got.Marks[0].ID != tt.id || !strings.Contains(got.Marks[0].Says, tt.says)) {
			t.Errorf("entry %d: marks %v, want %s: %s", i, got.Marks, tt.id, tt.says)
		}
	}
	if got := e.Interests[5].Trigger; got != "level, oneshot" {
		t.Errorf("trigger %q", got)
	}
	if missing := says(done)(r); e.Ready != 1 || missing != "" {
		t.Errorf("%+v; %s", e, missing)
	}
	checkRendered(t, r)

	// A mark is shown only if two looks have it.
	shown, clean := r, r
	clean.Epolls = nil
	if shown.compare(r, 1); !slices.Equal(shown.marks(), want) {
		t.Errorf("marks of two looks: %v, want %v", shown.marks(), want)
	}
	if shown.compare(clean, 1); shown.marks() != nil {
		t.Errorf("marks of one look: %v, want none", shown.marks())
	}
	if !slices.Equal(r.marks(), want) { // the next look is compared with them
		t.Errorf("the look itself has the marks %v, want %v", r.marks(), want)
	}
}

// edge is edge-triggered and reads one byte for each event.
func edge() error {
	listener, addr, err := listenOn(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		return err
	}
	fmt.Println("listening on", addr)
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	conn, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK)
	if err != nil {
		return err
	}
	err = unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, conn, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(conn)})
	for err == nil || err == unix.EINTR {
		var events [1]unix.EpollEvent
		var n int
		if n, err = unix.EpollWait(epfd, events[:], -1); n == 1 {
			_, err = unix.Read(conn, make([]byte, 1))
		}
	}
	return err
}

func TestEdgeUnread(t *testing.T) {
	s := role(t, "edge")
	c := s.dial(t)
	send(t, c, "12345")
	r := s.await(t, func(r Report) string {
		if k, i := r.peer(c); k.Unread != 4 || i.Ready != "told" {
			return fmt.Sprintf("4 bytes unread: %+v %+v", k, i)
		}
		return says("asleep in " + waitCall + " on fd %d, which watches 1 descriptor; none is ready now")(r)
	})
	if got := r.marks(); !slices.Equal(got, []string{"EDGE_UNREAD"}) {
		t.Errorf("marks %v", got)
	}
}
