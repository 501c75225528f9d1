package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"epoll-step-by-step/internal/procfs"
	"epoll-step-by-step/internal/walk"

	"github.com/gdamore/tcell/v2"
)

// A user is an app on a simulated screen, and the keys that are pressed.
type user struct {
	t      *testing.T
	app    *app
	screen tcell.SimulationScreen
	ended  chan error
}

func begin(t *testing.T, a *app, width, height int) *user {
	t.Helper()
	screen := tcell.NewSimulationScreen("UTF-8")
	if err := screen.Init(); err != nil {
		t.Fatal(err)
	}
	screen.SetSize(width, height)
	a.screen = screen
	u := &user{t, a, screen, make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { u.ended <- a.run(ctx) }()
	t.Cleanup(cancel)
	return u
}

func program(t *testing.T, folder string) *app {
	t.Helper()
	if err := walk.Possible(); err != nil {
		t.Skip(err)
	}
	args, err := walk.Build(t.Context(), []string{folder})
	if err != nil {
		t.Fatal(err)
	}
	session, err := walk.Start(args)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	return &app{session: session, recording: walk.Recording{Header: session.Header(folder)}}
}

// picture returns what is on the screen, line by line.
func (u *user) picture() string {
	cells, width, height := u.screen.GetContents()
	var s strings.Builder
	for y := range height {
		for x := range width {
			if c := cells[y*width+x]; len(c.Runes) > 0 {
				s.WriteRune(c.Runes[0])
			} else {
				s.WriteByte(' ')
			}
		}
		s.WriteByte('\n')
	}
	return s.String()
}

// press presses keys, and waits until the screen shows what is wanted.
func (u *user) press(keys string, want ...string) {
	u.t.Helper()
	for _, r := range keys {
		switch r {
		case '←':
			u.screen.InjectKey(tcell.KeyLeft, 0, tcell.ModNone)
		case '→':
			u.screen.InjectKey(tcell.KeyRight, 0, tcell.ModNone)
		case '⇤':
			u.screen.InjectKey(tcell.KeyHome, 0, tcell.ModNone)
		case '⇥':
			u.screen.InjectKey(tcell.KeyEnd, 0, tcell.ModNone)
		default:
			u.screen.InjectKey(tcell.KeyRune, r, tcell.ModNone)
		}
	}
	var picture string
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		picture = u.picture()
		missing := ""
		for _, w := range want {
			if !strings.Contains(picture, w) {
				missing = w
			}
		}
		if missing == "" {
			return
		}
	}
	u.t.Fatalf("after %q: want %q on the screen:\n%s", keys, want, picture)
}

func (u *user) quit() {
	u.t.Helper()
	u.screen.InjectKey(tcell.KeyCtrlC, 0, tcell.ModCtrl)
	select {
	case err := <-u.ended:
		if err != nil {
			u.t.Error(err)
		}
	case <-time.After(10 * time.Second):
		u.t.Fatal("Ctrl-C does not end it")
	}
}

// The whole story of a client, at each size that is promised.
func TestStory(t *testing.T) {
	for _, size := range []struct{ width, height int }{{80, 24}, {200, 50}, {60, 24}, {40, 20}} {
		t.Run(fmt.Sprintf("%dx%d", size.width, size.height), func(t *testing.T) {
			u := begin(t, program(t, "step3-epoll-lt"), size.width, size.height)
			u.press("", "▶", "socket(AF_INET")
			u.press(" ", "SOCK_STREAM") // after the call
			u.press("e", "▶", "epoll_wait(6")
			u.press(" ", "asleep in epoll_wait")
			u.press("c", "a connects", "listener IN          ● IN", "asleep, but what it")
			u.press("n", "7 a ", "asleep in epoll") // a has sent nothing: the run ends asleep
			u.press("s", "a sends", "7 a", "● IN")
			u.press("n", "read(7")
			u.press(" ", `read(7, "hello from a`)
			u.press("e", "write(7")
			u.press("⇤", "socket(AF_INET", "the p")
			u.press("⇥", "write(7")
			u.press("?", "run slowly")
			u.press("?", "write(7")
			u.press("y", `'y' does nothing`)
			for i, line := range strings.Split(strings.TrimSuffix(u.picture(), "\n"), "\n") {
				if n := len([]rune(line)); n != size.width {
					t.Errorf("row %d has %d columns", i, n)
				}
			}
			pid := u.app.session.PID
			u.quit()
			u.app.session.Close()
			if p, err := procfs.Stat(pid); err == nil && p.State != 'Z' {
				t.Errorf("the program is still there: %+v", p)
			}
		})
	}
}

// A run that is slow, clients that act meanwhile, and an end.
func TestRunSlowly(t *testing.T) {
	u := begin(t, program(t, "step4-epoll-et"), 100, 30)
	u.press("", "socket(AF_INET")
	u.press("e", "epoll_wait(6")
	u.press("r", "running slowly")
	u.press("c", "a connects")
	u.press("", "accept4(5")
	u.press("c", "b connects")
	u.press("1s", "a sends")
	u.press("", "got 13")
	u.press("r", "space next")
	u.press("x", "a resets")
	u.press("q")
	if err := <-u.ended; err != nil {
		t.Error(err)
	}
}

func TestProgramEnds(t *testing.T) {
	u := begin(t, program(t, "step3-epoll-lt"), 80, 24)
	u.press("e", "epoll_wait(6")
	u.press(" ", "asleep in")
	p, err := os.FindProcess(u.app.session.PID)
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	u.press(" ", "killed by SIGKILL", "+++")
	u.press(" ", "has ended: q quits")
	u.press("c", "has ended")
	u.quit()
}

func TestReplay(t *testing.T) {
	a := program(t, "step3-epoll-lt")
	file := filepath.Join(t.TempDir(), "walk.json")
	var err error
	if a.writer, err = walk.Create(file, a.recording.Header); err != nil {
		t.Fatal(err)
	}
	u := begin(t, a, 80, 24)
	u.press("e", "epoll_wait(6")
	u.press(" ", "asleep in")
	u.press("c", "a connects")
	u.press("  ", "accept4(5, …")
	u.quit()
	a.session.Close() // a recording does without the program

	r, err := walk.ReadRecording(file)
	if err != nil {
		t.Fatal(err)
	}
	u = begin(t, &app{recording: r}, 80, 24)
	u.press("", "socket(AF_INET", "step 1 of")
	u.press("⇥", "a connects", "accept4(5, …", "listener IN          ● IN")
	u.press("←", "step ")
	u.press(" ", "this is a recording")
	u.press("s", "there is no client")
	u.quit()
}

func TestUsage(t *testing.T) {
	t.Chdir("../..")
	script := filepath.Join(t.TempDir(), "script")
	os.WriteFile(script, []byte("fly\n"), 0o644)
	for _, row := range []struct {
		args []string
		want int
	}{
		{nil, 2},
		{[]string{"-nonsense"}, 2},
		{[]string{"-h"}, 0},
		{[]string{"-commands"}, 0},
		{[]string{"-script", script}, 1},
		{[]string{"-script", "/no/such/file"}, 1},
		{[]string{"-replay", "x", "step3-epoll-lt"}, 2},
		{[]string{"-record", "x"}, 2},
	} {
		if got := run(row.args); got != row.want {
			t.Errorf("%q: exit %d, want %d", row.args, got, row.want)
		}
	}
}
