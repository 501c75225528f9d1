package procfs

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEventsString(t *testing.T) {
	for _, tt := range []struct {
		events      Events
		full, asked string
	}{
		{0, "0", "0"},
		{0x8000201d, "EPOLLIN|EPOLLOUT|EPOLLERR|EPOLLHUP|EPOLLRDHUP|EPOLLET", "EPOLLIN|EPOLLOUT|EPOLLRDHUP|EPOLLET"},
		{0x18, "EPOLLERR|EPOLLHUP", "0"},
		{unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET, "EPOLLIN|EPOLLRDHUP|EPOLLET", "EPOLLIN|EPOLLRDHUP|EPOLLET"},
		{unix.EPOLLIN | unix.EPOLLEXCLUSIVE, "EPOLLIN|EPOLLEXCLUSIVE", "EPOLLIN|EPOLLEXCLUSIVE"},
		{unix.EPOLLONESHOT, "EPOLLONESHOT", "EPOLLONESHOT"},
		{0x01000001, "EPOLLIN|0x1000000", "EPOLLIN|0x1000000"},
	} {
		if got := tt.events.String(); got != tt.full {
			t.Errorf("%#x: got %s, want %s", uint32(tt.events), got, tt.full)
		}
		if got := tt.events.Asked().String(); got != tt.asked {
			t.Errorf("%#x: Asked: got %s, want %s", uint32(tt.events), got, tt.asked)
		}
	}
}

func TestParseInterest(t *testing.T) {
	for _, tt := range []struct {
		line string
		want Interest
	}{
		{"tfd:        7 events: 8000201d data:        100000007  pos:0 ino:5e2 sdev:8\n", Interest{7, 0x8000201d, 0x100000007, 0x5e2}},
		{"tfd:      123 events:       19 data: 74253d2500000009\n", Interest{123, 0x19, 0x74253d2500000009, 0}},
		{"tfd:        5 events:       19 data: ffffffffffffffff  pos:-1 ino:a sdev:9\n", Interest{5, 0x19, math.MaxUint64, 10}},
	} {
		if got, err := parseInterest(tt.line); err != nil || got != tt.want {
			t.Errorf("%q: got %+v, %v; want %+v", tt.line, got, err, tt.want)
		}
	}
	if got, err := parseInterest("tfd: 7 events: zz data: 0\n"); err == nil {
		t.Errorf("got %+v, want an error", got)
	}
}

func TestInterests(t *testing.T) {
	epfd := must[int](t)(unix.EpollCreate1(unix.EPOLL_CLOEXEC))
	closeAtEnd(t, epfd)
	interests := func() []Interest {
		t.Helper()
		return must[[]Interest](t)(Interests(os.Getpid(), epfd))
	}
	if got := interests(); len(got) != 0 {
		t.Errorf("new instance: got %+v, want nothing", got)
	}
	ino := func(fd int) uint64 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	ctl := func(op, fd int, events uint32, high int32) Interest {
		t.Helper()
		ev := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: high}
		if err := unix.EpollCtl(epfd, op, fd, &ev); err != nil {
			t.Fatal(err)
		}
		// The kernel adds two events: see Events.Asked.
		return Interest{fd, Events(events) | unix.EPOLLERR | unix.EPOLLHUP,
			uint64(high)<<32 | uint64(fd), ino(fd)}
	}
	check := func(when string, want ...Interest) {
		t.Helper()
		slices.SortFunc(want, func(a, b Interest) int { return a.FD - b.FD })
		if got := interests(); !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", when, got, want)
		}
	}

	a := must[int](t)(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	b := must[int](t)(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	r, w := pipe(t)
	closeAtEnd(t, a)
	inA := ctl(unix.EPOLL_CTL_ADD, a, unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLET, 7)
	inB := ctl(unix.EPOLL_CTL_ADD, b, 0, 0)
	inR := ctl(unix.EPOLL_CTL_ADD, r, unix.EPOLLIN|unix.EPOLLONESHOT|unix.EPOLLET, math.MaxInt32)
	inW := ctl(unix.EPOLL_CTL_ADD, w, unix.EPOLLOUT|unix.EPOLLEXCLUSIVE, 0)
	check("four added", inA, inB, inR, inW)
	if asked := inA.Events.Asked().String(); asked != "EPOLLIN|EPOLLRDHUP|EPOLLET" {
		t.Errorf("Asked: got %s", asked)
	}

	inB = ctl(unix.EPOLL_CTL_MOD, b, unix.EPOLLIN|unix.EPOLLOUT, 1)
	check("one changed", inA, inB, inR, inW)

	// An EPOLLONESHOT entry that has fired reports nothing, not even errors.
	unix.Write(w, []byte("x"))
	for {
		var events [1]unix.EpollEvent
		ready := []unix.PollFd{{Fd: int32(r), Events: unix.POLLIN}}
		if n, _ := unix.Poll(ready, 0); n != 1 {
			t.Fatal("the pipe is not ready")
		}
		_, err := unix.EpollWait(epfd, events[:], -1)
		if err == nil && events[0].Fd == int32(r) {
			break
		}
		if err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
	}
	inR.Events = unix.EPOLLONESHOT | unix.EPOLLET
	check("EPOLLONESHOT fired", inA, inB, inR, inW)

	// epoll(7), "Questions and answers": closing one of two duplicates does not
	// remove the entry.
	duplicate := dup(t, b)
	if err := unix.Close(b); err != nil {
		t.Fatal(err)
	}
	check("closed while a duplicate is open", inA, inB, inR, inW)
	// The number can be reused for another file and added a second time.
	if err := unix.Dup3(a, b, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	again := ctl(unix.EPOLL_CTL_ADD, b, unix.EPOLLIN, 2)
	same := []Interest{inB, again}
	slices.SortFunc(same, func(x, y Interest) int { return int(x.Inode) - int(y.Inode) })
	got := slices.DeleteFunc(interests(), func(i Interest) bool { return i.FD != b })
	if !slices.Equal(got, same) {
		t.Errorf("number reused: got %+v, want %+v", got, same)
	}
	ctl(unix.EPOLL_CTL_DEL, b, 0, 0)
	unix.Close(b)
	unix.Close(duplicate)
	check("last duplicate closed", inA, inR, inW)

	if _, err := Interests(os.Getpid(), a); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a socket: got error %v, want one that is not fs.ErrNotExist", err)
	}
	if _, err := Interests(os.Getpid(), b); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a closed descriptor: got error %v, want fs.ErrNotExist", err)
	}
}
