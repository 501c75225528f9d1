package doctest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A feature is part of the kernel since a version, according to its man page.
type feature struct{ name, since, page string }

// features lists what is newer than epoll itself, which came with Linux 2.6.0.
var features = []feature{
	{"EPOLLRDHUP", "2.6.17", "epoll_ctl(2)"},
	{"eventfd", "2.6.22", "eventfd(2)"},
	{"signalfd", "2.6.22", "signalfd(2)"},
	{"timerfd_create", "2.6.25", "timerfd_create(2)"},
	{"epoll_create1", "2.6.27", "epoll_create1(2)"},
	{"accept4", "2.6.28", "accept4(2)"},
	{"SO_REUSEPORT", "3.9", "socket(7)"},
	{"EPOLLEXCLUSIVE", "4.5", "epoll_ctl(2)"},
	{"io_uring_setup", "5.1", ""}, // the two without a page are in no man page of Debian 12
	{"pidfd_open", "5.3", "pidfd_open(2)"},
	{"epoll_pwait2", "5.11", "epoll_wait(2)"},
	{"tcp_migrate_req", "5.14", ""},
}

// reported lists the tools that the table names, besides Go and make.
var reported = strings.Fields("git nc strace ss ps redis-cli redis-benchmark haproxy g++ python3 perf tmux docker")

// makeServer maps a make target that runs a server, without its digit, to the tool
// that runs it.
var makeServer = map[string]string{"step": "", "trace": "strace", "count": "strace", "beyond": "haproxy"}

const elsewhere = "In production" // the heading above what an exercise says of other machines

var (
	exerciseFile = regexp.MustCompile(`^exercises/\d\d-[^/]*/README\.md$`)
	namesPort    = regexp.MustCompile(`(?:localhost|127\.0\.0\.1)[ :/](\d{2,5})\b|\bport = :?(\d{2,5})\b`)
	goServer     = regexp.MustCompile(`^\./(?:step\d|exercises/\d)`)
	duration     = regexp.MustCompile(`^\d+[smh]?$`)
	assignment   = regexp.MustCompile(`^[A-Za-z_]\w*=`)
)

// An entry in the table of makers itself would be an initialization cycle:
// compatibility reads documents, and reading them needs the table.
func init() { makers["compatibility"] = compatibility }

// A need lists what a chapter or an exercise requires of the machine.
type need struct {
	title, time, root string
	ptrace            string // no; child: strace starts it; running: strace -p
	ports, tools      []string
	features          []feature
}

// compatibility returns a table of what each chapter and each exercise needs. It is
// derived from their text and from the commands in it.
func compatibility(_ context.Context, rest string) (language, text string, err error) {
	if strings.TrimSpace(rest) != "" {
		return "", "", errors.New("takes nothing")
	}
	docs, err := readDocuments(".")
	if err != nil {
		return "", "", err
	}
	toc, _ := os.ReadFile(contents) // if that fails, no chapter has a time, which is reported
	times := parseMarkdown(contents, string(toc))
	var out strings.Builder
	var used []feature
	group := func(name string, files *regexp.Regexp) {
		fmt.Fprintf(&out, rowFormat, name, "time", "kernel", "root", "ptrace", "port", "tools\n")
		for _, d := range docs {
			if !files.MatchString(d.file) {
				continue
			}
			n := d.need(times)
			if n.time == "" {
				err = errors.Join(err, fmt.Errorf("%s: its table and %s do not say how long it takes", d.file, contents))
			}
			used = append(used, n.features...)
			out.WriteString(n.row())
		}
		out.WriteString("\n")
	}
	group("chapter", chapterFile)
	group("exercise", exerciseFile)
	for _, f := range features {
		if slices.Contains(used, f) {
			fmt.Fprintf(&out, "%-6s is %s\n", f.since, f.name)
		}
	}
	return "text", out.String(), err
}

const rowFormat = "%-29s %9s  %-6s  %-4s  %-7s  %-4s  %s"

