// Xray shows what a running process waits for: the system call that each of its
// threads sleeps in, the interest lists of its epoll instances, and its TCP
// sockets with their unread and unsent bytes and their queues. It reads /proc, and
// neither stops nor traces the process.
//
// Usage:
//
//	xray [-addr HOST:PORT]    the process that listens there (127.0.0.1:6379)
//	xray -pid N               this process
//	xray -once                print one report
//	xray -json                print one report as JSON: see xray.Report
//	xray -interval 500ms      time between two looks
//
// On a terminal the report is live; Ctrl-C ends it. Elsewhere -once is implied.
// A report takes two looks, -interval apart: it shows the CPU time used between
// them, and a mark only if both looks found it.
//
// It exits 0 on success, even if the process ends in the meantime, 1 if there is
// no such process or it may not be inspected, 2 after wrong usage.
package main

import (
	"os"

	"epoll-step-by-step/internal/xray"
)

func main() { os.Exit(xray.Main(os.Args[1:], os.Stdout, os.Stderr)) }
