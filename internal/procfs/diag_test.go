package procfs

import (
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestListeners(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		listener, _ := listen(t, ip)
		inode := must[uint64](t)(Inode(os.Getpid(), listener))
		for _, want := range []int{5, 0, 1} { // another listen(2) changes the backlog
			if err := unix.Listen(listener, want); err != nil {
				t.Fatal(err)
			}
			all := must[[]Listener](t)(Listeners())
			i := slices.IndexFunc(all, func(l Listener) bool { return l.Inode == inode })
			if i < 0 || all[i].Backlog != want {
				t.Fatalf("%s: no listener with backlog %d among %+v", ip, want, all)
			}
			// The other fields must be the same as in /proc.
			if inProc := must[[]Socket](t)(TCP()); !slices.Contains(inProc, all[i].Socket) {
				t.Errorf("%s: TCP does not contain %+v", ip, all[i].Socket)
			}
		}
	}
}

// Listeners tells a socket that takes IPv4 connections, too, from one that does not.
func TestV6Only(t *testing.T) {
	for _, want := range []int{0, 1} {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Skipf("this machine has no IPv6: %v", err)
		}
		closeAtEnd(t, fd)
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, want); err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(fd, &unix.SockaddrInet6{}); err != nil {
			t.Skipf("this machine has no IPv6: %v", err)
		}
		if err := unix.Listen(fd, 1); err != nil {
			t.Fatal(err)
		}
		inode := must[uint64](t)(Inode(os.Getpid(), fd))
		all := must[[]Listener](t)(Listeners())
		i := slices.IndexFunc(all, func(l Listener) bool { return l.Inode == inode })
		if i < 0 || all[i].V6Only != (want == 1) {
			t.Errorf("IPV6_V6ONLY %d: got listener %d of %+v", want, i, all)
		}
	}
}

// A peer that does not read leaves bytes that cannot be sent.
func TestNotSent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	local, remote := c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort()
	if s, found, err := Connection(local, remote); err != nil || !found || s.NotSent != 0 {
		t.Fatalf("before a write: %+v, %v, %v", s, found, err)
	}
	c.SetWriteDeadline(time.Now().Add(time.Second))
	written, _ := c.Write(make([]byte, 32<<20))
	s, _, err := Connection(local, remote)
	if err != nil || s.NotSent == 0 || s.NotSent > s.TxQueue || s.TxQueue > written {
		t.Errorf("%d bytes written: %d in TxQueue, %d not sent, %v", written, s.TxQueue, s.NotSent, err)
	}
}
