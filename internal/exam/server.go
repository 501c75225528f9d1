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

// A server is the process that is being graded: one that we started, or one
// that was there.
type Server struct {
	Addr netip.AddrPort

	mu     sync.Mutex
	pids   []int     // who has a listening socket; empty if we may not see
	parent int       // of those, or the only one; 0 if there is none
	kin    []int     // pids and their children; nil if nobody has asked since
	looked time.Time // when that was looked up

	cmd    *exec.Cmd // nil if we did not start it
	guard  *exec.Cmd // kills them all if we die
	names  io.Writer // of those who are to be killed
	output *tail
	exited chan struct{} // closed when cmd has been waited for
	said   chan struct{} // closed when nobody can print any more
}

// died tells whether a server that we started has ended, and how. It has not if
// somebody is left who may replace the others.
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
	case <-time.After(200 * time.Millisecond): // not our child, but its child
	}
	return "the process that listened is gone", len(s.Processes()) > 0
}

// exitState waits up to d for the end of the process that was started. It is nil
// if that process does not end: then the server is a child of it.
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

// dies is died for a server that has just closed a connection in a way that
// looks like its end: a process closes its descriptors before it is gone.
func (s *Server) AwaitDeath() (how string, dead bool) {
	for deadline := time.Now().Add(200 * time.Millisecond); !dead && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		how, dead = s.Died()
	}
	return how, dead
}

// signal sends sig to the server's processes. One that asks to end is for their
// parent alone: the others are its business.
func (s *Server) Signal(sig unix.Signal) error {
	if sig != unix.SIGCONT { // that is for those who were stopped
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

// stop kills what start started, children and daemons too, and waits for it.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	s.Look()
	pids, parent := s.Members()
	family, _ := procfs.Descendants(s.cmd.Process.Pid)
	family = slices.Concat(pids, family)
	if parent != 0 && Alive(parent) {
		family = append([]int{parent}, family...) // first: it would replace the others
	}
	unix.Kill(-s.cmd.Process.Pid, unix.SIGKILL)
	for _, pid := range family {
		unix.Kill(pid, unix.SIGKILL)
	}
	<-s.exited
	deadline := time.Now().Add(5 * time.Second)
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

// alive is false when a process has closed its descriptors. Its first thread may
// be gone (Z) while others, which share them, are still ending.
func Alive(pid int) bool {
	p, err := procfs.Stat(pid)
	return err == nil && (p.State != 'Z' && p.State != 'X' || p.Threads > 1)
}
