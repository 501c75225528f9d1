// Package examtest has what the examiner's own tests share.
package examtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"epoll-step-by-step/internal/procfs"
)

// Main runs the tests of a package and exits. It fails if a process that descends
// from this one is still there afterwards.
func Main(m *testing.M) {
	code := m.Run()
	for _, pid := range descendants() {
		args, _ := procfs.Cmdline(pid)
		fmt.Fprintf(os.Stderr, "left behind: process %d: %q\n", pid, args)
		code = 1
	}
	os.Exit(code)
}

func descendants() []int {
	pids, _ := procfs.Descendants(os.Getpid())
	return slices.DeleteFunc(pids, func(pid int) bool {
		p, err := procfs.Stat(pid)
		return err != nil || p.State == 'Z'
	})
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
