// Wrong on purpose: it keeps reading from a client that does not read, and
// stores it all, in a process without a listening socket: the process that has
// one passes each connection to it.
package main

import (
	"log"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) == 1 {
		work()
		return
	}
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		log.Fatal(err)
	}
	worker := exec.Command("/proc/self/exe")
	theirs := os.NewFile(uintptr(pair[1]), "theirs")
	worker.Stdin = theirs
	worker.Stderr = os.Stderr
	if err := worker.Start(); err != nil {
		log.Fatal(err)
	}
	theirs.Close()
	for {
		c, err := l.Accept()
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors: try again later
			continue
		}
		if f, err := c.(*net.TCPConn).File(); err == nil {
			unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(int(f.Fd())), nil, 0)
			f.Close()
		}
		c.Close()
	}
}

// work serves the connections that arrive on descriptor 0, until no process is
// left that could send one.
func work() {
	for {
		control := make([]byte, unix.CmsgSpace(4))
		n, controls, _, _, err := unix.Recvmsg(0, make([]byte, 1), control, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return
		}
		messages, _ := unix.ParseSocketControlMessage(control[:controls])
		if len(messages) == 0 {
			continue // no descriptor was free for the connection
		}
		fds, _ := unix.ParseUnixRights(&messages[0])
		f := os.NewFile(uintptr(fds[0]), "connection")
		if c, err := net.FileConn(f); err == nil {
			go serve(c.(*net.TCPConn))
		}
		f.Close()
	}
}

func serve(c *net.TCPConn) {
	var mu sync.Mutex
	var pending []byte
	news := make(chan bool, 1)
	go func() {
		defer close(news)
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			mu.Lock()
			pending = append(pending, buf[:n]...)
			mu.Unlock()
			select {
			case news <- true:
			default:
			}
		}
	}()
	for more := true; more; {
		_, more = <-news
		mu.Lock()
		data := pending
		pending = nil
		mu.Unlock()
		if _, err := c.Write(data); err != nil {
			break
		}
	}
	c.Close()
}
