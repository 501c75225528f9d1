package doctest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestCompatibility(t *testing.T) {
	const fence = "```"
	tree := map[string]string{
		"README.md":      "`sudo strace -p 1`",
		"docs/README.md": "| chapter | done | takes |\n|---|---|---|\n| [00 · Waiting](00-waiting.md) | x | 1 h |\n",
		"docs/00-waiting.md": "# 00 · Waiting\n\nSay accept4(2), never strace nor port 7000. `strace` is a tool, `nc` too.\n\n" +
			"<!-- transcript\n1$ make step1\n2$ (sleep 1; nc localhost 7001)\n-->\n" +
			fence + "console\n1$ sudo ps\nread(4) = EPOLLEXCLUSIVE\n127.0.0.1:40000\n" + fence + "\n",
		"exercises/07-half/README.md": "# 07 · Half\n\n| after | minutes |\n|---|---|\n| [step 3](x) | `A` | `lt` | `A` | 20 |\n\n" +
			"## Check\n\n`FOO=1 sudo ss -t | perf top`, `strace -c -p PID`, `make count3 ADDR=127.0.0.1:7002`\n\n" +
			fence + "sh\n# tmux\ngo run ./exercises/07-half\n" + fence + "\n\n## In production\n\n`docker ps; redis-cli -p 1234`, `nc localhost 9`\n",
		"exercises/07-half/solution/main.go": "package main\n\n// unix.EpollPwait2, unix.SYS_SIGNALFD4\n",
		"exercises/README.md":                "`tmux`",
	}
	t.Chdir(writeTree(t, tree))
	language, got, err := compatibility(t.Context(), "")
	want := `
chapter                            time  kernel  root  ptrace   port  tools
00 · Waiting                        1 h  4.5     no    child    6379,7001  nc strace

exercise                           time  kernel  root  ptrace   port  tools
07 · Half                        20 min  5.11    yes   running  6379,7002  perf ss strace

2.6.22 is signalfd
4.5    is EPOLLEXCLUSIVE
5.11   is epoll_pwait2
`[1:]
	if err != nil || language != "text" || got != want {
		t.Errorf("%v, %s\n%s\nwant\n%s", err, language, got, want)
	}
	if _, _, err := compatibility(t.Context(), " docs"); err == nil {
		t.Error("an argument was taken")
	}
	tree["docs/README.md"] = "none"
	t.Chdir(writeTree(t, tree))
	if _, _, err := compatibility(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "docs/00-waiting.md: its table") {
		t.Errorf("a chapter without a time: %v", err)
	}
}

// The man pages know since when there is a feature.
func TestFeatures(t *testing.T) {
	number := func(f feature) (n [3]int) { // 0 for what is not there
		fmt.Sscanf(f.since, "%d.%d.%d", &n[0], &n[1], &n[2])
		return n
	}
	for i, f := range features[1:] {
		before, now := number(features[i]), number(f)
		if slices.Compare(before[:], now[:]) > 0 {
			t.Errorf("%s comes after %s: want them in the order of the versions", f.name, features[i].name)
		}
	}
	if !haveManPages() {
		t.Skip("the man pages are not installed: make setup")
	}
	for _, f := range features {
		if f.page == "" {
			continue
		}
		name, section, _ := strings.Cut(strings.TrimSuffix(f.page, ")"), "(")
		lines, err := page(name, section)
		if err != nil {
			t.Error(err)
			continue
		}
		text := strings.Join(strings.Fields(strings.Join(lines, " ")), " ")
		if !strings.Contains(text, f.name) || !strings.Contains(text, "Linux "+f.since) {
			t.Errorf("%s does not say that %s came with Linux %s", f.page, f.name, f.since)
		}
	}
}
