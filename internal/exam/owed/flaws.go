package owed

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"epoll-step-by-step/internal/exam"
)

// A flaw is a way in which an answer differs from the message.
type flaw struct {
	name    string
	saw     string // what came back
	usually string
}

// Names of flaws that firstContact looks at.
const (
	textBefore = "text before"
	otherBytes = "other bytes"
)

const (
	useCount     = "in place of the number that read(2) returned"
	waitsForLine = "a line is waited for, as fgets(3), getline(3) and readline() do. TCP has no lines: a client may send a part of one and wait. Send back what read(2) returned"
)

// flaws has the flaws that can be told from a message and its answer. The first that
// matches counts. earlier is the message before, which the server's buffer may still
// hold.
var flaws = []struct {
	name    string
	match   func(earlier, sent, got string) bool
	usually string
}{
	{"UTF-8", func(_, sent, got string) bool {
		return !utf8.ValidString(sent) && (got == decoded(sent) || got == latin1(sent) || got == strings.ToValidUTF8(sent, ""))
	},
		"the bytes are decoded as text and encoded again, which changes those from 0x80 on: in node, keep the Buffer; in Python, do not decode(); in Java, no Reader"},
	{"ends at NUL", func(_, sent, got string) bool { return shorter(sent, got) && sent[len(got)] == 0 },
		"bytes are treated as a C string, which a NUL ends, by strlen(3), strcpy(3) or printf(3). They may have any value: use the number that read(2) returned"},
	{"no line end", func(_, sent, got string) bool {
		return shorter(sent, got) && got != "" && got == strings.TrimRight(sent, "\r\n")
	},
		"the line end is cut off when the line is read, as by strtok(3), strip() or bufio.Scanner, and is not sent back"},
	{"size of a pointer", func(_, sent, got string) bool { return shorter(sent, got) && len(got) == 8 && len(sent) > 8 },
		"write(fd, buf, sizeof buf), where buf is a pointer: its size is 8, " + useCount},
	{"waits for a line", func(_, sent, got string) bool {
		return shorter(sent, got) && strings.HasSuffix(got, "\n") && !strings.Contains(sent[len(got):], "\n")
	},
		waitsForLine},
	{"too few", func(_, sent, got string) bool { return shorter(sent, got) },
		"write(2) is given another number than read(2) returned; or it returned less than it was given, and the rest was dropped"},

	{"line end added", func(_, sent, got string) bool { return got == sent+"\n" || got == sent+"\r\n" },
		"a line end is added, as by puts(3) or println: an echo server sends back the client's bytes and nothing else"},
	{"NUL added", func(_, sent, got string) bool { return got == sent+"\x00" },
		"write(fd, buf, n + 1), or strlen(buf) + 1: the NUL that ends a C string in memory is sent as well"},
	{"whole buffer", func(_, sent, got string) bool {
		return longer(sent, got) && strings.Trim(got[len(sent):], "\x00") == ""
	},
		"write(fd, buf, sizeof buf) " + useCount},
	{"twice", func(_, sent, got string) bool { return got == sent+sent },
		"each message is written twice"},
	{"earlier bytes", func(earlier, sent, got string) bool {
		return longer(sent, got) && len(earlier) > len(sent) && strings.HasPrefix(got[len(sent):], earlier[len(sent):])
	},
		"write(fd, buf, strlen(buf)), or sizeof buf, " + useCount + ": behind the message, the buffer still holds an earlier one"},
	{"whole buffer, uninitialised", func(_, sent, got string) bool { return longer(sent, got) && !isText(got[len(sent):]) },
		"write(fd, buf, sizeof buf) " + useCount + ": behind the message, the buffer holds anything"},
	{"text behind", longerText,
		"text is added to the message: an echo server sends back the client's bytes and nothing else"},

	{"case", func(_, sent, got string) bool { return len(got) == len(sent) && strings.EqualFold(got, sent) },
		"the case of letters is changed, as by toupper(3) or tolower(3): an echo server sends back the bytes as they are"},
	{"line ends changed", func(_, sent, got string) bool { return got != "" && lineEnds(got) == lineEnds(sent) },
		"line ends are changed, as by a layer for text: LF to CR LF, or CR LF to LF. Read and write bytes"},
	{"seven bits", func(_, sent, got string) bool { return got == sevenBits(sent) },
		"the highest bit of each byte is cleared: bytes may have any value"},
	{"reversed", func(_, sent, got string) bool {
		return got == reversed(sent) || got == reversed(strings.TrimRight(sent, "\n"))+"\n"
	},
		"the message is reversed: an echo server sends back the bytes in their order"},
	{textBefore, func(_, sent, got string) bool {
		text := strings.TrimRight(sent, "\r\n")
		return text != "" && strings.Contains(got, text)
	},
		"text is put around the message, as by printf(3): an echo server sends back the client's bytes and nothing else"},
	{otherBytes, func(_, _, _ string) bool { return true },
		"other bytes come back than were sent"},
}

