package procfs

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFDs(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo:[1]") // the 1 is not an inode
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(name string, flags int) int {
		return must[int](t)(unix.Open(name, flags|unix.O_CLOEXEC, 0o600))
	}
	r, w := pipe(t)
	for _, tt := range []struct {
		name  string
		fd    int
		kind  Kind
		inode bool
	}{
		{"eventpoll", must[int](t)(unix.EpollCreate1(unix.EPOLL_CLOEXEC)), KindEventpoll, false},
		{"eventfd", must[int](t)(unix.Eventfd(0, 0)), KindEventfd, false},
		{"timerfd", must[int](t)(unix.TimerfdCreate(unix.CLOCK_MONOTONIC, 0)), KindTimerfd, false},
		{"signalfd", must[int](t)(unix.Signalfd(-1, &unix.Sigset_t{}, 0)), KindSignalfd, false},
		{"inotify", must[int](t)(unix.InotifyInit1(0)), KindInotify, false},
		{"pidfd", must[int](t)(unix.PidfdOpen(os.Getpid(), 0)), "pidfd", false},
		{"namespace", open("/proc/self/ns/net", unix.O_RDONLY), "net", false},
		{"memory", must[int](t)(unix.MemfdCreate("m", 0)), KindFile, false},
		{"file", open(filepath.Join(dir, "socket:[7]"), unix.O_RDWR|unix.O_CREAT), KindFile, false},
		{"directory", open(dir, unix.O_RDONLY), KindDirectory, false},
		{"device", open("/dev/null", unix.O_RDWR), KindDevice, false},
		{"fifo", open(fifo, unix.O_RDWR), KindPipe, true},
		{"pipe read", r, KindPipe, true},
		{"pipe write", w, KindPipe, true},
		{"tcp", must[int](t)(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)), KindSocket, true},
		{"unix", must[int](t)(unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)), KindSocket, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, found := findDescriptor(t, tt.fd)
			if !found {
				t.Fatalf("FDs does not contain descriptor %d", tt.fd)
			}
			if got.Kind != tt.kind {
				t.Errorf("%q: got kind %q, want %q", got.Target, got.Kind, tt.kind)
			}
			var st unix.Stat_t
			if err := unix.Fstat(tt.fd, &st); err != nil {
				t.Fatal(err)
			}
			want := uint64(0)
			if tt.inode {
				want = st.Ino
			}
			if got.Inode != want {
				t.Errorf("%q: got inode %d, want %d", got.Target, got.Inode, want)
			}
			for _, on := range []bool{true, false, true} {
				if err := unix.SetNonblock(tt.fd, on); err != nil {
					t.Fatal(err)
				}
				got, _ := findDescriptor(t, tt.fd)
				flags := must[int](t)(unix.FcntlInt(uintptr(tt.fd), unix.F_GETFL, 0))
				cloexec := must[int](t)(unix.FcntlInt(uintptr(tt.fd), unix.F_GETFD, 0))
				if cloexec&unix.FD_CLOEXEC != 0 {
					flags |= unix.O_CLOEXEC
				}
				if got.Nonblock() != on || got.Flags != flags {
					t.Errorf("O_NONBLOCK set %t: got %t, flags %#o; want flags %#o",
						on, got.Nonblock(), got.Flags, flags)
				}
			}
			if tt.fd != r && tt.fd != w { // pipe closes these
				unix.Close(tt.fd)
				if got, found := findDescriptor(t, tt.fd); found {
					t.Errorf("FDs still contains the closed descriptor: %+v", got)
				}
			}
		})
	}
	fds := must[[]FD](t)(FDs(os.Getpid()))
	if !slices.IsSortedFunc(fds, func(a, b FD) int { return a.Num - b.Num }) {
		t.Errorf("FDs is not sorted: %+v", fds)
	}
}

// FDCount is exact for a stopped child, for this process, and while a thread
// sleeps in accept(2).
func TestFDCount(t *testing.T) {
	count := func(pid int) int { t.Helper(); return must[int](t)(FDCount(pid)) }
	cmd := startChild(t, "wait", executable(t))
	pid := cmd.Process.Pid
	stopProcess(t, pid)
	if got, want := count(pid), len(must[[]FD](t)(FDs(pid))); got != want || got < 3 {
		t.Errorf("child: got FDCount %d, FDs %d; want the same, 3 or more", got, want)
	}
	before := count(os.Getpid())
	if fds := must[[]FD](t)(FDs(os.Getpid())); before != len(fds) {
		t.Errorf("this process: got FDCount %d, FDs %d; want the same: %+v", before, len(fds), fds)
	}
	listener, addr := listen(t, "127.0.0.1")
	if got := count(os.Getpid()); got != before+1 {
		t.Errorf("with a listener: got %d, want %d", got, before+1)
	}
	tids, accepted := make(chan int), make(chan int)
	go func() {
		runtime.LockOSThread()
		tids <- unix.Gettid()
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if err != nil {
			fd = -1
		}
		accepted <- fd
	}()
	tid := <-tids
	eventually(t, "the thread sleeps in accept4", func() bool {
		return findThread(t, tid).Syscall.Name == "accept4"
	})
	if got := count(os.Getpid()); got != before+1 {
		t.Errorf("with a thread asleep in accept(2): got %d, want %d", got, before+1)
	}
	dial(t, addr)
	closeAtEnd(t, <-accepted)
	if got := count(os.Getpid()); got != before+3 {
		t.Errorf("with a connection: got %d, want %d", got, before+3)
	}
}