func (n need) row() string {
	kernel := "2.6.0"
	if len(n.features) > 0 {
		kernel = n.features[len(n.features)-1].since // features are sorted by version
	}
	line := fmt.Sprintf(rowFormat, n.title, n.time, kernel, n.root, n.ptrace, strings.Join(n.ports, ","), strings.Join(n.tools, " "))
	return strings.TrimRight(line, " ") + "\n"
}

// need finds out what the document requires. times contains the times of chapters.
func (d *markdown) need(times *markdown) need {
	n := need{title: d.file, root: "no", ptrace: "no"}
	if h := d.headings(1); h != nil {
		n.title = h[0].text
	}
	code := ""
	for _, l := range d.lines {
		if l.kind != proseLine {
			code += l.text
		}
	}
	n.time = times.cell("]("+path.Base(d.file)+")", 3)
	if exerciseFile.MatchString(d.file) {
		n.time = strings.TrimPrefix(d.cell("| [", 5)+" min", " min")
		for _, program := range []string{"starter", "solution"} {
			text, _ := os.ReadFile(filepath.Join(path.Dir(d.file), program, "main.go")) // TestGate
			code += string(text)
		}
	}
	code = plainName(code)
	for _, f := range features {
		if strings.Contains(code, plainName(f.name)) {
			n.features = append(n.features, f)
		}
	}
	for _, line := range d.typed() {
		n.addCommands(line.text)
	}
	n.ports = slices.Compact(slices.Sorted(slices.Values(n.ports)))
	n.tools = slices.Compact(slices.Sorted(slices.Values(n.tools)))
	return n
}

// plainName returns the same for a name in the spelling of a man page, of Go and of
// strace.
func plainName(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "")) }

// cell returns a cell of the first row that contains the mark. The first cell has
// number 1.
func (d *markdown) cell(mark string, number int) string {
	for _, l := range d.lines {
		cells := strings.Split(l.text, "|")
		if strings.Contains(l.text, mark) && len(cells) > number {
			return strings.TrimSpace(cells[number])
		}
	}
	return ""
}

// typed returns the lines that a reader may type: scripts and code spans, but not the
// output of programs.
func (d *markdown) typed() []excerpt {
	lines := d.codeSpans()
	for i, l := range d.lines {
		if l.kind == directiveLine || l.kind == fencedLine {
			lines = append(lines, excerpt{i + 1, consolePrompt.ReplaceAllString(l.text, "")})
		}
	}
	for _, h := range d.headings(2) {
		if h.text == elsewhere {
			lines = slices.DeleteFunc(lines, func(e excerpt) bool { return e.line > h.line })
		}
	}
	return lines
}

// addCommands adds the needs of the commands in a line.
func (n *need) addCommands(line string) {
	for _, m := range namesPort.FindAllStringSubmatch(line, -1) {
		n.ports = append(n.ports, m[1]+m[2])
	}
	command := ""
	for _, token := range shellToken.FindAllString(line, -1) {
		token = strings.TrimLeft(token, "$({") // a subshell
		switch {
		case token == "" || strings.ContainsAny(token[:1], ";&|#"):
			command = ""
		case command == "" && assignment.MatchString(token):
		case command == "" && token == "sudo":
			n.root = "yes"
		case command == "timeout" && !strings.HasPrefix(token, "-") && !duration.MatchString(token) && token != "INT":
			command = token // the command that timeout runs
			n.addTool(command)
		case command == "":
			command = token
			n.addTool(command)
		case command == "strace" && token == "-p":
			n.ptrace = "running"
		case command == "make" || command == "go":
			tool, runs := makeServer[strings.TrimRight(token, "0123456789N")]
			n.addTool(tool)
			if (runs || goServer.MatchString(token)) && !strings.Contains(line, "127.0.0.1:") { // that line names its own port
				n.ports = append(n.ports, "6379")
			}
		}
	}
}

func (n *need) addTool(name string) {
	if slices.Contains([]string{"pgrep", "pkill", "top"}, name) {
		name = "ps" // the same package contains them
	}
	if slices.Contains(reported, name) {
		n.tools = append(n.tools, name)
	}
	if name == "strace" && n.ptrace == "no" {
		n.ptrace = "child"
	}
}
