package doctor

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// setEmptyPath sets PATH to a new folder and returns it, so that tests find only the
// commands that they put there.
func setEmptyPath(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	return dir
}

func setRoot(t *testing.T, value bool) {
	before := root
	root = value
	t.Cleanup(func() { root = before })
}

// writeScript writes an executable shell script.
func writeScript(t *testing.T, dir, name, script string) {
	t.Helper()
	text := "#!/bin/sh\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// man -w prints the path of a file, here its own.
const fakeMan = `echo "$0"`

// writeTools writes a fake of every tool except these.
func writeTools(t *testing.T, dir string, except ...string) {
	t.Helper()
	for _, tool := range tools {
		if !tool.isPage() && !slices.Contains(except, tool.name) {
			writeScript(t, dir, tool.name, fakeMan)
		}
	}
}

func mustHave(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%s: no %q in\n%s", what, want, text)
		}
	}
}

func runInstall() (stdout, stderr string) {
	var out, err bytes.Buffer
	install(tools, &out, &err)
	return out.String(), err.String()
}

func TestTools(t *testing.T) {
	seen := map[string]bool{}
	for _, tool := range tools {
		if tool.name == "" || tool.use == "" || seen[tool.name] {
			t.Errorf("%+v: want a unique name and a use", tool)
		}
		seen[tool.name] = true
		if n := len(strings.Fields(tool.packages)); n != len(managers) && tool.name != "tmux" {
			t.Errorf("%s: %d packages, want one for each of %d managers", tool.name, n, len(managers))
		}
		if tool.isPage() && len(strings.Fields(tool.name)) != 3 {
			t.Errorf("%q: want man, a section and a page", tool.name)
		}
	}
}

func TestKernel(t *testing.T) {
	for _, tt := range []struct{ release, arch, want string }{
		{"6.18.44-fc-v669", "amd64", ok},
		{"5.10.0-30-arm64", "arm64", ok},
		{"10.0", "amd64", ok},
		{"5.9.16", "amd64", fail},
		{"4.18.0-553.el8_10.x86_64", "amd64", fail},
		{"unreadable", "amd64", fail},
		{"6.18.44", "386", fail},
	} {
		f := kernel(tt.release, tt.arch)
		if f.level != tt.want || (f.level == ok) != (f.todo == nil) {
			t.Errorf("%s %s: got %q %q, want %q", tt.release, tt.arch, f.level, f.todo, tt.want)
		}
	}
}

func TestDescriptors(t *testing.T) {
	for _, tt := range []struct{ limits, want string }{
		{"1024\n1048576\n", ok}, // the usual limits: the examiner raises the soft one
		{"1024\n6000\n", ok},
		{"1024\nunlimited\n", ok},
		{"1024\n5999\n", warn},
		{"", warn},
	} {
		if f := descriptors(tt.limits); f.level != tt.want {
			t.Errorf("%q: got %q, want %q", tt.limits, f.level, tt.want)
		}
	}
	if f := descriptors(limits()); strings.Contains(f.found, "limit ,") {
		t.Errorf("this shell's limits: got %q", f.found)
	}
}

func TestPort(t *testing.T) {
	if f := port("127.0.0.1:0"); f.level != ok {
		t.Errorf("port 0: got %q %s, want it free", f.level, f.found)
	}
	for _, listenAt := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		listener, err := net.Listen("tcp", listenAt)
		if err != nil {
			t.Logf("%s: %v", listenAt, err) // this machine has no IPv6
			continue
		}
		defer listener.Close()
		at := listener.Addr().(*net.TCPAddr).AddrPort().Port()
		addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), at)

		pid, command := holder(addr)
		if pid != os.Getpid() || !strings.Contains(command, filepath.Base(os.Args[0])) {
			t.Errorf("%s: held by %d %q, want %d %q", listenAt, pid, command, os.Getpid(), os.Args[0])
		}
		f := port(addr.String())
		text := f.found + strings.Join(f.todo, "\n")
		if f.level != warn {
			t.Errorf("%s: got %q, want %q", listenAt, f.level, warn)
		}
		mustHave(t, listenAt, text, fmt.Sprint(os.Getpid()), "kill", "make step3 ADDR=")
	}
}

