// Stranger is an echo server that package net makes, for the examiner's tests: it
// listens where the steps cannot.
//
// Usage: stranger tcp|tcp4|tcp6 HOST:PORT
//
// With tcp, [::] gets IPv4 connections, too; with tcp6 it has IPV6_V6ONLY: ipv6(7).
package main

import (
	"log"
	"net"
	"os"
	"runtime"
)

func main() {
	l, err := net.Listen(os.Args[1], os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	log.Print("listening on ", l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			log.Print(err)
			continue
		}
		go echo(c)
	}
}

// echo lets another goroutine go on after each message. On a single CPU, Go's scheduler
// does that only after 10 ms, in which one client gets megabytes.
func echo(c net.Conn) {
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
		runtime.Gosched()
	}
}
