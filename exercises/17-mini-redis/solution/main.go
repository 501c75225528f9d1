// Exercise 17: a small Redis.
//
// PING, ECHO, SET, GET, DEL and INCR as in Redis: step 3, but what it reads is
// cut into commands. Commands that arrive together are answered by one write.
//
// Usage: 17-mini-redis [-addr 127.0.0.1:6379]
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	program = "17-mini-redis"
	backlog = 4096     // connections that may wait for accept: listen(2)
	bufSize = 64 << 10 // bytes that one read may return

	maxEvents = 256 // events that one epoll_wait may return

	maxLine    = 64 << 10 // bytes of an inline command, or of a number's line
	maxArgs    = 1024     // words of a command
	maxBulk    = 1 << 20  // bytes of a word
	maxCommand = 2 << 20  // bytes of a command, as it is sent
	maxReplies = 64 << 10 // bytes of replies that end a turn
)

type conn struct {
	fd   int
	addr netip.AddrPort // the client's address, for the log

	// Replies not yet written. While there are any, the connection is
	// flushing and nothing more is read from it.
	pending []byte

	// CHANGED: what was read and not yet executed: the beginning of a command,
	// or, if more is set, whole commands that the last turn left because it had
	// enough replies. They are executed before anything else is read: only a
	// connection without pending and without more is reading.
	input []byte
	more  bool

	broken bool // CHANGED: c broke the protocol: its input is discarded

	interest uint32 // EPOLLIN while reading, EPOLLOUT otherwise
}

type server struct {
	listener int
	addr     netip.AddrPort
	buf      [bufSize]byte // shared: executed or copied before the next read
	conns    map[int]*conn // by descriptor
	epfd     int
	paused   time.Time // when the loop last made a pause: see wait
	full     bool      // no descriptor was free: the listener's interest is 0

	// CHANGED: the values that were SET. Simplification: without a limit.
	values map[string]string

	// CHANGED: buffers of one turn, kept here so that they are allocated once.
	replies []byte   // written or copied before the next turn
	args    [][]byte // a command's words; they point into what was read
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
	return &server{listener: fd, addr: addrPort(bound), conns: conns,
		values: make(map[string]string)}
}

// serve sleeps until descriptors are ready, and serves those.
func (s *server) serve() {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	check("epoll_create1", err)
	s.epfd = epfd
	err = s.setInterest(unix.EPOLL_CTL_ADD, s.listener, unix.EPOLLIN)
	check("epoll_ctl(EPOLL_CTL_ADD)", err)
	events := make([]unix.EpollEvent, maxEvents)
	for {
		n, err := s.wait(events, -1)
		if err == unix.EINTR {
			continue // a signal; epoll_wait is never restarted: signal(7)
		}
		check("epoll_wait", err)
		for _, event := range events[:n] {
			if fd := int(event.Fd); fd == s.listener {
				s.accept()
			} else {
				s.turn(s.conns[fd]) // never nil: only c's own turn closes c
			}
		}
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
		c := &conn{fd: fd, addr: addrPort(sa), interest: unix.EPOLLIN}
		log.Printf("fd %d: %s connected", c.fd, c.addr)
		s.conns[c.fd] = c
		err = s.setInterest(unix.EPOLL_CTL_ADD, c.fd, c.interest)
		if err != nil {
			s.close(c, os.NewSyscallError("epoll_ctl(EPOLL_CTL_ADD)", err))
		}
	}
}

// outOfDescriptors pauses the listener until close resumes it: queued clients
// keep it ready, and epoll_wait would return at once, again and again.
func (s *server) outOfDescriptors(err error) {
	if len(s.conns) == 0 {
		check("accept4", err) // there is no client that could leave
	}
	log.Printf("accept4: %v: waiting for a client to leave", err)
	s.full = true
	err = s.setInterest(unix.EPOLL_CTL_MOD, s.listener, 0)
	check("epoll_ctl(EPOLL_CTL_MOD)", err)
}

