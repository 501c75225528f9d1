package exam

import (
	"errors"
	"net"
	"net/netip"
	"slices"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// serverEnd finds the other end of the connection, and tells whether it is there.
func (c *Client) ServerEnd() (procfs.Socket, bool, error) {
	return Connection(addrPort(c.RemoteAddr()), addrPort(c.LocalAddr()))
}

// ownEnd is c itself.
func (c *Client) ownEnd() (procfs.Socket, bool, error) {
	return Connection(addrPort(c.LocalAddr()), addrPort(c.RemoteAddr()))
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

// taken is how many bytes for c, which has read nothing of them, the kernel has
// taken from the server.
func (c *Client) AnswersQueued() (int, error) {
	own, _, err := c.ownEnd()
	end, _, err2 := c.ServerEnd()
	return own.RxQueue + end.TxQueue, errors.Join(err, err2)
}

// unaccepted tells of a server's end whether it waits for accept(2). With no
// inode in another state, the server has closed it.
func unaccepted(end procfs.Socket) bool {
	return end.Inode == 0 && slices.Contains([]procfs.State{procfs.TCPSynRecv, procfs.TCPEstablished, procfs.TCPCloseWait}, end.State)
}

// window is how many bytes the server's kernel has said that it has room for. It
// is 0 before Linux 5.4, which does not tell.
func (c *Client) Window() int { return int(c.tcpInfo().Snd_wnd) }

// tcpInfo is what our kernel knows of the connection: tcp(7), TCP_INFO.
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

// underWay tells whether the server has not read all that c has sent: there is
// something on its way, or in the receive queue.
func (c *Client) underWay() bool {
	own, _, err := c.ownEnd() // first: what is not on its way any more, has arrived
	end, found, err2 := c.ServerEnd()
	if err != nil || err2 != nil {
		return true // we cannot see it
	}
	// If it has closed the connection, the client will notice.
	return found && (own.TxQueue+end.RxQueue > 0 || unaccepted(end))
}
