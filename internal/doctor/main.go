// Package doctor checks whether the tutorial can run on this machine, and installs
// the tools that its chapters and tests use. Its command is tools/doctor.
package doctor

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"epoll-step-by-step/internal/procfs"
	"epoll-step-by-step/internal/terminal"

	"golang.org/x/sys/unix"
)

const (
	address  = "127.0.0.1:6379" // the default address of the steps
	wantHard = 6000             // hard limit of descriptors: tests open 5,000 connections
)

// A finding is one entry of the report.
type finding struct {
	level string // ok, note, warn or fail
	about string
	found string
	todo  []string // lines of advice
}

const (
	ok   = "ok  "
	note = "note" // for information
	warn = "warn" // the steps run, but a chapter or a test cannot do everything
	fail = "FAIL" // the steps do not run here, or are untested here
)

var colours = map[string]terminal.Style{ok: terminal.Green, note: terminal.Cyan, warn: terminal.Yellow, fail: terminal.Red}

// Main runs the command with these arguments and returns its exit code.
func Main(args []string, stdout, stderr *os.File) int {
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	flags.SetOutput(stderr)
	setup := flags.Bool("install", false, "install the missing tools")
	bench := flags.Bool("bench", false, "with -install: those of make bench, too")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "doctor: takes no argument, got %q\n", flags.Arg(0))
		return 2
	}
	// Debian has haproxy and ss there, which is not in every user's PATH.
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	if *setup {
		wanted := tools
		if *bench {
			wanted = slices.Concat(tools, benchTools)
		}
		install(wanted, stdout, stderr)
		return 0
	}
	return report(stdout, terminal.Colour(stdout))
}

// report prints every finding and a one-sentence summary. It returns the exit code.
func report(w io.Writer, colour bool) int {
	var name unix.Utsname
	unix.Uname(&name) // fails only for a bad pointer
	findings := []finding{
		kernel(unix.ByteSliceToString(name.Release[:]), runtime.GOARCH),
		// An older Go refuses to build this program: see go.mod.
		{level: ok, about: "Go", found: runtime.Version()},
		{level: ok, about: "container", found: container()},
		descriptors(limits()),
		port(address),
		ptrace(),
	}
	for _, t := range tools {
		findings = append(findings, t.finding())
	}
	count := map[string]int{}
	for _, f := range findings {
		count[f.level]++
		level := f.level
		if colour {
			level = terminal.Paint(level, colours[level])
		}
		fmt.Fprintf(w, "%s  %-15s  %s\n", level, f.about, f.found)
		for _, line := range f.todo {
			fmt.Fprintf(w, "%-23s%s\n", "", line)
		}
	}
	sentence, exit := verdict(count, len(absent(tools)))
	fmt.Fprintf(w, "\n%s\n", sentence)
	return exit
}

// verdict summarises the number of findings of each level.
func verdict(count map[string]int, missing int) (sentence string, exit int) {
	switch {
	case count[fail] > 0:
		return "Not yet: fix the entries marked FAIL first.", 1
	case missing > 0:
		return fmt.Sprintf("The steps run. Missing tools: %d. To install them: make setup", missing), 0
	case count[warn] > 0:
		return "The steps run, but look at the entries marked warn.", 0
	}
	return "All is well. Begin with docs/README.md", 0
}

func kernel(release, arch string) finding {
	f := finding{level: ok, about: "Linux", found: release + ", " + arch}
	var major, minor int
	fmt.Sscanf(release, "%d.%d", &major, &minor) // 0.0, which is too old, if it cannot be parsed
	if major < 5 || major == 5 && minor < 10 || arch != "amd64" && arch != "arm64" {
		f.level = fail
		f.todo = []string{"required: 5.10 or newer, on amd64 or arm64; a container uses",
			"its host's kernel, so use a virtual machine instead"}
	}
	return f
}

// container reports whether this is a container, which often explains a missing manual,
// a forbidden ptrace(2) or low limits.
func container() string {
	for _, sign := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(sign); err == nil {
			return "yes: there is " + sign
		}
	}
	groups, _ := os.ReadFile("/proc/1/cgroup")
	for _, sign := range []string{"docker", "kubepods", "containerd", "lxc"} {
		if strings.Contains(string(groups), sign) {
			return "yes: /proc/1/cgroup mentions " + sign
		}
	}
	return "no"
}

// limits returns the soft and the hard limit of open files, as a shell prints them. The
// limits of this process differ: Go's runtime raises its own soft limit to the hard one,
// and restores it for child processes.
func limits() string {
	out, _ := exec.Command("/bin/sh", "-c", "ulimit -Sn; ulimit -Hn").Output()
	return string(out)
}

