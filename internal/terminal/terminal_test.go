package terminal

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal returns a pseudoterminal of this size: pty(7).
func openTerminal(t *testing.T, columns, rows uint16) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return slave
}

func openOther(t *testing.T) []*os.File {
	t.Helper()
	regular, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	device, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	files := []*os.File{regular, device, r, w}
	t.Cleanup(func() {
		for _, f := range files {
			f.Close()
		}
	})
	return files
}

func TestIs(t *testing.T) {
	if f := openTerminal(t, 80, 24); !Is(f) {
		t.Errorf("%s is not a terminal", f.Name())
	}
	for _, f := range openOther(t) {
		if Is(f) {
			t.Errorf("%s is a terminal", f.Name())
		}
	}
}

func TestSize(t *testing.T) {
	check := func(f *os.File, columns, rows int) {
		t.Helper()
		if c, r := Size(f); c != columns || r != rows {
			t.Errorf("%s: %d columns and %d rows, want %d and %d", f.Name(), c, r, columns, rows)
		}
	}
	check(openTerminal(t, 100, 40), 100, 40)
	check(openTerminal(t, 0, 0), 80, 24)
	check(openTerminal(t, 100, 0), 100, 24)
	for _, f := range openOther(t) {
		check(f, 80, 24)
	}
}

func TestColour(t *testing.T) {
	f := openTerminal(t, 80, 24)
	for _, tt := range []struct {
		noColour, term string
		redraw, colour bool
	}{
		{"", "xterm", true, true},
		{"", "", true, true},
		{"", "dumb", false, false},
		{"1", "xterm", true, false},
		{"1", "dumb", false, false},
	} {
		t.Setenv("NO_COLOR", tt.noColour)
		t.Setenv("TERM", tt.term)
		if redraw, colour := CanRedraw(f), Colour(f); redraw != tt.redraw || colour != tt.colour {
			t.Errorf("NO_COLOR=%s TERM=%s: redraw %t, colour %t; want %t, %t",
				tt.noColour, tt.term, redraw, colour, tt.redraw, tt.colour)
		}
	}
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	for _, f := range openOther(t) {
		if CanRedraw(f) || Colour(f) {
			t.Errorf("%s: redraw or colour", f.Name())
		}
	}
}

func TestPaint(t *testing.T) {
	for _, tt := range []struct {
		text  string
		style Style
		want  string
	}{
		{"text", Red, "\x1b[31mtext\x1b[0m"},
		{"text", Plain, "text"},
		{"", Red, ""},
	} {
		if got := Paint(tt.text, tt.style); got != tt.want {
			t.Errorf("Paint(%q, %q) = %q, want %q", tt.text, tt.style, got, tt.want)
		}
	}
}

func TestColumns(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "né…": 3, Paint("PASS", Green): 4, "a" + Paint("b", Bold) + "c": 3,
	} {
		if got := Columns(text); got != want {
			t.Errorf("Columns(%q) = %d, want %d", text, got, want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		width int
		want  string
	}{{4, "né12"}, {3, "né…"}, {1, "…"}, {0, "…"}} {
		if got := Cut("né12", tt.width); got != tt.want {
			t.Errorf("width %d: %q, want %q", tt.width, got, tt.want)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		head, text string
		width      int
		want       []string
	}{
		{"", "", 10, []string{""}},
		{"head  ", "", 10, []string{"head"}},
		{"> ", "one  two\nthree", 9, []string{"> one two", "  three"}},
		{"> ", "one two", 8, []string{"> one", "  two"}},
		{Paint(">", Red) + " ", "one two", 9, []string{Paint(">", Red) + " one two"}},
		{"> ", "longer words stay", 4, []string{"> longer", "  words", "  stay"}},
	} {
		if got := Wrap(tt.head, tt.text, 2, tt.width); !slices.Equal(got, tt.want) {
			t.Errorf("Wrap(%q, %q, 2, %d) = %q, want %q", tt.head, tt.text, tt.width, got, tt.want)
		}
	}
}
