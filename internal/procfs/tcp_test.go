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
	// Addresses are words of this machine: write them as its kernel would.
	hex := func(ip string) string {
		b := netip.MustParseAddr(ip).AsSlice()
		text := ""
		for ; len(b) > 0; b = b[4:] {
			text += fmt.Sprintf("%08X", binary.NativeEndian.Uint32(b))
		}
		return text
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 && hex("127.0.0.1") != "0100007F" {
		t.Fatalf("127.0.0.1 is %s", hex("127.0.0.1"))
	}
	for _, tt := range []struct{ name, local, remote, wantLocal, wantRemote string }{
		{"IPv4", "127.0.0.1", "10.1.2.3", "127.0.0.1:6379", "10.1.2.3:50000"},
		{"IPv6", "2001:db8:1:2:3:4:5:6", "::1", "[2001:db8:1:2:3:4:5:6]:6379", "[::1]:50000"},
		{"mapped", "::ffff:192.0.2.1", "::ffff:127.0.0.1", "192.0.2.1:6379", "127.0.0.1:50000"},
		{"any", "0.0.0.0", "255.255.255.255", "0.0.0.0:6379", "255.255.255.255:50000"},
		{"any IPv6", "::", "::", "[::]:6379", "[::]:50000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// The first field is wider from the 10,000th socket on, and the
			// UID from the 100,000th user on.
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
		t.Errorf("no sockets: got %+v, %v", got, err)
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

// The life of a connection, over IPv4, IPv6, and IPv4 to an IPv6 socket.
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
	nobody := netip.AddrPortFrom(netip.MustParseAddr(anyIP), 0)
	get := func(local, remote netip.AddrPort) Socket {
		t.Helper()
		s, found := socket(t, local, remote)
		if !found {
			t.Fatalf("no socket %v - %v", local, remote)
		}
		if remote != nobody {
			same, found, err := Connection(local, remote)
			if again, _ := socket(t, local, remote); again != s {
				return again // it is changing
			}
			if same != s || !found || err != nil {
				t.Errorf("sock_diag(7) says %+v, %v, %v, and /proc %+v", same, found, err, s)
			}
		}
		return s
	}
	inode := func(fd int) uint64 {
		t.Helper()
		fdInfo, _ := descriptor(t, fd)
		if fdInfo.Inode == 0 {
			t.Fatalf("descriptor %d: %+v, want a socket", fd, fdInfo)
		}
		return fdInfo.Inode
	}

	if s, found, err := Connection(addr, netip.AddrPortFrom(addr.Addr(), 1)); found || err != nil {
		t.Errorf("nobody is connected: got %+v, %v, %v", s, found, err)
	}
	if s, found, err := Connection(netip.AddrPortFrom(addr.Addr(), 1), addr); found || err != nil {
		t.Errorf("nobody is there: got %+v, %v, %v", s, found, err)
	}
	want := Socket{Local: listening, Remote: nobody, State: TCPListen, Inode: inode(listener), UID: os.Getuid()}
	if got := get(listening, nobody); got != want {
		t.Errorf("listener: got %+v, want %+v", got, want)
	}

	// Connected, not accepted: two wait, and they have no inode.
	client := dial(t, addr)
	second := dial(t, addr)
	eventually(t, "two connections wait", func() bool { return get(listening, nobody).RxQueue == 2 })
	near := local(t, client)
	if got := get(addr, near); got.State != TCPEstablished || got.Inode != 0 {
		t.Errorf("not accepted: %+v, want ESTABLISHED without inode", got)
	}
	if got := get(near, addr); got.State != TCPEstablished || got.Inode != inode(client) || got.UID != os.Getuid() {
		t.Errorf("client: %+v, want ESTABLISHED, inode %d, UID %d", got, inode(client), os.Getuid())
	}

	server := accept(t, listener)
	if got := get(listening, nobody); got.RxQueue != 1 {
		t.Errorf("one accepted: %d wait, want 1", got.RxQueue)
	}
	if got := get(addr, near); got.Inode != inode(server) {
		t.Errorf("accepted: inode %d, want %d", got.Inode, inode(server))
	}

	// The client writes until nothing fits any more; the server reads nothing.
	if err := unix.SetNonblock(client, true); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	var sent, read int
	eventually(t, "bytes are unread here and unsent there", func() bool {
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

	// All is read. The client's FIN counts as one byte until that is, too.
	if got := get(addr, near); got.RxQueue != 0 {
		t.Errorf("all read: RxQueue %d, want 0", got.RxQueue)
	}
	if err := unix.Shutdown(client, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the FIN has come", func() bool { return get(addr, near).State == TCPCloseWait })
	if got := get(addr, near); got.RxQueue != 1 {
		t.Errorf("FIN not read: RxQueue %d, want 1", got.RxQueue)
	}
	if n, err := unix.Read(server, buf); n != 0 || err != nil {
		t.Errorf("read gave %d, %v; want end of file", n, err)
	}
	if got := get(addr, near); got.RxQueue != 0 {
		t.Errorf("FIN read: RxQueue %d, want 0", got.RxQueue)
	}
	eventually(t, "the FIN is acknowledged", func() bool {
		got := get(near, addr)
		return got.State == TCPFinWait2 && got.TxQueue == 0
	})

	// The end that closes first is left in TIME_WAIT, without owner.
	if err := unix.Shutdown(server, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	eventually(t, "TIME_WAIT without inode", func() bool {
		got := get(near, addr)
		return got.State == TCPTimeWait && got.Inode == 0
	})
	if got, found := socket(t, local(t, second), addr); !found || got.State != TCPEstablished {
		t.Errorf("the other connection: %+v, %t; want ESTABLISHED", got, found)
	}
}

func TestTCPOf(t *testing.T) {
	_, addr := listen(t, "127.0.0.1")
	listens := func(s Socket) bool { return s.Local == addr && s.State == TCPListen }
	if got := must[[]Socket](t)(TCPOf(os.Getpid())); !slices.ContainsFunc(got, listens) {
		t.Errorf("of this process: no listener on %v among %d sockets", addr, len(got))
	}
	if _, err := TCPOf(math.MaxInt32); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of nobody: %v, want fs.ErrNotExist", err)
	}
}
