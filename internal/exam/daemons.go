package exam

import (
	"bytes"
	"fmt"
	"os"
	"sync/atomic"

	"epoll-step-by-step/internal/procfs"
)

// newMark returns a variable for the environment of one server. The server's processes
// inherit it, so it shows which processes are the server's, even those that have left
// its process group and are no descendants of it any more: daemon(3).
func newMark() string {
	return fmt.Sprintf("EPOLL_STEP_BY_STEP_SERVER=%d.%d", os.Getpid(), lastMark.Add(1))
}

var lastMark atomic.Int64

// marked returns the living processes that have the server's mark. Those that have
// written a title for ps(1) over their environment are missing.
func (s *Server) marked() (pids []int) {
	all, _ := procfs.PIDs()
	for _, pid := range all {
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		for variable := range bytes.SplitSeq(env, []byte{0}) {
			if string(variable) == s.mark {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}
