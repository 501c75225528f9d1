package procfs

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Interest is one entry of an epoll instance's interest list: epoll(7).
type Interest struct {
	// FD is the number under which the descriptor was registered. The entry
	// is for the open file behind it: while a duplicate keeps that open, the
	// entry stays, though the number be closed or mean something else by now
	// (epoll(7), "Questions and answers").
	FD int

	Events Events
	Data   uint64 // epoll_event(3type): what the program gets back with an event

	// Inode is the open file's. If it is not that of the [FD] with this
	// number, the number has been reused. 0 on kernels that do not tell.
	Inode uint64
}

// Events is a mask of EPOLL bits: epoll_ctl(2).
type Events uint32

var eventNames = []struct {
	bit  Events
	name string
}{
	{unix.EPOLLIN, "EPOLLIN"},
	{unix.EPOLLPRI, "EPOLLPRI"},
	{unix.EPOLLOUT, "EPOLLOUT"},
	{unix.EPOLLERR, "EPOLLERR"},
	{unix.EPOLLHUP, "EPOLLHUP"},
	{unix.EPOLLRDNORM, "EPOLLRDNORM"},
	{unix.EPOLLRDBAND, "EPOLLRDBAND"},
	{unix.EPOLLWRNORM, "EPOLLWRNORM"},
	{unix.EPOLLWRBAND, "EPOLLWRBAND"},
	{unix.EPOLLMSG, "EPOLLMSG"},
	{unix.EPOLLRDHUP, "EPOLLRDHUP"},
	{unix.EPOLLEXCLUSIVE, "EPOLLEXCLUSIVE"},
	{unix.EPOLLWAKEUP, "EPOLLWAKEUP"},
	{unix.EPOLLONESHOT, "EPOLLONESHOT"},
	{unix.EPOLLET, "EPOLLET"},
}

// String returns the names of the bits, as in "EPOLLIN|EPOLLRDHUP|EPOLLET",
// with what has no name in hexadecimal at the end, and "0" for none. It hides
// nothing: see [Events.Asked].
func (e Events) String() string {
	var names []string
	for _, n := range eventNames {
		if e&n.bit != 0 {
			names = append(names, n.name)
			e &^= n.bit
		}
	}
	if e != 0 {
		names = append(names, fmt.Sprintf("%#x", uint32(e)))
	}
	if names == nil {
		return "0"
	}
	return strings.Join(names, "|")
}

// Asked returns the mask without EPOLLERR and EPOLLHUP. The kernel adds these
// two to every mask that it is given, since it always reports them
// (epoll_ctl(2)), so nobody can tell whether the program asked for them too.
//
// An EPOLLONESHOT entry that has fired has lost all but its flags: it is
// EPOLLONESHOT alone, or with EPOLLET, until EPOLL_CTL_MOD arms it again.
func (e Events) Asked() Events {
	return e &^ (unix.EPOLLERR | unix.EPOLLHUP)
}

// Interests returns the interest list of the epoll instance behind descriptor
// epfd of a process, by number: proc(5), /proc/pid/fdinfo, the lines with
// "tfd:". It is an error if epfd is something else. The kernel locks the
// instance while it writes the list, so with many thousands of entries do not
// ask all the time.
func Interests(pid, epfd int) ([]Interest, error) {
	name := path(pid, "fdinfo/"+strconv.Itoa(epfd))
	// An empty list looks like the fdinfo of anything else.
	target, err := readFDLink(pid, epfd)
	if err != nil {
		return nil, err
	}
	if k, _ := kind(pid, epfd, target); k != KindEventpoll {
		return nil, fmt.Errorf("%s: %s is not an epoll instance", name, target)
	}
	text, err := read(name)
	if err != nil {
		return nil, err
	}
	var list []Interest
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "tfd:") {
			continue
		}
		interest, err := parseInterest(line)
		if err != nil {
			return nil, malformed(name, []byte(line))
		}
		list = append(list, interest)
	}
	// The kernel's order is that of addresses: good for nobody.
	slices.SortFunc(list, func(a, b Interest) int {
		return cmp.Or(cmp.Compare(a.FD, b.FD), cmp.Compare(a.Inode, b.Inode))
	})
	return list, nil
}

// parseInterest reads a line like
//
//	tfd:        7 events: 8000201d data:        100000007  pos:0 ino:5e2 sdev:8
//
// where tfd and pos are decimal and the rest is hexadecimal; pos may be missing
// with all that follows.
func parseInterest(line string) (Interest, error) {
	// Let the blanks before a number not matter: key and number alternate.
	fields := strings.Fields(strings.ReplaceAll(line, ":", ": "))
	var i Interest
	for ; len(fields) >= 2; fields = fields[2:] {
		base := 16
		if fields[0] == "tfd:" {
			base = 10
		}
		if fields[0] == "pos:" {
			continue // decimal, signed, and of no use here
		}
		n, err := strconv.ParseUint(fields[1], base, 64)
		if err != nil {
			return Interest{}, err
		}
		switch fields[0] {
		case "tfd:":
			i.FD = int(n)
		case "events:":
			i.Events = Events(n)
		case "data:":
			i.Data = n
		case "ino:":
			i.Inode = n
		}
	}
	return i, nil
}
