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

// A rawClient is a blocking socket that reports when bytes arrived.
type rawClient struct {
	fd    int
	local netip.AddrPort
	oob   [128]byte // for control messages: recvmsg(2)
}

// An arrival is when the kernel queued some bytes for us: socket(7),
// SO_TIMESTAMP. It does not depend on when we get to read them.
type arrival struct {
	at    time.Time
	bytes int
}

func dialRaw(s *exam.Session) (*rawClient, error) {
	family, addr := exam.Sockaddr(s.Server.Addr)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, exam.CannotRun(os.NewSyscallError("socket", err).Error())
	}
	s.KeepFD(fd)
	s.AtEnd(func() {
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		unix.Close(fd)
	})
	timeout := unix.NsecToTimeval(int64(exam.NewcomerTimeout))
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
	); err != nil {
		return nil, exam.CannotRun(os.NewSyscallError("setsockopt", err).Error())
	}
	if err := unix.Connect(fd, addr); err != nil {
		return nil, os.NewSyscallError("connect", err)
	}
	local, err := exam.SocketName(fd)
	return &rawClient{fd: fd, local: local}, err
}

// recv reads what has arrived, or throws it away with MSG_TRUNC. It fails with
// EAGAIN after exam.NewcomerTimeout.
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

// A firehose is a client that sends without end and reads what comes back. It is
// faster than the server because it copies no byte: sendfile(2) sends pages of a
// file in memory, and recvmsg(2) with MSG_TRUNC throws away what has come: tcp(7).
type firehose struct {
	*rawClient

	mu       sync.Mutex
	arrivals []arrival
}

func dialFirehose(s *exam.Session) (*firehose, error) {
	const size = 1 << 20 // bytes of the file
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
			f.arrivals = append(f.arrivals, a)
			f.mu.Unlock()
		}
	})
	s.AtEnd(func() {
		unix.Shutdown(f.fd, unix.SHUT_RDWR) // wakes both goroutines
		wg.Wait()
	})
	return f, nil
}

// between returns how many bytes came back between two times. If the reader seems
// to lag behind, between gives it a moment; but not if no byte ever came, which is
// a server that serves one client at a time.
func (f *firehose) between(from, to time.Time) int {
	for deadline := time.Now().Add(exam.StallTime); f.wasServed() && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if sum, complete := f.count(from, to); complete {
			return sum
		}
	}
	sum, _ := f.count(from, to)
	return sum
}

func (f *firehose) wasServed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.arrivals) > 0
}

// count adds up the bytes that have been read and that arrived between two times.
// The sum is complete if a later arrival has been read.
func (f *firehose) count(from, to time.Time) (sum int, complete bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.arrivals {
		if a.at.After(to) {
			return sum, true
		}
		if a.at.After(from) {
			sum += a.bytes
		}
	}
	return sum, false
}
