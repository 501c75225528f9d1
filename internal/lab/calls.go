package lab

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"syscall"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// This file contains the commands that make one system call on existing objects.

func (r *run) add(a []arg) error { return r.ctl(unix.EPOLL_CTL_ADD, "EPOLL_CTL_ADD", a) }
func (r *run) mod(a []arg) error { return r.ctl(unix.EPOLL_CTL_MOD, "EPOLL_CTL_MOD", a) }

func (r *run) ctl(op int, opName string, a []arg) error {
	e, o := a[0].object, a[1].object
	event := unix.EpollEvent{Events: a[2].events, Fd: int32(o.fd), Pad: int32(o.id)}
	err := unix.EpollCtl(e.fd, op, o.fd, &event)
	mask := procfs.Events(event.Events).String()
	text := "{" + mask + ", " + o.name + "}"
	if r.Raw {
		text = r.rawEvent(mask, o.data())
	}
	r.recordAndShow(err, "epoll_ctl", r.ref(e), opName, r.ref(o), text)
	return nil
}

func (r *run) rawEvent(mask string, data uint64) string {
	return fmt.Sprintf("{events=%s, data={u32=%d, u64=%d}}", mask, uint32(data), data)
}

func (r *run) del(a []arg) error {
	e, o := a[0].object, a[1].object
	r.recordAndShow(unix.EpollCtl(e.fd, unix.EPOLL_CTL_DEL, o.fd, nil), "epoll_ctl", r.ref(e), "EPOLL_CTL_DEL", r.ref(o), "NULL")
	return nil
}

func (r *run) wait(a []arg) error {
	e, maxEvents, timeout := a[0].object, a[1].n, a[2].n
	events := make([]unix.EpollEvent, max(maxEvents, 1))
	call := func() (int, error) { return epollWait(e.fd, events, maxEvents, timeout) }
	var n int
	var err error
	if timeout == 0 {
		n, err = call()
	} else {
		runtime.LockOSThread()
		restore := block(bit(unix.SIGALRM)) // it is delivered only during epollWait
		n, err = r.sleep(timeout < 0, call)
		restore()
		runtime.UnlockOSThread()
	}
	text := "..."
	if err == nil {
		text = r.events(events[:n])
	}
	r.show(r.record(n, err, "epoll_wait", r.ref(e), text, maxEvents, timeout))
	return nil
}

func (r *run) events(events []unix.EpollEvent) string {
	var list []string
	for _, e := range events {
		data := uint64(uint32(e.Pad))<<32 | uint64(uint32(e.Fd))
		mask := procfs.Events(e.Events).String()
		text := "{" + r.registered(data).name + ", " + mask + "}"
		if r.Raw {
			text = r.rawEvent(mask, data)
		}
		list = append(list, text)
	}
	return "[" + strings.Join(list, ", ") + "]"
}

func (r *run) poll(a []arg) error {
	o, mask := a[0].object, a[1].events
	if mask > 1<<15-1 {
		return misuse(a[1].column, "%s has no bit in poll(2)", procfs.Events(mask&^(1<<15-1)))
	}
	fds := []unix.PollFd{{Fd: int32(o.fd), Events: int16(mask)}}
	n, err := unix.Poll(fds, 0)
	c := r.record(n, err, "poll", fmt.Sprintf("[{%s, %s}]", r.ref(o), pollMask(fds[0].Events)), 1, 0)
	if n == 0 {
		c.Answer += " (Timeout)"
	} else {
		c.Answer += fmt.Sprintf(" ([{%s, %s}])", r.ref(o), pollMask(fds[0].Revents))
	}
	r.show(c)
	return nil
}

// pollMask names the bits of poll(2). Except POLLNVAL they are those of epoll.
func pollMask(mask int16) string {
	if mask == unix.POLLNVAL {
		return "POLLNVAL"
	}
	return strings.ReplaceAll(procfs.Events(uint16(mask)).String(), "EPOLL", "POLL")
}

func (r *run) read(a []arg) error {
	r.show(r.readOnce(a[0].object, make([]byte, a[1].n)))
	return nil
}

func (r *run) readOnce(o *object, buf []byte) Call {
	n, err := r.mayBlock(o.fd, func() (int, error) { return unix.Read(o.fd, buf) })
	text := "..."
	if err == nil {
		text = quote(buf[:n])
	}
	return r.record(n, err, "read", r.ref(o), text, len(buf))
}

func (r *run) write(a []arg) error { return r.writeData(a[0], []byte(a[1].text)) }

func (r *run) writeBytes(a []arg) error { return r.writeData(a[0], alphabet(a[1].n)) }

// writeNumber is for an eventfd, which takes 8 bytes in native byte order.
func (r *run) writeNumber(a []arg) error {
	return r.writeData(a[0], binary.NativeEndian.AppendUint64(nil, uint64(a[1].n)))
}

func (r *run) writeData(a arg, data []byte) error {
	if err := r.roomFor(a, len(data)); err != nil {
		return err
	}
	r.show(r.writeOnce(a.object, data))
	return nil
}