func TestFreePortHasNoHolder(t *testing.T) {
	// No socket listens on port 0: bind(2) replaces it.
	if pid, command := holder(netip.MustParseAddrPort("127.0.0.1:0")); pid != 0 {
		t.Errorf("port 0 is held by %d %q", pid, command)
	}
}

func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		count   map[string]int
		missing int
		want    string
		exit    int
	}{
		{map[string]int{ok: 9, note: 1}, 0, "All is well", 0},
		{map[string]int{ok: 9, warn: 1}, 0, "marked warn", 0},
		{map[string]int{ok: 9, warn: 2}, 1, "make setup", 0},
		{map[string]int{ok: 9, warn: 2, fail: 1}, 1, "Not yet", 1},
	} {
		sentence, exit := verdict(tt.count, tt.missing)
		if exit != tt.exit || !strings.Contains(sentence, tt.want) {
			t.Errorf("%v: got %d %q, want %d %q", tt.count, exit, sentence, tt.exit, tt.want)
		}
	}
}

func TestReportOfMissingTools(t *testing.T) {
	setEmptyPath(t)
	var out bytes.Buffer
	exit := report(&out, false)
	for _, tool := range tools {
		want := "missing (" + tool.use + "): make setup"
		if tool.packages == "" {
			want = "not installed (" + tool.use + ")"
		}
		mustHave(t, tool.name, out.String(), fmt.Sprintf("  %-15s  %s\n", tool.name, want))
	}
	// Missing tools do not make the report fail; an old kernel does.
	if failed := strings.Contains(out.String(), fail); (exit == 1) != failed {
		t.Errorf("exit status %d after\n%s", exit, out.String())
	} else if !failed {
		mustHave(t, "last line", out.String(), "Missing tools: 12. To install them: make setup\n")
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("colours, want none:\n%q", out.String())
	}
}

func TestReportOfPresentTools(t *testing.T) {
	writeTools(t, setEmptyPath(t))
	for _, tool := range tools {
		if f := tool.finding(); f.level != ok {
			t.Errorf("%s: got %q %s, want %q", tool.name, f.level, f.found, ok)
		}
	}
}

func TestInstallWithoutMissingTools(t *testing.T) {
	dir := setEmptyPath(t)
	writeTools(t, dir, "tmux") // install does not install it
	writeScript(t, dir, "apt-get", "echo apt-get was run >&2; exit 100")
	if out, err := runInstall(); out != "setup: nothing is missing\n" || err != "" {
		t.Errorf("printed %q and %q", out, err)
	}
}

func TestInstallImpossible(t *testing.T) {
	lines := func(sudo string) []string {
		return []string{
			"    apt      " + sudo + "apt-get install -y --no-install-recommends netcat-openbsd redis-tools\n",
			"    dnf      " + sudo + "dnf install nmap-ncat redis\n",
			"    pacman   " + sudo + "pacman -S --needed openbsd-netcat valkey\n",
			"    apk      " + sudo + "apk add netcat-openbsd redis\n",
			"    nc               type to a server\n",
			"skipped",
		}
	}
	for _, tt := range []struct {
		name string
		root bool
		apt  string // the fake, "" for none
		why  string
	}{
		{"another distribution", true, "", "this machine has no apt-get"},
		{"neither root nor sudo", false, "exit 0", "this needs root"},
		{"no network", true, "echo E: no route; exit 100", "apt-get failed"},
		{"apt-get does nothing", true, "exit 0", "still missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := setEmptyPath(t)
			setRoot(t, tt.root)
			writeTools(t, dir, "nc", "redis-cli", "redis-benchmark")
			if tt.apt != "" {
				writeScript(t, dir, "apt-get", tt.apt)
			}
			out, err := runInstall()
			sudo := "sudo "
			if tt.root {
				sudo = ""
			}
			mustHave(t, "stdout", out, append(lines(sudo), tt.why)...)
			if strings.Contains(out, "everything is installed") {
				t.Errorf("claims that it installed:\n%s", out)
			}
			// If apt-get fails, its output is shown: of update and of the second install.
			want := strings.Repeat("E: no route\n", 2)
			if tt.why != "apt-get failed" {
				want = ""
			}
			if err != want {
				t.Errorf("stderr %q, want %q", err, want)
			}
		})
	}
}

