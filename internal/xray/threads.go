package xray

import (
	"fmt"
	"strings"

	"epoll-step-by-step/internal/procfs"
)

// callsOnFD are the system calls whose first argument is a descriptor.
var callsOnFD = wordSet(`read write readv writev pread64 pwrite64 preadv pwritev
	preadv2 pwritev2 sendfile splice tee vmsplice fsync fdatasync flock fcntl
	ioctl accept accept4 connect recvfrom sendto recvmsg sendmsg recvmmsg
	sendmmsg epoll_wait epoll_pwait epoll_pwait2 io_uring_enter`)

func wordSet(text string) map[string]bool {
	set := make(map[string]bool)
	for _, word := range strings.Fields(text) {
		set[word] = true
	}
	return set
}

// callInFunction maps the kernel function in which a thread sleeps to its system call,
// for when only the function is visible. Kernel versions differ in some names.
var callInFunction = map[string]string{
	"ep_poll": "epoll_wait", "do_epoll_wait": "epoll_wait",
	"inet_csk_accept": "accept",
	"do_poll":         "poll", "do_sys_poll": "poll", "do_select": "select",
	"futex_wait_queue_me": "futex", "futex_wait_queue": "futex", "futex_do_wait": "futex",
	"hrtimer_nanosleep": "nanosleep", "do_nanosleep": "nanosleep",
	"do_wait": "wait4",
}

// call returns the system call that a thread sleeps in and its descriptor, or "" and -1
// if they are unknown.
func call(t procfs.Thread) (name string, fd int) {
	if t.Syscall.State != procfs.SyscallBlocked {
		if t.Syscall.State != procfs.SyscallRunning {
			name = callInFunction[t.Wchan]
		}
		return name, -1
	}
	if callsOnFD[t.Syscall.Name] {
		return t.Syscall.Name, int(int32(t.Syscall.Args[0]))
	}
	return t.Syscall.String(), -1
}

// isEpollWait reports whether a call is a variant of epoll_wait(2).
func isEpollWait(call string) bool {
	return call == "epoll_wait" || call == "epoll_pwait" || call == "epoll_pwait2"
}

// timeout returns the timeout of a call in milliseconds, or -1.
func timeout(s procfs.Syscall) int {
	switch s.Name {
	case "epoll_wait", "epoll_pwait":
		return max(-1, int(int32(s.Args[3])))
	case "poll":
		return max(-1, int(int32(s.Args[2])))
	}
	return -1
}

// threadList describes what each thread waits for.
func (snap *snapshot) threadList() []Thread {
	list := []Thread{}
	for _, t := range snap.threads {
		out := Thread{TID: t.TID, Name: clean(t.Name), State: state(t), Timeout: -1, FD: -1}
		if out.State != "running" && out.State != "ended" {
			out.Call, out.FD = call(t)
			out.Timeout = timeout(t.Syscall)
		}
		out.Says = snap.sentence(t, out)
		list = append(list, out)
	}
	return list
}

func state(t procfs.Thread) string {
	switch t.State {
	case 'T', 't':
		return "stopped"
	case 'Z', 'X':
		return "ended"
	case 'R':
		return "running"
	case 'D':
		return "uninterruptible"
	}
	if t.Syscall.State == procfs.SyscallRunning {
		return "running" // about to sleep, or just woken
	}
	return "asleep"
}

// sentence describes what a thread waits for, as in "asleep in read on fd 8
// (127.0.0.1:6379 <- 127.0.0.1:54321): nothing unread".
func (snap *snapshot) sentence(t procfs.Thread, out Thread) string {
	doing := out.State
	if doing == "uninterruptible" {
		doing = "in an uninterruptible sleep"
	}
	switch {
	case doing == "running" || doing == "ended":
		return doing
	case out.Call != "":
		doing += " in " + out.Call
	case t.Wchan != "" && out.State != "stopped":
		return doing + " in the kernel's " + t.Wchan
	case t.Syscall.State == procfs.SyscallNone:
		return doing + ", in no system call"
	default:
		return doing
	}
	switch isPoll := out.Call == "poll" || out.Call == "ppoll"; {
	case isPoll && t.Syscall.State == procfs.SyscallBlocked:
		doing += fmt.Sprintf(", which watches %s", plural(int(t.Syscall.Args[1]), "descriptor"))
	case out.FD >= 0:
		doing += fmt.Sprintf(" on fd %d", out.FD) + snap.detail(out.Call, out.FD)
	}
	if out.Timeout >= 0 {
		doing += fmt.Sprintf("; for at most %d ms", out.Timeout)
	}
	return doing
}

// detail describes what a call waits for on its descriptor.
func (snap *snapshot) detail(call string, num int) string {
	if says, isEpoll := snap.ready[num]; isEpoll && isEpollWait(call) {
		return says
	}
	fd, open := snap.byNumber[num]
	if !open {
		return ""
	}
	at, isTCP := snap.byInode[fd.Inode]
	if !isTCP {
		return " (" + snap.describe(fd) + ")"
	}
	s := snap.socket(num, snap.sockets[at])
	text := fmt.Sprintf(" (%s)", snap.drawConnection(snap.sockets[at]))
	switch call {
	case "accept", "accept4":
		return text + ": " + s.queue()
	case "read", "readv", "recvfrom", "recvmsg":
		return text + ": " + amount(s.Unread) + " unread"
	case "write", "writev", "sendto", "sendmsg", "sendfile":
		return text + ": " + amount(s.Unsent) + " unsent"
	}
	return text
}

// drawConnection names both ends of a connection. The arrow starts at the client.
func (snap *snapshot) drawConnection(s procfs.Socket) string {
	switch {
	case s.State == procfs.TCPListen:
		return "listener on " + s.Local.String()
	case snap.incoming(s):
		return s.Local.String() + " <- " + s.Remote.String()
	}
	return s.Local.String() + " -> " + s.Remote.String()
}

// watchSummary describes how many descriptors an instance watches, and how many of them
// are ready.
func (e Epoll) watchSummary() string {
	owner := ""
	if e.Owner != "" {
		owner = " (" + e.Owner + "'s own)"
	}
	n := len(e.Interests)
	text := fmt.Sprintf("%s, which watches %s", owner, plural(n, "descriptor"))
	return text + e.readyCount()
}

func (e Epoll) readyCount() string {
	are := "are"
	if e.Ready == 1 {
		are = "is"
	}
	switch {
	case e.Unknown == len(e.Interests): // or there are none
		return ""
	case e.Ready > 0 && e.Unknown > 0:
		return fmt.Sprintf("; at least %d %s ready now", e.Ready, are)
	case e.Ready > 0:
		return fmt.Sprintf("; %d %s ready now", e.Ready, are)
	case e.Unknown > 0:
		return "; none is known to be ready"
	}
	return "; none is ready now"
}

// queue describes how many connections wait for accept(2), and the maximum.
func (s Socket) queue() string {
	of := ""
	if s.Backlog >= 0 {
		of = fmt.Sprintf(" of %d", s.Backlog)
	}
	wait := "wait"
	if s.Waiting == 1 {
		wait = "waits"
	}
	return fmt.Sprintf("%d%s %s for accept", s.Waiting, of, wait)
}

func amount(n int) string {
	if n == 0 {
		return "nothing"
	}
	return plural(n, "byte")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
