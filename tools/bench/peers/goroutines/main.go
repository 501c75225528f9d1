// An echo server as one writes it in Go: a goroutine for each connection.
//
// Usage: goroutines PORT
package main

import (
	"log"
	"net"
	"os"
)

const bufSize = 32 << 10 // bytes that each goroutine keeps: as many as io.Copy would

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go echo(conn)
	}
}

// echo does not use io.Copy: with two TCP connections that is splice(2) through
// a pipe, which costs small messages more than it saves.
func echo(conn net.Conn) {
	defer conn.Close()
	buf := make([]byte, bufSize)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		if _, err := conn.Write(buf[:n]); err != nil {
			return
		}
	}
}
