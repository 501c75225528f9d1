// Wrong on purpose: it answers in records of 16 bytes, and waits for a whole
// one.
package main

import (
	"bufio"
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
	in, out := bufio.NewReaderSize(c, 1<<16), bufio.NewWriterSize(c, 1<<16)
	var record [16]byte
	for {
		n, err := io.ReadFull(in, record[:])
		out.Write(record[:n])
		if err == nil && in.Buffered() >= len(record) {
			continue // another record is there already
		}
		if werr := out.Flush(); err != nil || werr != nil {
			return
		}
	}
}
