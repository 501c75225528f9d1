package main

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The kernel's side of a server follows its clients, and its end.
func TestKernel(t *testing.T) {
	g := open(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest("GET", "http://"+g.host+"/kernel?addr="+l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Cookie", g.cookie()+"="+g.token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(answer.Body); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	await := func(want string) {
		t.Helper()
		for limit := time.After(60 * time.Second); ; {
			select {
			case line := <-lines:
				if strings.Contains(line, want) {
					return
				}
			case <-limit:
				t.Fatalf("%s is not reported", want)
			}
		}
	}
	await(`"listening":true,"state":"LISTEN","unread":0`)
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	await(`"listening":true,"state":"LISTEN","unread":1`) // in the accept queue
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	await(`"state":"ESTABLISHED","unread":0`)
	c.Write([]byte("hello"))
	await(`"state":"ESTABLISHED","unread":5`)
	s.Close()
	l.Close()
	await(`"program":""`)
}
