package exam

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// ServerEnd returns the server's end of the connection, and whether there is one.
func (c *Client) ServerEnd() (procfs.Socket, bool, error) {
	return Connection(addrPort(c.RemoteAddr()), addrPort(c.LocalAddr()))
}

// clientEnd returns the client's own end of the connection.
func (c *Client) clientEnd() (procfs.Socket, bool, error) {
	return Connection(addrPort(c.LocalAddr()), addrPort(c.RemoteAddr()))
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

// Arrived returns how many bytes have arrived for c that it has not read.
func (c *Client) Arrived() (int, error) {
	own, _, err := c.clientEnd()
	return own.RxQueue, err
}

// AnswersQueued returns how many bytes the kernel has taken from the server for c,
// which must not have read any of them.
func (c *Client) AnswersQueued() (int, error) {
	own, _, err := c.clientEnd()
	end, _, err2 := c.ServerEnd()
	return own.RxQueue + end.TxQueue, errors.Join(err, err2)
}

// hasUnread reports whether the server has not read all that c has sent: some of
// it is under way, or in the receive queue.
func (c *Client) hasUnread() bool {
	own, _, err := c.clientEnd() // first: a byte that is no longer under way has arrived
	end, found, err2 := c.ServerEnd()
	if err != nil || err2 != nil {
		return true // we cannot see it
	}
	// If the server has closed the connection, the client will notice.
	return found && (own.TxQueue+end.RxQueue > 0 || unaccepted(end))
}

// unaccepted reports whether a server's end still waits for accept(2). An end
// without an inode in any other state is one that the server has closed.
func unaccepted(end procfs.Socket) bool {
	return end.Inode == 0 && slices.Contains([]procfs.State{procfs.TCPSynRecv, procfs.TCPEstablished, procfs.TCPCloseWait}, end.State)
}

// ReadArrived reads bytes that have arrived, and does not wait for more. It returns 0 if
// there are none, and io.EOF at the end of the stream.
func (c *Client) ReadArrived(p []byte) (n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	ctlErr := raw.Control(func(fd uintptr) { n, err = unix.Read(int(fd), p) })
	switch {
	case ctlErr != nil:
		return 0, ctlErr
	case err == unix.EAGAIN:
		return 0, nil
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Unaccepted reports whether the connection still waits for the server's accept(2).
func (c *Client) Unaccepted() bool {
	end, found, err := c.ServerEnd()
	return err == nil && found && unaccepted(end)
}

// Window returns how many bytes the server's kernel has advertised room for. It
// returns 0 before Linux 5.4, which does not report that.
func (c *Client) Window() int { return int(c.tcpInfo().Snd_wnd) }

// tcpInfo returns what our kernel knows of the connection: tcp(7), TCP_INFO.
func (c *Client) tcpInfo() (info unix.TCPInfo) {
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

// Unread returns how many bytes of c the server has not read: our kernel has not sent
// them, or they are in the server's receive queue.
func (c *Client) Unread() (int, error) {
	unsent := int(c.tcpInfo().Notsent_bytes) // first: a byte that is sent then is counted twice, but not missed
	end, _, err := c.ServerEnd()
	return unsent + end.RxQueue, err
}