func descriptors(limits string) finding {
	soft, hard, _ := strings.Cut(strings.TrimSpace(limits), "\n")
	f := finding{level: ok, about: "open files",
		found: fmt.Sprintf("soft limit %s, hard limit %s", soft, hard)}
	if n, _ := strconv.Atoi(hard); n < wantHard && hard != "unlimited" {
		f.level = warn
		f.todo = []string{"tests open 5,000 connections; to raise the hard limit:",
			"  here, as root:  ulimit -Hn 20000",
			"  for good:       * hard nofile 20000",
			"                  in /etc/security/limits.conf",
			"  in a container: docker run --ulimit nofile=20000"}
	}
	return f
}

// port tries to listen as a step does. If the address is taken, it names the process that
// has it.
func port(addr string) finding {
	f := finding{level: ok, about: "port", found: addr + " is free"}
	listener, err := net.Listen("tcp", addr)
	if err == nil {
		listener.Close()
		return f
	}
	if !errors.Is(err, unix.EADDRINUSE) {
		f.level, f.found = fail, err.Error()
		f.todo = []string{"is the loopback interface up? ip link set lo up"}
		return f
	}
	at := netip.MustParseAddrPort(addr)
	pid, command := holder(at)
	f.level, f.found = warn, fmt.Sprintf("%s is taken by process %d:", addr, pid)
	f.todo = []string{"  " + terminal.Cut(strings.Join(strings.Fields(command), " "), 54), fmt.Sprintf("stop it: kill %d", pid)}
	if strings.Contains(command, "redis-server") {
		f.todo[1] = "stop it: sudo systemctl stop redis-server"
	}
	if p, err := procfs.Stat(pid); err == nil && p.State == 'T' {
		f.todo[1] = fmt.Sprintf("it was stopped with Ctrl-Z: fg and Ctrl-C, or kill -9 %d", pid)
	}
	if pid == 0 {
		f.found = addr + " is taken, by a process that you may not see"
		f.todo = []string{fmt.Sprintf("to see it: sudo ss -ltnp sport = :%d", at.Port())}
	}
	f.todo = append(f.todo, "or use another port: make step3 ADDR=127.0.0.1:7000")
	return f
}

// holder returns the process that listens on addr, or 0 if /proc does not show it: only
// root may read another user's descriptors.
func holder(addr netip.AddrPort) (pid int, command string) {
	pid, _ = procfs.Listening(addr)
	args, _ := procfs.Cmdline(pid)
	return pid, strings.Join(args, " ")
}

// ptrace starts a child that asks to be traced, as strace does. A seccomp filter or Yama
// can forbid it: ptrace(2), "/proc/sys/kernel/yama/ptrace_scope".
func ptrace() finding {
	text, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	scope := strings.TrimSpace(string(text))
	if err != nil {
		scope = "absent"
	}
	runtime.LockOSThread() // a tracer is one thread, not its process
	defer runtime.UnlockOSThread()
	child := exec.Command("/bin/sh", "-c", ":")
	child.SysProcAttr = &syscall.SysProcAttr{Ptrace: true} // PTRACE_TRACEME
	f := finding{level: ok, about: "ptrace",
		found: "allowed, so strace and make walk work (Yama's ptrace_scope: " + scope + ")"}
	if err := child.Start(); err != nil {
		f.level = warn
		f.found = "forbidden, so strace and make walk fail (Yama's ptrace_scope: " + scope + ")"
		f.todo = []string{err.Error(),
			"if ptrace_scope is 2: sudo sysctl kernel.yama.ptrace_scope=1",
			"in a container: docker run --cap-add=SYS_PTRACE,",
			"  or, if that does not help, --security-opt seccomp=unconfined"}
		return f
	}
	child.Process.Kill() // it is stopped at its first instruction
	child.Wait()         // returns "signal: killed"
	if (scope == "1" || scope == "2") && !mayTraceAll() {
		f.level = note
		f.todo = []string{"but strace -p, on a running process, needs sudo",
			"(in a container: docker run --cap-add=SYS_PTRACE)"}
	}
	return f
}

// mayTraceAll reports whether this process has CAP_SYS_PTRACE, which overrides Yama:
// capabilities(7).
func mayTraceAll() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // each set has 64 bits, in two halves
	err := unix.Capget(&header, &data[0])
	return err == nil && data[0].Effective&(1<<unix.CAP_SYS_PTRACE) != 0
}
