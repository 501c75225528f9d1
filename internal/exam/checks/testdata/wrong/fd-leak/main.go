// Wrong on purpose: it shuts connections down and does not close them.
package main

import (
	"io"
	"log"
	"net"
	"os"
	"sync"
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

var (
	mu   sync.Mutex
	gone []*net.TCPConn // "to be closed later"
)

func serve(c *net.TCPConn) {
	io.Copy(c, c)
	c.CloseWrite()
	mu.Lock()
	gone = append(gone, c)
	mu.Unlock()
}
