package xray

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// The test process itself has sockets of IPv4 and IPv6 in the Go runtime's epoll instance.
func TestItself(t *testing.T) {
	for _, tt := range []struct{ ip, dial string }{{"127.0.0.1", "127.0.0.1"}, {"::1", "::1"}, {"::", "::1"}, {"::", "127.0.0.1"}} {
		t.Run(tt.ip+" "+tt.dial, func(t *testing.T) { testItself(t, tt.ip, tt.dial) })
	}
}

func testItself(t *testing.T, ip, dial string) {
	skipOrFail := func(err error) {
		t.Helper()
		if strings.Contains(ip, ":") && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)) {
			t.Skip("this machine has no IPv6:", err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.ParseIP(ip)})
	skipOrFail(err)
	defer l.Close()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	self := server{os.Getpid(), at}
	c, err := net.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr(dial), at.Port()).String())
	skipOrFail(err)
	defer c.Close()
	r := self.await(t, func(r Report) string {
		var listener, out, waiting bool
		for _, k := range r.Sockets {
			listener = listener || k.State == "LISTEN" && k.Local == at.String() && k.Waiting == 1
			out = out || k.Local == c.LocalAddr().String() && !k.Accepted && k.FD >= 0
			waiting = waiting || k.Remote == c.LocalAddr().String() && k.FD == -1
		}
		if !listener || !out || !waiting {
			return fmt.Sprintf("%s: listener %t, connection %t, unaccepted %t", ip, listener, out, waiting)
		}
		return ""
	})
	i := slices.IndexFunc(r.Epolls, func(e Epoll) bool { return e.Owner == "the Go runtime" })
	if i < 0 || !slices.ContainsFunc(r.Epolls[i].Interests, func(i Interest) bool { return i.What == "listener on "+at.String() }) {
		t.Errorf("%s: epoll instances %+v", ip, r.Epolls)
	}
	checkRendered(t, r)
	addrs := must[[]netip.AddrPort](t)(parseAddresses(c.RemoteAddr().String()))
	if pid, note, err := findListener(addrs); pid != self.pid || note != "" || err != nil {
		t.Errorf("find %v: %d, %q, %v", addrs, pid, note, err)
	}
}

// worker accepts one connection from an inherited listener.
func worker() error {
	fmt.Println("listening on", "0.0.0.0:0")
	if _, _, err := unix.Accept(3); err != nil {
		return err
	}
	_, err := unix.Read(0, make([]byte, 1))
	return err
}

// If several processes have the listener, the one with a connection is chosen.
func TestManyOwners(t *testing.T) {
	l := must[*net.TCPListener](t)(net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}))
	defer l.Close()
	f := must[*os.File](t)(l.File())
	defer f.Close()
	w := role(t, "worker", f)
	w.addr = l.Addr().(*net.TCPAddr).AddrPort()
	w.await(t, says(fmt.Sprintf("asleep in accept4 on fd 3 (listener on %s): 0 of %%d wait for accept", w.addr)))
	c := w.dial(t)
	w.await(t, func(r Report) string {
		if k, _ := r.peer(c); !k.Accepted {
			return "accepted"
		}
		return ""
	})
	pid, note, err := findListener([]netip.AddrPort{w.addr})
	want := fmt.Sprintf("2 processes listen on %s; this is %d, with 1 connection there; for another: -pid, with one of %d", w.addr, w.pid, os.Getpid())
	if pid != w.pid || note != want || err != nil {
		t.Errorf("got %d, %q, %v; want %d, %q", pid, note, err, w.pid, want)
	}
	// The parent's report names the child that has the connection.
	note = fmt.Sprintf("children that have connections through its listener: 1; to look at one: -pid %d (make: PID=%d)", w.pid, w.pid)
	for pid, want := range map[int][]string{os.Getpid(): {note}, w.pid: {}} {
		if r := must[Report](t)(inspect(pid)); !slices.Equal(r.Notes, want) {
			t.Errorf("notes of %d: %q, want %q", pid, r.Notes, want)
		}
	}
	// The next client stays in the queue. This process has two descriptors of the
	// listener, and they share one queue.
	d := w.dial(t)
	self := server{os.Getpid(), w.addr}
	self.await(t, func(r Report) string {
		var queues, waiting int
		for _, k := range r.Sockets {
			if k.Local == w.addr.String() && k.State == "LISTEN" && k.Waiting == 1 {
				queues++
			} else if k.FD == -1 && k.Remote == d.LocalAddr().String() {
				waiting++
			}
		}
		if queues != 2 || waiting != 1 {
			return fmt.Sprintf("%d listeners, %d clients not accepted; want 2, 1", queues, waiting)
		}
		return ""
	})
	out, _, code := runXray(t, "-addr", w.addr.String(), "-interval", "10ms")
	if got := strings.Join(strings.Fields(out), " "); code != 0 || !strings.Contains(got, want) {
		t.Errorf("exit %d, no %q in\n%s", code, want, out)
	}
}

func TestReaches(t *testing.T) {
	listening := func(list string) (sockets []procfs.Socket) {
		for _, text := range strings.Fields(list) {
			sockets = append(sockets, procfs.Socket{Local: netip.MustParseAddrPort(text), State: procfs.TCPListen})
		}
		return sockets
	}
	for _, tt := range []struct{ listening, addr, want string }{
		{"0.0.0.0:80 127.0.0.1:80 [::]:80", "127.0.0.1:80", "127.0.0.1:80"},
		{"[::]:80 0.0.0.0:80", "127.0.0.1:80", "0.0.0.0:80"},
		{"[::]:80 127.0.0.2:80", "127.0.0.1:80", "[::]:80"},
		{"[::]:80 0.0.0.0:80", "[::1]:80", "[::]:80"},
		{"0.0.0.0:80 127.0.0.1:80", "[::1]:80", ""},
		{"0.0.0.0:80 0.0.0.0:81 0.0.0.0:80", "127.0.0.1:80", "0.0.0.0:80 0.0.0.0:80"},
	} {
		var got []string
		for _, s := range listenersFor(listening(tt.listening), netip.MustParseAddrPort(tt.addr)) {
			got = append(got, s.Local.String())
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s among %s: got %v, want %s", tt.addr, tt.listening, got, tt.want)
		}
	}
}
