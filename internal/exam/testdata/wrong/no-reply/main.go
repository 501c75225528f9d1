// Wrong on purpose: it answers 16 bytes at a time, and waits for as many.
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
			time.Sleep(10 * time.Millisecond) // out of descriptors: later
			continue
		}
		go serve(c.(*net.TCPConn))
	}
}

func serve(c *net.TCPConn) {
	defer c.Close()
	var record [16]byte
	for {
		n, err := io.ReadFull(c, record[:])
		if _, werr := c.Write(record[:n]); err != nil || werr != nil {
			return
		}
	}
}