// turn does one step for c: it flushes, or executes what is left, or reads once
// and executes that. CHANGED: one step is at most one read and about
// maxReplies, however much a client has sent; then it is another client's turn.
func (s *server) turn(c *conn) {
	var err error
	switch {
	case len(c.pending) > 0:
		err = s.write(c, c.pending)
	case c.more:
		err = s.execute(c, c.input)
	default:
		err = s.read(c)
	}
	if err != nil {
		s.close(c, err)
	}
}

// read takes at most one buffer of what c has sent, and executes it.
func (s *server) read(c *conn) error {
	n, err := unix.Read(c.fd, s.buf[:])
	if err == unix.EAGAIN {
		return nil // nothing has arrived
	}
	if err != nil {
		return os.NewSyscallError("read", err)
	}
	if n == 0 {
		return io.EOF // c sends no more and has all its replies
	}
	if c.broken {
		return nil // until c closes. Simplification: exercise 09 adds a timeout
	}
	if len(c.input) == 0 {
		return s.execute(c, s.buf[:n]) // the usual case, without a copy
	}
	c.input = append(c.input, s.buf[:n]...)
	return s.execute(c, c.input)
}

// CHANGED: execute executes all commands in data, and sends all replies with
// one write. It stops when there are many: a command of 30 bytes may have a
// reply of a megabyte, and a client that sends a thousand of them may not be
// reading. The rest then waits in input, and EPOLLOUT reports when there is
// room.
func (s *server) execute(c *conn, data []byte) error {
	s.replies = s.replies[:0]
	c.more = false
	for len(data) > 0 && !c.more {
		n, err := s.parse(data)
		if err != nil {
			s.error("Protocol error: " + err.Error())
			c.broken, data = true, nil
			break
		}
		if n == 0 {
			break // the rest comes with the next read
		}
		if len(s.args) > 0 { // not an empty line, nor *0
			s.command()
		}
		data = data[n:]
		c.more = len(s.replies) >= maxReplies && len(data) > 0
	}
	c.input = append(c.input[:0], data...) // a copy, because buf is shared
	if len(data) == 0 {
		c.input = nil // only an unfinished command keeps a buffer
	}
	return s.write(c, s.replies)
}

// CHANGED: parse puts the first command of data into args, and returns its
// length: 0 if the command is incomplete. It keeps no state from one call to
// the next, and parses the beginning again. That is cheap: it skips each word
// by its length, without looking at the bytes.
func (s *server) parse(data []byte) (int, error) {
	s.args = s.args[:0]
	if data[0] != '*' {
		line, n, err := cutLine(data, "inline request")
		s.args = append(s.args, bytes.Fields(line)...)
		return n, err
	}
	line, at, err := cutLine(data, "mbulk count string")
	if at == 0 || err != nil {
		return 0, err
	}
	count, ok := number(string(line[1:]))
	if !ok || count > maxArgs {
		return 0, errors.New("invalid multibulk length")
	}
	for range count {
		n, err := s.word(data[at:])
		if n == 0 && err == nil && len(data) >= maxCommand {
			err = errors.New("too big a command")
		}
		if n == 0 || err != nil {
			return 0, err
		}
		at += n
	}
	return at, nil
}

// word parses one word: a line with its length, its bytes, and a line end.
func (s *server) word(data []byte) (int, error) {
	if len(data) > 0 && data[0] != '$' {
		return 0, fmt.Errorf("expected '$', got '%c'", data[0])
	}
	line, at, err := cutLine(data, "bulk count string")
	if at == 0 || err != nil {
		return 0, err
	}
	size, ok := number(string(line[1:]))
	if !ok || size < 0 || size > maxBulk {
		return 0, errors.New("invalid bulk length")
	}
	end := at + int(size)
	if len(data) < end+len("\r\n") {
		return 0, nil
	}
	s.args = append(s.args, data[at:end])
	return end + len("\r\n"), nil
}

// cutLine returns the first line of data without its line end, and its length
// with it: 0 if the line is incomplete, which is an error if it is too long.
func cutLine(data []byte, what string) (line []byte, n int, err error) {
	n = bytes.IndexByte(data, '\n') + 1
	if n == 0 && len(data) > maxLine {
		err = errors.New("too big " + what)
	}
	return bytes.TrimRight(data[:n], "\r\n"), n, err
}

