// Gone cuts the link to some clients, as if their machine had lost its power, and
// prints when the server's kernel reports it. It needs no root: client and server
// are in network namespaces of their own, joined by a pair of virtual interfaces.
// See namespaces(7), network_namespaces(7) and veth(4).
package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	serverIP = "192.0.2.1" // addresses for documentation: RFC 5737
	clientIP = "192.0.2.2"
	port     = 7000
	limit    = time.Minute // for a report
)

// A client is what the server knows of one connection.
type client struct {
	name    string
	write   bool          // the server writes to it after the cut
	options []option      // that the server sets
	after   time.Duration // the report came that long after the cut
	err     error         // what read(2) returned then
}

type option struct{ level, name, value int }

var clients = []*client{
	{name: "silent"},
	{name: "silent, SO_KEEPALIVE, 1 s + 2 * 1 s", options: []option{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 2},
	}},
	{name: "written to", write: true},
	{name: "written to, TCP_USER_TIMEOUT, 2 s", write: true, options: []option{
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 2000},
	}},
}

func main() {
	log.SetFlags(0)
	switch {
	case len(os.Args) == 1:
		outside()
	case os.Args[1] == "server":
		server()
	default:
		machine()
	}
}

// outside starts the server as root of a user namespace, which may make network
// interfaces in its own network namespace.
func outside() {
	c := self("server", unix.CLONE_NEWUSER|unix.CLONE_NEWNET)
	c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
	c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	c.Stdout = os.Stdout
	check("a network namespace without root (user_namespaces(7))", c.Run())
}

// self returns this program, to be started with new namespaces.
func self(arg string, flags uintptr) *exec.Cmd {
	c := exec.Command("/proc/self/exe", arg)
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	return c
}

// machine is the clients' side. It obeys the server, a line for each step.
func machine() {
	orders := bufio.NewScanner(os.Stdin)
	orders.Scan() // the interface is here
	ip("address", "add", clientIP+"/24", "dev", "far")
	ip("link", "set", "far", "up")
	fmt.Println("up")
	orders.Scan() // the server listens
	for range clients {
		c, err := net.Dial("tcp", net.JoinHostPort(serverIP, strconv.Itoa(port)))
		check("connect", err)
		defer c.Close()
	}
	orders.Scan() // the server has accepted all
	ip("link", "set", "far", "down")
	fmt.Println("down")
	orders.Scan() // until the server ends
}

func server() {
	far := self("machine", unix.CLONE_NEWNET)
	orders, err := far.StdinPipe()
	check("pipe", err)
	out, err := far.StdoutPipe()
	check("pipe", err)
	check("start", far.Start())
	done := bufio.NewReader(out)

	ip("link", "add", "near", "type", "veth", "peer", "name", "far", "netns", strconv.Itoa(far.Process.Pid))
	ip("address", "add", serverIP+"/24", "dev", "near")
	ip("link", "set", "near", "up")
	fmt.Fprintln(orders)
	await(done)
	l := listen()
	fmt.Fprintln(orders)
	fds := make(map[int32]*client)
	e, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	check("epoll_create1", err)
	for _, c := range clients {
		fds[accept(l, e, c)] = c
	}
	fmt.Fprintln(orders)
	await(done)
	cut(e, fds)

	for _, c := range clients {
		state := "still connected"
		if c.err != nil {
			state = fmt.Sprintf("%v, after %.1f s", c.err, c.after.Seconds())
		}
		fmt.Printf("%-36s %s\n", c.name, state)
	}
	orders.Close()
	check("wait", far.Wait())
}

// cut is called after the cut. It writes to some clients, and waits until the
// kernel has reported those that have a timeout.
func cut(e int, fds map[int32]*client) {
	start := time.Now()
	missing := 0
	for fd, c := range fds {
		if c.write {
			_, err := unix.Write(int(fd), []byte("hello"))
			check("write", err)
		}
		if c.options != nil {
			missing++
		}
	}
	for missing > 0 {
		events := make([]unix.EpollEvent, 1)
		n, err := unix.EpollWait(e, events, int(limit.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		check("epoll_wait", err)
		if n == 0 {
			log.Fatalf("the kernel has reported nothing for %v", limit)
		}
		c := fds[events[0].Fd]
		c.after = time.Since(start)
		_, c.err = unix.Read(int(events[0].Fd), make([]byte, 1))
		check("close", unix.Close(int(events[0].Fd)))
		missing--
	}
}

func listen() int {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	check("socket", err)
	check("bind", unix.Bind(l, &unix.SockaddrInet4{Port: port}))
	check("listen", unix.Listen(l, len(clients)))
	return l
}

// accept accepts a client, sets its options, and has errors reported.
func accept(l, e int, c *client) int32 {
	fd, _, err := unix.Accept4(l, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	check("accept4", err)
	for _, o := range c.options {
		check("setsockopt", unix.SetsockoptInt(fd, o.level, o.name, o.value))
	}
	check("epoll_ctl", unix.EpollCtl(e, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Fd: int32(fd)}))
	return int32(fd)
}

// await waits until the other side has done what it was told.
func await(done *bufio.Reader) {
	if _, err := done.ReadString('\n'); err != nil && err != io.EOF {
		check("read", err)
	}
}

func ip(args ...string) {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		log.Fatalf("ip %v: %v\n%s", args, err, out)
	}
}

func check(what string, err error) {
	if err != nil {
		log.Fatalf("%s: %v", what, err)
	}
}
