package transcript

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// reservePort returns a port for a script, since Redis may be on 6379, and keeps
// it from other scripts, of other processes too, until it is released. It has
// four digits: columns stay in place, and write(2) returns the same.
func reservePort() (port string, release func(), err error) {
	for range 1000 {
		number := 9000 + rand.IntN(1000)
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return "", nil, os.NewSyscallError("socket", err)
		}
		// Without SO_REUSEADDR, bind fails if any socket has the port, even in
		// TIME_WAIT, which ss would show. With it, set afterwards, servers may
		// bind the port as long as we do not listen: socket(7).
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: number})
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		}
		if err == nil {
			return strconv.Itoa(number), func() { unix.Close(fd) }, nil
		}
		unix.Close(fd)
	}
	return "", nil, errors.New("no port from 9000 to 9999 is free")
}
