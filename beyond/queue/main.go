// Queue shows what happens to the clients in the accept queue of a worker that
// dies: it closes one of several listening sockets with SO_REUSEPORT, as the
// kernel does when a process ends.
package main

import (
	"fmt"
	"log"
	"os"

	"golang.org/x/sys/unix"
)

const clients = 100

func main() {
	log.SetFlags(0)
	at := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}} // port 0: the kernel chooses
	one := listen(at)
	sa, err := unix.Getsockname(one)
	check("getsockname", err)
	at = sa.(*unix.SockaddrInet4)
	two := listen(at)

	all := connect(at)
	fmt.Printf("%d clients have connected: %d wait in queue one, %d in queue two\n", clients, waiting(one), waiting(two))
	check("close", unix.Close(one))
	fmt.Printf("one is closed: %d clients are reset, %d wait in queue two\n", reset(all), waiting(two))
	all = connect(at)
	fmt.Printf("%d more clients: %d are reset, %d wait in queue two\n", clients, reset(all), waiting(two))

	held, err := unix.FcntlInt(uintptr(two), unix.F_DUPFD_CLOEXEC, 0)
	check("fcntl(F_DUPFD_CLOEXEC)", err)
	check("close", unix.Close(two))
	fmt.Printf("two is closed, but a copy is open: %d are reset, %d wait\n", reset(all), waiting(held))
}

// listen makes one of several listening sockets with the same address.
func listen(at *unix.SockaddrInet4) int {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	check("socket", err)
	check("setsockopt(SO_REUSEPORT)", unix.SetsockoptInt(l, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	check("bind", unix.Bind(l, at))
	check("listen", unix.Listen(l, 4096))
	return l
}

func connect(to unix.Sockaddr) []int {
	var all []int
	for range clients {
		c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		check("socket", err)
		check("connect", unix.Connect(c, to)) // complete before accept(2)
		all = append(all, c)
	}
	return all
}

// waiting returns the length of l's accept queue.
func waiting(l int) int {
	info, err := unix.GetsockoptTCPInfo(l, unix.IPPROTO_TCP, unix.TCP_INFO)
	check("getsockopt(TCP_INFO)", err)
	return int(info.Unacked) // for a listening socket: the length of its accept queue
}

// reset returns the number of clients whose connection was reset.
func reset(clients []int) int {
	n := 0
	for _, c := range clients {
		fds := []unix.PollFd{{Fd: int32(c)}} // POLLERR and POLLHUP are always reported
		_, err := unix.Poll(fds, 0)
		check("poll", err)
		if fds[0].Revents&unix.POLLERR != 0 {
			n++
		}
	}
	return n
}

func check(call string, err error) {
	if err != nil {
		log.Fatal(os.NewSyscallError(call, err))
	}
}
