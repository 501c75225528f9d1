// Wrong on purpose: one goroutine writes to all clients, and waits for each.
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

type message struct {
	to   *net.TCPConn
	data []byte // nil: close the connection
	sent chan bool
}

var out = make(chan message)

func init() {
	go func() {
		for m := range out {
			if m.data == nil {
				m.to.Close()
			} else {
				m.to.Write(m.data)
			}
			m.sent <- true
		}
	}()
}

func serve(c *net.TCPConn) {
	buf := make([]byte, 64<<10)
	sent := make(chan bool)
	for {
		n, err := c.Read(buf)
		if err != nil && err != io.EOF {
			c.Close()
			return
		}
		if n == 0 {
			out <- message{c, nil, sent}
			<-sent
			return
		}
		out <- message{c, buf[:n], sent}
		<-sent
	}
}
