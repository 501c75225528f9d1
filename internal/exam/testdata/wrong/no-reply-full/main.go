// Wrong on purpose: if a read fills its buffer, it waits for more bytes before
// it answers.
package main

import (
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
	defer c.Close()
	var buf [4096]byte
	for {
		n, err := c.Read(buf[:])
		if n == len(buf) && err == nil {
			more := make([]byte, 1)
			if _, err = c.Read(more); err == nil {
				_, err = c.Write(append(buf[:], more...))
			}
		} else if n > 0 {
			_, err = c.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}
