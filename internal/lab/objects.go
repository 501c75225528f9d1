package lab

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// This file contains the commands that create objects. All descriptors are
// close-on-exec, and nonblocking if their calls can block.

func (r *run) pair(a []arg) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	array, problem := r.adoptPair(a, "pair", fds, err)
	if problem != nil {
		return problem
	}
	r.recordAndShow(err, "socketpair", "AF_UNIX", "SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK", 0, array)
	return nil
}

func (r *run) pipe(a []arg) error {
	var fds [2]int
	err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC)
	array, problem := r.adoptPair(a, "pipe", fds, err)
	if problem != nil {
		return problem
	}
	r.recordAndShow(err, "pipe2", array, "O_NONBLOCK|O_CLOEXEC")
	return nil
}

func (r *run) eventfd(a []arg) error {
	fd, err := unix.Eventfd(uint(a[1].n), unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	_, problem := r.create(a[0].text, "eventfd", fd, err, "eventfd2", a[1].n, "EFD_CLOEXEC|EFD_NONBLOCK")
	return problem
}

func (r *run) timerfd(a []arg) error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if r.failed(err, "timerfd_create", "CLOCK_MONOTONIC", "TFD_CLOEXEC|TFD_NONBLOCK") {
		return nil
	}
	t, problem := r.adopt(a[0].text, "timerfd", fd)
	if problem != nil {
		return problem
	}
	value, interval := a[1].n, a[2].n
	err = unix.TimerfdSettime(t.fd, 0, &unix.ItimerSpec{
		Value:    unix.NsecToTimespec(int64(value) * int64(time.Millisecond)),
		Interval: unix.NsecToTimespec(int64(interval) * int64(time.Millisecond)),
	}, nil)
	r.recordAndShow(err, "timerfd_settime", r.ref(t), 0, fmt.Sprintf("{it_interval=%dms, it_value=%dms}", interval, value), "NULL")
	return nil
}

// file creates a file in memory, so that nothing is left behind if the lab is
// killed. epoll treats it as any other regular file.
func (r *run) file(a []arg) error {
	fd, err := unix.MemfdCreate(a[0].text, unix.MFD_CLOEXEC)
	_, problem := r.create(a[0].text, "file", fd, err, "memfd_create", quote([]byte(a[0].text)), "MFD_CLOEXEC")
	return problem
}

func (r *run) dir(a []arg) error {
	fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	_, problem := r.create(a[0].text, "dir", fd, err, "openat", "AT_FDCWD", `"/"`, "O_RDONLY|O_DIRECTORY|O_CLOEXEC")
	return problem
}

func (r *run) epoll(a []arg) error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	_, problem := r.create(a[0].text, "epoll", fd, err, "epoll_create1", "EPOLL_CLOEXEC")
	return problem
}

func (r *run) dup(a []arg) error {
	syscall.ForkLock.RLock() // the new descriptor is not close-on-exec before create moves it
	defer syscall.ForkLock.RUnlock()
	kind := ""
	if o := r.current(a[0].object); o != nil {
		kind = o.kind
	}
	fd, err := unix.Dup(a[0].object.fd)
	_, problem := r.create(a[1].text, kind, fd, err, "dup", r.ref(a[0].object))
	return problem
}

func (r *run) socket(a []arg) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	s, problem := r.create(a[0].text, "tcp", fd, err, "socket", "AF_INET", "SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK", "IPPROTO_IP")
	if s != nil {
		return noDelay(s.fd)
	}
	return problem
}

// bound returns a socket of kind tcp or udp, bound to a port chosen by the kernel,
// and nil if that fails.
func (r *run) bound(name, kind string) (l *object, problem error) {
	typ, typeName := unix.SOCK_STREAM, "SOCK_STREAM"
	if kind == "udp" {
		typ, typeName = unix.SOCK_DGRAM, "SOCK_DGRAM"
	}
	fd, err := unix.Socket(unix.AF_INET, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if r.failed(err, "socket", "AF_INET", typeName+"|SOCK_CLOEXEC|SOCK_NONBLOCK", "IPPROTO_IP") {
		return nil, nil
	}
	if l, problem = r.adopt(name, kind, fd); problem != nil {
		return nil, problem
	}
	err = unix.Bind(l.fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	if r.failed(err, "bind", r.ref(l), "127.0.0.1:0", 16) {
		r.discard(l)
		return nil, nil
	}
	return l, nil
}

func (r *run) listen(a []arg) error {
	l, problem := r.bound(a[0].text, "tcp")
	if l == nil {
		return problem
	}
	r.recordAndShow(unix.Listen(l.fd, a[1].n), "listen", r.ref(l), a[1].n)
	return nil
}

// address returns the address of a listener and its printed form.
func (r *run) address(l arg) (unix.Sockaddr, string, error) {
	sa, err := unix.Getsockname(l.object.fd)
	if r.failed(err, "getsockname", r.ref(l.object), "...", "[16]") {
		return nil, "", nil
	}
	in, ok := sa.(*unix.SockaddrInet4)
	if !ok {
		return nil, "", misuse(l.column, "%s has no TCP address to connect to", l.text)
	}
	if !r.Raw {
		return in, l.object.name, nil
	}
	return in, netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port)).String(), nil
}

