package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"image/color"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"epoll-step-by-step/internal/procfs"
)

const (
	terminalCount = 4
	columns, rows = 80, 15
	hangupTime    = 500 * time.Millisecond
	sendPause     = 30 * time.Millisecond // between two pictures of a terminal
)

// A terminal is a shell in the repository's folder, and the screen that it draws on. Only
// the screen goes to the page, so it does not matter how much is printed.
type terminal struct {
	number int

	mu      sync.Mutex // of the emulator, and of what follows
	screen  *vt.Emulator
	master  *os.File // nil if no shell runs
	typed   chan<- string
	shell   *exec.Cmd
	version int // counts changes
}

// terminals are those of one tour. Each shell starts when it is first used.
type terminals struct {
	all [terminalCount]*terminal

	mu      sync.Mutex
	changed chan struct{} // closed at the next change
	ended   bool
}

func newTerminals() *terminals {
	t := &terminals{changed: make(chan struct{})}
	for i := range t.all {
		t.all[i] = &terminal{number: i + 1}
	}
	return t
}

// close hangs up: the kernel sends SIGHUP to everything that runs in the terminals, as it
// does if the tour is killed.
func (t *terminals) close() {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	for _, term := range t.all {
		term.mu.Lock()
		master, shell := term.master, term.shell
		term.master = nil
		term.mu.Unlock()
		if master != nil {
			master.Close()
			endSession(shell.Process.Pid)
			shell.Wait()
		}
	}
}

// endSession ends what is left of a session (credentials(7)) after its terminal has hung
// up: the shell passes SIGHUP on to its jobs, unless they ignore it.
func endSession(sid int) {
	for _, signal := range []unix.Signal{unix.SIGHUP, unix.SIGKILL} {
		for end := time.Now().Add(hangupTime); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			left := 0
			pids, _ := procfs.PIDs()
			for _, pid := range pids {
				if of, err := unix.Getsid(pid); err != nil || of != sid {
					continue
				}
				if p, err := procfs.Stat(pid); err == nil && p.State != 'Z' {
					unix.Kill(pid, signal)
					left++
				}
			}
			if left == 0 {
				return
			}
		}
	}
}

func (t *terminals) notify() {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.changed)
	t.changed = make(chan struct{})
}

// start runs a shell in the terminal, if none runs there.
func (t *terminals) start(term *terminal) error {
	term.mu.Lock()
	defer term.mu.Unlock()
	if term.master != nil {
		return nil
	}
	t.mu.Lock()
	ended := t.ended
	t.mu.Unlock()
	if ended {
		return errors.New("the tour has ended")
	}
	shell := exec.Command("bash", "--noprofile", "--norc", "-i")
	shell.Env = append(os.Environ(), "TERM=xterm-256color", "PS1=$ ", "HISTFILE=", "PROMPT_COMMAND=")
	master, err := pty.StartWithSize(shell, &pty.Winsize{Cols: columns, Rows: rows})
	if err != nil {
		return err
	}
	term.master, term.shell = master, shell
	term.screen = vt.NewEmulator(columns, rows)
	screen := term.screen
	typed := make(chan string, 64)
	term.typed = typed
	go write(master, typed)
	go sendAnswers(screen, typed)
	b := newBacklog()
	go b.fill(master)
	go func() {
		for {
			text, ok := b.take()
			if !ok {
				break
			}
			term.mu.Lock()
			screen.Write(text)
			term.version++
			term.mu.Unlock()
			t.notify()
		}
		term.mu.Lock() // the shell has ended
		mine := term.master == master
		if mine {
			term.master = nil
			term.version++
		}
		term.mu.Unlock()
		if mine {
			shell.Wait()
			master.Close()
		}
		screen.Close()
		t.notify()
	}()
	return nil
}

// write writes what was typed, and what the screen answers. A program that does not read
// holds up nothing else.
func write(master *os.File, typed <-chan string) {
	for text := range typed {
		if _, err := master.WriteString(text); err != nil {
			return
		}
	}
}

// sendAnswers reads what the screen answers to programs, such as the cursor's position. The
// screen would wait for a reader, so it always has one.
func sendAnswers(screen io.Reader, typed chan<- string) {
	buf := make([]byte, 4096)
	for {
		n, err := screen.Read(buf)
		if err != nil {
			return
		}
		select {
		case typed <- string(buf[:n]):
		default: // nobody reads it
		}
	}
}

// A backlog holds what was printed and is not on the screen yet.
type backlog struct {
	mu      sync.Mutex
	changed *sync.Cond // on mu
	text    []byte
	ended   bool
}

