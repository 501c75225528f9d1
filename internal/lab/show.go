package lab

import (
	"os"
	"strconv"
	"strings"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// showAll prints the state of each object in the kernel on one line, and below an
// epoll instance its interest list.
func (r *run) showAll([]arg) error {
	objects := r.objects()
	if len(objects) == 0 {
		r.print("nothing yet: try pair a b, and epoll e")
		return nil
	}
	const row = "%-*s  %-8s %7s %7s  %s"
	nameWidth := len("name")
	for _, o := range objects {
		nameWidth = max(nameWidth, len(r.label(o)))
	}
	r.print(row, nameWidth, "name", "kind", "unread", "unsent", "poll(2)")
	for _, o := range objects {
		switch now := r.current(o); {
		case now == nil:
			r.print("%-*s  closed", nameWidth, r.label(o))
		case now != o:
			r.print("%-*s  closed; the number is that of %s now", nameWidth, r.label(o), now.name)
		default:
			kind, unread, unsent := queues(o)
			r.print(row, nameWidth, r.label(o), kind, unread, unsent, pollAll(o))
			if err := r.showInterests(o, nameWidth); err != nil {
				return err
			}
		}
	}
	return nil
}

// label returns the name of an object, with its number if Raw is set.
func (s *Session) label(o *object) string {
	if s.Raw {
		return o.name + "=" + strconv.Itoa(o.fd)
	}
	return o.name
}

// showInterests prints the interest list of an epoll instance, from /proc.
func (r *run) showInterests(e *object, nameWidth int) error {
	if e.kind != "epoll" {
		return nil
	}
	list, err := procfs.Interests(os.Getpid(), e.fd)
	if err != nil {
		return err
	}
	for _, entry := range list {
		o := r.registered(entry.Data)
		remark := ""
		switch now := r.open[entry.FD]; {
		case now == nil:
			remark = "closed, but a copy is open"
		case now != o:
			remark = "closed, and now " + now.name
		}
		mask := strings.ReplaceAll(entry.Events.Asked().String(), "EPOLL", "")
		r.print("    %-*s  %-16s  %s", nameWidth, r.label(o), mask, remark)
	}
	return nil
}

// queues returns the kind of an object and the number of bytes in its queues. For
// a listener, unread is the number of connections that wait for accept(2).
func queues(o *object) (kind, unread, unsent string) {
	if on, err := unix.GetsockoptInt(o.fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && on == 1 {
		if info, err := unix.GetsockoptTCPInfo(o.fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			return "listener", strconv.Itoa(int(info.Unacked)), ""
		}
	}
	if n, err := unix.IoctlGetInt(o.fd, unix.SIOCINQ); err == nil && o.kind != "file" && o.kind != "dir" {
		unread = strconv.Itoa(n)
	}
	if o.kind == "tcp" { // otherwise SIOCOUTQ returns memory usage or fails
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
