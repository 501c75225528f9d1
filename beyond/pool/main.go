// Pool runs an event loop with two clients. One requests work that blocks, the
// other an echo, again and again. It measures how long the second one waits:
// first the loop does the work itself, then a pool of threads does it, and
// notifies the loop through an eventfd.
package main

import (
	"fmt"
	"log"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	jobs    = 5
	threads = 2                      // in the pool
	takes   = 200 * time.Millisecond // per job
)

func main() {
	log.SetFlags(0)
	// A thread that sleeps in a call keeps its processor of the runtime for a
	// while: there are enough for all.
	runtime.GOMAXPROCS(threads + 4)
	fmt.Printf("in the loop: the worst echo took %v\n", worst(false).Round(10*time.Microsecond))
	fmt.Printf("in the pool: the worst echo took %v\n", worst(true).Round(10*time.Microsecond))
}

type server struct {
	slow, quick int // the clients
	pool        bool
	jobs        chan struct{} // to the pool
	done        chan struct{} // finished
	note        int           // an eventfd: counts the finished jobs
}

func (s *server) serve() {
	e, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	check("epoll_create1", err)
	for _, fd := range []int{s.slow, s.quick, s.note} {
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
		check("epoll_ctl", unix.EpollCtl(e, unix.EPOLL_CTL_ADD, fd, &event))
	}
	events, buf := make([]unix.EpollEvent, 3), make([]byte, 8)
	for {
		n, err := unix.EpollWait(e, events, -1)
		if err == unix.EINTR {
			continue
		}
		check("epoll_wait", err)
		for _, event := range events[:n] {
			fd := int(event.Fd)
			n, err := unix.Read(fd, buf)
			check("read", err)
			if n == 0 {
				return // the measurement is over
			}
			s.event(fd, buf[:n])
		}
	}
}

// event handles data that was read from fd.
func (s *server) event(fd int, data []byte) {
	switch {
	case fd == s.quick:
		write(fd, data)
	case fd == s.slow && s.pool:
		s.jobs <- struct{}{} // never blocks: see its capacity in worst
	case fd == s.slow:
		work()
		write(fd, []byte{1})
	case fd == s.note:
		for range data[0] { // a small number: only its lowest byte is set
			<-s.done
			write(s.slow, []byte{1})
		}
	}
}

// thread runs in each thread of the pool. Only the loop touches the clients.
func (s *server) thread() {
	for range s.jobs {
		work()
		s.done <- struct{}{}
		write(s.note, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

// work stands for a read from a disk or a query to a name server: a system call
// that sleeps.
func work() {
	t := unix.NsecToTimespec(int64(takes))
	err := unix.Nanosleep(&t, &t)
	for err == unix.EINTR { // a signal; t has the remaining time
		err = unix.Nanosleep(&t, &t)
	}
	check("nanosleep", err)
}

// worst returns the longest time that an echo took while jobs were running.
func worst(pool bool) time.Duration {
	slow, quick := pair(), pair()
	note, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	check("eventfd", err)
	s := &server{slow[0], quick[0], pool, make(chan struct{}, jobs), make(chan struct{}, jobs), note}
	for range threads {
		go s.thread()
	}
	go s.serve()

	finished := make(chan struct{})
	go func() {
		for range jobs {
			write(slow[1], []byte{1})
			_, err := unix.Read(slow[1], make([]byte, 1))
			check("read", err)
		}
		close(finished)
	}()
	var longest time.Duration
	for {
		began := time.Now()
		write(quick[1], []byte{1})
		_, err := unix.Read(quick[1], make([]byte, 1))
		check("read", err)
		longest = max(longest, time.Since(began))
		select {
		case <-finished:
			check("close", unix.Close(quick[1]))
			close(s.jobs)
			return longest
		case <-time.After(time.Millisecond):
		}
	}
}

func pair() [2]int {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	check("socketpair", err)
	return fds
}

func write(fd int, data []byte) {
	_, err := unix.Write(fd, data)
	check("write", err)
}

func check(call string, err error) {
	if err != nil {
		log.Fatal(os.NewSyscallError(call, err))
	}
}
