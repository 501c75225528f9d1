package checks_test

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/checks"
	"epoll-step-by-step/internal/exam/examtest"
	"epoll-step-by-step/internal/exam/show"
)

// Each wrong server gets its own check and, without -short, a sixteenth of the others; its
// neighbours get another sixteenth. All of the checks take four times as long.
var all = flag.Bool("all", false, "run all checks on each wrong server: go test ./internal/exam/checks -run WrongServers -timeout 30m -args -all")

func TestMain(m *testing.M) { examtest.Main(m) }

// Each wrong server has one defect, which its check must notice. The other checks must
// pass, except for those in also, which notice the same defect. A check may have several
// wrong servers, one for each of its parts: go test -short takes the first.
//
// A source is a folder of testdata/wrong, with a program or with a defect.diff against a
// step or a solution; or it is a step or the starter of an exercise that has the defect.
var wrongServers = []struct {
	id     string
	source string
	as     exam.Profile
	also   string
}{
	{"NO_REPLY", "no-reply", exam.Echo, ""},
	{"NO_REPLY", "no-reply-full", exam.Echo, "LOST_BYTES STUCK_WRITER HALF_CLOSE_LOST EDGE_LOST"},
	{"WRONG_BYTES", "wrong-bytes", exam.Echo, ""},
	{"ONE_REPLY_PER_READ", "one-reply-per-read", exam.Echo, "LOST_BYTES STUCK_WRITER HALF_CLOSE_LOST EDGE_LOST"}, // speaks redis
	{"ONE_AT_A_TIME", "step1-blocking", exam.Echo, "SLOW_READER_BLOCKS STARVED ACCEPT_LOST"},
	{"LOST_BYTES", "lost-bytes", exam.LT, "STUCK_WRITER HALF_CLOSE_LOST EDGE_LOST"},
	{"STUCK_WRITER", "stuck-writer", exam.LT, "LOST_BYTES HALF_CLOSE_LOST EDGE_LOST"},
	{"UNBOUNDED_BUFFER", "unbounded-buffer", exam.Echo, ""},
	{"UNBOUNDED_BUFFER", "unbounded-worker", exam.Echo, ""},
	{"SLOW_READER_BLOCKS", "slow-reader-blocks", exam.Echo, ""},
	{"HALF_CLOSE_LOST", "half-close-lost", exam.LT, ""},
	{"DIED_ON_RESET", "died-on-reset", exam.Echo, "FD_LEAK CROSSED_WIRES ACCEPT_LOST"},
	{"DIED_OUT_OF_FDS", "died-out-of-fds", exam.Echo, ""},
	{"DIED_OUT_OF_FDS", "out-of-fds-waits", exam.LT, "DEAF_AFTER_OUT_OF_FDS"},
	{"SPINS_OUT_OF_FDS", "spins-out-of-fds", exam.LT, ""},
	{"SPINS_OUT_OF_FDS", "exclusive-stays", exam.LT, ""},
	{"DEAF_AFTER_OUT_OF_FDS", "deaf-after-out-of-fds", exam.ET, ""},
	{"BUSY_LOOP", "step2-nonblocking", exam.Echo, ""},
	{"BUSY_LOOP", "busy-stalled", exam.LT, ""},
	{"BUSY_LOOP", "epollout-stays", exam.LT, "EPOLLOUT_ALWAYS_ARMED"},
	{"STARVED", "starved", exam.ET, ""},
	{"STARVED", "starved-level", exam.LT, ""},
	{"ACCEPT_LOST", "accept-lost", exam.ET, "DEAF_AFTER_OUT_OF_FDS"},
	{"ACCEPT_LOST", "accept-some", exam.ET, ""},
	{"DIED_ON_SIGNAL", "died-on-signal", exam.LT, ""},
	{"FD_LEAK", "fd-leak", exam.Echo, "DEAF_AFTER_OUT_OF_FDS"},
	{"FD_LEAK", "fd-leak-owed", exam.ET, ""},
	{"FD_LEAK", "fd-leak-half-closed", exam.LT, ""},
	{"CROSSED_WIRES", "crossed-wires", exam.LT, "DIED_ON_RESET"},
	{"CROSSED_WIRES", "pending-shared", exam.ET, ""},
	{"IGNORES_SIGTERM", "ignores-sigterm", exam.Echo, ""},
	{"PORT_STUCK", "port-stuck", exam.Echo, ""},
	{"EDGE_LOST", "edge-lost", exam.ET, "LOST_BYTES STUCK_WRITER HALF_CLOSE_LOST FD_LEAK"},
	{"EDGE_LOST", "edge-lost-later", exam.ET, "LOST_BYTES STUCK_WRITER HALF_CLOSE_LOST"},
	{"BLOCKING_FD", "blocking-fd", exam.LT, "SLOW_READER_BLOCKS"},
	{"NOT_EPOLL", "not-epoll", exam.LT, "SPINS_OUT_OF_FDS"},
	{"NOT_LEVEL", "step4-epoll-et", exam.LT, ""},
	{"NOT_EDGE", "step3-epoll-lt", exam.ET, ""},
	{"NOT_EDGE", "edge-no-more", exam.ET, "BUSY_LOOP"},
	{"EPOLLOUT_ALWAYS_ARMED", "epollout-always-armed", exam.LT, "BUSY_LOOP"},
	{"EPOLLOUT_ALWAYS_ARMED", "epollout-stays", exam.LT, "BUSY_LOOP"},
	{"MANY_THREADS", "many-threads", exam.ET, ""},
	{"SPLIT_LINE", "exercises/01-lines/starter", exam.Lines, ""},
	{"SPLIT_LINE", "lines-mixed", exam.Lines, ""},
	{"NEVER_TIMES_OUT", "exercises/09-idle-timeout/starter", exam.Timeout, ""},
	{"NEVER_TIMES_OUT", "idle-scan", exam.Timeout, ""},
	{"NEVER_TIMES_OUT", "idle-tick", exam.Timeout, ""},
	{"NEVER_TIMES_OUT", "idle-stale", exam.Timeout, ""},
	{"NEVER_TIMES_OUT", "idle-stalled", exam.Timeout, ""},
	{"ONE_READ_TOO_MANY", "step4-epoll-et", exam.ET, ""},
	{"ONE_READ_TOO_MANY", "short-read-fin", exam.ET, "HALF_CLOSE_LOST"},
	{"ONE_READ_TOO_MANY", "short-read-listed", exam.ET, ""},
	{"ONE_READ_TOO_MANY", "short-read-pending", exam.ET, "HALF_CLOSE_LOST"},
	{"DROPPED_ON_TERM", "step4-epoll-et", exam.ET, ""},
	{"DROPPED_ON_TERM", "term-unflushed", exam.ET, ""},
	{"DROPPED_ON_TERM", "term-endless", exam.ET, ""},
	{"DROPPED_ON_TERM", "term-one-round", exam.ET, ""},
	{"DROPPED_ON_TERM", "term-restarts-grace", exam.ET, ""},
	{"ONE_CORE", "exercises/18-many-cores/starter", exam.Cores, ""},
	{"ONE_CORE", "cores-shared", exam.Cores, "WORKER_LOST"},
	{"WORKER_LOST", "cores-not-replaced", exam.Cores, ""},
	{"WORKER_LOST", "cores-all-lost", exam.Cores, ""},
	{"LEFT_BEHIND", "cores-left-behind", exam.Cores, ""},
	{"CHAT_LOST_LINE", "exercises/16-chat/starter", exam.Chat, "CHAT_WRONG_NAME CHAT_CROWD CHAT_SLOW_READER"},
	{"CHAT_LOST_LINE", "chat-shared-line", exam.Chat, ""},
	{"CHAT_LOST_LINE", "chat-tells-itself", exam.Chat, "CHAT_SLOW_READER"},
	{"CHAT_LOST_LINE", "chat-every-cr", exam.Chat, ""},
	{"CHAT_LOST_LINE", "chat-hasty", exam.Chat, ""},
	{"CHAT_WRONG_NAME", "chat-name-stays", exam.Chat, ""},
	{"CHAT_WRONG_NAME", "chat-caseless", exam.Chat, ""},
	{"CHAT_CROWD", "chat-spins", exam.Chat, "CHAT_SLOW_READER"},
	{"CHAT_SLOW_READER", "chat-unbounded", exam.Chat, ""},
	{"CHAT_SLOW_READER", "chat-splices", exam.Chat, ""},
	{"CHAT_SLOW_READER", "chat-all-wait", exam.Chat, ""},
	{"CHAT_SLOW_READER", "chat-all-miss", exam.Chat, "CHAT_LOST_LINE"},
	{"CHAT_SLOW_READER", "chat-deaf", exam.Chat, ""},
	{"CHAT_SLOW_READER", "chat-late", exam.Chat, ""},
	{"CHAT_SLOW_READER", "chat-late-spins", exam.Chat, ""},
	{"CHAT_SLOW_READER", "chat-endless-line", exam.Chat, ""},
	{"REDIS_WRONG_REPLY", "redis-text", exam.Redis, "REDIS_SPLIT"},
	{"REDIS_SPLIT", "redis-line-is-read", exam.Redis, "REDIS_PROTOCOL_ERROR"},
	{"REDIS_SPLIT", "redis-shared-input", exam.Redis, "REDIS_WRONG_REPLY REDIS_PROTOCOL_ERROR REDIS_UNREAD_REPLIES"},
	{"REDIS_PROTOCOL_ERROR", "redis-close-at-once", exam.Redis, ""},
	{"REDIS_UNREAD_REPLIES", "redis-all-at-once", exam.Redis, ""},
	{"REDIS_UNREAD_REPLIES", "redis-left-over", exam.Redis, ""},
	{"REDIS_UNREAD_REPLIES", "redis-endless-command", exam.Redis, ""},
	{"REDIS_MANY_WRITES", "redis-many-writes", exam.Redis, ""},
	{"REDIS_TOOLS", "exercises/17-mini-redis/starter", exam.Redis, "REDIS_WRONG_REPLY REDIS_SPLIT REDIS_PROTOCOL_ERROR REDIS_UNREAD_REPLIES REDIS_MANY_WRITES"},
	{"BLOCKING_FD", "blocking-until-read", exam.LT, ""},
	{"BUSY_LOOP", "naps", exam.LT, "FD_LEAK"}, // it is too slow for that check
	{"ONE_AT_A_TIME", "in-turn", exam.Echo, "SLOW_READER_BLOCKS STARVED ACCEPT_LOST"},
	{"SLOW_READER_BLOCKS", "flush-after-fin", exam.LT, ""},
	{"DIED_ON_SIGNAL", "winch-stops", exam.LT, ""},

	// Their first answers are wrong, which ends the grading.
	{"NO_REPLY", "whole-buffer", exam.Echo, ""},
	{"NO_REPLY", "old-bytes", exam.Echo, ""},
	{"NO_REPLY", "pointer-size", exam.Echo, ""},
	{"NO_REPLY", "prefix", exam.Echo, ""},
	{"NO_REPLY", "greeting", exam.Echo, ""},
	{"NO_REPLY", "line-end-cut", exam.Echo, ""},
	{"NO_REPLY", "line-end-added", exam.Echo, ""},
	{"NO_REPLY", "upper-case", exam.Echo, ""},
	{"NO_REPLY", "closes-early", exam.Echo, ""},
	{"NO_REPLY", "oneshot", exam.LT, ""},
	{"NO_REPLY", "not-registered", exam.LT, ""},
	{"NO_REPLY", "no-epollin", exam.LT, ""},

	{"NO_REPLY", "waits-for-line", exam.Echo, "WRONG_BYTES STARVED"},
	{"NO_REPLY", "edge-once", exam.ET, "LOST_BYTES STUCK_WRITER HALF_CLOSE_LOST EDGE_LOST FD_LEAK MANY_THREADS"},
	{"WRONG_BYTES", "ends-at-nul", exam.LT, "STARVED"}, // whose bytes are NUL
	{"WRONG_BYTES", "utf8", exam.LT, ""},
	{"SLOW_READER_BLOCKS", "blocking-fd", exam.LT, "BLOCKING_FD"},
	{"HALF_CLOSE_LOST", "never-closes", exam.ET, "FD_LEAK DEAF_AFTER_OUT_OF_FDS"},
	{"HALF_CLOSE_LOST", "descriptor-kept", exam.Echo, "FD_LEAK DEAF_AFTER_OUT_OF_FDS"},
	{"FD_LEAK", "never-closes", exam.ET, "HALF_CLOSE_LOST DEAF_AFTER_OUT_OF_FDS"},
	{"ONE_AT_A_TIME", "listener-paused", exam.Echo, "SLOW_READER_BLOCKS HALF_CLOSE_LOST DIED_ON_RESET DIED_OUT_OF_FDS SPINS_OUT_OF_FDS DEAF_AFTER_OUT_OF_FDS BUSY_LOOP STARVED ACCEPT_LOST DIED_ON_SIGNAL FD_LEAK CROSSED_WIRES EDGE_LOST"},
	{"UNBOUNDED_BUFFER", "reads-on", exam.LT, "HALF_CLOSE_LOST BUSY_LOOP"},
	{"DIED_ON_RESET", "sigpipe", exam.LT, "FD_LEAK CROSSED_WIRES"},
	{"ACCEPT_LOST", "accept-once", exam.ET, "DIED_ON_RESET DEAF_AFTER_OUT_OF_FDS FD_LEAK CROSSED_WIRES BUSY_LOOP STARVED"},
	{"DIED_ON_RESET", "accept-once", exam.ET, "ACCEPT_LOST DEAF_AFTER_OUT_OF_FDS FD_LEAK CROSSED_WIRES BUSY_LOOP STARVED"},
}

