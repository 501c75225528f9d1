package walk

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build compiles a folder of the module that contains a Go program, so that it can be
// walked through: no function is inlined, because an inlined one has no frame on the
// stack. The executable is put into bin/walk of the module. Build returns the command to run: the
// executable with its arguments, or with a free port if there are none. It returns any other
// command as it is, except that {port} becomes a free port.
func Build(ctx context.Context, command []string) ([]string, error) {
	out, _ := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "epoll-step-by-step").Output()
	root := strings.TrimSpace(string(out)) // "" outside of the repository
	dir := filepath.Join(root, command[0])
	if info, err := os.Stat(dir); root == "" || err != nil || !info.IsDir() {
		return withPort(command)
	}
	name := strings.ReplaceAll(filepath.Clean(command[0]), string(filepath.Separator), "-")
	file := filepath.Join(root, "bin", "walk", name)
	// Without -trimpath, because the source has to be found.
	build := exec.CommandContext(ctx, "go", "build", "-trimpath=false", "-gcflags=-l", "-o", file, ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s does not compile:\n%s", command[0], out)
	}
	if len(command) == 1 {
		return []string{file, "-addr", "127.0.0.1:0"}, nil
	}
	return append([]string{file}, command[1:]...), nil
}

// withPort replaces {port} in a command with a free port.
func withPort(command []string) ([]string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	var args []string
	for _, arg := range command {
		args = append(args, strings.ReplaceAll(arg, "{port}", port))
	}
	return args, nil
}
