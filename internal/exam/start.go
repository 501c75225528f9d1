package exam

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A StartError says why there is no server to grade.
type StartError struct {
	status Status
	Reason string
	Output string // what the server printed last
}

func (e *StartError) Error() string {
	if e.Output == "" {
		return e.Reason
	}
	return e.Reason + "\n" + e.Output
}

// start runs the command of the options and waits until it listens on addr. nofile is the
// hard and the soft limit of its descriptors: getrlimit(2), RLIMIT_NOFILE.
func start(ctx context.Context, o Options, addr netip.AddrPort, nofile uint64) (*Server, error) {
	command := expand(o.Command, addr)
	path, err := exec.LookPath(command[0])
	if err != nil {
		reason := fmt.Sprintf("%s: no such program, or it may not be executed", command[0])
		if _, err := os.Stat(command[0]); err == nil && !strings.Contains(command[0], "/") {
			reason += fmt.Sprintf("; for the file that is here: ./%s", command[0])
		} else if strings.Contains(command[0], "=") || command[0] == "cd" {
			reason += "; if the command needs shell syntax: sh -c '…'"
		}
		return nil, &StartError{StatusNeverListened, reason, ""}
	}
	if socks, err := Listeners(addr); err == nil && len(socks) > 0 {
		return nil, &StartError{StatusNeverListened, fmt.Sprintf("%s is taken already%s: stop it, or let the command take {port}", addr, holders(socks)), ""}
	}

	s := &Server{Addr: addr, mark: newMark(), output: new(tail), exited: make(chan struct{}), outputEnd: make(chan struct{})}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	// A shell sets the limit and becomes the server: same process, same PID.
	s.cmd = exec.Command("/bin/sh", append([]string{"-c", `ulimit -n "$0" && exec "$@"`,
		strconv.FormatUint(nofile, 10), path}, command[1:]...)...)
	s.cmd.Stdout, s.cmd.Stderr = w, w
	s.cmd.Env = append(os.Environ(), s.mark)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	err = Launch(s.cmd)
	w.Close()
	if err != nil {
		r.Close()
		return nil, &StartError{StatusNeverListened, err.Error(), ""}
	}
	go func() {
		io.Copy(s.output, r)
		r.Close()
		close(s.outputEnd)
	}()
	go func() {
		s.cmd.Wait()
		close(s.exited)
	}()
	// If we are killed, the pipe closes, and the guard kills the process group and
	// the processes that it read from the pipe: they may have left the group.
	s.guard = exec.Command("/bin/sh", "-c", `while read -r pid; do set -- "$@" "$pid"; done; kill -KILL "-$0" "$@"`,
		strconv.Itoa(s.cmd.Process.Pid))
	s.guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.guardInput, err = s.guard.StdinPipe()
	if err == nil {
		err = s.guard.Start()
	}
	if err == nil {
		err = s.awaitListener(ctx, o)
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Server) awaitListener(ctx context.Context, o Options) error {
	deadline := time.Now().Add(o.StartTimeout)
	latest := deadline
	exited := s.exited
	var verdict string
	daemon := false // the command has ended, and may have left one behind
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		socks, err := Listeners(s.Addr)
		if err != nil {
			return err
		}
		if len(socks) > 0 {
			s.Look()
			s.awaitFamily()
			return nil
		}
		if now := time.Now(); now.After(deadline) {
			left := s.marked()
			if daemon && len(left) > 0 && now.Before(latest) {
				deadline = now.Add(daemonPause) // it is still starting
				continue
			}
			switch {
			case daemon && len(left) > 0:
				verdict = fmt.Sprintf("%s ended and left process %d behind, which did not listen on %s within %v",
					s.name(), left[0], s.Addr, o.StartTimeout)
			case verdict == "":
				verdict = fmt.Sprintf("%s runs, but did not listen on %s within %v", s.name(), s.Addr, o.StartTimeout)
			}
			return &StartError{StatusNeverListened, verdict + s.elsewhere(), s.lastOutput()}
		}
		select {
		case <-exited:
			exited = nil
			verdict = fmt.Sprintf("%s ended (%s), and nobody listens on %s", s.name(), s.cmd.ProcessState, s.Addr)
			deadline = time.Now() // look again: it may have listened just before
			if daemon = s.cmd.ProcessState.Success(); daemon {
				deadline = time.Now().Add(o.DaemonTimeout)
				s.marked() // so that it is known before it may call execve(2)
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (s *Server) name() string { return s.cmd.Args[4] }
