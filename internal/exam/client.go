package exam

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// A client is one connection to the server. What it sends is a pattern that
// nobody else sends and that does not repeat, so that a byte which went astray,
// came twice or got lost is noticed. It is text, so that explanations can be
// read, in lines of 16 bytes, so that a server that waits for lines fails only
// where short messages are asked for: NO_REPLY.
type client struct {
	*net.TCPConn
	id   uint64
	sent int // bytes of the pattern written
	got  int // bytes of the pattern that have come back

	asleep func() bool // whether the server is seen to sleep
}

var lastID = func() *atomic.Uint64 {
	var id atomic.Uint64
	id.Store(rand.Uint64())
	return &id
}()

// pattern fills p with what client id sends from offset off on.
func pattern(p []byte, id uint64, off int) {
	for len(p) > 0 {
		x := id ^ uint64(off/8)*0x9e3779b97f4a7c15 // SplitMix64
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x = (x^x>>31)&0x3f3f3f3f3f3f3f3f + 0x3030303030303030 // '0' to 'o'
		if off/8%2 == 1 {
			x = x<<8>>8 | '\n'<<56
		}
		if off%8 == 0 && len(p) >= 8 {
			binary.LittleEndian.PutUint64(p, x)
			p, off = p[8:], off+8
			continue
		}
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], x)
		n := copy(p, word[off%8:])
		p, off = p[n:], off+n
	}
}

// dial connects to the server; rcvbuf > 0 sets SO_RCVBUF first: socket(7).
func (s *session) dial(rcvbuf int) (*client, error) {
	return s.dialUntil(rcvbuf, time.Now().Add(limits.connect))
}

func (s *session) dialUntil(rcvbuf int, deadline time.Time) (*client, error) {
	ctx, cancel := context.WithDeadline(s.ctx, deadline)
	defer cancel()
	d := net.Dialer{KeepAlive: -1}
	if rcvbuf > 0 {
		d.Control = func(_, _ string, raw syscall.RawConn) error {
			var err error
			raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, rcvbuf)
			})
			return os.NewSyscallError("setsockopt(SO_RCVBUF)", err)
		}
	}
	nc, err := d.DialContext(ctx, "tcp4", s.server.addr.String())
	if err != nil {
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.EADDRNOTAVAIL) {
			return nil, &cannotRun{"the examiner cannot connect: " + err.Error()}
		}
		return nil, fmt.Errorf("a client could not connect: %w", plain(err))
	}
	c := &client{TCPConn: nc.(*net.TCPConn), id: lastID.Add(1), asleep: s.asleep}
	s.mu.Lock()
	s.clients = append(s.clients, c)
	s.mu.Unlock()
	return c, nil
}

// reset closes the connection with a RST, which leaves no TIME_WAIT: tcp(7),
// socket(7) SO_LINGER.
func (c *client) reset() {
	c.SetLinger(0)
	c.Close()
}

// served connects a client and sees it answered once.
func (s *session) served() (*client, error) {
	c, err := s.dial(0)
	if err == nil {
		err = c.ping(limits.reply)
	}
	return c, err
}

// forget closes the connection in the ordinary way.
func (s *session) forget(c *client) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = slices.DeleteFunc(s.clients, func(o *client) bool { return o == c })
}

// send writes the next n bytes of the client's pattern, within d.
func (c *client) send(n int, d time.Duration) error {
	buf := make([]byte, n)
	pattern(buf, c.id, c.sent)
	c.SetWriteDeadline(time.Now().Add(d))
	m, err := c.Write(buf)
	c.sent += m
	if err != nil {
		return fmt.Errorf("%d of %d bytes could be sent, then: %w", m, n, plain(err))
	}
	return nil
}

// offer sends up to n bytes without reading, until the server takes no more and
// its kernel has no room, either: then no more edge comes. It returns how many
// bytes have been taken.
func (c *client) offer(n int) (int, error) {
	return c.offerBy(n, c.next, func() bool {
		info := c.tcpInfo()
		return info.Snd_wnd == 0 && info.Unacked == 0 && c.asleep()
	})
}

// stall is offer, but it is enough that the server owes something and sleeps: there
// may be some room left.
func (c *client) stall(n int) (int, error) { return c.offerBy(n, c.next, c.asleep) }

// stallWith is stall with one letter instead of the pattern.
func (c *client) stallWith(letter byte, n int) (int, error) {
	return c.offerBy(n, func(chunk []byte) {
		for i := range chunk {
			chunk[i] = letter
		}
	}, c.asleep)
}

func (c *client) next(chunk []byte) { pattern(chunk, c.id, c.sent) }

func (c *client) offerBy(n int, fill func(chunk []byte), enough func() bool) (int, error) {
	buf := make([]byte, 64<<10)
	sent, last, naps := 0, time.Now(), 0
	for sent < n {
		chunk := buf[:min(len(buf), n-sent)]
		fill(chunk)
		c.SetWriteDeadline(time.Now().Add(limits.moment))
		m, err := c.Write(chunk)
		sent, c.sent = sent+m, c.sent+m
		switch {
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return sent, plain(err)
		case m > 0:
			last, naps = time.Now(), 0
			continue // slow, not stalled
		}
		if naps++; !enough() {
			naps = 0
		}
		patience := limits.stalled
		if c.window() > 0 {
			patience = limits.reply // too little for TCP to use it at once: that takes 0.2 s, or more
		}
		if naps == 3 || time.Since(last) >= patience {
			return sent, nil
		}
	}
	return sent, nil
}

