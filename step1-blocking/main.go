// Step 1: one client at a time.
//
// A TCP echo server. Each system call sleeps until the kernel can complete it.
//
// Usage: step1-blocking [-addr 127.0.0.1:6379]
//
// Still wrong: while one client is connected and silent, the process sleeps
// in that client's read(2), and all other clients wait.
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
	program = "step1-blocking"
	backlog = 4096     // connections that may wait for accept: listen(2)
	bufSize = 64 << 10 // bytes that one read may return
)

type conn struct {
	fd   int
	addr netip.AddrPort // the client's address, for the log
}

type server struct {
	listener int
	addr     netip.AddrPort
	buf      [bufSize]byte // shared: written or copied before the next read
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
	bound, err := unix.Getsockname(fd) // for port 0, the kernel chose one
	check("getsockname", err)
	return &server{listener: fd, addr: addrPort(bound)}
}

// serve handles one client until it leaves, then accepts the next.
func (s *server) serve() {
	for {
		c := s.accept()
		var err error
		for err == nil {
			err = s.read(c)
		}
		s.close(c, err)
	}
}

// accept sleeps until a client has connected.
func (s *server) accept() *conn {
	for {
		fd, sa, err := unix.Accept(s.listener)
		switch err {
		case nil:
		case unix.ECONNABORTED:
			continue // it left while queued: try the next
		default:
			check("accept", err)
		}
		c := &conn{fd: fd, addr: addrPort(sa)}
		log.Printf("fd %d: %s connected", c.fd, c.addr)
		return c
	}
}

// read takes at most one buffer of what c has sent, and sends it back.
func (s *server) read(c *conn) error {
	n, err := unix.Read(c.fd, s.buf[:])
	if err != nil {
		return os.NewSyscallError("read", err)
	}
	if n == 0 {
		return io.EOF // c sends no more and got everything back
	}
	return s.write(c, s.buf[:n])
}

// write sends data to c. It sleeps while c's send queue is full.
func (s *server) write(c *conn, data []byte) error {
	for len(data) > 0 { // write(2) may take less than it is given
		n, err := unix.Write(c.fd, data)
		if err != nil {
			return os.NewSyscallError("write", err)
		}
		data = data[n:]
	}
	return nil
}

// close ends one connection. One client's error does not affect the others.
func (s *server) close(c *conn, why error) {
	why = errors.Join(why, os.NewSyscallError("close", unix.Close(c.fd)))
	log.Printf("fd %d: %s closed: %v", c.fd, c.addr, why)
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
