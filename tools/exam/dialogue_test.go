package main

import (
	"flag"
	"io"
	"strings"
	"testing"
)

func TestDialogueFlags(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args  string // words
		name  string // of the dialogue
		fails string // part of the error
	}{
		{"", "echo", ""},
		{"-speaks redis", "redis", ""},
		{`-ask PING\r\n -reply +PONG\r\n`, `PING\r\n`, ""},
		{`-ask PING\r\n`, `PING\r\n`, ""},
		{`-ask t\n -reply-until \n`, `t\n`, ""},
		{`-ask t\n -reply-until \n -reply-like \d+\n`, `t\n`, ""},
		{`-ask t\n -reply-bytes 5`, `t\n`, ""},
		{`-ask \x00\377"' -reply \u00fc`, `\x00\377"'`, ""},

		{"-speaks gopher", "", "there is no dialogue"},
		{"-reply x", "", "give -ask"},
		{"-speaks redis -ask x", "", "only one of them"},
		{"-ask x -reply y -reply-bytes 1", "", "-reply is the whole reply"},
		{"-ask x -reply-until y -reply-bytes 1", "", "give one of them"},
		{"-ask x -reply-bytes -1", "", "above 0"},
		{"-ask x -reply-like (", "", "-reply-like ("},
		{`-ask \q -reply x`, "", "no escape of a Go string"},
		{`-ask x\ -reply x`, "", "no escape of a Go string"},
	} {
		flags := flag.NewFlagSet("exam", flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		d := newDialogueFlags(flags)
		if err := flags.Parse(strings.Fields(tt.args)); err != nil {
			t.Fatalf("%s: %v", tt.args, err)
		}
		got, err := d.dialogue()
		switch {
		case tt.fails != "":
			if err == nil || !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("%s: got error %v, want one with %q", tt.args, err, tt.fails)
			}
		case err != nil:
			t.Errorf("%s: %v", tt.args, err)
		case got.Name != tt.name:
			t.Errorf("%s: got dialogue %q, want %q", tt.args, got.Name, tt.name)
		}
	}
}

func TestUnescape(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{`PING\r\n`: "PING\r\n", `\x00\377`: "\x00\xff", `"'ü`: `"'ü`, `a\\b`: `a\b`, "": ""} {
		if got, err := unescape(text); got != want || err != nil {
			t.Errorf("%s: got %q, %v; want %q", text, got, err, want)
		}
	}
}
