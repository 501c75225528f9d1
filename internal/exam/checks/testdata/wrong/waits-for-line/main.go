// Wrong on purpose: it answers whole lines, and waits for the end of each.
package main

import (
	"bufio"
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
		go serve(c)
	}
}

func serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReaderSize(c, 1<<16)
	for {
		line, err := in.ReadSlice('\n')
		if _, werr := c.Write(line); werr != nil || err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}
