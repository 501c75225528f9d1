package procfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseStat(t *testing.T) {
	rest := " S 22 33 44 0 -1 4194368 119 63 0 0 0 0 0 0 20 0 5 0 87384 4595712 472\n"
	for _, tt := range []struct{ name, comm string }{
		{"plain", "nginx"},
		{"blank", "tmux: server"},
		{"closing and opening", "a) (b"},
		{"contains the fields after it", "x) R 9 9 9 (y"},
		{"newline", "a\nb"},
		{"empty", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := parseStat([]byte("11 (" + tt.comm + ")" + rest))
			want := Process{PID: 11, PPID: 22,
				Name: tt.comm, State: 'S', Threads: 5, StartTime: 87384}
			if !ok || got != want {
				t.Errorf("got %+v, %t; want %+v", got, ok, want)
			}
		})
	}
	for _, bad := range []string{"", "11", "11 (x", "11 )x(" + rest, "11 (x) S 22\n"} {
		if got, ok := parseStat([]byte(bad)); ok {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
}

func TestStat(t *testing.T) {
	ticks := func() uint64 { // 100 per second, as in /proc
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
			t.Fatal(err)
		}
		return uint64(ts.Nano() / 1e7)
	}
	// The comm is the first 15 bytes of the file name.
	program := filepath.Join(t.TempDir(), "a) R 1 (b and more")
	if err := os.Symlink(executable(t), program); err != nil {
		t.Fatal(err)
	}
	before := ticks()
	cmd := startChild(t, "wait", program)
	after := ticks()

	got := must[Process](t)(Stat(cmd.Process.Pid))
	if got.StartTime < before || got.StartTime > after {
		t.Errorf("StartTime %d, want between %d and %d", got.StartTime, before, after)
	}
	if got.Threads < 2 { // a Go process always has several
		t.Errorf("Threads %d, want 2 or more", got.Threads)
	}
	if got.State != 'S' && got.State != 'R' && got.State != 'D' {
		t.Errorf("State %c, want S, R or D", got.State)
	}
	want := Process{
		PID:       cmd.Process.Pid,
		PPID:      os.Getpid(),
		Name:      "a) R 1 (b and m",
		State:     got.State,
		Threads:   got.Threads,
		StartTime: got.StartTime,
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}

	pids := must[[]int](t)(PIDs())
	if !slices.IsSorted(pids) {
		t.Errorf("PIDs is not sorted: %v", pids)
	}
	for _, pid := range []int{os.Getpid(), cmd.Process.Pid} {
		if !slices.Contains(pids, pid) {
			t.Errorf("PIDs %v does not contain %d", pids, pid)
		}
	}
}

