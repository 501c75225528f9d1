// Herd counts the threads that wake up when one client connects and several
// threads wait for it, each with its own epoll instance on the same listening
// socket: without EPOLLEXCLUSIVE, and with it. It also reports the most clients
// that one thread accepted.
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
	// Without enough processors of the runtime, a thread would also sleep while
	// it waits for one, and be counted.
	runtime.GOMAXPROCS(threads + 2)
	fmt.Println("events                  clients  wake-ups  most by one thread")
	woken, most := wakeups(unix.EPOLLIN)
	fmt.Printf("EPOLLIN                 %7d  %8d  %18d\n", clients, woken, most)
	woken, most = wakeups(unix.EPOLLIN | unix.EPOLLEXCLUSIVE)
	fmt.Printf("EPOLLIN|EPOLLEXCLUSIVE  %7d  %8d  %18d\n", clients, woken, most)
}

// wakeups connects clients one by one, each when all threads sleep, and returns
// how often a thread was woken, and the most clients that one thread accepted.
func wakeups(events uint32) (woken int, most int32) {
	l, addr := listen()
	var accepted [threads]atomic.Int32 // by each thread
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

// wait runs in each thread: it sleeps until a client connects, and accepts it.
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
		} // else EAGAIN: another thread was faster
	}
}

var switches = regexp.MustCompile(`(?s)State:\tS.*\nvoluntary_ctxt_switches:\t(\d+)`)

// asleep waits until all threads sleep, and returns how often they went to
// sleep so far. The kernel counts that: proc(5), at voluntary_ctxt_switches.
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
		if sleeping == len(tids) && count == last { // unchanged since the last look
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
