// Wrong on purpose: it listens without SO_REUSEADDR.
package main

import (
	"context"
	"io"
	"log"
	"net"
	"os"
	"syscall"
	"time"
)

func main() {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 0)
		})
	}}
	l, err := config.Listen(context.Background(), "tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors: try again later
			continue
		}
		go func() {
			io.Copy(c, c)
			c.Close()
		}()
	}
}
