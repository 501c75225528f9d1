package transcript

import (
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// A terminal runs a command in a process group of its own.
type terminal struct {
	number string
	guard  *exec.Cmd // the group's leader
	stdin  io.WriteCloser
	ended  chan struct{} // closed after the command's end, when lines is complete

	mu     *sync.Mutex // the session's
	output *os.File    // the read end of the pipe that the command prints to
	lines  []string    // printed but not shown; the last has no end yet
	cursor string      // the last line as shown, when it had no end

	looked time.Time             // when asleep last looked
	used   map[int]time.Duration // each thread's processor time then, by TID
}

func (s *session) start(number, command string) (*terminal, error) {
	// Children inherit ignored signals, but not caught ones.
	if signal.Ignored(os.Interrupt) {
		signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	}
	t := &terminal{number: number, ended: make(chan struct{}), mu: &s.mu, lines: []string{""}}
	// The guard kills the group if this process dies, because its pipe closes
	// then. While it lives, no other group can have the same number.
	t.guard = exec.Command("sh", "-c", `trap "" INT TERM; read -r line; kill -KILL 0`)
	t.guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := t.guard.StdinPipe(); err != nil {
		return nil, err
	}
	if err := t.guard.Start(); err != nil {
		return nil, err
	}
	err := t.run(s, command)
	if err != nil {
		close(t.ended)
		t.stop()
		return nil, err
	}
	return t, nil
}

func (t *terminal) run(s *session, command string) error {
	output, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer theirs.Close()
	cmd := exec.Command("bash", "-c", command)
	cmd.Dir, cmd.Env = s.dir, s.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: t.guard.Process.Pid}
	cmd.Stdout, cmd.Stderr = theirs, theirs
	if t.stdin, err = cmd.StdinPipe(); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		output.Close()
		return err
	}
	t.output = output
	go func() {
		t.collect()
		cmd.Wait()
		output.Close()
		close(t.ended)
	}()
	return nil
}

// collect appends the output to lines until no process has the pipe open for
// writing. It reads only with the lock held: with the lock, an empty pipe means
// that lines is complete.
func (t *terminal) collect() {
	raw, err := t.output.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 64<<10)
	for ended := false; !ended; {
		err := raw.Read(func(fd uintptr) bool {
			t.mu.Lock()
			defer t.mu.Unlock()
			n, err := unix.Read(int(fd), buf)
			switch {
			case err == unix.EINTR:
				return true
			case err == unix.EAGAIN:
				return false // call again when the pipe is readable
			case err != nil || n == 0:
				ended = true
				return true
			}
			last := len(t.lines) - 1
			t.lines = append(t.lines[:last], strings.Split(t.lines[last]+string(buf[:n]), "\n")...)
			return true
		})
		ended = ended || err != nil
	}
}

// asleep reports whether all threads of the command's process group are blocked
// or stopped, have used no processor time since the last call, which was at least
// lookInterval ago, and all that they printed is in lines.
func (t *terminal) asleep() bool {
	if time.Since(t.looked) < lookInterval {
		return false
	}
	used, blocked := t.look()
	same := t.used != nil && maps.Equal(used, t.used)
	t.looked, t.used = time.Now(), used
	unread, err := t.unread()
	return blocked && same && unread == 0 && err == nil
}

// look returns the processor time of each thread in the command's process group,
// and whether all of them are blocked or stopped.
func (t *terminal) look() (used map[int]time.Duration, blocked bool) {
	used, blocked = make(map[int]time.Duration), true
	group := t.guard.Process.Pid
	pids, err := procfs.PIDs()
	if err != nil {
		return nil, false
	}
	for _, pid := range pids {
		if of, err := unix.Getpgid(pid); err != nil || of != group || pid == group {
			continue
		}
		// A process that has just ended makes these fail. The next look will
		// not find it.
		states, err := procfs.ThreadStates(pid)
		times, timesErr := procfs.ThreadCPU(pid)
		if err != nil || timesErr != nil {
			return nil, false
		}
		for _, state := range states {
			blocked = blocked && state != 'R' && state != 'D'
		}
		maps.Copy(used, times)
	}
	return used, blocked
}

// unread returns the number of bytes that are printed and not collected.
func (t *terminal) unread() (n int, err error) {
	raw, err := t.output.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n, errors.Join(err, controlErr)
}

func (t *terminal) partial() string { return t.lines[len(t.lines)-1] }

func (t *terminal) hasEnded() bool {
	select {
	case <-t.ended:
		return true
	default:
		return false
	}
}

func (t *terminal) unshown() string {
	text := strings.Join(t.lines, "\n")
	if text == t.cursor {
		return ""
	}
	return text
}

func (t *terminal) signal(sig unix.Signal) error {
	return unix.Kill(-t.guard.Process.Pid, sig)
}

// stop ends everything that still runs in the terminal's process group.
func (t *terminal) stop() {
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		t.signal(sig)
		select {
		case <-t.ended:
		case <-time.After(time.Second):
		}
	}
	t.guard.Wait()
}
