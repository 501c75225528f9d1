package walk

import (
	"fmt"
	"os"
	"strings"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// A readiness knows which entries are on the ready list of an epoll instance. The kernel
// does not show that list, and asking epoll_wait(2) would change it. So each entry of the
// program's interest list gets an epoll instance of ours with the same registration:
// the same file, the same mask. When the program's epoll_wait has returned an entry, we
// take it from ours, too. poll(2) of our instance then tells whether the entry is ready,
// and changes nothing.
//
// To register a file of the program, we duplicate its descriptor with pidfd_getfd(2) and
// close the duplicate at once. The registration stays as long as the program's own
// descriptor does (epoll(7), "Questions and answers"), and does not keep the file open.
// No duplicate exists while the program runs, so none of its close(2) is put off.
type readiness struct {
	twins  map[key]*twin
	unsure map[key]bool // entries of which we do not know whether they are ready
	denied bool         // pidfd_getfd(2) is not allowed: some containers
}

// key identifies a registration. The same number with another file is another one.
type key struct {
	epfd, fd int
	inode    uint64
}

type twin struct {
	epfd   int // of ours
	events procfs.Events
	seen   bool // in the current snapshot
}

func newReadiness() *readiness {
	return &readiness{twins: make(map[key]*twin), unsure: make(map[key]bool)}
}

func (r *readiness) close() {
	for _, t := range r.twins {
		unix.Close(t.epfd)
	}
	r.twins = make(map[key]*twin)
}

// observe repeats on our instances what the call that t has just made did to its own.
func (r *readiness) observe(t *tracee) {
	if t.call.Error != "" {
		return
	}
	if t.call.Name == "epoll_ctl" {
		// EPOLL_CTL_MOD makes an entry ready again if its condition holds, even with the
		// same mask. A new registration does the same.
		for k, w := range r.twins {
			if k.epfd == t.call.FD && k.fd == int(int32(t.args[2])) {
				unix.Close(w.epfd)
				delete(r.twins, k)
			}
		}
	}
	if !strings.HasPrefix(t.call.Name, "epoll_") {
		return
	}
	if t.ambiguous { // which of ours has to be taken is not known
		t.ambiguous = false
		for k, w := range r.twins {
			if k.epfd == t.call.FD {
				unix.Close(w.epfd)
				delete(r.twins, k)
				r.unsure[k] = true
			}
		}
	}
	for _, e := range t.call.Events {
		for k, w := range r.twins {
			if k.epfd == t.call.FD && k.fd == e.FD {
				var one [1]unix.EpollEvent
				retry(func() (int, error) { return unix.EpollWait(w.epfd, one[:], 0) })
			}
		}
	}
}

// look returns what poll(2) says of an entry's file, and whether the entry is ready.
func (r *readiness) look(t *tracee, epfd int, in procfs.Interest) (level procfs.Events, ready, known bool) {
	if r.denied {
		return 0, false, false
	}
	if inode, err := procfs.Inode(t.pid, in.FD); err != nil || in.Inode != 0 && inode != in.Inode {
		return 0, false, false // the number belongs to another file now, or to none
	}
	fd, err := unix.PidfdGetfd(t.pidfd, in.FD, 0)
	if err != nil {
		r.denied = err == unix.EPERM || err == unix.ENOSYS
		return 0, false, false
	}
	defer unix.Close(fd)
	k := key{epfd, in.FD, in.Inode}
	if r.unsure[k] {
		return 0, false, false
	}
	w := r.twins[k]
	if w != nil && w.events != in.Events {
		if in.Events&unix.EPOLLONESHOT == 0 { // one-shot, ours has lost its bits in the same way
			unix.Close(w.epfd)
			w = nil
		} else {
			w.events = in.Events
		}
	}
	if w == nil {
		own, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			return 0, false, false
		}
		// epoll_ctl(2) adds the two bits that every entry has.
		event := unix.EpollEvent{Events: uint32(in.Events &^ unix.EPOLLEXCLUSIVE)}
		if err := unix.EpollCtl(own, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
			unix.Close(own)
			return 0, false, false
		}
		w = &twin{epfd: own, events: in.Events}
		r.twins[k] = w
	}
	w.seen = true
	poll := []unix.PollFd{
		{Fd: int32(w.epfd), Events: unix.POLLIN},
		{Fd: int32(fd), Events: unix.POLLIN | unix.POLLOUT | unix.POLLPRI | unix.POLLRDHUP},
	}
	if _, err := retry(func() (int, error) { return unix.Poll(poll, 0) }); err != nil {
		return 0, false, false
	}
	// The bits of poll(2) and of epoll_ctl(2) have the same values.
	return procfs.Events(uint16(poll[1].Revents)), poll[0].Revents != 0, true
}

// forget drops what the last snapshot did not contain: entries that are gone.
func (r *readiness) forget() {
	for k, w := range r.twins {
		if !w.seen {
			unix.Close(w.epfd)
			delete(r.twins, k)
		}
		w.seen = false
	}
}

// Possible returns an error if this machine does not let a process duplicate the
// descriptors of its children: then no ready list can be shown. Some containers forbid it.
func Possible() error {
	pidfd, err := unix.PidfdOpen(unix.Getpid(), 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, pidfd, 0)
	if err != nil {
		return fmt.Errorf("%w: in a container, use --cap-add=SYS_PTRACE", os.NewSyscallError("pidfd_getfd", err))
	}
	return unix.Close(fd)
}
