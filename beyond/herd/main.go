// Herd counts who wakes up when one client comes and several threads wait for
// it, each with an epoll instance of its own on the same listening socket:
// without EPOLLEXCLUSIVE, and with it; and how many the luckiest thread gets.
package main

import (
	"fmt"
	"log"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	threads = 4
	clients = 100
	limit   = 30 * time.Second // for one client
)

func main() {
	log.SetFlags(0)
	// A thread that has no place to run Go code would sleep for that reason.
	runtime.GOMAXPROCS(threads + 2)
	fmt.Println("events                  clients  wake-ups  most by one thread")
	woken, most := wakeups(unix.EPOLLIN)
	fmt.Printf("EPOLLIN                 %7d  %8d  %18d\n", clients, woken, most)
	woken, most = wakeups(unix.EPOLLIN | unix.EPOLLEXCLUSIVE)
	fmt.Printf("EPOLLIN|EPOLLEXCLUSIVE  %7d  %8d  %18d\n", clients, woken, most)
}

// wakeups lets clients come one by one, each when all threads sleep, and returns
// how often a thread was woken, and how many clients one of them has had at most.
func wakeups(events uint32) (woken int, most int32) {
	l, addr := listen()
	var accepted [threads]atomic.Int32 // by each
	sum := func() (n int32) {
		for i := range accepted {
			n += accepted[i].Load()
		}
		return n
	}
	var tids []int
	for i := range threads {
		tid := make(chan int)
		go func() {
			runtime.LockOSThread()
			tid <- unix.Gettid()
			wait(l, events, &accepted[i])
		}()
		tids = append(tids, <-tid)
	}
	before := asleep(tids)
	for n := range int32(clients) {
		c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		check("socket", err)
		check("connect", unix.Connect(c, addr))
		for deadline := time.Now().Add(limit); sum() <= n; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				log.Fatal("nobody accepts")
			}
		}
		asleep(tids)
		check("close", unix.Close(c))
	}
	for i := range accepted {
		most = max(most, accepted[i].Load())
	}
	return asleep(tids) - before, most
}

// wait is a thread: it sleeps until there is a client, and takes it.
func wait(l int, events uint32, accepted *atomic.Int32) {
	e, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	check("epoll_create1", err)
	check("epoll_ctl", unix.EpollCtl(e, unix.EPOLL_CTL_ADD, l, &unix.EpollEvent{Events: events}))
	for {
		_, err := unix.EpollWait(e, make([]unix.EpollEvent, 1), -1)
		if err == unix.EINTR {
			continue
		}
		check("epoll_wait", err)
		if fd, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC); err == nil {
			unix.Close(fd)
			accepted.Add(1)
		} // else EAGAIN: another thread has it
	}
}

var switches = regexp.MustCompile(`(?s)State:\tS.*\nvoluntary_ctxt_switches:\t(\d+)`)

// asleep waits until all threads sleep, and returns how often they have gone to
// sleep so far. That is counted by the kernel: proc(5), at voluntary_ctxt_switches.
func asleep(tids []int) int {
	deadline := time.Now().Add(limit)
	for last := -1; ; time.Sleep(time.Millisecond) {
		sleeping, count := 0, 0
		for _, tid := range tids {
			status, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/status", tid))
			check("read", err)
			if m := switches.FindSubmatch(status); m != nil {
				n, _ := strconv.Atoi(string(m[1]))
				sleeping, count = sleeping+1, count+n
			}
		}
		if sleeping == len(tids) && count == last { // twice the same
			return count
		}
		if last = count; sleeping < len(tids) {
			last = -1
		}
		if time.Now().After(deadline) {
			log.Fatal("they do not sleep")
		}
	}
}

func listen() (int, unix.Sockaddr) {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	check("socket", err)
	check("bind", unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	check("listen", unix.Listen(l, clients))
	addr, err := unix.Getsockname(l)
	check("getsockname", err)
	return l, addr
}

func check(call string, err error) {
	if err != nil {
		log.Fatal(os.NewSyscallError(call, err))
	}
}
