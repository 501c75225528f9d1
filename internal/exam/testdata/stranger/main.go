// Stranger is an echo server that package net makes, for the examiner's tests: it
// listens where the steps cannot.
//
// Usage: stranger tcp|tcp4|tcp6 HOST:PORT
//
// With tcp, [::] gets IPv4 connections, too; with tcp6 it has IPV6_V6ONLY: ipv6(7).
package main

import (
	"io"
	"log"
	"net"
	"os"
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
		go func() {
			defer c.Close()
			// Without this wrapper, io.Copy would use splice(2), which has pipes.
			io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
		}()
	}
}
