// Wrong on purpose: a process accepts, another one serves, and the first one keeps its
// copies of the descriptors.
package main

import (
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 {
		serve()
		return
	}
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		log.Fatal(err)
	}
	child := exec.Command(os.Args[0])
	child.Stdin, child.Stderr = os.NewFile(uintptr(pair[1]), "pair"), os.Stderr
	if err := child.Start(); err != nil {
		log.Fatal(err)
	}
	var kept []*os.File // "the child closes it"
	for {
		c, err := l.Accept()
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors: later
			continue
		}
		f, err := c.(*net.TCPConn).File()
		c.Close()
		if err != nil {
			continue // out of descriptors
		}
		kept = append(kept, f)
		if err := unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(int(f.Fd())), nil, 0); err != nil {
			log.Fatal(err)
		}
	}
}

// serve serves the connections whose descriptors come from the parent.
func serve() {
	for {
		var one [1]byte
		oob := make([]byte, unix.CmsgSpace(4))
		n, oobn, _, _, err := unix.Recvmsg(0, one[:], oob, unix.MSG_CMSG_CLOEXEC)
		if n == 0 || err != nil && err != unix.EINTR {
			return
		}
		messages, _ := unix.ParseSocketControlMessage(oob[:oobn])
		for _, m := range messages {
			fds, _ := unix.ParseUnixRights(&m)
			for _, fd := range fds {
				f := os.NewFile(uintptr(fd), "client")
				c, err := net.FileConn(f)
				f.Close()
				if err != nil {
					continue
				}
				go func() {
					io.Copy(c, c)
					c.Close()
				}()
			}
		}
	}
}
