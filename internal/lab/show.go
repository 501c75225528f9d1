package lab

import (
	"os"
	"strconv"
	"strings"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// showAll draws what the kernel has of each object: a line for each, and below
// an epoll instance its interest list.
func (r *run) showAll([]arg) error {
	objects := r.objects()
	if len(objects) == 0 {
		r.print("nothing yet: try pair a b, and epoll e")
		return nil
	}
	const row = "%-*s  %-8s %7s %7s  %s"
	wide := len("name")
	for _, o := range objects {
		wide = max(wide, len(r.label(o)))
	}
	r.print(row, wide, "name", "kind", "unread", "unsent", "poll(2)")
	for _, o := range objects {
		switch now := r.current(o); {
		case now == nil:
			r.print("%-*s  closed", wide, r.label(o))
		case now != o:
			r.print("%-*s  closed; the number is that of %s now", wide, r.label(o), now.name)
		default:
			kind, unread, unsent := queues(o)
			r.print(row, wide, r.label(o), kind, unread, unsent, pollAll(o))
			if err := r.showInterests(o, wide); err != nil {
				return err
			}
		}
	}
	return nil
}

// label is a name, with its number if that is wanted.
func (s *Session) label(o *object) string {
	if s.Raw {
		return o.name + "=" + strconv.Itoa(o.fd)
	}
	return o.name
}

// showInterests prints the interest list as the kernel has it.
func (r *run) showInterests(e *object, wide int) error {
	if e.kind != "epoll" {
		return nil
	}
	list, err := procfs.Interests(os.Getpid(), e.fd)
	if err != nil {
		return err
	}
	for _, entry := range list {
		o := r.of(entry.Data)
		remark := ""
		switch now := r.open[entry.FD]; {
		case now == nil:
			remark = "closed, but a copy is open"
		case now != o:
			remark = "closed, and now " + now.name
		}
		mask := strings.ReplaceAll(entry.Events.Asked().String(), "EPOLL", "")
		r.print("    %-*s  %-16s  %s", wide, r.label(o), mask, remark)
	}
	return nil
}

// queues returns what a socket is, and how many bytes wait in it. Of a
// listener, unread is how many connections do.
func queues(o *object) (kind, unread, unsent string) {
	if on, err := unix.GetsockoptInt(o.fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && on == 1 {
		if info, err := unix.GetsockoptTCPInfo(o.fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			return "listener", strconv.Itoa(int(info.Unacked)), ""
		}
	}
	if n, err := unix.IoctlGetInt(o.fd, unix.SIOCINQ); err == nil && o.kind != "file" && o.kind != "dir" {
		unread = strconv.Itoa(n)
	}
	if o.kind == "tcp" { // elsewhere it is memory, or no such thing
		if n, err := unix.IoctlGetInt(o.fd, unix.SIOCOUTQ); err == nil {
			unsent = strconv.Itoa(n)
		}
	}
	return o.kind, unread, unsent
}

func pollAll(o *object) string {
	fds := []unix.PollFd{{Fd: int32(o.fd), Events: unix.POLLIN | unix.POLLPRI | unix.POLLOUT | unix.POLLRDHUP}}
	if _, err := unix.Poll(fds, 0); err != nil {
		return err.Error()
	}
	if fds[0].Revents == 0 {
		return "-"
	}
	return strings.ReplaceAll(pollMask(fds[0].Revents), "POLL", "")
}
