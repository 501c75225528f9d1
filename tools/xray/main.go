// Xray shows what a running process waits for: the system call that each of its
// threads sleeps in, the interest lists of its epoll instances, and its TCP
// sockets with what is unread, unsent and not accepted. It reads /proc, and
// neither stops nor traces the process.
//
// Usage:
//
//	xray [-addr HOST:PORT]    the process that listens there (127.0.0.1:6379)
//	xray -pid N               this process
//	xray -once                one report, and stop
//	xray -json                the same as JSON: see Report for the fields
//	xray -interval 500ms      how often to look
//
// On a terminal the report is live; Ctrl-C ends it. Elsewhere -once is implied.
// A report takes two looks, -interval apart: CPU time is what was used between
// them, and what is odd counts only if both looks saw it.
//
// It exits 0 if all went well, also when the process has ended meanwhile, 1 if
// there is no such process or we may not look, 2 if it was misused.
package main

import (
	"os"

	"epoll-step-by-step/internal/xray"
)

func main() { os.Exit(xray.Main(os.Args[1:], os.Stdout, os.Stderr)) }
