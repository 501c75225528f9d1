// Wrong on purpose: it reads from its clients in turn, and waits for each of
// them.
package main

import (
	"log"
	"net"
	"os"
	"slices"
	"time"
)

func main() {
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	arrivals := make(chan net.Conn, 1<<16)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				time.Sleep(10 * time.Millisecond) // out of descriptors: try again later
				continue
			}
			arrivals <- c
		}
	}()
	var clients []net.Conn
	buf := make([]byte, 64<<10)
	for turn := 0; ; turn++ {
		for len(arrivals) > 0 || len(clients) == 0 {
			clients = append(clients, <-arrivals)
		}
		turn %= len(clients)
		c := clients[turn]
		n, err := c.Read(buf)
		if err == nil {
			_, err = c.Write(buf[:n])
		}
		if err != nil {
			c.Close()
			clients = slices.Delete(clients, turn, turn+1)
			turn-- // the next client has moved to this place
		}
	}
}
