package exam

import (
	"fmt"
	"os"
	"sync"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

const ownDescriptors = 200 // that the examiner needs besides those of its clients

// raiseNOFILE raises the soft limit of this process to the hard limit.
var raiseNOFILE = sync.OnceFunc(func() {
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) == nil && lim.Cur < lim.Max {
		lim.Cur = lim.Max
		unix.Setrlimit(unix.RLIMIT_NOFILE, &lim)
	}
})

// hardNOFILE returns how many descriptors a server that we start may have.
func hardNOFILE() uint64 {
	lim, err := procfs.NOFILE(os.Getpid())
	if err != nil {
		return 1024
	}
	return min(lim.Hard, 1<<20)
}

// enoughDescriptors reports whether we may have so many clients, and if not, why.
func enoughDescriptors(clients int) (bool, string) {
	need := uint64(clients + ownDescriptors)
	if have := hardNOFILE(); have < need {
		return false, fmt.Sprintf("needs %d descriptors; the hard limit here is %d (ulimit -Hn)", need, have)
	}
	return true, ""
}
