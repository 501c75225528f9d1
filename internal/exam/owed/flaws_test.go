package owed

import (
	"strings"
	"testing"
)

func TestFlawOf(t *testing.T) {
	nuls := strings.Repeat("\x00", 496)
	values := make([]byte, 256)
	for i := range values {
		values[i] = byte(i)
	}
	every := string(values)
	shown := make(map[string]bool)
	for _, tt := range []struct {
		earlier, sent, got string
		flaw               string // "" for none
		saw                string // part of it
	}{
		{"", hello, hello, "", ""},
		{"", every, every, "", ""},

		{"", hello, hello + nuls, "whole buffer", "512 bytes for 16, the last 496 of them NUL"},
		{"", hello, hello + "\x90\x01\x7f", "whole buffer, uninitialised", "19 bytes for 16"},
		{"", hello, hello + nuls[:8] + "\xff\x7f", "whole buffer, uninitialised", ""},
		{hello, brief, brief + hello[len(brief):], "earlier bytes", "16 bytes for 3"},
		{hello, brief, brief + hello[len(brief):] + nuls, "earlier bytes", ""},
		{"", hello, hello + "\x00", "NUL added", "17 bytes for 16"},
		{"", hello, hello + "\n", "line end added", ""},
		{hello, brief, brief + "\r\n", "line end added", ""},
		{"", hello, hello + hello, "twice", ""},
		{"", hello, hello + "ok\n", "text behind", `"ok\n"`},

		{"", hello, "Hello, E", "size of a pointer", `8 of 16 bytes: "Hello, E" without`},
		{"", hello, hello[:15], "no line end", `"Hello, Examiner" without "\n"`},
		{"", "ab\r\n", "ab", "no line end", ""},
		{"", hello, "Hell", "too few", "4 of 16"},
		{"", hello, "", "too few", "none of 16"},
		{"", "ab\x00cd", "ab", "ends at NUL", ""},
		{"", every, "", "ends at NUL", "none of 256"},
		{"", "a\nb\ncd", "a\nb\n", "waits for a line", ""},

		{"", hello, "HELLO, EXAMINER\n", "case", ""},
		{"", hello, "hello, examiner\n", "case", ""},
		{"", hello, "Hello, Examiner\r\n", "line ends changed", ""},
		{"", "a\r\nb\r\n", "a\nb\n", "line ends changed", ""},
		{"", every, every[:128] + strings.Repeat("\uFFFD", 128), "UTF-8", "at byte 128"},
		{"", every, every[:128], "UTF-8", ""},
		{"", "\xe9t\xe9", "\u00e9t\u00e9", "UTF-8", ""},
		{"", every, every[:128] + every[:128], "seven bits", ""},
		{"", hello, "renimaxE ,olleH\n", "reversed", ""},
		{"", hello, "\nrenimaxE ,olleH", "reversed", ""},

		{"", hello, "Echo: " + hello, textBefore, `"Echo: Hello, Examiner\n"`},
		{"", hello, "Server received 16 bytes: Hello, Examiner", textBefore, ""},
		{"", hello, "Welcome!\n" + hello, textBefore, ""},
		{"", hello, "-ERR unknown command 'Hello,'\r\n", otherBytes, ""},
		{"", hello, "HTTP/1.1 400 Bad Request\r\n\r\n", otherBytes, ""},
		{"", hello, nuls, otherBytes, ""},
	} {
		shown[tt.flaw] = true
		f := flawOf(tt.earlier, tt.sent, tt.got)
		switch {
		case f == nil && tt.flaw != "":
			t.Errorf("%q for %q: no flaw, want %q", tt.got, tt.sent, tt.flaw)
		case f != nil && (f.name != tt.flaw || !strings.Contains(f.saw, tt.saw) || f.usually == ""):
			t.Errorf("%q for %q: %q, saw %q; want %q, %q", tt.got, tt.sent, f.name, f.saw, tt.flaw, tt.saw)
		}
	}
	for _, f := range flaws {
		if !shown[f.name] {
			t.Errorf("no row shows %q", f.name)
		}
	}
}
