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

// managers are the package managers that setup knows a line for. It runs the
// first itself, and only prints the others.
var managers = []struct{ name, install string }{
	{"apt", "apt-get install -y --no-install-recommends"},
	{"dnf", "dnf install"},
	{"pacman", "pacman -S --needed"},
	{"apk", "apk add"},
}

// A tool is a command, or with a name such as "man 7 epoll" a manual page.
type tool struct {
	name     string
	use      string
	packages string // in the order of managers; "" if setup leaves it alone
}

// Fedora and Arch have moved from Redis to Valkey, which brings the redis-
// commands along; Fedora still finds it by the old name.
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

var root = os.Geteuid() == 0 // tests play both

func (t tool) isPage() bool { return strings.HasPrefix(t.name, "man ") }

// find returns where the tool is, or "".
func (t tool) find() string {
	if t.isPage() {
		// man is asked, because a package can come without its pages; and
		// the file is looked at, because cut's man says yes to everything.
		words := strings.Fields(t.name)
		out, _ := exec.Command("man", "-w", words[1], words[2]).Output()
		path, _, _ := strings.Cut(string(out), "\n")
		if _, err := os.Stat(path); err != nil {
			return ""
		}
		return path
	}
	path, err := exec.LookPath(t.name)
	if err != nil {
		return ""
	}
	// Says which one it is: nc.openbsd, nc.traditional, ncat, busybox.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

// cut tells whether man is the stub of a minimised image. Then the packages
// may well be installed, and installing them changes nothing.
func cut() bool {
	out, _ := exec.Command("man", "-w").Output()
	return strings.Contains(string(out), "unminimize")
}

const uncut = "the manual was cut from this image: sudo unminimize\n" +
	"(a package of its own in newer releases), then make setup"

func (t tool) finding() finding {
	f := finding{level: ok, about: t.name, found: t.find()}
	switch {
	case f.found != "":
	case t.packages == "":
		f.level, f.found = note, "not here ("+t.use+")"
	case t.isPage() && cut():
		f.level, f.found, f.todo = warn, "missing", strings.Split(uncut, "\n")
	default:
		f.level, f.found = warn, "missing ("+t.use+"): make setup"
	}
	return f
}

// absent returns the tools that setup cares for and does not find.
func absent() []tool {
	return slices.DeleteFunc(slices.Clone(tools), func(t tool) bool {
		return t.packages == "" || t.find() != ""
	})
}

// install gets what is missing, or says how to. It is quick when everything is
// there: every make test runs it.
func install(stdout, stderr io.Writer) {
	missing := absent()
	if len(missing) > 0 && cut() {
		fmt.Fprintln(stdout, "setup:", uncut)
		missing = slices.DeleteFunc(missing, tool.isPage)
	}
	if len(missing) == 0 {
		fmt.Fprintln(stdout, "setup: nothing is missing")
		return
	}
	why := apt(missing, stdout, stderr)
	if why == "" {
		if missing = absent(); len(missing) == 0 {
			fmt.Fprintln(stdout, "setup: all there now")
			return
		}
		why = "apt-get did its work, but these are still not here"
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

// command is the line that makes managers[i] install the tools.
func command(i int, missing []tool) string {
	words := []string{sudo(managers[i].install)}
	if i == 0 && slices.ContainsFunc(missing, tool.isPage) {
		// Debian's slim images drop the pages of what they unpack. The last
		// path option counts: see --path-exclude in dpkg(1).
		words = append(words, "--reinstall -o DPkg::Options::='--path-include=/usr/share/man/*'")
	}
	for _, t := range missing {
		if name := strings.Fields(t.packages)[i]; !slices.Contains(words, name) {
			words = append(words, name)
		}
	}
	return strings.Join(words, " ")
}

// apt installs with apt-get. It returns why it did not, or "".
func apt(missing []tool, stdout, stderr io.Writer) (why string) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "there is no apt-get here"
	}
	if !root && exec.Command("sudo", "-n", "true").Run() != nil {
		return "this takes root, or sudo without a password"
	}
	line := command(0, missing)
	fmt.Fprintln(stdout, "setup:", line)
	out, err := shell(line)
	if err != nil {
		// A fresh container has no package lists, an old machine stale ones.
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

// shell runs a line with apt-get in it, which must not ask questions. sudo
// drops the environment, so the variable goes into the line.
func shell(line string) ([]byte, error) {
	line = strings.Replace(line, "apt-get", "DEBIAN_FRONTEND=noninteractive apt-get", 1)
	return exec.Command("/bin/sh", "-c", line).CombinedOutput()
}
