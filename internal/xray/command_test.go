package xray

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// runXray runs the command.
func runXray(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "xray"), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestCommand(t *testing.T) {
	s := step(t, "step3-epoll-lt")
	s.served(t)
	for _, tt := range []struct {
		args string
		code int
		want string // part of standard error, or with exit 0 of standard output
	}{
		{"-addr " + s.addr.String(), 0, "step3-epoll-lt, process " + strconv.Itoa(s.pid) + ": "},
		{"-pid " + strconv.Itoa(s.pid), 0, "EPOLL on fd "},
		{fmt.Sprintf("-addr localhost:%d", s.addr.Port()), 0, "TCP SOCKETS"},
		{fmt.Sprintf("-addr :%d", s.addr.Port()), 0, "TCP SOCKETS"},
		{"-addr 127.0.0.1:1", 1, "nobody listens on 127.0.0.1:1: start a server first"},
		{"-pid 2147483647", 1, "there is no process 2147483647"},
		{"-pid 0", 2, "positive"},
		{"-pid 1 -addr :1", 2, "not both"},
		{"-addr 6379", 2, "want HOST:PORT"},
		{"-addr 127.0.0.1:0", 2, "want HOST:PORT"},
		{"-interval 1ms", 2, "at least 10ms"},
		{"-nonsense", 2, "not defined"},
		{"nonsense", 2, "takes no argument"},
	} {
		out, errs, code := runXray(t, strings.Fields("-interval 20ms "+tt.args)...)
		if tt.code == 0 && errs != "" || tt.code > 0 && out != "" {
			t.Errorf("%s: standard output %q, error %q", tt.args, out, errs)
		}
		if !strings.Contains(out+errs, tt.want) || code != tt.code || strings.Contains(out, "\x1b") {
			t.Errorf("%s: exit %d, %q%q; want exit %d, %q", tt.args, code, out, errs, tt.code, tt.want)
		}
	}
}

func TestJSON(t *testing.T) {
	s := step(t, "step3-epoll-lt")
	s.served(t)
	want := s.await(t, rests("asleep in "+waitCall+" on fd %d, which watches 2 descriptors; none is ready now"))
	out, _, code := runXray(t, "-json", "-interval", "10ms", "-pid", strconv.Itoa(s.pid))
	dec := json.NewDecoder(strings.NewReader(out))
	dec.DisallowUnknownFields()
	var got Report
	if err := dec.Decode(&got); err != nil || code != 0 {
		t.Fatalf("%v, exit %d", err, code)
	}
	var again bytes.Buffer
	if err := writeJSON(&again, got); err != nil || again.String() != out {
		t.Errorf("decoded and encoded again: %v\n%s\n%s", err, again.String(), out)
	}
	got.Process, want.Process = Process{}, Process{} // CPU and memory change
	got.Threads, want.Threads = got.Threads[:1], want.Threads[:1]
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if strings.Contains(out, "null") {
		t.Error("null in", out)
	}
}

// If another process has the number, the observed process has ended.
func TestReusedPID(t *testing.T) {
	o := &observer{pid: os.Getpid()}
	if err := o.first(); err != nil {
		t.Fatal(err)
	}
	if _, err := o.next(); err != nil {
		t.Fatal(err)
	}
	o.previous.Process.Start--
	if _, err := o.next(); !errors.Is(err, errEnded) {
		t.Errorf("got %v, want %v", err, errEnded)
	}
}

// undumpable makes root the owner of its files in /proc, as they are of a process that is
// being killed and has lost its memory: prctl(2), PR_SET_DUMPABLE.
func undumpable() error {
	unix.Read(0, make([]byte, 1))
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	_, err := unix.Read(0, make([]byte, 1))
	return err
}

// observeUndumpable observes a child that becomes undumpable and is then killed.
func observeUndumpable() error {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"=undumpable")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	permissionWait = 20 * time.Second // the child's end decides, not this limit
	o := &observer{pid: cmd.Process.Pid}
	if err := o.first(); err != nil {
		return err
	}
	stdin.Write([]byte("x"))
	for deadline := time.Now().Add(20 * time.Second); !errors.Is(err, fs.ErrPermission); _, err = o.look() {
		if time.Now().After(deadline) {
			return errors.New("the child does not become undumpable")
		}
	}
	time.AfterFunc(50*time.Millisecond, func() { cmd.Process.Kill() })
	_, err = o.next()
	return err
}

func TestKilled(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"=observer")
	if os.Getuid() == 0 { // root is always permitted
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Skip(err) // root of a user namespace without that user
	}
	if err != nil || !strings.HasSuffix(string(out), " (exe) has ended\n") {
		t.Errorf("%v, %q, want it to end with \"has ended\"", err, out)
	}
}

func TestNoPermission(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can run xray as another user")
	}
	s := step(t, "step1-blocking")
	for _, args := range [][]string{{"-pid", strconv.Itoa(s.pid)}, {"-addr", s.addr.String()}} {
		cmd := exec.Command(filepath.Join(bin, "xray"), args...)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if errors.Is(err, fs.ErrPermission) {
			t.Skip(err) // that user may not enter a parent folder of the binary
		}
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), `ptrace(2), "Ptrace access mode checking"`) {
			t.Errorf("%v: %v, %q", args, err, out)
		}
	}
}
