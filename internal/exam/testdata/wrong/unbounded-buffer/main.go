// Wrong on purpose: it keeps reading from a client that does not read, and
// stores it all.
package main

import (
	"log"
	"net"
	"os"
	"sync"
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
	var mu sync.Mutex
	var pending []byte
	news := make(chan bool, 1)
	go func() {
		defer close(news)
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			mu.Lock()
			pending = append(pending, buf[:n]...)
			mu.Unlock()
			select {
			case news <- true:
			default:
			}
		}
	}()
	for more := true; more; {
		_, more = <-news
		mu.Lock()
		data := pending
		pending = nil
		mu.Unlock()
		if _, err := c.Write(data); err != nil {
			break
		}
	}
	c.Close()
}