// flawOf returns how the answer differs from the message, or nil if it does not.
func flawOf(earlier, sent, got string) *flaw {
	if got == sent {
		return nil
	}
	for _, f := range flaws {
		if f.match(earlier, sent, got) {
			return &flaw{f.name, difference(sent, got), f.usually}
		}
	}
	return nil
}

// difference puts into words how the answer differs.
func difference(sent, got string) string {
	extra, begins := strings.CutPrefix(got, sent)
	switch nuls := strings.Trim(extra, "\x00") == ""; {
	case begins && len(extra) == 1:
		return fmt.Sprintf("%d bytes for %d: the last one is %q", len(got), len(sent), extra)
	case begins && nuls:
		return fmt.Sprintf("%d bytes for %d, the last %d of them NUL", len(got), len(sent), len(extra))
	case begins:
		return fmt.Sprintf("%d bytes for %d: behind the message, %s", len(got), len(sent), quote(extra))
	case got != "" && strings.HasPrefix(sent, got) && len(sent) <= exam.QuotedBytes:
		return fmt.Sprintf("%d of %d bytes: %s without %s", len(got), len(sent), quote(got), quote(sent[len(got):]))
	case got != "" && strings.HasPrefix(sent, got):
		return fmt.Sprintf("%d of %d bytes, and not those from %s on", len(got), len(sent), quote(sent[len(got):]))
	case got == "":
		return fmt.Sprintf("none of %d bytes, which begin with %s", len(sent), quote(sent))
	case len(sent) <= exam.QuotedBytes:
		return exam.Quote([]byte(got))
	}
	at := 0
	for at < len(got) && got[at] == sent[at] {
		at++
	}
	return fmt.Sprintf("%d bytes for %d: at byte %d, %s instead of %s", len(got), len(sent), at, quote(got[at:]), quote(sent[at:]))
}

// quote quotes all bytes of a text, or the first few of a long one, as ASCII.
func quote(text string) string {
	if len(text) > exam.QuotedBytes {
		return fmt.Sprintf("%+q …", text[:8])
	}
	return fmt.Sprintf("%+q", text)
}

func shorter(sent, got string) bool { return len(got) < len(sent) && strings.HasPrefix(sent, got) }

func longer(sent, got string) bool { return len(got) > len(sent) && strings.HasPrefix(got, sent) }

func longerText(_, sent, got string) bool { return longer(sent, got) }

// isText reports whether all bytes are printable or blank.
func isText(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool {
		return r < ' ' && !strings.ContainsRune("\t\r\n", r) || r == '\uFFFD' || r == '\x7f'
	})
}

func lineEnds(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

// decoded returns the text with U+FFFD for each byte that is not valid UTF-8.
func decoded(text string) string { return string([]rune(text)) }

// latin1 returns the text in UTF-8, if each byte is a character of ISO 8859-1.
func latin1(text string) string {
	runes := make([]rune, len(text))
	for i := range len(text) {
		runes[i] = rune(text[i])
	}
	return string(runes)
}

func sevenBits(text string) string {
	out := []byte(text)
	for i := range out {
		out[i] &= 0x7f
	}
	return string(out)
}

func reversed(text string) string {
	out := bytes.Clone([]byte(text))
	slices.Reverse(out)
	return string(out)
}
