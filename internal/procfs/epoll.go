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
	// belongs to the open file behind that number. While a duplicate keeps the
	// file open, the entry stays, even if the number has been closed or reused
	// (epoll(7), "Questions and answers").
	FD int

	Events Events
	Data   uint64 // epoll_event(3type): what the program gets back with an event

	// Inode is the inode of the open file. If the descriptor FD has another
	// inode now, see [Inode], the number has been reused. It is 0 on kernels
	// that do not report it.
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
// followed by the bits without a name in hexadecimal. An empty mask is "0". It
// includes the bits that the kernel has added: see [Events.Asked].
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

// Asked returns the events that the program asked for: the mask without
// EPOLLERR and EPOLLHUP. The kernel always reports these two (epoll_ctl(2)) and
// adds them to every mask, so the mask does not show whether the program asked
// for them, too.
//
// An EPOLLONESHOT entry that has fired keeps only its flags, EPOLLONESHOT and
// possibly EPOLLET, until EPOLL_CTL_MOD arms it again.
func (e Events) Asked() Events {
	return e &^ (unix.EPOLLERR | unix.EPOLLHUP)
}

// Interests returns the interest list of the epoll instance behind descriptor
// epfd of a process, sorted by FD: proc(5), /proc/pid/fdinfo, the lines with
// "tfd:". It returns an error if epfd is not an epoll instance. The kernel locks
// the instance while it writes the list, so calling this often slows down a
// process with many thousands of entries.
func Interests(pid, epfd int) ([]Interest, error) {
	name := path(pid, "fdinfo/"+strconv.Itoa(epfd))
	// The kind must be checked first, because the fdinfo of an empty instance
	// looks like that of any other file.
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
	// The kernel sorts the entries by memory address, which means nothing here.
	slices.SortFunc(list, func(a, b Interest) int {
		return cmp.Or(cmp.Compare(a.FD, b.FD), cmp.Compare(a.Inode, b.Inode))
	})
	return list, nil
}

// parseInterest parses a line such as
//
//	tfd:        7 events: 8000201d data:        100000007  pos:0 ino:5e2 sdev:8
//
// where tfd and pos are decimal and all others are hexadecimal. Older kernels
// leave out pos and everything after it.
func parseInterest(line string) (Interest, error) {
	// Blanks after the colon vary. With one added, key and number alternate.
	fields := strings.Fields(strings.ReplaceAll(line, ":", ": "))
	var i Interest
	for ; len(fields) >= 2; fields = fields[2:] {
		base := 16
		if fields[0] == "tfd:" {
			base = 10
		}
		if fields[0] == "pos:" {
			continue // decimal and signed, and not needed
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
