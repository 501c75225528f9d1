package lab

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// This file contains the commands that make no system call, or several.

const (
	chunkSize     = 64 << 10 // of a read or write by until EAGAIN, as in the steps
	maxUntil      = 64 << 20 // bytes that until EAGAIN transfers in all
	maxFilesBytes = 1 << 20  // all files together, which never return EAGAIN
)

func (r *run) readAll(a []arg) error {
	buf := make([]byte, chunkSize)
	return r.until(a[0], func() (Call, error) { return r.readOnce(a[0].object, buf), nil })
}

func (r *run) writeAll(a []arg) error {
	data := alphabet(chunkSize)
	return r.until(a[0], func() (Call, error) {
		if err := r.roomFor(a[0], len(data)); err != nil {
			return Call{}, err
		}
		return r.writeOnce(a[0].object, data), nil
	})
}

// until repeats a call until it fails or returns 0, and shows the first and the
// last call.
func (r *run) until(a arg, call func() (Call, error)) (problem error) {
	var last Call
	calls, total := 0, 0
	for {
		c, err := call()
		if err != nil {
			problem = err
			break
		}
		last = c
		if calls++; calls == 1 {
			r.show(c)
		}
		total += max(c.Value, 0)
		if c.Value <= 0 || r.overslept || r.ctx.Err() != nil {
			break
		}
		if total >= maxUntil {
			problem = misuse(a.column, "%d bytes, and no end of it", total)
			break
		}
	}
	if calls > 2 {
		r.print("... %d more, %d bytes in all, then", calls-2, total)
	}
	if calls > 1 {
		r.show(last)
	}
	return problem
}

// roomFor returns an error if the lab's files may not grow by n bytes. They are
// in memory, so their size is limited. For other objects it returns nil.
func (r *run) roomFor(a arg, n int) error {
	o := r.current(a.object)
	if o == nil || o.kind != "file" {
		return nil
	}
	if r.filesBytes+n > maxFilesBytes {
		return misuse(a.column, "files of the lab get no more than %d bytes altogether, and never say EAGAIN", maxFilesBytes)
	}
	r.filesBytes += n
	return nil
}

func (r *run) setAlarm(a []arg) error {
	d := time.Duration(a[0].n) * time.Millisecond
	r.alarm = &d
	r.print("SIGALRM comes %v into the next call that sleeps", d)
	return nil
}

func (r *run) pause(a []arg) error {
	select {
	case <-r.ctx.Done():
	case <-time.After(time.Duration(a[0].n) * time.Millisecond):
	}
	return nil
}

// repeat shows the results of the first and the last time.
func (r *run) repeat(a []arg) error {
	if c := a[1].text; c == "repeat" || c == "quit" {
		return misuse(a[1].column, "%s cannot be repeated", c)
	}
	var last Result
	n := 0
	for n < a[0].n && r.ctx.Err() == nil && last.Err == nil {
		last = r.do(r.ctx, a[1].rest)
		if n++; n == 1 {
			r.append(last)
		}
	}
	if n > 2 {
		r.print("... %d more, then", n-2)
	}
	if n > 1 {
		r.append(last)
	}
	if last.Err != nil {
		last.Err.Column += a[1].column - 1
		if n > 1 {
			last.Err.Text += fmt.Sprintf(" (time %d of %d)", n, a[0].n)
		}
		return last.Err
	}
	return nil
}

func (r *run) append(other Result) {
	r.Calls = append(r.Calls, other.Calls...)
	r.Lines = append(r.Lines, other.Lines...)
}

// calls prints the table of strace -c without the columns for time.
func (r *run) calls([]arg) error {
	var all tally
	r.print("calls errors")
	for _, name := range slices.SortedFunc(maps.Keys(r.counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(r.counts[b].calls, r.counts[a].calls), cmp.Compare(a, b))
	}) {
		t := r.counts[name]
		r.print("%5d %6d %s", t.calls, t.errors, name)
		all.calls += t.calls
		all.errors += t.errors
	}
	r.print("%5d %6d in all", all.calls, all.errors)
	clear(r.counts)
	return nil
}

func (r *run) expect(a []arg) error {
	text := a[0].rest
	if words, _ := split(text); a[0].quoted && len(words) == 1 {
		text = a[0].text
	}
	if strings.Contains(r.answer, text) {
		return nil
	}
	return &Error{Unmet, a[0].column, fmt.Sprintf("expected %q, but the answer was %q", text, r.answer)}
}

func (r *run) quit([]arg) error {
	r.Quit = true
	return nil
}
