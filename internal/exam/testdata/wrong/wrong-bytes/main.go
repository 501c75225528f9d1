// Wrong on purpose: it treats data as text and normalizes line ends.
package main

import (
	"bytes"
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
	defer c.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		text := bytes.ReplaceAll(buf[:n], []byte("\r\n"), []byte("\n"))
		if _, werr := c.Write(text); err != nil || werr != nil {
			if err != io.EOF {
				log.Print(err)
			}
			return
		}
	}
}
