// Wrong on purpose: it has a thread for each client, which is correct, but not one thread.
package main

import (
	"log"
	"net"
	"os"
	"runtime"
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
		go serve(c)
	}
}

// serve keeps its goroutine on a thread of its own. Without that, all goroutines could be
// on one thread if there is only one CPU.
func serve(c net.Conn) {
	runtime.LockOSThread()
	defer c.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}
