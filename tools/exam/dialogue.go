package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"

	"epoll-step-by-step/internal/exam"
)

// A dialogueFlags says what the server speaks.
type dialogueFlags struct {
	speaks                            string
	ask, reply, replyLike, replyUntil string
	replyBytes                        int
}

func newDialogueFlags(flags *flag.FlagSet) *dialogueFlags {
	d := new(dialogueFlags)
	flags.StringVar(&d.speaks, "speaks", "", "the `dialogue` of the server: "+strings.Join(exam.Spoken, ", ")+" (default echo)")
	flags.StringVar(&d.ask, "ask", "", "the `request` of a dialogue of your own, with escapes as in Go: 'PING\\r\\n';\n"+exam.IDMark+" is 16 digits that differ each time. Without any of the flags\nbelow, the examiner learns the reply by asking three times")
	flags.StringVar(&d.reply, "reply", "", "the `bytes` of the reply to -ask; may have "+exam.IDMark+", too")
	flags.StringVar(&d.replyLike, "reply-like", "", "a regular `expression` that the reply matches")
	flags.StringVar(&d.replyUntil, "reply-until", "", "the `bytes` that each reply ends in")
	flags.IntVar(&d.replyBytes, "reply-bytes", 0, "the `number` of bytes of each reply")
	return d
}

// dialogue returns what the flags say. Its error says what to do.
func (d *dialogueFlags) dialogue() (*exam.Dialogue, error) {
	replies := 0
	for _, given := range []bool{d.reply != "", d.replyLike != "", d.replyUntil != "" || d.replyBytes != 0} {
		if given {
			replies++
		}
	}
	switch {
	case d.ask == "" && replies > 0:
		return nil, errors.New("-reply… is the reply to a request: give -ask, too")
	case d.ask != "" && d.speaks != "":
		return nil, errors.New("-speaks names a request and its reply, -ask gives them: give only one of them")
	case d.ask == "":
		return exam.Speaks(cmp.Or(d.speaks, "echo"))
	case d.reply != "" && replies > 1:
		return nil, errors.New("-reply is the whole reply: give it alone, or -reply-like with -reply-until or -reply-bytes")
	case d.replyUntil != "" && d.replyBytes != 0:
		return nil, errors.New("-reply-until and -reply-bytes both say where a reply ends: give one of them")
	case d.replyBytes < 0:
		return nil, errors.New("-reply-bytes: want a number above 0")
	}
	var texts [3]string
	for i, text := range []string{d.ask, d.reply, d.replyUntil} {
		var err error
		if texts[i], err = unescape(text); err != nil {
			return nil, err
		}
	}
	ask, reply, until := texts[0], texts[1], texts[2]
	if reply != "" {
		return exam.NewDialogue(d.ask, ask, reply)
	}
	var ending exam.Ending
	switch {
	case until != "":
		ending = exam.EndsWith(until)
	case d.replyBytes > 0:
		ending = exam.EndsAfter(d.replyBytes)
	}
	if d.replyLike != "" {
		var err error
		if ending, err = exam.Like(d.replyLike, ending); err != nil {
			return nil, fmt.Errorf("-reply-like %s: %w", d.replyLike, err)
		}
	}
	if ending == nil {
		return exam.LearnDialogue(d.ask, ask)
	}
	return exam.NewUnknownDialogue(d.ask, ask, ending)
}

// unescape reads the escapes of a Go string without its quotes.
func unescape(text string) (string, error) {
	var b strings.Builder
	for rest := text; rest != ""; {
		r, multibyte, tail, err := strconv.UnquoteChar(rest, 0)
		if err != nil {
			return "", fmt.Errorf("%s: %q is no escape of a Go string; a backslash itself is \\\\", text, rest[:min(len(rest), 4)])
		}
		if multibyte {
			b.WriteRune(r)
		} else {
			b.WriteByte(byte(r))
		}
		rest = tail
	}
	return b.String(), nil
}
