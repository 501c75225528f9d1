// Memory opens more and more connections to a server on this machine, and
// reports how much memory they take while they are idle: in the process, and in
// the kernel.
//
// Usage: memory [-addr 127.0.0.1:6379]
package main

import (
	"cmp"
	"flag"
	"fmt"
	"log"
	"net/netip"
	"os"
	"regexp"
	"strconv"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

var stages = []int{1000, 5000, 10000, 19000}

const spare = 100 // descriptors that this program and the server need for other things

func main() {
	log.SetFlags(0)
	at := flag.String("addr", "127.0.0.1:6379", "connect to the server at `IPv4:PORT`")
	flag.Parse()
	addr, err := netip.ParseAddrPort(*at)
	if err != nil || !addr.Addr().Is4() || flag.NArg() > 0 {
		log.Printf("got %q; want -addr IPv4:PORT", os.Args[1:])
		os.Exit(2)
	}
	pid := listener(addr)
	var limit unix.Rlimit // Go has raised the soft limit to the hard one
	check("getrlimit", unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	if limit.Cur <= spare {
		log.Fatalf("%d descriptors are too few: ulimit -n 20000", limit.Cur)
	}

	fmt.Println("connections  the process      each    the kernel     each")
	rss, slab := resident(pid), slab()
	fmt.Printf("%11d %8d KiB         -  %8d KiB        -\n", 0, rss/1024, slab/1024)
	var clients []int
	var user, kernel int // bytes each
	for _, n := range stages {
		if n = min(n, int(limit.Cur)-spare); n <= len(clients) {
			break
		}
		for len(clients) < n {
			clients = append(clients, connect(addr))
		}
		user, kernel = measure(pid, rss, slab, n)
	}
	const million = 1000 * 1000
	fmt.Printf("a million: 1000000 * (%d + %d) B = %d MiB + %d MiB\n",
		user, kernel, million*user>>20, million*kernel>>20)
	for _, c := range clients { // with a reset, so that no port stays in TIME_WAIT
		unix.SetsockoptLinger(c, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		unix.Close(c)
	}
}

// measure prints a row, and returns the bytes that each of n connections takes.
func measure(pid, rss, before, n int) (user, kernel int) {
	process, all := resident(pid), slab()
	user = max(0, process-rss) / n
	kernel = max(0, all-before) / n
	fmt.Printf("%11d %8d KiB  %6d B  %8d KiB  %5d B\n", n, process/1024, user, all/1024, kernel)
	return user, kernel
}

// connect opens a connection and has one byte echoed, so that the server has
// accepted it and is waiting.
func connect(addr netip.AddrPort) int {
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	check("socket", err)
	check("connect", unix.Connect(c, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}))
	buf := []byte{'x'}
	_, err = unix.Write(c, buf)
	check("write", err)
	n, err := unix.Read(c, buf)
	check("read", err)
	if n == 0 {
		log.Fatal("the server has closed a connection")
	}
	return c
}

var (
	vmRSS = regexp.MustCompile(`VmRSS:\s*(\d+) kB`)
	slabs = regexp.MustCompile(`Slab:\s*(\d+) kB`)
)

// resident returns the memory of a process, in bytes: proc(5), at VmRSS.
func resident(pid int) int { return kilobytes(fmt.Sprintf("/proc/%d/status", pid), vmRSS) }

// slab returns the memory of the kernel's own objects, such as sockets, in
// bytes: proc(5), at Slab.
func slab() int { return kilobytes("/proc/meminfo", slabs) }

func kilobytes(file string, line *regexp.Regexp) int {
	text, err := os.ReadFile(file)
	check("read", err)
	m := line.FindSubmatch(text)
	if m == nil {
		log.Fatalf("%s has no line %v", file, line)
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n * 1024
}

// listener returns the process that listens on addr.
func listener(addr netip.AddrPort) int {
	pid, err := procfs.Listening(addr)
	if pid == 0 {
		log.Fatalf("who listens on %v? %v", addr, cmp.Or(err, error(unix.ESRCH)))
	}
	return pid
}

func check(call string, err error) {
	if err != nil {
		log.Fatal(os.NewSyscallError(call, err))
	}
}