func (r *run) writeOnce(o *object, data []byte) Call {
	n, err := r.mayBlock(o.fd, func() (int, error) { return unix.Write(o.fd, data) })
	return r.record(n, err, "write", r.ref(o), quote(data), len(data))
}

// writeUrgent sends a text whose last byte is urgent data.
func (r *run) writeUrgent(a []arg) error {
	o, data := a[0].object, []byte(a[1].text)
	n, err := r.mayBlock(o.fd, func() (int, error) { return unix.SendmsgN(o.fd, data, nil, nil, unix.MSG_OOB) })
	iov := fmt.Sprintf("{msg_iov=[{%s, %d}], ...}", quote(data), len(data))
	r.show(r.record(n, err, "sendmsg", r.ref(o), iov, "MSG_OOB"))
	return nil
}

// alphabet returns n bytes that show the position within the data.
func alphabet(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = 'a' + byte(i%26)
	}
	return data
}

func (r *run) shutdown(a []arg) error {
	how := map[string]struct {
		value int
		name  string
	}{
		"rd": {unix.SHUT_RD, "SHUT_RD"}, "wr": {unix.SHUT_WR, "SHUT_WR"}, "both": {unix.SHUT_RDWR, "SHUT_RDWR"},
	}[a[1].text]
	r.recordAndShow(unix.Shutdown(a[0].object.fd, how.value), "shutdown", r.ref(a[0].object), how.name)
	return nil
}

func (r *run) close(a []arg) error {
	// A child between fork(2) and execve(2) has copies of all descriptors. While
	// one exists, close(2) would not close the last descriptor of the file.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	o := a[0].object
	r.recordAndShow(unix.Close(o.fd), "close", r.ref(o))
	delete(r.open, o.fd)
	return nil
}

func (r *run) reset(a []arg) error {
	o := a[0].object
	err := unix.SetsockoptLinger(o.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	r.recordAndShow(err, "setsockopt", r.ref(o), "SOL_SOCKET", "SO_LINGER", "{l_onoff=1, l_linger=0}", 8)
	if err != nil {
		return nil
	}
	return r.close(a)
}

func (r *run) setsockopt(a []arg) error {
	o, name, value := a[0].object, a[1].text, a[2].n
	opt := map[string]struct {
		level, option int
		levelName     string
	}{
		"SO_RCVBUF":        {unix.SOL_SOCKET, unix.SO_RCVBUF, "SOL_SOCKET"},
		"SO_SNDBUF":        {unix.SOL_SOCKET, unix.SO_SNDBUF, "SOL_SOCKET"},
		"TCP_USER_TIMEOUT": {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, "SOL_TCP"},
	}[name]
	err := unix.SetsockoptInt(o.fd, opt.level, opt.option, value)
	r.recordAndShow(err, "setsockopt", r.ref(o), opt.levelName, name, fmt.Sprintf("[%d]", value), 4)
	if err == nil {
		value, err = unix.GetsockoptInt(o.fd, opt.level, opt.option)
		r.recordAndShow(err, "getsockopt", r.ref(o), opt.levelName, name, fmt.Sprintf("[%d]", value), "[4]")
	}
	return nil
}

func (r *run) getFlags(a []arg) error {
	r.flags(a[0].object)
	return nil
}

func (r *run) flags(o *object) (flags int, err error) {
	flags, err = unix.FcntlInt(uintptr(o.fd), unix.F_GETFL, 0)
	c := r.record(flags, err, "fcntl", r.ref(o), "F_GETFL")
	c.Answer = fmt.Sprintf("%#x (flags %s)", flags, flagNames(flags))
	r.show(c)
	return flags, err
}

func (r *run) setFlags(a []arg) error {
	flags, err := r.flags(a[0].object)
	if err != nil {
		return nil
	}
	flags |= unix.O_NONBLOCK
	if a[1].text[0] == '-' {
		flags &^= unix.O_NONBLOCK
	}
	_, err = unix.FcntlInt(uintptr(a[0].object.fd), unix.F_SETFL, flags)
	r.recordAndShow(err, "fcntl", r.ref(a[0].object), "F_SETFL", flagNames(flags))
	return nil
}

// largeFile is O_LARGEFILE. 64-bit kernels set it for every file, so C libraries
// and x/sys/unix define it as 0.
var largeFile = map[string]int{"amd64": 0x8000, "arm64": 0x20000}[runtime.GOARCH]

// flagNames returns the names of the O_ flags. It knows those that a descriptor of
// the lab can have.
func flagNames(flags int) string {
	text := []string{"O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"}[flags&unix.O_ACCMODE]
	flags &^= unix.O_ACCMODE
	for _, f := range []struct {
		bit  int
		name string
	}{{unix.O_NONBLOCK, "|O_NONBLOCK"}, {unix.O_DIRECTORY, "|O_DIRECTORY"}, {largeFile, "|O_LARGEFILE"}} {
		if flags&f.bit != 0 {
			text += f.name
			flags &^= f.bit
		}
	}
	if flags != 0 {
		text += fmt.Sprintf("|%#x", flags)
	}
	return text
}