const longestBacklog = 128 << 10 // bytes

func newBacklog() *backlog {
	b := &backlog{}
	b.changed = sync.NewCond(&b.mu)
	return b
}

// fill appends what is printed. If the screen is far behind, as with yes(1), lines that
// nobody could have read are left out.
func (b *backlog) fill(printed io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := printed.Read(buf)
		b.mu.Lock()
		b.text = append(b.text, buf[:n]...)
		if len(b.text) > longestBacklog {
			b.text = b.text[len(b.text)-longestBacklog/2:]
			b.text = b.text[bytes.IndexByte(b.text, '\n')+1:]
		}
		b.ended = err != nil
		b.mu.Unlock()
		b.changed.Signal()
		if err != nil {
			return
		}
	}
}

// take waits for text and returns all of it, or false at the end.
func (b *backlog) take() (text []byte, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.text == nil && !b.ended {
		b.changed.Wait()
	}
	text, b.text = b.text, nil
	return text, text != nil
}

// A picture is what the page shows of a terminal.
type picture struct {
	Number  int      `json:"number"`
	Lines   [][]span `json:"lines"`
	Cursor  [2]int   `json:"cursor"` // column and row
	Running bool     `json:"running"`
}

// A span is text in one style: bold, faint, reverse, and c0 to c15 for colours.
type span struct {
	Text  string `json:"t"`
	Class string `json:"c,omitempty"`
}

// picture returns what is on the screen. term.mu must be held.
func (term *terminal) picture() picture {
	p := picture{Number: term.number, Lines: [][]span{}, Running: term.master != nil}
	if term.screen == nil {
		return p
	}
	at := term.screen.CursorPosition()
	p.Cursor = [2]int{at.X, at.Y}
	for y := range rows {
		var line []span
		var text strings.Builder
		class := ""
		flush := func() {
			if text.Len() > 0 {
				line = append(line, span{text.String(), class})
			}
			text.Reset()
		}
		for x := 0; x < columns; {
			cell := term.screen.CellAt(x, y)
			content, of, width := " ", "", 1
			if cell != nil {
				if cell.Content != "" {
					content = cell.Content
				}
				of, width = classOf(cell.Style), max(1, cell.Width)
			}
			if of != class {
				flush()
				class = of
			}
			text.WriteString(content)
			x += width
		}
		flush()
		p.Lines = append(p.Lines, line)
	}
	return p
}

func classOf(s uv.Style) string {
	var classes []string
	if s.Attrs&uv.AttrBold != 0 {
		classes = append(classes, "bold")
	}
	if s.Attrs&uv.AttrFaint != 0 {
		classes = append(classes, "faint")
	}
	if s.Attrs&uv.AttrReverse != 0 {
		classes = append(classes, "reverse")
	}
	if n, ok := indexOf(s.Fg); ok {
		classes = append(classes, "c"+strconv.Itoa(n))
	}
	return strings.Join(classes, " ")
}

// indexOf returns which of the 16 usual colours a colour is.
func indexOf(c color.Color) (int, bool) {
	switch c := c.(type) {
	case ansi.BasicColor:
		return int(c), true
	case ansi.IndexedColor:
		return int(c), c < 16
	}
	return 0, false
}

// events streams the terminals' screens as server-sent events, each when it has changed.
func (t *terminals) events(w http.ResponseWriter, r *http.Request) {
	events := newEvents(w, r)
	var seen [terminalCount]int
	for i := range seen {
		seen[i] = -1
	}
	for {
		t.mu.Lock()
		changed := t.changed
		t.mu.Unlock()
		for i, term := range t.all {
			term.mu.Lock()
			if term.version == seen[i] {
				term.mu.Unlock()
				continue
			}
			seen[i] = term.version
			p := term.picture()
			term.mu.Unlock()
			text, _ := json.Marshal(p)
			if events.send(text) != nil {
				return
			}
		}
		if !events.pause(sendPause) {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed: // since before this picture
		}
	}
}

// keys writes what was typed into a terminal.
func (t *terminals) keys(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.PathValue("number"))
	if err != nil || n < 1 || n > terminalCount {
		http.Error(w, "there is no such terminal", http.StatusNotFound)
		return
	}
	var text string
	if !receive(w, r, &text) {
		return
	}
	term := t.all[n-1]
	if err := t.start(term); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	term.mu.Lock()
	typed := term.typed
	term.mu.Unlock()
	select {
	case typed <- text:
		w.WriteHeader(http.StatusNoContent)
	case <-time.After(time.Second):
		http.Error(w, "the program in this terminal does not read", http.StatusServiceUnavailable)
	}
}