func TestOwners(t *testing.T) {
	listener, addr := listen(t, "127.0.0.1")
	client := dial(t, addr)
	duplicate := dup(t, client)
	defer unix.Close(duplicate)
	inode := func(fd int) uint64 { info, _ := findDescriptor(t, fd); return info.Inode }

	// A child that inherits the listener has it as its descriptor 3.
	file := os.NewFile(uintptr(dup(t, listener)), "listener")
	defer file.Close()
	cmd := exec.Command(executable(t))
	cmd.Env = append(os.Environ(), roleEnv+"=wait")
	cmd.ExtraFiles = []*os.File{file}
	stdin := must[io.WriteCloser](t)(cmd.StdinPipe())
	stdout := must[io.ReadCloser](t)(cmd.StdoutPipe())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stdin.Close(); cmd.Process.Kill(); cmd.Wait() }()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("child printed %q, %v", line, err)
	}

	pid := os.Getpid()
	none := uint64(math.MaxUint64)
	got := must[map[uint64][]Owner](t)(Owners(inode(listener), inode(client), none))
	for _, tt := range []struct {
		name  string
		inode uint64
		want  []Owner
	}{
		{"listener", inode(listener), []Owner{{pid, listener}, {pid, int(file.Fd())}, {cmd.Process.Pid, 3}}},
		{"client", inode(client), []Owner{{pid, client}, {pid, duplicate}}},
	} {
		sorted := func(owners []Owner) []Owner {
			return slices.SortedFunc(slices.Values(owners), func(a, b Owner) int {
				return (a.PID-b.PID)<<20 + a.FD - b.FD
			})
		}
		if !slices.Equal(sorted(got[tt.inode]), sorted(tt.want)) {
			t.Errorf("%s: got %v, want %v", tt.name, got[tt.inode], tt.want)
		}
	}
	if len(got) != 2 {
		t.Errorf("got %v, want two inodes", got)
	}
	if got := must[map[uint64][]Owner](t)(Owners()); len(got) != 0 {
		t.Errorf("no inodes: got %v, want nothing", got)
	}
}

func TestInodeAndProtocol(t *testing.T) {
	open := func(family, kind int) int {
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
		if family == unix.AF_INET6 && err == unix.EAFNOSUPPORT {
			return -1
		}
		if err != nil {
			t.Fatal(err)
		}
		closeAtEnd(t, fd)
		return fd
	}
	r, _ := pipe(t)
	null := must[int](t)(unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0))
	closeAtEnd(t, null)
	for _, tt := range []struct {
		fd       int
		protocol string
	}{
		{open(unix.AF_INET, unix.SOCK_STREAM), "TCP"},
		{open(unix.AF_INET6, unix.SOCK_STREAM), "TCPv6"},
		{open(unix.AF_INET, unix.SOCK_DGRAM), "UDP"},
		{open(unix.AF_UNIX, unix.SOCK_STREAM), "UNIX"},
		{r, ""},
		{null, ""},
	} {
		if tt.fd < 0 {
			t.Logf("this machine has no %s", tt.protocol)
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstat(tt.fd, &st); err != nil {
			t.Fatal(err)
		}
		if got, err := Inode(os.Getpid(), tt.fd); got != st.Ino || err != nil {
			t.Errorf("%q: got inode %d, %v; want %d", tt.protocol, got, err, st.Ino)
		}
		got, err := Protocol(os.Getpid(), tt.fd)
		if !strings.HasPrefix(got, tt.protocol) || (err == nil) != (tt.protocol != "") {
			t.Errorf("got protocol %q, %v; want %q", got, err, tt.protocol)
		}
	}
	if _, err := Inode(os.Getpid(), 1<<20); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("inode of a closed descriptor: got error %v, want fs.ErrNotExist", err)
	}
	if _, err := Protocol(os.Getpid(), 1<<20); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("protocol of a closed descriptor: got error %v, want fs.ErrNotExist", err)
	}
}