// number parses a number in the form that Redis prints: not +5, not 05.
func number(text string) (n int64, ok bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != text {
		return 0, false
	}
	return n, true
}

// arguments has the least and the greatest number that each command takes.
var arguments = map[string][2]int{
	"ping": {0, 1}, "echo": {1, 1}, "get": {1, 1}, "incr": {1, 1},
	"set": {2, maxArgs}, "del": {1, maxArgs},
}

// CHANGED: command executes the command in args. string() copies what the map
// keeps: the next read overwrites the bytes in args.
func (s *server) command() {
	name, args := string(bytes.ToLower(s.args[0])), s.args[1:]
	takes, known := arguments[name]
	switch n := len(args); {
	case !known:
		s.unknown()
	case n < takes[0] || n > takes[1]:
		s.error("wrong number of arguments for '" + name + "' command")
	case name == "ping" && n == 0:
		s.replies = append(s.replies, "+PONG\r\n"...)
	case name == "ping", name == "echo":
		s.bulk(string(args[0]))
	case name == "set" && n > 2: // Simplification: no options
		s.error("syntax error")
	case name == "set":
		s.values[string(args[0])] = string(args[1])
		s.replies = append(s.replies, "+OK\r\n"...)
	case name == "get":
		if value, there := s.values[string(args[0])]; there {
			s.bulk(value)
		} else {
			s.replies = append(s.replies, "$-1\r\n"...)
		}
	case name == "incr":
		s.incr(string(args[0]))
	case name == "del":
		before := len(s.values)
		for _, key := range args {
			delete(s.values, string(key))
		}
		s.integer(int64(before - len(s.values)))
	}
}

func (s *server) incr(key string) {
	value, there := s.values[key]
	n, ok := number(value)
	switch {
	case there && !ok:
		s.error("value is not an integer or out of range")
	case n == math.MaxInt64:
		s.error("increment or decrement would overflow")
	default: // without a value, n is 0
		s.values[key] = strconv.FormatInt(n+1, 10)
		s.integer(n + 1)
	}
}

// unknown quotes at most 128 bytes of what c has sent, as Redis does: an error
// is not an echo.
func (s *server) unknown() {
	var list []byte
	for _, arg := range s.args[1:] {
		if room := 128 - len(list); room > 0 {
			list = fmt.Appendf(list, "'%s' ", arg[:min(len(arg), room)])
		}
	}
	s.error(fmt.Sprintf("unknown command '%s', with args beginning with: %s",
		s.args[0][:min(len(s.args[0]), 128)], list))
}

// error makes a reply of text. It may quote what c has sent: a line end in that
// would end the reply, and the rest would be taken for another one.
func (s *server) error(text string) {
	text = strings.NewReplacer("\r", " ", "\n", " ").Replace(text)
	s.replies = fmt.Appendf(s.replies, "-ERR %s\r\n", text)
}

func (s *server) integer(n int64) {
	s.replies = fmt.Appendf(s.replies, ":%d\r\n", n)
}

func (s *server) bulk(value string) {
	s.replies = fmt.Appendf(s.replies, "$%d\r\n%s\r\n", len(value), value)
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
	c.pending = append(c.pending[:0], data...) // a copy: replies is shared
	if len(data) == 0 {
		c.pending = nil // only a stalled client keeps a buffer
	}
	// CHANGED: close(2) would send a RST if c has sent more than was read,
	// and a RST may discard the last reply. So only this direction ends.
	if len(data) == 0 && c.broken {
		if err := unix.Shutdown(c.fd, unix.SHUT_WR); err != nil {
			return os.NewSyscallError("shutdown", err)
		}
	}
	interest := uint32(unix.EPOLLIN)
	if len(data) > 0 || c.more { // CHANGED: or commands are left
		interest = unix.EPOLLOUT
	}
	if interest == c.interest {
		return nil
	}
	c.interest = interest
	err := s.setInterest(unix.EPOLL_CTL_MOD, c.fd, interest)
	return os.NewSyscallError("epoll_ctl(EPOLL_CTL_MOD)", err)
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
	if s.full {
		s.full = false
		err := s.setInterest(unix.EPOLL_CTL_MOD, s.listener, unix.EPOLLIN)
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
