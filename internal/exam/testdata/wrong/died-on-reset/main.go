// Wrong on purpose: it treats one client's error as its own.
package main

import (
	"io"
	"log"
	"net"
	"os"
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

func serve(c *net.TCPConn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err == io.EOF {
			c.Close()
			return
		}
		if err == nil {
			_, err = c.Write(buf[:n])
		}
		if err != nil {
			log.Fatal(err)
		}
	}
}
