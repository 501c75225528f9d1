// Exercise 14: the short read.
//
// A TCP echo server: step 4. Each message costs an extra read(2) that finds
// nothing.
//
// Usage: 14-short-read [-addr 127.0.0.1:6379]
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
	program = "14-short-read"
	backlog = 4096     // connections that may wait for accept: listen(2)
	bufSize = 64 << 10 // bytes that one read may return

	maxEvents = 256 // events that one epoll_wait may return
	budget    = 4   // turns that a connection may take in a row
)

type conn struct {
	fd   int
	addr netip.AddrPort // the client's address, for the log

	// Bytes read and not yet written. While there are any, the connection
	// is flushing and nothing more is read from it; otherwise it is reading.
	pending []byte

	ready bool // it is on the ready list
}

type server struct {
	listener int
	addr     netip.AddrPort
	buf      [bufSize]byte // shared: written or copied before the next read
	conns    map[int]*conn // by descriptor
	epfd     int
	paused   time.Time // when the loop last made a pause: see wait
	full     bool      // no descriptor was free: close re-arms the listener
	ready    []*conn   // had an edge, and no EAGAIN since
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
	fd, err := unix.Socket(unix.AF_INET,
		unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
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
	bound, err := unix.Getsockname(fd) // for port 0, the kernel chose one
	check("getsockname", err)
	conns := make(map[int]*conn)
	return &server{listener: fd, addr: addrPort(bound), conns: conns}
}

// serve sleeps until descriptors are ready, and serves those.
func (s *server) serve() {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	check("epoll_create1", err)
	s.epfd = epfd
	err = s.setInterest(unix.EPOLL_CTL_ADD, s.listener,
		unix.EPOLLIN|unix.EPOLLET)
	check("epoll_ctl(EPOLL_CTL_ADD)", err)
	events := make([]unix.EpollEvent, maxEvents)
	for {
		timeout := -1
		if len(s.ready) > 0 {
			timeout = 0 // there is work left: do not sleep
		}
		n, err := s.wait(events, timeout)
		if err == unix.EINTR {
			continue // a signal; epoll_wait is never restarted: signal(7)
		}
		check("epoll_wait", err)
		for _, event := range events[:n] {
			if fd := int(event.Fd); fd == s.listener {
				s.accept()
			} else if c := s.conns[fd]; !c.ready {
				c.ready = true
				s.ready = append(s.ready, c)
			}
		}
		s.round()
	}
}

// wait is epoll_wait(2), with a pause after 5 ms of work. Without one, the Go
// scheduler interrupts the loop in the middle of its calls: docs, chapter 05.
func (s *server) wait(events []unix.EpollEvent, timeout int) (int, error) {
	if busy := time.Since(s.paused); busy > 5*time.Millisecond {
		if busy < 10*time.Millisecond { // otherwise it has slept
			runtime.Gosched()
		}
		s.paused = time.Now()
	}
	return unix.EpollWait(s.epfd, events, timeout)
}

// round gives each ready connection a few turns, so that none starves the
// others: epoll(7), "Possible pitfalls and ways to avoid them".
func (s *server) round() {
	ready := s.ready
	s.ready = ready[:0] // in place: those that stay move to the front
	for _, c := range ready {
		for i := 0; i < budget && c.ready; i++ {
			s.turn(c)
		}
		if c.ready {
			s.ready = append(s.ready, c)
		}
	}
}

// accept accepts all clients that have connected.
func (s *server) accept() {
	for {
		fd, sa, err := unix.Accept4(s.listener,
			unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
		case unix.EAGAIN:
			return // the queue is empty
		case unix.ECONNABORTED:
			continue // it left while queued: try the next
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			s.outOfDescriptors(err)
			return
		default:
			check("accept4", err)
		}
		c := &conn{fd: fd, addr: addrPort(sa)}
		log.Printf("fd %d: %s connected", c.fd, c.addr)
		s.conns[c.fd] = c
		err = s.setInterest(unix.EPOLL_CTL_ADD, c.fd,
			unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET)
		if err != nil {
			s.close(c, os.NewSyscallError("epoll_ctl(EPOLL_CTL_ADD)", err))
		}
	}
}

// outOfDescriptors has close re-arm the listener: queued clients cause no edge.
func (s *server) outOfDescriptors(err error) {
	if len(s.conns) == 0 {
		check("accept4", err) // there is no client that could leave
	}
	log.Printf("accept4: %v: waiting for a client to leave", err)
	s.full = true
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
//
// TODO(you): a message costs one read(2) and one write(2). A client still gets
// everything that it is owed and, after its FIN, the end of the stream.
func (s *server) read(c *conn) error {
	n, err := unix.Read(c.fd, s.buf[:])
	if err == unix.EAGAIN {
		c.ready = false
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
			c.ready = false // until EPOLLOUT's edge: then c also reads again
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

// setInterest sets the events on fd that wake the loop. What turn then does
// depends on the connection's state. EPOLLERR and EPOLLHUP always wake the
// loop: the next read or write returns the reason.
func (s *server) setInterest(op, fd int, interest uint32) error {
	event := unix.EpollEvent{Events: interest, Fd: int32(fd)}
	return unix.EpollCtl(s.epfd, op, fd, &event)
}

// close ends one connection. One client's error does not affect the others.
// close(2) also ends the registration: epoll(7), "Questions and answers".
func (s *server) close(c *conn, why error) {
	why = errors.Join(why, os.NewSyscallError("close", unix.Close(c.fd)))
	log.Printf("fd %d: %s closed: %v", c.fd, c.addr, why)
	delete(s.conns, c.fd)
	c.ready = false
	if s.full {
		s.full = false
		err := s.setInterest(unix.EPOLL_CTL_MOD, s.listener,
			unix.EPOLLIN|unix.EPOLLET)
		check("epoll_ctl(EPOLL_CTL_MOD)", err)
	}
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
