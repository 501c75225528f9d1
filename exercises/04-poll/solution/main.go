// Exercise 04: wait with poll(2).
//
// A TCP echo server: step 2, but it sleeps until a descriptor is ready.
//
// Usage: 04-poll [-addr 127.0.0.1:6379]
package main

import (
	"errors"
	"flag"
	"io"
	"log"
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	program = "04-poll"
	backlog = 4096     // connections that may wait for accept: listen(2)
	bufSize = 64 << 10 // bytes that one read may return
)

type conn struct {
	fd   int
	addr netip.AddrPort // the client's address, for the log

	// Bytes read and not yet written. While there are any, the connection
	// is flushing and nothing more is read from it; otherwise it is reading.
	pending []byte
}

type server struct {
	listener int
	addr     netip.AddrPort
	buf      [bufSize]byte // shared: written or copied before the next read
	conns    map[int]*conn // by descriptor
	full     bool          // CHANGED: no descriptor was free; close resets it
}

// The loop stays on the main thread; the Go runtime's other threads serve no
// client. The sleep makes the runtime open its own epoll instance now: later,
// when no descriptor is free, that would fail and end the process.
func init() {
	runtime.LockOSThread()
	time.Sleep(time.Nanosecond)
}

func main() {
	log.SetFlags(0)
	log.SetPrefix(program + ": ")
	at := flag.String("addr", "127.0.0.1:6379", "listen on `IPv4:PORT`")
	flag.Parse()
	addr, err := netip.ParseAddrPort(*at)
	if err != nil || !addr.Addr().Is4() || flag.NArg() > 0 {
		log.Printf("got %q; want -addr IPv4:PORT and nothing else, "+
			"such as -addr 127.0.0.1:7000", os.Args[1:])
		os.Exit(2)
	}
	s := listen(addr)
	log.Print("listening on ", s.addr)
	s.serve()
}

func listen(addr netip.AddrPort) *server {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	check("socket", err)
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	check("setsockopt(SO_REUSEADDR)", err)
	err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	check("setsockopt(TCP_NODELAY)", err) // accepted sockets inherit it
	sa := &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	err = unix.Bind(fd, sa)
	check("bind "+addr.String()+" (if it is taken, choose another port with "+
		"-addr; 6379 is Redis's)", err)
	err = unix.Listen(fd, backlog)
	check("listen", err)
	setNonblock(fd)
	bound, err := unix.Getsockname(fd) // for port 0, the kernel chose one
	check("getsockname", err)
	conns := make(map[int]*conn)
	return &server{listener: fd, addr: addrPort(bound), conns: conns}
}

// setNonblock makes every call on fd fail with EAGAIN where it would sleep.
func setNonblock(fd int) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	check("fcntl(F_GETFL)", err)
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags|unix.O_NONBLOCK)
	check("fcntl(F_SETFL)", err)
}

// serve sleeps until descriptors are ready, and serves those.
func (s *server) serve() {
	var fds []unix.PollFd
	for {
		// CHANGED: poll(2) keeps no state, so each call gets the whole list.
		fds = s.interest(fds[:0])
		_, err := unix.Poll(fds, -1)
		if err == unix.EINTR {
			continue // a signal; poll is never restarted: signal(7)
		}
		check("poll", err)
		for _, p := range fds {
			// CHANGED: any event counts. POLLERR and POLLHUP are always
			// reported; the next read or write then returns the reason.
			switch fd := int(p.Fd); {
			case p.Revents == 0:
			case fd == s.listener:
				s.accept()
			default:
				s.turn(s.conns[fd]) // never nil: only c's own turn closes c
			}
		}
	}
}

// interest appends to fds the descriptors to wait for, each with its events.
//
// CHANGED: only events that let the next call succeed are requested. A send
// queue almost always has room, so POLLOUT with nothing pending would spin.
// POLLIN while flushing would, too, because nothing is read then.
func (s *server) interest(fds []unix.PollFd) []unix.PollFd {
	// The listener comes first. So accept cannot get a descriptor that a client
	// of the same round has freed and whose event is still in the list.
	if !s.full {
		p := unix.PollFd{Fd: int32(s.listener), Events: unix.POLLIN}
		fds = append(fds, p)
	}
	for _, c := range s.conns {
		p := unix.PollFd{Fd: int32(c.fd), Events: unix.POLLIN}
		if len(c.pending) > 0 {
			p.Events = unix.POLLOUT
		}
		fds = append(fds, p)
	}
	return fds
}

// accept accepts all clients that have connected.
func (s *server) accept() {
	for {
		fd, sa, err := unix.Accept(s.listener)
		switch err {
		case nil:
		case unix.EAGAIN:
			return // the queue is empty
		case unix.ECONNABORTED:
			continue // it left while queued: try the next
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			// CHANGED: queued clients keep the listener ready, and poll would
			// return at once, again and again. Without any client that could
			// leave, only trying again helps.
			s.full = len(s.conns) > 0
			return // no descriptor: clients wait until one leaves
		default:
			check("accept", err)
		}
		c := &conn{fd: fd, addr: addrPort(sa)}
		log.Printf("fd %d: %s connected", c.fd, c.addr)
		setNonblock(c.fd)
		s.conns[c.fd] = c
	}
}

// turn does one step for c: it flushes, or reads once and answers.
func (s *server) turn(c *conn) {
	var err error
	if len(c.pending) > 0 {
		err = s.write(c, c.pending)
	} else {
		err = s.read(c)
	}
	if err != nil {
		s.close(c, err)
	}
}

// read takes at most one buffer of what c has sent, and sends it back.
func (s *server) read(c *conn) error {
	n, err := unix.Read(c.fd, s.buf[:])
	if err == unix.EAGAIN {
		return nil // nothing has arrived
	}
	if err != nil {
		return os.NewSyscallError("read", err)
	}
	if n == 0 {
		return io.EOF // c sends no more and got everything back
	}
	return s.write(c, s.buf[:n])
}

// write sends data to c. What does not fit into c's send queue is pending.
func (s *server) write(c *conn, data []byte) error {
	for len(data) > 0 { // write(2) may take less than it is given
		n, err := unix.Write(c.fd, data)
		if err == unix.EAGAIN {
			break
		}
		if err != nil {
			return os.NewSyscallError("write", err)
		}
		data = data[n:]
	}
	// A copy: buf is shared, and data may also be the rest of pending itself.
	c.pending = append(c.pending[:0], data...)
	if len(data) == 0 {
		c.pending = nil // only a stalled client keeps a buffer
	}
	return nil
}

// close ends one connection. One client's error does not affect the others.
func (s *server) close(c *conn, why error) {
	why = errors.Join(why, os.NewSyscallError("close", unix.Close(c.fd)))
	log.Printf("fd %d: %s closed: %v", c.fd, c.addr, why)
	delete(s.conns, c.fd)
	s.full = false // CHANGED: a descriptor is free again
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	in := sa.(*unix.SockaddrInet4) // AF_INET, like the listener
	return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port))
}

// check ends the program if a call failed that it cannot do without.
func check(call string, err error) {
	if err != nil {
		log.Fatal(os.NewSyscallError(call, err))
	}
}
