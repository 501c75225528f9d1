package procfs

import (
	"maps"

	"golang.org/x/sys/unix"
)

// Newer architectures do not have these calls. Their C libraries implement the
// functions of the same name with other calls: poll(3) with ppoll, for example.
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
		unix.SYS_DUP2:         "dup2",
		unix.SYS_PIPE:         "pipe",
		unix.SYS_TIME:         "time",
		unix.SYS_ALARM:        "alarm",
		unix.SYS_FSTAT:        "fstat",
		unix.SYS_STAT:         "stat",
		unix.SYS_FORK:         "fork",
		unix.SYS_VFORK:        "vfork",
	})
}
