package procfs

import (
	"maps"

	"golang.org/x/sys/unix"
)

// Newer architectures never had these calls; their C libraries make the
// functions of the same name from others: poll(3) from ppoll, for one.
func init() {
	maps.Copy(syscallNames, map[int]string{
		unix.SYS_EPOLL_CREATE: "epoll_create",
		unix.SYS_EPOLL_WAIT:   "epoll_wait",
		unix.SYS_POLL:         "poll",
		unix.SYS_SELECT:       "select",
		unix.SYS_PAUSE:        "pause",
		unix.SYS_OPEN:         "open",
		unix.SYS_EVENTFD:      "eventfd",
		unix.SYS_SIGNALFD:     "signalfd",
		unix.SYS_FORK:         "fork",
		unix.SYS_VFORK:        "vfork",
	})
}
