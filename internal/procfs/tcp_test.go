package procfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseTCP(t *testing.T) {
	// hex prints an address as the kernel of this machine does.
	hex := func(ip string) string {
		b := netip.MustParseAddr(ip).AsSlice()
		text := ""
		for ; len(b) > 0; b = b[4:] {
			text += fmt.Sprintf("%08X", binary.NativeEndian.Uint32(b))
		}
		return text
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 && hex("127.0.0.1") != "0100007F" {
		t.Fatalf("127.0.0.1: got %s, want 0100007F", hex("127.0.0.1"))
	}
	for _, tt := range []struct{ name, local, remote, wantLocal, wantRemote string }{
		{"IPv4", "127.0.0.1", "10.1.2.3", "127.0.0.1:6379", "10.1.2.3:50000"},
		{"IPv6", "2001:db8:1:2:3:4:5:6", "::1", "[2001:db8:1:2:3:4:5:6]:6379", "[::1]:50000"},
		{"mapped", "::ffff:192.0.2.1", "::ffff:127.0.0.1", "192.0.2.1:6379", "127.0.0.1:50000"},
		{"any", "0.0.0.0", "255.255.255.255", "0.0.0.0:6379", "255.255.255.255:50000"},
		{"any IPv6", "::", "::", "[::]:6379", "[::]:50000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// The first field is wider for socket numbers from 10,000 on, and
			// the UID for numbers from 100,000 on.
			text := "  sl  local_address …\n" + "12345: " + hex(tt.local) + ":18EB " + hex(tt.remote) +
				":C350 08 0000001F:0010FFFF 00:00000000 00000000 1234567        0 987654321 1 0000000000000000 20 4 30 10 -1\n"
			got, err := parseTCP(nil, "test", strings.NewReader(text))
			want := []Socket{{
				Local:   netip.MustParseAddrPort(tt.wantLocal),
				Remote:  netip.MustParseAddrPort(tt.wantRemote),
				State:   TCPCloseWait,
				TxQueue: 0x1f,
				RxQueue: 0x10ffff,
				Inode:   987654321,
				UID:     1234567,
			}}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
		})
	}
	for _, bad := range []string{"0: 0100007F:18EB", "0: 7F:18EB 0100007F:C350 01 0:0 0:0 0 0 0 1 1"} {
		if got, err := parseTCP(nil, "test", strings.NewReader("headings\n"+bad+"\n")); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
	if got, err := parseTCP(nil, "test", strings.NewReader("headings\n")); err != nil || len(got) != 0 {
		t.Errorf("no sockets: got %+v, %v; want nothing", got, err)
	}
}

func TestStateString(t *testing.T) {
	for state, want := range map[State]string{
		TCPEstablished: "ESTABLISHED", unix.BPF_TCP_LISTEN: "LISTEN",
		unix.BPF_TCP_CLOSE_WAIT: "CLOSE_WAIT", unix.BPF_TCP_CLOSING: "CLOSING",
		unix.BPF_TCP_TIME_WAIT: "TIME_WAIT", 0: "state 0", 77: "state 77",
	} {
		if got := state.String(); got != want {
			t.Errorf("%d: got %s, want %s", state, got, want)
		}
	}
}

// TCP and Connection describe a connection correctly from its start to its end,
// over IPv4, over IPv6, and over IPv4 to an IPv6 socket.
func TestTCP(t *testing.T) {
	for _, tt := range []struct{ name, listen, dial, remote string }{
		{"IPv4", "127.0.0.1", "127.0.0.1", "0.0.0.0"},
		{"IPv6", "::1", "::1", "::"},
		{"mapped", "::", "127.0.0.1", "::"},
	} {
		t.Run(tt.name, func(t *testing.T) { testTCP(t, tt.listen, tt.dial, tt.remote) })
	}
}

func testTCP(t *testing.T, listenIP, dialIP, anyIP string) {
	listener, listening := listen(t, listenIP)
	addr := netip.AddrPortFrom(netip.MustParseAddr(dialIP), listening.Port())
	unconnected := netip.AddrPortFrom(netip.MustParseAddr(anyIP), 0)
	get := func(local, remote netip.AddrPort) Socket {
		t.Helper()
		var s Socket
		// TCP may miss a socket that changes its state at that moment.
		eventually(t, fmt.Sprintf("TCP contains %v - %v", local, remote), func() (found bool) {
			s, found = findSocket(t, local, remote)
			return found
		})
		if remote != unconnected {
			fromDiag, found, err := Connection(local, remote)
			if later, _ := findSocket(t, local, remote); later != s {
				return later // it is changing, so the two cannot be compared
			}
			fromDiag.NotSent = 0 // not in /proc
			if fromDiag != s || !found || err != nil {
				t.Errorf("sock_diag(7): got %+v, %v, %v; want %+v as in /proc", fromDiag, found, err, s)
			}
		}
		return s
	}
	inode := func(fd int) uint64 {
		t.Helper()
		fdInfo, _ := findDescriptor(t, fd)
		if fdInfo.Inode == 0 {
			t.Fatalf("descriptor %d: got %+v, want a socket", fd, fdInfo)
		}
		return fdInfo.Inode
	}

	if s, found, err := Connection(addr, netip.AddrPortFrom(addr.Addr(), 1)); found || err != nil {
		t.Errorf("no such connection: got %+v, %v, %v; want nothing", s, found, err)
	}
	if s, found, err := Connection(netip.AddrPortFrom(addr.Addr(), 1), addr); found || err != nil {
		t.Errorf("no such local port: got %+v, %v, %v; want nothing", s, found, err)
	}
	want := Socket{Local: listening, Remote: unconnected, State: TCPListen, Inode: inode(listener), UID: os.Getuid()}
	if got := get(listening, unconnected); got != want {
		t.Errorf("listener: got %+v, want %+v", got, want)
	}

	// Two connections that are not accepted yet have no inode.
	client := dial(t, addr)
	second := dial(t, addr)
	eventually(t, "two connections wait for accept", func() bool { return get(listening, unconnected).RxQueue == 2 })
	near := local(t, client)
	if got := get(addr, near); got.State != TCPEstablished || got.Inode != 0 {
		t.Errorf("not accepted: got %+v, want ESTABLISHED and inode 0", got)
	}
	if got := get(near, addr); got.State != TCPEstablished || got.Inode != inode(client) || got.UID != os.Getuid() {
		t.Errorf("client: got %+v, want ESTABLISHED, inode %d, UID %d", got, inode(client), os.Getuid())
	}

	server := accept(t, listener)
	if got := get(listening, unconnected); got.RxQueue != 1 {
		t.Errorf("one accepted: got RxQueue %d, want 1", got.RxQueue)
	}
	if got := get(addr, near); got.Inode != inode(server) {
		t.Errorf("accepted: got inode %d, want %d", got.Inode, inode(server))
	}

	// The client writes until its buffer is full. The server does not read.
	if err := unix.SetNonblock(client, true); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	var sent, read int
	eventually(t, "some bytes are unread by the server and some unsent by the client", func() bool {
		for {
			n, err := unix.Write(client, buf)
			if err != nil {
				break
			}
			sent += n
		}
		rx, tx := get(addr, near).RxQueue, get(near, addr).TxQueue
		return rx > 0 && tx > 0 && rx+tx == sent &&
			rx == must[int](t)(unix.IoctlGetInt(server, unix.SIOCINQ)) &&
			tx == must[int](t)(unix.IoctlGetInt(client, unix.SIOCOUTQ))
	})

	for read < sent {
		n, err := unix.Read(server, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			t.Fatalf("read %d of %d bytes, then %d, %v", read, sent, n, err)
		}
		read += n
	}

	// The server has read everything. The FIN counts as one byte until read too.
	if got := get(addr, near); got.RxQueue != 0 {
		t.Errorf("all read: got RxQueue %d, want 0", got.RxQueue)
	}
	if err := unix.Shutdown(client, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the FIN has arrived", func() bool { return get(addr, near).State == TCPCloseWait })
	if got := get(addr, near); got.RxQueue != 1 {
		t.Errorf("FIN not read: got RxQueue %d, want 1", got.RxQueue)
	}
	if n, err := unix.Read(server, buf); n != 0 || err != nil {
		t.Errorf("read returned %d, %v; want 0 at the end of the stream", n, err)
	}
	if got := get(addr, near); got.RxQueue != 0 {
		t.Errorf("FIN read: got RxQueue %d, want 0", got.RxQueue)
	}
	eventually(t, "the FIN is acknowledged", func() bool {
		got := get(near, addr)
		return got.State == TCPFinWait2 && got.TxQueue == 0
	})

	// The end that closed first remains in TIME_WAIT without a descriptor.
	if err := unix.Shutdown(server, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the client is in TIME_WAIT with inode 0", func() bool {
		got := get(near, addr)
		return got.State == TCPTimeWait && got.Inode == 0
	})
	if got, found := findSocket(t, local(t, second), addr); !found || got.State != TCPEstablished {
		t.Errorf("the other connection: got %+v, %t; want ESTABLISHED", got, found)
	}
}

func TestTCPOf(t *testing.T) {
	_, addr := listen(t, "127.0.0.1")
	listens := func(s Socket) bool { return s.Local == addr && s.State == TCPListen }
	if got := must[[]Socket](t)(TCPOf(os.Getpid())); !slices.ContainsFunc(got, listens) {
		t.Errorf("this process: no listener on %v among %d sockets", addr, len(got))
	}
	if _, err := TCPOf(math.MaxInt32); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("process that does not exist: got error %v, want fs.ErrNotExist", err)
	}
}
