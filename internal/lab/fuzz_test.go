package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// runWithoutWaiting runs lines in a session that hardly waits. It checks that all
// lines return and that no descriptor is left open.
func runWithoutWaiting(t *testing.T, lines []string) {
	before := descriptors(t)
	s := New()
	s.Patience, s.Longest = time.Millisecond, time.Millisecond
	for _, line := range lines {
		hangs := time.AfterFunc(time.Minute, func() { panic(fmt.Sprintf("%q does not return", line)) })
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		s.Do(ctx, line)
		cancel()
		s.Complete(line)
		hangs.Stop()
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v, after\n%s", err, strings.Join(lines, "\n"))
	}
	if after := descriptors(t); !slices.Equal(before, after) {
		t.Errorf("got %d open descriptors, want the %d of before, after\n%s", len(after), len(before), strings.Join(lines, "\n"))
	}
}

// inputs returns the commands of a transcript.
func inputs(tr transcript) []string {
	var lines []string
	for line := range strings.Lines(tr.text) {
		if line, ok := strings.CutPrefix(line, Prompt); ok {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

func FuzzLines(f *testing.F) {
	for _, tr := range transcripts(f) {
		f.Add(strings.Join(inputs(tr), "\n"))
	}
	f.Fuzz(func(t *testing.T, script string) {
		lines := strings.Split(script, "\n")
		runWithoutWaiting(t, lines[:min(len(lines), 100)])
	})
}

// TestRandomLines is a reproducible fuzz test. Its lines fit a form of the table,
// most of them exactly.
func TestRandomLines(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		lines := strings.Split("pair a b\nepoll e\nadd e a in,et\nadd e b in,out\nfcntl b -O_NONBLOCK\nlisten d", "\n")
		for range 100 {
			lines = append(lines, randomLine(random))
		}
		runWithoutWaiting(t, lines)
	}
}

func randomLine(random *rand.Rand) string {
	c := Commands[random.IntN(len(Commands))]
	if random.IntN(2) == 0 { // prefer commands that create objects
		c = Commands[random.IntN(slices.Index(commandNames(), "add"))]
	}
	line := c.Name
	for _, p := range params(c.forms[random.IntN(len(c.forms))].args) {
		switch random.IntN(40) {
		case 0:
			continue
		case 1:
			line += ` "text"`
		}
		line += " " + randomWord(random, p)
	}
	return line
}

func randomWord(random *rand.Rand, p param) string {
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	switch {
	case p.isNew(), p.isObject():
		return pick("a", "b", "c", "d", "e", "f", "g", "h")
	case p.text == "EVENTS":
		return pick("in", "in,et", "in,out,et", "out", "0", "in,oneshot", "in,exclusive", "rdhup,pri,et,wakeup", "frob")
	case p.text == `"text"`:
		return pick(`"hello"`, `""`, `"\x00\xff"`, `"unfinished`)
	case p.isRest(), p.isWord():
		return pick("wait e", "read a", `write b "x"`, "EAGAIN", "show", "EINVAL")
	case p.choices() != nil:
		return pick(p.choices()...)
	}
	return fmt.Sprint([]int{-1, 0, 1, 2, 8, 100, 65536, 1 << 20, 1 << 40}[random.IntN(9)])
}
