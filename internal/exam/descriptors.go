package exam

import (
	"fmt"
	"os"
	"sync"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// raiseNOFILE lets this process have as many descriptors as it may.
var raiseNOFILE = sync.OnceFunc(func() {
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) == nil && lim.Cur < lim.Max {
		lim.Cur = lim.Max
		unix.Setrlimit(unix.RLIMIT_NOFILE, &lim)
	}
})

// hardNOFILE is the most descriptors that a server of ours may have.
func hardNOFILE() uint64 {
	lim, err := procfs.NOFILE(os.Getpid())
	if err != nil {
		return 1024
	}
	return min(lim.Hard, 1<<20)
}

func enoughDescriptors(clients int) (bool, string) {
	need := uint64(clients + 200)
	if have := hardNOFILE(); have < need {
		return false, fmt.Sprintf("needs %d descriptors; the hard limit here is %d (ulimit -Hn)", need, have)
	}
	return true, ""
}
