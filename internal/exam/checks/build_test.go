package checks_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"epoll-step-by-step/internal/exam/examtest"
)

// A workshop builds all wrong servers with one go command, which looks only once at the
// packages that they share.
type workshop struct {
	root    string            // of the repository
	bin     string            // the folder for the programs
	sources string            // and for sources that are made of a defect.diff
	replace map[string]string // files that the go command replaces: go help build, -overlay
	build   func() error
}

// newWorkshop returns a workshop with a folder of its own in bin.
func newWorkshop(t *testing.T, folder string) *workshop {
	// In bin, programs survive until the next run, and the go command links only
	// those that have changed.
	bin := filepath.Join(examtest.Root(t), "bin", folder)
	w := &workshop{root: examtest.Root(t), bin: bin, sources: filepath.Join(bin, "_sources"), replace: make(map[string]string)}
	if err := os.MkdirAll(w.sources, 0o755); err != nil {
		t.Fatal(err)
	}
	w.build = sync.OnceValue(func() error {
		overlay := filepath.Join(w.sources, "overlay.json")
		text, err := json.Marshal(map[string]any{"Replace": w.replace})
		if err == nil {
			err = os.WriteFile(overlay, text, 0o644)
		}
		if err != nil {
			return err
		}
		// Symbols are only for debuggers, and take the linker time.
		args := []string{"build", "-o", w.bin + "/", "-ldflags=-s -w", "-overlay", overlay}
		for file := range w.replace {
			args = append(args, "./"+filepath.Dir(file))
		}
		cmd := exec.Command("go", args...)
		cmd.Dir = w.root
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build error: %w\n%s", err, out)
		}
		return nil
	})
	return w
}

// order adds a wrong server to the build, and returns the command that starts it.
func (w *workshop) order(t *testing.T, source string) []string {
	t.Helper()
	name := strings.ReplaceAll(source, "/", "-")
	file := filepath.Join("internal/exam/checks/testdata/wrong", name, "main.go")
	bin := filepath.Join(w.bin, name)
	if strings.HasPrefix(source, "step") || strings.HasPrefix(source, "exercises/") {
		w.replace[file] = filepath.Join(source, "main.go")
		return []string{bin, "-addr", "{addr}"}
	}
	defect, err := os.ReadFile(filepath.Join("testdata/wrong", source, "defect.diff"))
	if err != nil {
		w.replace[file] = file
		return []string{bin, "{addr}"}
	}
	program, err := apply(w.root, string(defect))
	if err != nil {
		t.Fatalf("%s/defect.diff: %v", source, err)
	}
	w.replace[file] = filepath.Join(w.sources, name+".go")
	if err := os.WriteFile(w.replace[file], []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{bin, "-addr", "{addr}"}
}

// apply applies a unified diff to the program that the diff names. It finds each hunk by
// its text, which must occur exactly once, so the lines may have moved.
func apply(root, diff string) (program string, err error) {
	var step string
	var hunks [][2]strings.Builder
	for line := range strings.Lines(diff) {
		switch {
		case strings.HasPrefix(line, "--- a/"):
			step = strings.TrimSpace(line[len("--- a/"):])
		case strings.HasPrefix(line, "+++ "), strings.HasPrefix(line, "diff --git "), strings.HasPrefix(line, "index "):
		case strings.HasPrefix(line, "@@ "):
			hunks = append(hunks, [2]strings.Builder{})
		case len(hunks) == 0:
			return "", fmt.Errorf("no hunk before %q", line)
		default:
			h := &hunks[len(hunks)-1]
			if line[0] != '+' {
				h[0].WriteString(line[1:])
			}
			if line[0] != '-' {
				h[1].WriteString(line[1:])
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(root, step))
	if err != nil {
		return "", err
	}
	program = string(text)
	for i := range hunks {
		old, new := hunks[i][0].String(), hunks[i][1].String()
		if n := strings.Count(program, old); n != 1 {
			return "", fmt.Errorf("hunk %d is %d times in %s; make a new diff:\n%s", i+1, n, step, old)
		}
		program = strings.Replace(program, old, new, 1)
	}
	return program, nil
}
