// Exercise 18: many cores.
//
// A TCP echo server: step 4, once for each core. The process that is started
// first, the parent, serves no client: it starts the others, its workers,
// replaces one that dies, and when it ends, they end with it.
//
// Usage: 18-many-cores [-addr 127.0.0.1:6379] [-workers N]
package main

import (
	"errors"
	"flag"
	"io"
	"log"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	program = "18-many-cores"
	backlog = 4096     // connections that may wait for accept: listen(2)
	bufSize = 64 << 10 // bytes that one read may return

	maxEvents = 256 // events that one epoll_wait may return
	budget    = 4   // turns that a connection may take in a row

	restartDelay = time.Second // at least, between two starts of a worker
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

// CHANGED: one program, two roles. A process that is forked from a Go program
// has only one of its threads, and the Go runtime cannot continue in it. So a
// worker executes this program again, and a flag makes it a worker.
func main() {
	log.SetFlags(0)
	log.SetPrefix(program + ": ")
	at := flag.String("addr", "127.0.0.1:6379", "listen on `IPv4:PORT`")
	n := flag.Int("workers", max(2, runtime.NumCPU()),
		"serve with `N` processes: one a core, and two on a single core")
	parent := flag.Int("parent", 0, "be a worker of process `PID`, with "+
		"its listening socket as descriptor 3; for use by the parent")
	flag.Parse()
	addr, err := netip.ParseAddrPort(*at)
	if err != nil || !addr.Addr().Is4() || flag.NArg() > 0 || *n < 1 {
		log.Printf("got %q; want -addr IPv4:PORT and nothing else but "+
			"-workers N, such as -addr 127.0.0.1:7000", os.Args[1:])
		os.Exit(2)
	}
	if *parent != 0 {
		work(*parent)
	} else {
		supervise(addr, *n)
	}
}

// CHANGED: a worker is the parent's record of one: a listening socket, which
// stays open as long as the server runs, and the process that accepts from it
// now.
type worker struct {
	listener *os.File
	pid      int
	started  time.Time
}

// CHANGED: supervise is the parent. It opens all listening sockets itself and
// passes each to one worker. That has three advantages. Clients can connect as
// soon as the log reports the address, because the queues exist. With port 0
// the workers need not agree on a port. And when a worker dies, its socket
// stays open, because the parent has it open, too: queued clients are not reset
// but wait for the next worker.
func supervise(addr netip.AddrPort, n int) {
	fd, addr := bind(addr)
	var workers []*worker
	for range n {
		l := os.NewFile(uintptr(listen(addr)), "listener")
		workers = append(workers, &worker{listener: l})
	}
	check("close", unix.Close(fd))
	for _, w := range workers {
		w.start()
	}
	log.Print("listening on ", addr)
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		check("wait4", err)
		for _, w := range workers {
			if w.pid != pid {
				continue // or not a worker: a shell may leave us its children
			}
			log.Printf("worker %d ended (%s)", pid, reason(status))
			// A worker that always ends at once must not be started a
			// thousand times a second.
			time.Sleep(time.Until(w.started.Add(restartDelay)))
			w.start()
		}
	}
}

// CHANGED: start executes this program as a worker. Descriptor 3 is its
// listener; all others are close-on-exec. If that fails, for lack of memory for
// example, start tries again; meanwhile the other workers serve.
func (w *worker) start() {
	path, err := os.Executable()
	check("readlink(/proc/self/exe)", err)
	args := []string{os.Args[0], "-parent", strconv.Itoa(os.Getpid())}
	files := []*os.File{os.Stdin, os.Stdout, os.Stderr, w.listener}
	for {
		p, err := os.StartProcess(path, args, &os.ProcAttr{Files: files})
		w.started = time.Now()
		if err == nil {
			w.pid = p.Pid
			check("close", p.Release()) // supervise calls wait4, not p.Wait
			return
		}
		log.Printf("a worker cannot be started: %v", err)
		time.Sleep(restartDelay)
	}
}

func reason(status unix.WaitStatus) string {
	if status.Signaled() {
		return unix.SignalName(status.Signal())
	}
	return "exit status " + strconv.Itoa(status.ExitStatus())
}

// CHANGED: work is a worker: step 4 with a socket that listens already.
//
// When the parent ends, the kernel kills the worker: prctl(2), PR_SET_PDEATHSIG
// in "DESCRIPTION". That works even if the parent ends by SIGKILL, which it
// could not pass on. (The "parent" there is the thread that called fork. Here
// that is the main thread, which ends with the process.) If the parent ended
// before this call, no signal comes, and the worker already has another parent.
func work(parent int) {
	log.SetPrefix(program + "[" + strconv.Itoa(os.Getpid()) + "]: ")
	err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	check("prctl(PR_SET_PDEATHSIG)", err)
	if unix.Getppid() != parent {
		log.Fatal("the parent has gone, or is not process ", parent)
	}
	const listener = 3
	check("fcntl(F_SETFL)", unix.SetNonblock(listener, true))
	s := &server{listener: listener, conns: make(map[int]*conn)}
	s.serve()
}

// CHANGED: bind makes a socket with an address. The parent's first socket has
// no SO_REUSEPORT: if all had it, a second copy of this server would start
// without an error, and get half of the clients. That socket also turns port 0
// into a real one, and holds the address until the others are open. It never
// listens: it would get clients, too, and no process accepts from it.
func bind(addr netip.AddrPort, options ...int) (int, netip.AddrPort) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	check("socket", err)
	for _, option := range append(options, unix.SO_REUSEADDR) {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1)
		check("setsockopt(SO_REUSEADDR, SO_REUSEPORT)", err)
	}
	sa := &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	err = unix.Bind(fd, sa)
	check("bind "+addr.String()+" (if it is taken, choose another port with "+
		"-addr; 6379 is Redis's)", err)
	bound, err := unix.Getsockname(fd) // for port 0, the kernel chose one
	check("getsockname", err)
	return fd, addrPort(bound)
}

// CHANGED: each listener is one of several with the same address. The kernel
// hashes the client's and our address and port to choose one of them, and puts
// the connection into its queue: socket(7), "Socket options". The listener is
// still blocking: os.NewFile would register a non-blocking descriptor with the
// Go runtime's own epoll instance.
func listen(addr netip.AddrPort) int {
	fd, _ := bind(addr, unix.SO_REUSEPORT)
	err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	check("setsockopt(TCP_NODELAY)", err) // accepted sockets inherit it
	err = unix.Listen(fd, backlog)
	check("listen", err)
	return fd
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