// A mismatch is a byte that came back other than it was sent.
type mismatch struct {
	at        int
	got, want []byte // from there on, a few
}

func (m *mismatch) Error() string {
	return fmt.Sprintf("byte %d came back wrong: got %q, want %q", m.at, m.got, m.want)
}

// errSilence means that nothing came for too long.
var errSilence = errors.New("silence")

// receive reads until n more bytes of the pattern have come back. It fails with
// errSilence if none comes for d, with io.EOF, with a *mismatch or with what
// read(2) said. pace, if not nil, is called before each read.
func (c *client) receive(n int, d time.Duration, pace func()) error {
	size := min(n, 64<<10)
	buf, want := make([]byte, size), make([]byte, size)
	for n > 0 {
		chunk := buf[:min(n, size)]
		if pace != nil {
			pace()
			chunk = chunk[:min(len(chunk), limits.sip)]
		}
		c.SetReadDeadline(time.Now().Add(d))
		m, err := c.Read(chunk)
		if m > 0 {
			pattern(want[:m], c.id, c.got)
			if i := differ(chunk[:m], want[:m]); i >= 0 {
				c.got += i
				return &mismatch{c.got, bytes.Clone(few(chunk[i:m])), bytes.Clone(few(want[i:m]))}
			}
			c.got += m
			n -= m
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errSilence
		}
		if err != nil && n > 0 {
			return plain(err)
		}
	}
	return nil
}

// drain reads n bytes, whatever they are, or as many as come. It shows them to
// see.
func (c *client) drain(n int, see func(p []byte)) {
	buf := make([]byte, 64<<10)
	for n > 0 {
		c.SetReadDeadline(time.Now().Add(limits.silence))
		m, err := c.Read(buf[:min(n, len(buf))])
		see(buf[:m])
		if n -= m; err != nil {
			return
		}
	}
}

func differ(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

func few(b []byte) []byte { return b[:min(len(b), 8)] }

// eof waits for the end of the stream: nothing more, and no error.
func (c *client) eof(d time.Duration) error {
	var one [1]byte
	c.SetReadDeadline(time.Now().Add(d))
	n, err := c.Read(one[:])
	switch {
	case n > 0:
		return fmt.Errorf("byte %q came after all that was sent had come back", one[:])
	case err == io.EOF:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSilence
	}
	return plain(err)
}

// echo sends n bytes and wants them back within d.
func (c *client) echo(n int, d time.Duration) error {
	if err := c.send(n, d); err != nil {
		return err
	}
	return c.receive(n, d, nil)
}

// ping is the smallest thing that a client may expect of an echo server.
func (c *client) ping(d time.Duration) error { return c.echo(pingSize, d) }

const pingSize = 16 // bytes

// serverEnd finds the other end of the connection, and tells whether it is there.
func (c *client) serverEnd() (procfs.Socket, bool, error) {
	return connection(addrPort(c.RemoteAddr()), addrPort(c.LocalAddr()))
}

// ownEnd is c itself.
func (c *client) ownEnd() (procfs.Socket, bool, error) {
	return connection(addrPort(c.LocalAddr()), addrPort(c.RemoteAddr()))
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

// taken is how many bytes for c, which has read nothing of them, the kernel has
// taken from the server.
func (c *client) taken() (int, error) {
	own, _, err := c.ownEnd()
	end, _, err2 := c.serverEnd()
	return own.RxQueue + end.TxQueue, errors.Join(err, err2)
}

// unaccepted tells of a server's end whether it waits for accept(2). With no
// inode in another state, the server has closed it.
func unaccepted(end procfs.Socket) bool {
	return end.Inode == 0 && slices.Contains([]procfs.State{procfs.TCPSynRecv, procfs.TCPEstablished, procfs.TCPCloseWait}, end.State)
}

// window is how many bytes the server's kernel has said that it has room for. It
// is 0 before Linux 5.4, which does not tell.
func (c *client) window() int { return int(c.tcpInfo().Snd_wnd) }

// tcpInfo is what our kernel knows of the connection: tcp(7), TCP_INFO.
func (c *client) tcpInfo() (info unix.TCPInfo) {
	raw, err := c.SyscallConn()
	if err != nil {
		return info
	}
	raw.Control(func(fd uintptr) {
		if i, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			info = *i
		}
	})
	return info
}

// plain strips what net wraps around an error: "write tcp 127.0.0.1:…" says
// less to a learner than "connection reset by peer".
func plain(err error) error {
	if err == io.EOF {
		return err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return errors.New("timed out")
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// outcome words what came back of the n bytes after the first before.
func (c *client) outcome(before, n int, err error) error {
	had := fmt.Sprintf("%d of %d bytes", c.got-before, n)
	if c.got == before {
		had = "nothing"
	}
	var wrong *mismatch
	switch {
	case errors.As(err, &wrong):
		return fmt.Errorf("%s, and then %q instead of %q", had, wrong.got, wrong.want)
	case err == errSilence:
		return fmt.Errorf("%s, then silence", had)
	case err == io.EOF:
		return fmt.Errorf("%s, then EOF", had)
	}
	return fmt.Errorf("%s, then: %w", had, err)
}

func ordinal(n int) string {
	switch {
	case n%10 == 1 && n%100 != 11:
		return fmt.Sprint(n, "st")
	case n%10 == 2 && n%100 != 12:
		return fmt.Sprint(n, "nd")
	case n%10 == 3 && n%100 != 13:
		return fmt.Sprint(n, "rd")
	}
	return fmt.Sprint(n, "th")
}
