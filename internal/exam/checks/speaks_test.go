package checks_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/checks"
	"epoll-step-by-step/internal/exam/examtest"
	"epoll-step-by-step/internal/exam/show"
)

// Servers that are no echo servers, as a user would start them. What they fail is true of
// them, and the table of docs/examiner.md has the reasons.
var speakers = []struct {
	name    string
	speaks  string
	command []string // the first word is a program, or a folder of this repository
	fails   string
	cannot  string // the checks that cannot be run
}{
	{"exercise 17", "redis", []string{"./exercises/17-mini-redis/solution", "-addr", "{addr}"}, "", ""},
	{"redis", "redis", []string{"redis-server", "--port", "{port}", "--save", ""}, "UNBOUNDED_BUFFER HALF_CLOSE_LOST", ""},
	{"memcached", "memcached", []string{"memcached", "-l", "127.0.0.1", "-p", "{port}", "-U", "0", "-c", "8192", "-u", "root"}, "",
		"DIED_OUT_OF_FDS SPINS_OUT_OF_FDS DEAF_AFTER_OUT_OF_FDS"},
	{"nginx", "http", []string{"nginx"}, "", ""},
	{"node", "http", []string{"node", "-e", "require('http').createServer((q, r) => r.end('hello\\n')).listen({port}, '127.0.0.1', 4096)"}, "UNBOUNDED_BUFFER", ""},
}

func TestSpeakers(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(examtest.Root(t), "docs/examiner.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range speakers {
		row := fmt.Sprintf("\n| %s | %s | ", s.name, s.fails)
		if s.fails == "" {
			row = fmt.Sprintf("\n| %s | – | ", s.name)
		}
		if !strings.Contains(string(page), row) {
			t.Errorf("docs/examiner.md lacks the row %q", strings.TrimSpace(row))
		}
		t.Run(s.name, func(t *testing.T) {
			program := s.command[0]
			own := strings.HasPrefix(program, "./")
			if testing.Short() && !own {
				t.Skip("only with make test ALL=1")
			}
			t.Parallel()
			command := slices.Clone(s.command)
			if own {
				command[0] = examtest.Build(t, program)
			} else if _, err := exec.LookPath(program); err != nil {
				t.Skipf("%s is not installed", program)
			}
			if program == "nginx" {
				command = nginx(t)
			}
			dialogue := dialogueOf(t, s.speaks)
			asked, err := checks.SelectFor(dialogue, exam.Echo)
			if err != nil {
				t.Fatal(err)
			}
			report, err := exam.Run(t.Context(), exam.Options{Command: command, Dialogue: dialogue, Checks: asked})
			if err != nil {
				t.Fatal(err)
			}
			if report.Status != exam.StatusGraded {
				t.Fatalf("%s: %s\n%s", report.Status, report.Problem, report.Output)
			}
			for _, r := range report.Results {
				want := exam.Pass
				switch {
				case slices.Contains(strings.Fields(s.fails), r.ID):
					want = exam.Fail
				case slices.Contains(strings.Fields(s.cannot), r.ID):
					want = exam.Error
				case r.Verdict == exam.Skip && (r.ID == "WRONG_BYTES" || r.ID == "STARVED" && s.speaks == "http" || lacks.MatchString(r.Reason)):
					want = exam.Skip
				}
				if r.Verdict != want {
					t.Errorf("%s, want %s:\n%s", r.Verdict, want, show.Style{Width: 100, Verbose: true}.Text(r))
				}
			}
		})
	}
}

// nginx returns a command that writes a configuration for the port and becomes nginx.
func nginx(t *testing.T) []string {
	const config = `daemon off; worker_processes 1; user root; pid %[1]s/nginx.pid; error_log %[1]s/error.log;
events { worker_connections 8192; }
http {
	access_log off; keepalive_requests 100000000; keepalive_timeout 600s; client_body_temp_path %[1]s;
	proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	server { listen 127.0.0.1:PORT backlog=4096; location / { return 200 "hello\n"; } }
}
`
	dir := t.TempDir()
	file := filepath.Join(dir, "template")
	if err := os.WriteFile(file, fmt.Appendf(nil, config, dir), 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{"sh", "-c", `sed "s/PORT/$1/" "$0" > "$0.$1" && exec nginx -c "$0.$1"`, file, "{port}"}
}
