package procfs_test

import (
	"os/exec"
	"testing"
	"time"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

func TestSignalsOf(t *testing.T) {
	// A shell that ignores SIGHUP passes that on.
	cmd := exec.Command("sh", "-c", "trap '' HUP; exec sleep 1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	var s procfs.Signals
	for deadline := time.Now().Add(time.Minute); !s.Ignored.Has(unix.SIGHUP) && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		var err error
		if s, err = procfs.SignalsOf(cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
	}
	if !s.Ignored.Has(unix.SIGHUP) || s.Ignored.Has(unix.SIGTERM) || s.Blocked.Has(unix.SIGHUP) {
		t.Errorf("%+v, want SIGHUP ignored", s)
	}
	if s, err := procfs.SignalsOf(unix.Getpid()); err != nil || !s.Caught.Has(unix.SIGTERM) {
		t.Errorf("%+v, %v; the Go runtime catches SIGTERM", s, err)
	}
}
