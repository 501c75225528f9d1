package procfs

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The tests read /proc of this process and of its children. A child runs the same
// program, and roleEnv selects what it does.
const roleEnv = "PROCFS_TEST_ROLE"

// This reserves the first thread of the process for the main goroutine. So no
// test changes its name, and the runtime never ends it.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "":
		os.Exit(m.Run())
	case "wait": // until the parent closes our standard input or exits
		fmt.Println("ready")
		io.Copy(io.Discard, os.Stdin)
	case "parent": // start a child that waits
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), roleEnv+"=wait")
		cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
		if err := cmd.Run(); err != nil {
			fmt.Println(err)
		}
	}
}

// startChild starts a process with a role and returns when it (or its own child)
// is ready. The process is killed at the end of the test, if not before.
func startChild(t *testing.T, role, program string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close() // ends the grandchild
		cmd.Process.Kill()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("child %q printed %q, %v; want ready", role, line, err)
	}
	return cmd
}

// stopProcess stops a process and returns when all its threads have left the CPU,
// which happens shortly after they enter state T.
func stopProcess(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all threads are stopped", func() bool {
		for _, th := range must[[]Thread](t)(Threads(pid)) {
			if th.State != 'T' || th.Syscall.State == SyscallRunning {
				return false
			}
		}
		return true
	})
}

func executable(t testing.TB) string {
	t.Helper()
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// eventually waits until a condition holds. The limit only ends a test that would
// otherwise never end, so it is far longer than a busy machine needs.
func eventually(t testing.TB, condition string, holds func() bool) {
	t.Helper()
	const limit = time.Minute
	for deadline := time.Now().Add(limit); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, condition)
		}
		time.Sleep(time.Millisecond)
	}
}

// must(f()) cannot take t as well, so must[T](t)(f()) fails the test on an error.
func must[T any](t testing.TB) func(v T, err error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// closeAtEnd closes descriptors at the end of the test.
func closeAtEnd(t testing.TB, fds ...int) {
	t.Cleanup(func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	})
}

func dup(t testing.TB, fd int) int {
	t.Helper()
	return must[int](t)(unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0))
}

func pipe(t testing.TB) (r, w int) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, p[0], p[1])
	return p[0], p[1]
}

func findThread(t testing.TB, tid int) Thread {
	t.Helper()
	for _, th := range must[[]Thread](t)(Threads(os.Getpid())) {
		if th.TID == tid {
			return th
		}
	}
	t.Fatalf("Threads does not contain thread %d", tid)
	return Thread{}
}

func findDescriptor(t testing.TB, num int) (FD, bool) {
	t.Helper()
	for _, fd := range must[[]FD](t)(FDs(os.Getpid())) {
		if fd.Num == num {
			return fd, true
		}
	}
	return FD{}, false
}

// listen returns a socket that listens on a port chosen by the kernel.
func listen(t testing.TB, ip string) (int, netip.AddrPort) {
	t.Helper()
	addr := netip.AddrPortFrom(netip.MustParseAddr(ip), 0)
	family := unix.AF_INET
	if addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		closeAtEnd(t, fd)
		if family == unix.AF_INET6 { // regardless of /proc/sys/net/ipv6/bindv6only
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
		}
	}
	if err == nil {
		err = unix.Bind(fd, sockaddr(addr))
	}
	if family == unix.AF_INET6 && (err == unix.EAFNOSUPPORT || err == unix.EADDRNOTAVAIL) {
		t.Skip("this machine has no IPv6")
	}
	if err == nil {
		err = unix.Listen(fd, 4096)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd, local(t, fd)
}

func sockaddr(addr netip.AddrPort) unix.Sockaddr {
	if addr.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}
	}
	return &unix.SockaddrInet6{Addr: addr.Addr().As16(), Port: int(addr.Port())}
}

// local returns the address of a socket, but not from /proc.
func local(t testing.TB, fd int) netip.AddrPort {
	t.Helper()
	sa, err := unix.Getsockname(fd)
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	t.Fatalf("getsockname: %v, %v", sa, err)
	return netip.AddrPort{}
}

func dial(t testing.TB, addr netip.AddrPort) int {
	t.Helper()
	family := unix.AF_INET
	if addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd := must[int](t)(unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	closeAtEnd(t, fd)
	for {
		err := unix.Connect(fd, sockaddr(addr))
		if err == nil || err == unix.EISCONN { // EISCONN: it completed after a signal
			return fd
		}
		if err != unix.EINTR && err != unix.EALREADY {
			t.Fatalf("connect: %v", err)
		}
	}
}

func accept(t testing.TB, listener int) int {
	t.Helper()
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		closeAtEnd(t, fd)
		return fd
	}
}

// findSocket returns the TCP socket with these two addresses.
func findSocket(t testing.TB, local, remote netip.AddrPort) (Socket, bool) {
	t.Helper()
	for _, s := range must[[]Socket](t)(TCP()) {
		if s.Local == local && s.Remote == remote {
			return s, true
		}
	}
	return Socket{}, false
}
