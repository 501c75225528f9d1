// Package examtest has what the examiner's own tests share.
package examtest

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"epoll-step-by-step/internal/procfs"
)

// Main runs the tests of a package and exits. It fails if a process that descends
// from this one runs on. Unless -parallel says otherwise, eight tests run at once:
// a grading mostly waits.
func Main(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		flag.Set("test.parallel", "8")
	}
	code := m.Run()
	for _, pid := range leftBehind() {
		args, _ := procfs.Cmdline(pid)
		fmt.Fprintf(os.Stderr, "left behind: process %d: %q\n", pid, args)
		code = 1
	}
	os.Exit(code)
}

// leftBehind returns the processes that descend from this one and run on. A killed
// process needs a moment to end, longer on a busy machine.
func leftBehind() (running []int) {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		pids, _ := procfs.Descendants(os.Getpid())
		running = slices.DeleteFunc(pids, func(pid int) bool {
			p, err := procfs.Stat(pid)
			return err != nil || p.State == 'Z'
		})
		if len(running) == 0 {
			break
		}
	}
	return running
}

// Root returns the repository's root folder: the parent of this package's that has
// the go.mod.
func Root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		} else if dir == "/" {
			t.Fatal("no go.mod in any parent folder")
		}
	}
}

// Build compiles a program of this repository, such as "./step3-epoll-lt", and
// returns the file.
func Build(t *testing.T, program string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "server")
	cmd := exec.Command("go", "build", "-o", bin, program)
	cmd.Dir = Root(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build error: %s: %v\n%s", program, err, out)
	}
	return bin
}