func TestEveryCheckHasAWrongServer(t *testing.T) {
	for _, c := range checks.All {
		n := 0
		for _, w := range wrongServers {
			if w.id == c.ID {
				n++
			}
		}
		if n == 0 {
			t.Errorf("no wrong server shows that %s can fail", c.ID)
		}
	}
	dirs, err := os.ReadDir("testdata/wrong")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		used := false
		for _, w := range wrongServers {
			used = used || w.source == d.Name()
		}
		if !used {
			t.Errorf("testdata/wrong/%s is in no row of wrongServers", d.Name())
		}
	}
}

func TestWrongServers(t *testing.T) {
	t.Parallel()
	shop := newWorkshop(t, "wrong")
	shown := make(map[string]bool) // IDs of checks
	leftOut := 0
	for i, w := range wrongServers {
		if testing.Short() && shown[w.id] {
			leftOut++
			continue
		}
		shown[w.id] = true
		t.Run(w.id, func(t *testing.T) {
			key := w.id + " " + w.source
			server := shop.order(t, w.source)
			t.Parallel() // when all servers are ordered
			if err := shop.build(); err != nil {
				t.Fatal(err)
			}
			if w.id == "DIED_ON_SIGNAL" {
				// The Go runtime sends itself SIGURG now and then, which would kill this
				// server in any check.
				server = append([]string{"env", "GODEBUG=asyncpreemptoff=1"}, server...)
			}
			dialogue := exam.EchoDialogue
			if w.id == "ONE_REPLY_PER_READ" {
				dialogue = dialogueOf(t, "redis")
			}
			only := []string{w.id} // it may be in no profile
			profile, err := checks.SelectFor(dialogue, w.as)
			if err != nil {
				t.Fatal(err)
			}
			for k, c := range profile {
				if *all || !testing.Short() && (i+k)%16 == 0 {
					only = append(only, c.ID)
				}
			}
			asked, err := checks.Select(w.as, only...)
			if err != nil {
				t.Fatal(err)
			}
			report, err := exam.Run(t.Context(), exam.Options{Command: server, As: w.as, Dialogue: dialogue, Checks: asked})
			if err != nil {
				t.Fatal(err)
			}
			if report.Status != exam.StatusGraded && len(says[key]) == 0 {
				t.Fatalf("%s: %s: %s\n%s", w.source, report.Status, report.Problem, report.Output)
			}
			failed := false
			for _, r := range report.Results {
				text := show.Style{Width: 100, Verbose: true}.Text(r)
				switch {
				case r.Verdict == exam.Fail && r.ID == w.id:
					failed = true
					for _, part := range says[key] {
						if !strings.Contains(plain(text), part) {
							t.Errorf("%s with %s does not say %q:\n%s", r.ID, w.source, part, text)
						}
					}
				case slices.Contains(strings.Fields(w.also), r.ID):
				case r.Verdict == exam.Fail:
					t.Errorf("%s failed with %s:\n%s", r.ID, w.source, text)
				case r.Verdict == exam.Error:
					t.Errorf("with %s:\n%s", w.source, text)
				}
			}
			if !failed {
				for _, r := range report.Results {
					if r.ID == w.id && r.Verdict == exam.Skip && lacks.MatchString(r.Reason) {
						t.Skip(r.Reason)
					} else if r.ID == w.id {
						t.Errorf("%s was not noticed in %s:\n%s", w.id, w.source, show.Style{Width: 100, Verbose: true}.Text(r))
					}
				}
			}
		})
	}
	if leftOut > 0 {
		t.Logf("%d more wrong servers only with make test ALL=1", leftOut)
	}
}

func dialogueOf(t *testing.T, name string) *exam.Dialogue {
	t.Helper()
	d, err := exam.Speaks(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// lacks matches the reasons for a skipped check that are this machine's and not the
// server's.
var lacks = regexp.MustCompile(`needs \d+ descriptors|is not installed|belongs to another user`)