// fakeApt records its arguments and installs nc and man. If there is a file named stale,
// install fails until update was called.
const fakeApt = `
cd "${0%/*}"
echo "$DEBIAN_FRONTEND: $*" >>log
PATH=/usr/bin:/bin
case "$*" in
update) rm stale ;;
*) test ! -e stale || exit 100
   printf '#!/bin/sh\necho "$0"\n' >nc
   cp nc man
   chmod 755 nc man ;;
esac`

func TestInstallWithApt(t *testing.T) {
	const install = "noninteractive: install -y --no-install-recommends netcat-openbsd\n"
	const pages = "noninteractive: install -y --no-install-recommends --reinstall" +
		" -o DPkg::Options::=--path-include=/usr/share/man/* man-db manpages-dev manpages\n"
	for _, tt := range []struct {
		name    string
		root    bool
		stale   bool
		missing string
		want    string
	}{
		{"root", true, false, "nc", install},
		{"sudo without a password", false, false, "nc", install},
		{"no package lists", true, true, "nc", install + "noninteractive: update\n" + install},
		{"no package lists, with sudo", false, true, "nc", install + "noninteractive: update\n" + install},
		{"manual pages", true, false, "man", pages},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := setEmptyPath(t)
			setRoot(t, tt.root)
			writeTools(t, dir, tt.missing)
			writeScript(t, dir, "apt-get", fakeApt)
			writeScript(t, dir, "true", "")
			// Like the real one, it keeps only the variables of its command line.
			writeScript(t, dir, "sudo", `test "$1" != -n || shift
exec /usr/bin/env -u DEBIAN_FRONTEND "$@"`)
			if tt.stale {
				writeScript(t, dir, "stale", "")
			}
			out, err := runInstall()
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			if string(log) != tt.want {
				t.Errorf("apt-get was called with\n%swant\n%s", log, tt.want)
			}
			if strings.Count(out, "\n") != 2 || err != "" {
				t.Errorf("want two lines, got\n%s%s", out, err)
			}
			mustHave(t, "stdout", out, "apt-get install", "setup: everything is installed now\n")
		})
	}
}

// In a minimised image man prints a notice and exits 0.
func TestMinimisedImage(t *testing.T) {
	dir := setEmptyPath(t)
	setRoot(t, true)
	writeTools(t, dir, "man")
	writeScript(t, dir, "man", "echo To restore this content, run the \\'unminimize\\' command.")
	writeScript(t, dir, "apt-get", fakeApt)

	for _, tool := range tools {
		f := tool.finding()
		if tool.isPage() && (f.level != warn || !strings.Contains(f.todo[0], "sudo unminimize")) {
			t.Errorf("%s: got %q %q", tool.name, f.level, f.todo)
		}
	}
	out, _ := runInstall()
	mustHave(t, "stdout", out, "sudo unminimize")
	if _, err := os.Stat(filepath.Join(dir, "log")); err == nil {
		t.Error("apt-get was called, though it cannot help")
	}
}

func TestInstallForBench(t *testing.T) {
	setEmptyPath(t)
	for _, forBench := range []bool{false, true} {
		wanted := tools
		if forBench {
			wanted = slices.Concat(tools, benchTools)
		}
		var out, err strings.Builder
		install(wanted, &out, &err)
		if got := strings.Contains(out.String(), " linux-perf"); got != forBench {
			t.Errorf("for bench %v: names linux-perf: %v\n%s", forBench, got, &out)
		}
	}
}
