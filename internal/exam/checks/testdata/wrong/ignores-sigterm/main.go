// Wrong on purpose: it ignores SIGTERM.
package main

import (
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors: try again later
			continue
		}
		go serve(c.(*net.TCPConn))
	}
}

func init() { signal.Ignore(syscall.SIGTERM) }

func serve(c *net.TCPConn) {
	io.Copy(c, c)
	c.Close()
}