func TestCmdline(t *testing.T) {
	want := []string{executable(t), "", "two words", "-x", ""}
	cmd := startChild(t, "wait", want[0], want[1:]...)
	got := must[[]string](t)(Cmdline(cmd.Process.Pid))
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDescendants(t *testing.T) {
	cmd := startChild(t, "parent", executable(t))
	below := must[[]int](t)(Descendants(cmd.Process.Pid))
	if len(below) != 1 {
		t.Fatalf("descendants of the child: got %v, want one", below)
	}
	ours := must[[]int](t)(Descendants(os.Getpid()))
	if want := []int{cmd.Process.Pid, below[0]}; !slices.Equal(ours, want) {
		t.Errorf("our descendants: got %v, want %v", ours, want)
	}
	leaf := must[[]int](t)(Descendants(below[0]))
	if len(leaf) != 0 {
		t.Errorf("descendants of the grandchild: got %v, want none", leaf)
	}
}

// processQueries contains each function of the package that takes a PID alone.
var processQueries = map[string]func(pid int) error{
	"Stat":        func(pid int) error { _, err := Stat(pid); return err },
	"Cmdline":     func(pid int) error { _, err := Cmdline(pid); return err },
	"Descendants": func(pid int) error { _, err := Descendants(pid); return err },
	"Threads": func(pid int) error {
		threads, err := Threads(pid)
		if err == nil && len(threads) == 0 {
			err = errors.New("no threads")
		}
		return err
	},
	"ThreadCPU": func(pid int) error {
		cpus, err := ThreadCPU(pid)
		if err == nil && len(cpus) == 0 {
			err = errors.New("no threads")
		}
		return err
	},
	"ThreadStates": func(pid int) error {
		states, err := ThreadStates(pid)
		if err == nil && len(states) == 0 {
			err = errors.New("no threads")
		}
		return err
	},
	"FDs":      func(pid int) error { _, err := FDs(pid); return err },
	"FDCount":  func(pid int) error { _, err := FDCount(pid); return err },
	"MemoryOf": func(pid int) error { _, err := MemoryOf(pid); return err },
	"NOFILE":   func(pid int) error { _, err := NOFILE(pid); return err },
}

func TestExited(t *testing.T) {
	cmd := startChild(t, "wait", executable(t))
	pid := cmd.Process.Pid
	file, err := os.Open(path(pid, "stat")) // before the process exits
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, query := range processQueries {
		if err := query(pid); err != nil {
			t.Errorf("alive: %s: %v", name, err)
		}
	}

	cmd.Process.Kill()
	eventually(t, "the killed child is a zombie with one thread", func() bool {
		p := must[Process](t)(Stat(pid))
		return p.State == 'Z' && p.Threads == 1
	})
	if args := must[[]string](t)(Cmdline(pid)); len(args) != 0 {
		t.Errorf("zombie: got Cmdline %q, want none", args)
	}
	if m := must[Memory](t)(MemoryOf(pid)); m != (Memory{}) {
		t.Errorf("zombie: got %+v, want no memory", m)
	}

	cmd.Wait()
	for name, query := range processQueries {
		if err := query(pid); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("reaped: %s: got error %v, want fs.ErrNotExist", name, err)
		}
	}
	if _, err := Interests(pid, 3); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reaped: Interests: got error %v, want fs.ErrNotExist", err)
	}
	// The other error of an exited process: see notExist.
	_, err = io.ReadAll(file)
	if !errors.Is(err, unix.ESRCH) {
		t.Fatalf("read of an exited process: got error %v, want ESRCH", err)
	}
	if err := notExist(err); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("notExist: got %v, want fs.ErrNotExist", err)
	}
}

// While a process exits, every function returns a result or one of the two
// documented errors, and no other error.
func TestExiting(t *testing.T) {
	for range 5 {
		cmd := startChild(t, "wait", executable(t))
		reaped := make(chan struct{})
		go func() {
			cmd.Process.Kill()
			cmd.Wait()
			close(reaped)
		}()
		for alive := true; alive; {
			select {
			case <-reaped:
				alive = false
			default:
			}
			for name, query := range processQueries {
				err := query(cmd.Process.Pid)
				if err != nil && !errors.Is(err, fs.ErrNotExist) &&
					!errors.Is(err, fs.ErrPermission) {
					t.Fatalf("%s of an exiting process: %v", name, err)
				}
			}
		}
	}
}

// Threads that exit and descriptors that are closed between the reading of the
// list and of its entries cause no error.
func TestListChangesWhileRead(t *testing.T) {
	stop := make(chan struct{})
	var churning sync.WaitGroup
	defer churning.Wait()
	defer close(stop)
	churn := func(f func()) {
		churning.Add(1)
		go func() {
			defer churning.Done()
			for {
				select {
				case <-stop:
					return
				default:
					f()
				}
			}
		}()
	}
	churn(func() {
		if fd, err := unix.Dup(0); err == nil {
			unix.Close(fd)
		}
	})
	churn(func() {
		ended := make(chan struct{})
		go func() {
			runtime.LockOSThread() // never unlocked, so the thread exits with the goroutine
			close(ended)
		}()
		<-ended
	})
	for range 300 {
		for name, query := range processQueries {
			if name == "Descendants" {
				continue // it reads other processes, too
			}
			if err := query(os.Getpid()); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}
