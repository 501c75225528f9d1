package exam

import (
	"io"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

const (
	deathTime = 200 * time.Millisecond // between the close of the descriptors and the end of a process
	killTime  = 5 * time.Second        // from SIGKILL to the end of a process
)

// A Server is what is being graded: one or several processes that we started, or
// that were running already.
type Server struct {
	Addr netip.AddrPort

	mu      sync.Mutex
	pids    []int     // the processes that have a listening socket; empty if we may not see them
	parent  int       // their common ancestor, which may be one of them; 0 if there is none
	kinship []int     // pids and their descendants; nil if not looked up since
	looked  time.Time // when pids was looked up
	seen    []int     // the processes that had the mark when we last looked for it

	cmd        *exec.Cmd // nil if we did not start it
	mark       string    // in the environment of its processes
	guard      *exec.Cmd // kills all of them if we are killed
	guardInput io.Writer // takes further PIDs for that
	output     *tail
	exited     chan struct{} // closed when cmd has been waited for
	outputEnd  chan struct{} // closed when no process has the pipe for the output open
}

// Died reports whether a server that we started has ended, and how. It has not if a
// process is left that may replace the others.
func (s *Server) Died() (how string, dead bool) {
	if s.cmd == nil || s.anyAlive() {
		return "", false
	}
	if s.Look(); s.anyAlive() {
		return "", false
	}
	select {
	case <-s.exited:
		return s.cmd.ProcessState.String(), true
	case <-time.After(deathTime): // the server is a child of the process that we started
	}
	return "the process that listened is gone", len(s.Processes()) > 0
}

// ExitState waits up to d for the process that we started to end. It returns nil if
// that process does not end: the server may be a child of it.
func (s *Server) ExitState(d time.Duration) *os.ProcessState {
	select {
	case <-s.exited:
		return s.cmd.ProcessState
	case <-time.After(d):
		return nil
	}
}

func (s *Server) anyAlive() bool {
	pids, parent := s.Members()
	return slices.ContainsFunc(pids, Alive) || parent != 0 && Alive(parent)
}

// AwaitDeath is Died for a server whose connections have just failed: a process that
// ends closes its descriptors a moment before it is gone.
func (s *Server) AwaitDeath() (how string, dead bool) {
	for deadline := time.Now().Add(deathTime); s.cmd != nil && !dead && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		how, dead = s.Died()
	}
	return how, dead
}

// Signal sends sig to the server's processes. A signal that asks a process to end goes
// to their parent only, which has to end the others.
func (s *Server) Signal(sig unix.Signal) error {
	if sig != unix.SIGCONT { // which is for the processes that were stopped
		s.Look()
	}
	_, parent := s.Members()
	pids := s.family()
	if slices.Contains([]unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT}, sig) && parent != 0 {
		pids = []int{parent}
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
			return os.NewSyscallError("kill", err)
		}
	}
	return nil
}

// Stop kills a server that we started, with its children and daemons, and waits until
// they are gone.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	s.Look()
	pids, parent := s.Members()
	family, _ := procfs.Descendants(s.cmd.Process.Pid)
	family = slices.Concat(pids, family, s.marked())
	if parent != 0 && Alive(parent) {
		family = append([]int{parent}, family...) // first: it might replace the others
	}
	unix.Kill(-s.cmd.Process.Pid, unix.SIGKILL)
	for _, pid := range family {
		unix.Kill(pid, unix.SIGKILL)
	}
	<-s.exited
	deadline := time.Now().Add(killTime)
	for _, pid := range family {
		for Alive(pid) && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
	}
	if s.guard != nil && s.guard.Process != nil {
		s.guard.Process.Kill()
		s.guard.Wait()
	}
}

// Alive reports whether a process still has its descriptors. Its first thread may have
// ended (Z) while other threads, which share them, have not.
func Alive(pid int) bool {
	p, err := procfs.Stat(pid)
	return err == nil && (p.State != 'Z' && p.State != 'X' || p.Threads > 1)
}
