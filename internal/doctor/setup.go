package doctor

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// managers are the package managers that install knows. It runs the first itself and
// prints the commands of all.
var managers = []struct{ name, install string }{
	{"apt", "apt-get install -y --no-install-recommends"},
	{"dnf", "dnf install"},
	{"pacman", "pacman -S --needed"},
	{"apk", "apk add"},
}

// A tool is a command, a manual page if its name is like "man 7 epoll", or a file if its
// name is a path.
type tool struct {
	name     string
	use      string
	packages string // in the order of managers; "" if install does not install it
}

// Fedora and Arch replaced Redis with Valkey, whose package has the redis- commands, too.
// Fedora still finds it by the old name.
var tools = []tool{
	{"git", "show differences", "git git git git"},
	{"strace", "watch system calls", "strace strace strace strace"},
	{"nc", "type to a server", "netcat-openbsd nmap-ncat openbsd-netcat netcat-openbsd"},
	{"redis-cli", "speak Redis's protocol", "redis-tools redis valkey redis"},
	{"redis-benchmark", "put a load on a server", "redis-tools redis valkey redis"},
	{"ss", "list sockets", "iproute2 iproute iproute2 iproute2"},
	{"ps", "see what a process uses", "procps procps-ng procps-ng procps"},
	{"haproxy", "put several servers behind one address", "haproxy haproxy haproxy haproxy"},
	{"man", "read the manual", "man-db man-db man-db mandoc"},
	{"man 2 epoll_ctl", "look up system calls", "manpages-dev man-pages man-pages man-pages"},
	{"man 7 epoll", "look up overviews", "manpages man-pages man-pages man-pages"},
	{"g++", "optional: compile docs/server_epoll.cpp", "g++ gcc-c++ gcc g++"},
	{"tmux", "optional: put terminals side by side", ""},
}

// benchTools are what make bench needs besides. Two servers are not among them, because
// their packages do more than that: redis-server's starts one, on port 6379.
var benchTools = []tool{
	{"gcc", "compile the servers in C", "gcc gcc gcc gcc"},
	{"/usr/include/event2/event.h", "compile the server with libevent", "libevent-dev libevent-devel libevent libevent-dev"},
	{"perf", "see where the time goes", "linux-perf perf perf perf"},
	{"node", "compare with node", "nodejs nodejs nodejs nodejs"},
}

var root = os.Geteuid() == 0 // tests set it

func (t tool) isPage() bool { return strings.HasPrefix(t.name, "man ") }

// find returns where the tool is, or "".
func (t tool) find() string {
	if t.isPage() {
		// A package can be installed without its pages, so search with man. Then
		// check the file, because the stub of a minimised image always succeeds.
		words := strings.Fields(t.name)
		out, _ := exec.Command("man", "-w", words[1], words[2]).Output()
		path, _, _ := strings.Cut(string(out), "\n")
		if _, err := os.Stat(path); err != nil {
			return ""
		}
		return path
	}
	path, err := exec.LookPath(t.name)
	if filepath.IsAbs(t.name) {
		_, err = os.Stat(t.name)
		path = t.name
	}
	if err != nil {
		return ""
	}
	// The target tells variants apart: nc.openbsd, nc.traditional, ncat, busybox.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

// minimised reports whether man is the stub of a minimised image. Then installing the
// packages does not help: they may be installed already, without their pages.
func minimised() bool {
	out, _ := exec.Command("man", "-w").Output()
	return strings.Contains(string(out), "unminimize")
}

const restoreManual = "this image has no manual pages: sudo unminimize\n" +
	"(a separate package in newer releases), then make setup"

func (t tool) finding() finding {
	f := finding{level: ok, about: t.name, found: t.find()}
	switch {
	case f.found != "":
	case t.packages == "":
		f.level, f.found = note, "not installed ("+t.use+")"
	case t.isPage() && minimised():
		f.level, f.found, f.todo = warn, "missing", strings.Split(restoreManual, "\n")
	default:
		f.level, f.found = warn, "missing ("+t.use+"): make setup"
	}
	return f
}

// absent returns the missing tools that install can install.
func absent(tools []tool) []tool {
	return slices.DeleteFunc(slices.Clone(tools), func(t tool) bool {
		return t.packages == "" || t.find() != ""
	})
}

// install installs the missing tools, or prints how to do it. It is quick if none is
// missing, because make test runs it every time.
func install(tools []tool, stdout, stderr io.Writer) {
	missing := absent(tools)
	if len(missing) > 0 && minimised() {
		fmt.Fprintln(stdout, "setup:", restoreManual)
		missing = slices.DeleteFunc(missing, tool.isPage)
	}
	if len(missing) == 0 {
		fmt.Fprintln(stdout, "setup: nothing is missing")
		return
	}
	why := apt(missing, stdout, stderr)
	if why == "" {
		if missing = absent(tools); len(missing) == 0 {
			fmt.Fprintln(stdout, "setup: everything is installed now")
			return
		}
		why = "apt-get succeeded, but these tools are still missing"
	}
	fmt.Fprintf(stdout, "setup: %s\nsetup: tests that need one of these are skipped:\n", why)
	for _, t := range missing {
		fmt.Fprintf(stdout, "    %-15s  %s\n", t.name, t.use)
	}
	fmt.Fprintln(stdout, "setup: to install by hand:")
	for i, m := range managers {
		fmt.Fprintf(stdout, "    %-7s  %s\n", m.name, command(i, missing))
	}
}

// command returns the shell command with which managers[i] installs the tools.
func command(i int, missing []tool) string {
	words := []string{sudo(managers[i].install)}
	if i == 0 && slices.ContainsFunc(missing, tool.isPage) {
		// In Debian's slim images dpkg leaves out manual pages. The last path option
		// wins: see --path-exclude in dpkg(1).
		words = append(words, "--reinstall -o DPkg::Options::='--path-include=/usr/share/man/*'")
	}
	for _, t := range missing {
		if name := strings.Fields(t.packages)[i]; !slices.Contains(words, name) {
			words = append(words, name)
		}
	}
	return strings.Join(words, " ")
}

// apt installs the tools with apt-get. It returns the reason if it cannot, else "".
func apt(missing []tool, stdout, stderr io.Writer) (why string) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "this machine has no apt-get"
	}
	if !root && exec.Command("sudo", "-n", "true").Run() != nil {
		return "this needs root, or sudo without a password"
	}
	line := command(0, missing)
	fmt.Fprintln(stdout, "setup:", line)
	out, err := shell(line)
	if err != nil {
		// A new container has no package lists, and those of an old machine are stale.
		update, _ := shell(sudo("apt-get update"))
		out, err = shell(line)
		out = append(update, out...)
	}
	if err != nil {
		stderr.Write(out)
		return "apt-get failed"
	}
	return ""
}

func sudo(line string) string {
	if root {
		return line
	}
	return "sudo " + line
}

// shell runs a command line with apt-get in it, and keeps apt-get from asking questions.
// The variable is part of the line because sudo clears the environment.
func shell(line string) ([]byte, error) {
	line = strings.Replace(line, "apt-get", "DEBIAN_FRONTEND=noninteractive apt-get", 1)
	return exec.Command("/bin/sh", "-c", line).CombinedOutput()
}
