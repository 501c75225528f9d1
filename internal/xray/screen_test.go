package xray

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"epoll-step-by-step/internal/procfs"
	"epoll-step-by-step/internal/terminal"

	"golang.org/x/sys/unix"
)

// A screen is a pseudoterminal on which xray runs: pty(7).
type screen struct {
	cmd    *exec.Cmd
	master *os.File
	mu     sync.Mutex
	output []byte
	done   chan error
	copied chan bool
}

func onScreen(t *testing.T, cols, rows uint16, env string, args ...string) *screen {
	t.Helper()
	master := must[*os.File](t)(os.OpenFile("/dev/ptmx", os.O_RDWR, 0))
	number := must[int](t)(unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN))
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave := must[*os.File](t)(os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0))
	s := &screen{master: master, done: make(chan error, 1), copied: make(chan bool)}
	s.resize(t, cols, rows)
	s.cmd = exec.Command(filepath.Join(bin, "xray"), append([]string{"-interval", "20ms"}, args...)...)
	s.cmd.Env = append(os.Environ(), "TERM=xterm", env)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = slave, slave, slave
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	go func() { s.done <- s.cmd.Wait() }()
	go func() {
		defer close(s.copied)
		for buf := make([]byte, 4096); ; {
			n, err := master.Read(buf)
			s.mu.Lock()
			s.output = append(s.output, buf[:n]...)
			s.mu.Unlock()
			if err != nil {
				return // EIO: the other end is closed
			}
		}
	}()
	t.Cleanup(func() { s.cmd.Process.Kill(); <-s.copied; master.Close() })
	return s
}

func (s *screen) resize(t *testing.T, cols, rows uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: cols, Row: rows}); err != nil {
		t.Fatal(err)
	}
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The terminal replaces \n by \r\n, and so \r\n by \r\r\n.
	return strings.ReplaceAll(string(s.output), "\r", "")
}

// frame waits for a complete frame that is as wanted, and returns its lines.
func (s *screen) frame(t *testing.T, want func(lines []string) bool) []string {
	t.Helper()
	var lines []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		frames := strings.Split(s.text(), terminal.Home)
		if len(frames) < 3 {
			continue
		}
		last := regexp.MustCompile(`\x1b\[[0-9?]*[A-Za-z]`).ReplaceAllString(frames[len(frames)-2], "")
		if lines = strings.Split(last, "\n"); want(lines) {
			return lines
		}
	}
	t.Fatalf("no such frame within 20 s: %q", lines)
	return nil
}

func widest(lines []string) (n int) {
	for _, l := range lines {
		n = max(n, utf8.RuneCountInString(l))
	}
	return n
}

func TestLive(t *testing.T) {
	s := step(t, "step3-epoll-lt")
	pid := strconv.Itoa(s.pid)
	for _, tt := range []struct {
		name, env string
		sig       unix.Signal
	}{
		{"Ctrl-C", "", unix.SIGINT},
		{"SIGTERM", "NO_COLOR=1", unix.SIGTERM},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sc := onScreen(t, 100, 40, tt.env, "-pid", pid)
			fits := func(cols, rows int) func([]string) bool {
				return func(lines []string) bool {
					return len(lines) <= rows && widest(lines) <= cols && strings.Contains(lines[len(lines)-1], "Ctrl-C")
				}
			}
			sc.frame(t, fits(100, 40))
			sc.resize(t, 60, 12)
			sc.frame(t, func(lines []string) bool { return len(lines) > 8 && fits(60, 12)(lines) })
			sc.resize(t, 30, 3)
			sc.frame(t, fits(30, 3))
			c := s.served(t)
			sc.resize(t, 100, 40)
			sc.frame(t, func(lines []string) bool {
				return strings.Contains(strings.Join(lines, "\n"), "client "+c.LocalAddr().String())
			})
			if tt.sig == unix.SIGINT {
				sc.master.Write([]byte{3}) // the terminal turns it into the signal
			} else if err := unix.Kill(sc.cmd.Process.Pid, tt.sig); err != nil {
				t.Fatal(err)
			}
			if err := <-sc.done; err != nil {
				t.Error("exit:", err)
			}
			<-sc.copied
			out := sc.text()
			if !strings.HasPrefix(out, terminal.EnterAlternate) || !strings.HasSuffix(out, terminal.LeaveAlternate) {
				t.Errorf("the screen is not restored: %q … %q", out[:20], out[len(out)-20:])
			}
			if coloured := strings.Contains(out, "\x1b[1m"); coloured != (tt.env == "") {
				t.Errorf("colour: %t with %q", coloured, tt.env)
			}
		})
	}
	t.Run("Ctrl-Z", func(t *testing.T) {
		sc := onScreen(t, 100, 40, "", "-pid", pid)
		sc.frame(t, func(lines []string) bool { return len(lines) > 8 })
		tty := must[*os.File](t)(os.OpenFile(fmt.Sprintf("/proc/%d/fd/1", sc.cmd.Process.Pid), os.O_WRONLY|unix.O_NOCTTY, 0))
		defer tty.Close()
		sc.master.Write([]byte{26}) // the terminal turns it into the signal
		until(t, "all threads of xray stop", func() bool {
			threads := must[[]procfs.Thread](t)(procfs.Threads(sc.cmd.Process.Pid))
			return !slices.ContainsFunc(threads, func(th procfs.Thread) bool {
				return th.State != 'T' || th.Syscall.State == procfs.SyscallRunning
			})
		})
		const shell = "$ what the shell prints\n" // after everything that xray has written
		fmt.Fprint(tty, shell)
		until(t, "the output of the shell", func() bool { return strings.HasSuffix(sc.text(), shell) })
		out := strings.TrimSuffix(sc.text(), shell)
		if out = strings.ReplaceAll(out, "^Z", ""); !strings.HasSuffix(out, terminal.LeaveAlternate) { // the echo of Ctrl-Z can come late
			t.Fatalf("the screen is not restored: … %q", out[max(0, len(out)-40):])
		}
		if err := unix.Kill(sc.cmd.Process.Pid, unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		until(t, "xray draws more than two frames", func() bool {
			_, after, _ := strings.Cut(sc.text(), shell)
			return strings.HasPrefix(after, terminal.EnterAlternate) && strings.Count(after, terminal.Home) > 2
		})
	})
	t.Run("-once", func(t *testing.T) {
		sc := onScreen(t, 60, 5, "", "-once", "-pid", pid)
		if err := <-sc.done; err != nil {
			t.Error("exit:", err)
		}
		<-sc.copied
		if out := sc.text(); strings.Contains(out, terminal.EnterAlternate) || !strings.Contains(out, "TCP SOCKETS") {
			t.Errorf("%q", out)
		}
	})
	t.Run("the process ends", func(t *testing.T) {
		sc := onScreen(t, 100, 40, "", "-pid", pid)
		sc.frame(t, func(lines []string) bool { return len(lines) > 8 })
		if err := unix.Kill(s.pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := <-sc.done; err != nil {
			t.Error("exit:", err)
		}
		<-sc.copied
		if out, want := sc.text(), terminal.LeaveAlternate+"xray: process "+pid+" (step3-epoll-lt) has ended\n"; !strings.HasSuffix(out, want) {
			t.Errorf("%q, want %q at the end", out[max(0, len(out)-100):], want)
		}
	})
}
