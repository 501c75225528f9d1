// Package terminal knows terminals: whether a file is one, how large it is, whether
// it shows colours, and the control sequences that it understands: console_codes(4).
package terminal

import (
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Is reports whether f is a terminal. For other files TCGETS fails with ENOTTY.
func Is(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Size returns the size of the terminal f in characters. The default is 80 columns and
// 24 rows: for other files, and for a serial line, which does not know its size.
func Size(f *os.File) (columns, rows int) {
	columns, rows = 80, 24
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return columns, rows
	}
	if size.Col > 0 {
		columns = int(size.Col)
	}
	if size.Row > 0 {
		rows = int(size.Row)
	}
	return columns, rows
}

// CanRedraw reports whether f is a terminal that understands control sequences. One
// with TERM=dumb does not.
func CanRedraw(f *os.File) bool {
	return Is(f) && os.Getenv("TERM") != "dumb"
}

// Colour reports whether to print colours to f: it is a terminal that understands
// control sequences, and NO_COLOR is unset or empty.
func Colour(f *os.File) bool {
	return CanRedraw(f) && os.Getenv("NO_COLOR") == ""
}

// A Style is a colour or an emphasis: the parameter of SGR, "select graphic rendition".
type Style string

// The styles that the tools use.
const (
	Plain   Style = ""
	Bold    Style = "1"
	Faint   Style = "2"
	Red     Style = "31"
	Green   Style = "32"
	Yellow  Style = "33"
	Magenta Style = "35"
	Cyan    Style = "36"
)

// Paint returns text in a style. Text that is plain or empty is returned as it is.
func Paint(text string, style Style) string {
	if style == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(style) + "m" + text + "\x1b[0m"
}

// Control sequences that move the cursor and clear parts of the screen.
const (
	ClearLine    = "\r\x1b[K" // clears the cursor's line and returns to its start
	ClearToRight = "\x1b[K"   // clears from the cursor to the end of its line
	ClearBelow   = "\x1b[J"   // clears from the cursor to the end of the screen
	Home         = "\x1b[H"   // moves the cursor to the top left corner

	// A program that fills the screen draws on the alternate one (xterm's mode 1049)
	// without a cursor. Leaving it restores the previous contents.
	EnterAlternate = "\x1b[?1049h\x1b[?25l"
	LeaveAlternate = "\x1b[?25h\x1b[?1049l"
)

// Columns returns the number of columns that text takes. It counts one for each
// character and none for the sequences of [Paint].
func Columns(text string) int {
	n := 0
	for {
		before, after, found := strings.Cut(text, "\x1b[")
		n += utf8.RuneCountInString(before)
		if !found {
			return n
		}
		_, text, _ = strings.Cut(after, "m")
	}
}

// Cut shortens text that is not painted to width columns. An ellipsis replaces the rest.
func Cut(text string, width int) string {
	if runes := []rune(text); len(runes) > width {
		return string(runes[:max(0, width-1)]) + "…"
	}
	return text
}

// Wrap breaks text between words into lines of at most width columns. The first line
// begins with head, the others with indent spaces. A word that is too long for any line
// is not broken: its line is too long.
func Wrap(head, text string, indent, width int) []string {
	var lines []string
	line, column, empty := head, Columns(head), true
	for _, word := range strings.Fields(text) {
		n := Columns(word)
		if !empty && column+1+n > width {
			lines = append(lines, line)
			line, column, empty = strings.Repeat(" ", indent), indent, true
		}
		if !empty {
			line, column = line+" ", column+1
		}
		line, column, empty = line+word, column+n, false
	}
	return append(lines, strings.TrimRight(line, " "))
}
