package exam

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// firehose connects a client that sends without end and reads what comes back.
// It must be faster than any server, on whatever is left of the machine, or the
// server finds nothing to read now and then and starves nobody. So it copies no
// byte: sendfile(2) sends pages of a file in memory, and recv(2) with MSG_TRUNC
// throws away what has come: tcp(7).
func (s *session) firehose() (stop func(), err error) {
	const size = 1 << 20
	file, err := unix.MemfdCreate("firehose", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, &cannotRun{os.NewSyscallError("memfd_create", err).Error()}
	}
	defer func() {
		if err != nil {
			unix.Close(file)
		}
	}()
	if err := unix.Ftruncate(file, size); err != nil {
		return nil, &cannotRun{os.NewSyscallError("ftruncate", err).Error()}
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, &cannotRun{os.NewSyscallError("socket", err).Error()}
	}
	addr := &unix.SockaddrInet4{Port: int(s.server.addr.Port()), Addr: s.server.addr.Addr().As4()}
	if err := unix.Connect(fd, addr); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			offset := int64(0)
			if n, err := unix.Sendfile(fd, file, &offset, size); n <= 0 && err != unix.EINTR {
				return
			}
		}
	})
	wg.Go(func() {
		buf := make([]byte, size)
		for {
			if n, _, err := unix.Recvfrom(fd, buf, unix.MSG_TRUNC); n <= 0 && err != unix.EINTR {
				return
			}
		}
	})
	return func() {
		unix.Shutdown(fd, unix.SHUT_RDWR) // wakes both
		wg.Wait()
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		unix.Close(fd)
		unix.Close(file)
	}, nil
}
