package exam

import (
	"fmt"
	"os"
	"slices"
	"strings"
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

// marked returns the living processes that have the server's mark, or had it before: in
// execve(2), a process has no environment for a moment. Those that have written a title
// for ps(1) over their environment before the first look are missing.
func (s *Server) marked() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, _ := procfs.PIDs()
	for _, pid := range all {
		if !slices.Contains(s.seen, pid) && hasVariable(pid, s.mark) {
			s.seen = append(s.seen, pid)
		}
	}
	s.seen = slices.DeleteFunc(s.seen, func(pid int) bool { return !Alive(pid) })
	return slices.Clone(s.seen)
}

func hasVariable(pid int, variable string) bool {
	env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return slices.Contains(strings.Split(string(env), "\x00"), variable)
}
