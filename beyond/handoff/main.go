// Handoff accepts connections in one process and serves them in another one:
// the front process passes each descriptor to the worker with SCM_RIGHTS, over
// a Unix socket.
//
// Usage: handoff [-addr 127.0.0.1:6379]
package main

import (
	"flag"
	"log"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

func main() {
	log.SetFlags(0)
	at := flag.String("addr", "127.0.0.1:6379", "listen on `IPv4:PORT`")
	worker := flag.Bool("worker", false, "serve what comes by descriptor 3; for use by the front")
	flag.Parse()
	if *worker {
		work(3)
		return
	}
	addr, err := netip.ParseAddrPort(*at)
	if err != nil || !addr.Addr().Is4() || flag.NArg() > 0 {
		log.Printf("got %q; want -addr IPv4:PORT", os.Args[1:])
		os.Exit(2)
	}
	// SOCK_SEQPACKET keeps message boundaries: one recvmsg receives one
	// sendmsg.
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	check("socketpair", err)
	path, err := os.Executable()
	check("readlink(/proc/self/exe)", err)
	theirs := os.NewFile(uintptr(pair[1]), "theirs")
	_, err = os.StartProcess(path, []string{"worker", "-worker"},
		&os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, theirs}})
	check("starting the worker", err)
	check("close", theirs.Close())
	front(addr, pair[0])
}

// front accepts connections and passes them to the worker.
func front(addr netip.AddrPort, worker int) {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	check("socket", err)
	check("setsockopt(SO_REUSEADDR)", unix.SetsockoptInt(l, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	check("bind", unix.Bind(l, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}))
	check("listen", unix.Listen(l, 4096))
	log.Printf("front %d: listening on %v", os.Getpid(), addr)
	for {
		fd, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
		check("accept4", err)
		log.Printf("front %d: accepted fd %d, and gives it away", os.Getpid(), fd)
		check("sendmsg", give(worker, fd))
		check("close", unix.Close(fd)) // the worker's copy keeps the connection open
	}
}

// give sends a copy of fd to the process at the other end of to.
func give(to, fd int) error {
	return unix.Sendmsg(to, []byte{0}, unix.UnixRights(fd), nil, 0) // at least one byte of data is needed
}

// take receives a descriptor; ok is false when no process is left that could
// send one.
func take(from int) (fd int, ok bool) {
	control := make([]byte, unix.CmsgSpace(4)) // room for one descriptor
	n, controls, _, _, err := unix.Recvmsg(from, make([]byte, 1), control, unix.MSG_CMSG_CLOEXEC)
	check("recvmsg", err)
	if n == 0 {
		return -1, false
	}
	messages, err := unix.ParseSocketControlMessage(control[:controls])
	check("reading the control message", err)
	fds, err := unix.ParseUnixRights(&messages[0])
	check("reading SCM_RIGHTS", err)
	return fds[0], true
}

// work serves one client after the other, as step 1 does.
func work(front int) {
	for fd, ok := take(front); ok; fd, ok = take(front) {
		log.Printf("worker %d: took it, as fd %d", os.Getpid(), fd)
		buf := make([]byte, 4096)
		n, err := unix.Read(fd, buf)
		for ; n > 0; n, err = unix.Read(fd, buf) {
			if _, err = unix.Write(fd, buf[:n]); err != nil { // blocking: it writes everything or fails
				break
			}
		}
		log.Printf("worker %d: fd %d closed: %v", os.Getpid(), fd, err)
		check("close", unix.Close(fd))
	}
	log.Printf("worker %d: the front has ended", os.Getpid())
}

func check(call string, err error) {
	if err != nil {
		log.Fatal(os.NewSyscallError(call, err))
	}
}