func (r *run) connect(a []arg) error {
	sa, address, problem := r.address(a[1])
	if sa == nil {
		return problem
	}
	c := a[0].object
	_, err := r.mayBlock(c.fd, func() (int, error) { return 0, unix.Connect(c.fd, sa) })
	r.recordAndShow(err, "connect", r.ref(c), address, 16)
	return nil
}

func (r *run) connectNew(a []arg) error {
	sa, address, problem := r.address(a[1])
	if sa == nil {
		return problem
	}
	_, problem = r.client(a[0].text, sa, address)
	return problem
}

// client makes a connected socket. The socket is blocking during connect(2), which
// therefore returns when the connection is established.
func (r *run) client(name string, sa unix.Sockaddr, address string) (ok bool, problem error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if r.failed(err, "socket", "AF_INET", "SOCK_STREAM|SOCK_CLOEXEC", "IPPROTO_IP") {
		return false, nil
	}
	c, problem := r.adopt(name, "tcp", fd)
	if problem != nil {
		return false, problem
	}
	_, err = r.sleep(true, func() (int, error) { return 0, unix.Connect(c.fd, sa) })
	r.recordAndShow(err, "connect", r.ref(c), address, 16)
	if err != nil {
		r.discard(c)
		return false, nil
	}
	if err := unix.SetNonblock(c.fd, true); err != nil {
		return true, err
	}
	return true, noDelay(c.fd)
}

// noDelay makes the kernel send small writes at once, as the steps do. Otherwise
// the result of a wait would depend on the time of the peer's acknowledgement.
func noDelay(fd int) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
}

func (r *run) accept(a []arg) error {
	l := a[0].object
	fd, err := r.mayBlock(l.fd, func() (int, error) {
		fd, _, err := unix.Accept4(l.fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return fd, err
	})
	if err == nil {
		noDelay(fd) // fails for AF_UNIX, which has no delay
	}
	_, problem := r.create(a[1].text, "tcp", fd, err, "accept4", r.ref(l), "NULL", "NULL", "SOCK_CLOEXEC|SOCK_NONBLOCK")
	return problem
}

// tcp uses a hidden listener. Its name contains a blank, so nobody can type it.
func (r *run) tcp(a []arg) error {
	l, problem := r.bound("the listener", "tcp")
	if l == nil {
		return problem
	}
	defer r.discard(l)
	if r.failed(unix.Listen(l.fd, 1), "listen", r.ref(l), 1) {
		return nil
	}
	listener := arg{word: word{text: l.name}, object: l}
	sa, address, problem := r.address(listener)
	if sa == nil {
		return problem
	}
	if ok, problem := r.client(a[1].text, sa, address); !ok {
		return problem
	}
	return r.accept([]arg{listener, a[0]})
}

// udp makes two sockets, each of which sends to the other.
func (r *run) udp(a []arg) error {
	first, problem := r.bound(a[0].text, "udp")
	if first == nil {
		return problem
	}
	second, problem := r.bound(a[1].text, "udp")
	if second == nil {
		r.discard(first)
		return problem
	}
	for _, ends := range [][2]*object{{first, second}, {second, first}} {
		from, to := ends[0], ends[1]
		sa, address, problem := r.address(arg{object: to})
		if sa == nil {
			return problem
		}
		r.recordAndShow(unix.Connect(from.fd, sa), "connect", r.ref(from), address, 16)
	}
	return nil
}

// discard closes an object and forgets its name.
func (r *run) discard(o *object) {
	unix.Close(o.fd)
	delete(r.open, o.fd)
	delete(r.names, o.name)
}

// quote returns data as strace prints it: with escapes, and shortened.
func quote(data []byte) string {
	const maxLength = 32
	var b strings.Builder
	b.WriteByte('"')
	for i, c := range data[:min(len(data), maxLength)] {
		switch n := strings.IndexByte("\t\n\v\f\r\"\\", c); {
		case n >= 0:
			b.WriteByte('\\')
			b.WriteByte(`tnvfr"\`[n])
		case c >= ' ' && c < 0x7f:
			b.WriteByte(c)
		case i+1 < len(data) && data[i+1] >= '0' && data[i+1] <= '9':
			fmt.Fprintf(&b, `\%03o`, c) // three digits, because another digit follows
		default:
			fmt.Fprintf(&b, `\%o`, c)
		}
	}
	b.WriteByte('"')
	if len(data) > maxLength {
		b.WriteString("...")
	}
	return b.String()
}
