package owed

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"sync"
	"time"

	"epoll-step-by-step/internal/exam"

	"golang.org/x/sys/unix"
)

// A firehose is a client that sends without end and reads what comes back. It
// copies no byte, to be faster than the server: sendfile(2) sends pages of a
// file in memory, and recvmsg(2) with MSG_TRUNC throws away what has come:
// tcp(7).
type firehose struct {
	*rawClient

	mu   sync.Mutex
	came []arrival // what has come back
}

// An arrival is when the kernel queued some bytes for us: socket(7),
// SO_TIMESTAMP. When we find the time to read them makes no difference to it.
type arrival struct {
	at    time.Time
	bytes int
}

// A rawClient is a blocking socket whose arrivals have times.
type rawClient struct {
	fd    int
	local netip.AddrPort
	oob   [128]byte
}

func dialRaw(s *exam.Session) (*rawClient, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, exam.CannotRun(os.NewSyscallError("socket", err).Error())
	}
	s.KeepFD(fd)
	s.AtEnd(func() {
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		unix.Close(fd)
	})
	patience := unix.NsecToTimeval(int64(exam.NewcomerTimeout))
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience),
	); err != nil {
		return nil, exam.CannotRun(os.NewSyscallError("setsockopt", err).Error())
	}
	addr := &unix.SockaddrInet4{Port: int(s.Server.Addr.Port()), Addr: s.Server.Addr.Addr().As4()}
	if err := unix.Connect(fd, addr); err != nil {
		return nil, os.NewSyscallError("connect", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return nil, os.NewSyscallError("getsockname", err)
	}
	local := name.(*unix.SockaddrInet4)
	return &rawClient{fd: fd, local: netip.AddrPortFrom(netip.AddrFrom4(local.Addr), uint16(local.Port))}, nil
}

// recv reads, or with MSG_TRUNC throws away, what has come.
func (c *rawClient) recv(buf []byte, flags int) (arrival, error) {
	for {
		n, oobn, _, _, err := unix.Recvmsg(c.fd, buf, c.oob[:], flags)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return arrival{}, err
		}
		a := arrival{bytes: n}
		messages, _ := unix.ParseSocketControlMessage(c.oob[:oobn])
		for _, m := range messages {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16 {
				a.at = time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
			}
		}
		return a, nil
	}
}

func dialFirehose(s *exam.Session) (*firehose, error) {
	const size = 1 << 20
	file, err := unix.MemfdCreate("firehose", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, exam.CannotRun(os.NewSyscallError("memfd_create", err).Error())
	}
	s.AtEnd(func() { unix.Close(file) })
	if err := unix.Ftruncate(file, size); err != nil {
		return nil, exam.CannotRun(os.NewSyscallError("ftruncate", err).Error())
	}
	c, err := dialRaw(s)
	if err != nil {
		return nil, err
	}
	f := &firehose{rawClient: c}
	var wg exam.WaitGroup
	wg.Go(func() {
		for {
			offset := int64(0)
			if n, err := unix.Sendfile(f.fd, file, &offset, size); n <= 0 && err != unix.EINTR {
				return
			}
		}
	})
	wg.Go(func() {
		buf := make([]byte, size/4)
		for {
			a, err := f.recv(buf, unix.MSG_TRUNC)
			if err == unix.EAGAIN {
				continue
			}
			if err != nil || a.bytes == 0 {
				return
			}
			f.mu.Lock()
			f.came = append(f.came, a)
			f.mu.Unlock()
		}
	})
	s.AtEnd(func() {
		unix.Shutdown(f.fd, unix.SHUT_RDWR) // wakes both
		wg.Wait()
	})
	return f, nil
}

// between returns how many bytes came back from the one time to the other. If
// it seems that not all of them have been read, it gives the reader a moment; not
// so if nothing ever came, from a server that serves one at a time.
func (f *firehose) between(from, to time.Time) int {
	for deadline := time.Now().Add(exam.StallTime); f.served() && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if sum, later := f.count(from, to); later {
			return sum
		}
	}
	sum, _ := f.count(from, to)
	return sum
}

func (f *firehose) served() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.came) > 0
}

// count adds up what has been read so far, and tells whether something has that
// came later.
func (f *firehose) count(from, to time.Time) (sum int, later bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.came {
		if a.at.After(to) {
			return sum, true
		}
		if a.at.After(from) {
			sum += a.bytes
		}
	}
	return sum, false
}
