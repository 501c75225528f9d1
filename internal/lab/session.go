// Package lab makes one system call for each line that it is given, and
// answers as strace(1) would print it, with the names of the lab's objects in
// place of descriptor numbers:
//
//	add e a in,et
//	epoll_ctl(e, EPOLL_CTL_ADD, a, {EPOLLIN|EPOLLET, a}) = 0
//
// A [Session] knows nothing of terminals: it is given lines and returns
// [Result]s. [Run] drives one from a file, [Replay] from a transcript.
//
// # Descriptors
//
// A closed number is free, and the kernel gives it to the next object. That is
// something to be shown, but in a process that does other things, too, the next
// one may be anybody's. So each session moves what it makes to a range of
// numbers that nobody else uses, since the kernel hands out the lowest: no line
// reaches a descriptor that is not the session's own.
//
// # Calls that sleep
//
// They do so on a thread of their own, and a signal ends them: EINTR is what
// the kernel then says. See [Session.Patience] and sleep.go.
package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Session is a set of named objects, and the lines that act on them. It must
// be closed, and is for one goroutine at a time.
type Session struct {
	// Raw has real descriptor numbers and data printed in place of names.
	Raw bool

	// Patience is how long a call may sleep that would sleep for ever if
	// nothing happened. 0 is for people: until the context of Do ends.
	Patience time.Duration

	// Longest is what sleep, alarm and a wait may take: [New] says 60 s.
	Longest time.Duration

	slot   int // of the ranges of descriptor numbers, ours
	names  map[string]*object
	open   map[int]*object // by number: what it means to the kernel now
	byID   []*object
	counts map[string]tally
	alarm  *time.Duration // set by alarm for the next call that sleeps
	filed  int            // bytes written to files

	answer   string // the last one, for expect
	lastCall string // for help ERRNO
}

// An object is what a name stands for: a descriptor number. It may be closed by
// now, or stand for a younger object.
type object struct {
	name string
	kind string // pair, tcp, pipe, epoll, …
	fd   int
	id   int // goes to the kernel with fd as an event's data, and comes back
}

type tally struct{ calls, errors int }

// A Result is what a line led to.
type Result struct {
	Command string   // its name; "" for a blank line
	Calls   []Call   // those that are shown; repeat and until leave out the middle
	Lines   []string // the answer, for people
	Err     *Error   // if the line was not understood, or did not end well
	Quit    bool     // the user wants to leave
}

// A Call is a system call and what the kernel answered.
type Call struct {
	Name   string   // as in section 2 of the manual
	Args   []string // as printed
	Value  int      // what it returned, -1 for an error
	Errno  unix.Errno
	Answer string // Value as printed: "5", or the name of a new object
}

// String returns the call as strace prints it.
func (c Call) String() string {
	answer := c.Answer
	if c.Errno != 0 {
		text := c.Errno.Error()
		answer = fmt.Sprintf("-1 %s (%s)", errnoName(c.Errno), upperFirst(text))
	}
	return c.Name + "(" + strings.Join(c.Args, ", ") + ") = " + answer
}

// errnoName is the name by which the kernel calls it. Of two names for one
// number, unix has the C library's.
func errnoName(e unix.Errno) string {
	if e == unix.EOPNOTSUPP {
		return "EOPNOTSUPP"
	}
	return unix.ErrnoName(e)
}

// Kind says what sort of an error it is. (That a system call fails is none: it
// is the answer.)
type Kind string

const (
	Misuse Kind = "misuse" // the line has no meaning, and nothing was done
	Asleep Kind = "asleep" // a call slept for longer than Session.Patience
	Unmet  Kind = "unmet"  // the last answer is not what expect says
)

// Error is an error of the user's. The column is in characters, from 1.
type Error struct {
	Kind   Kind
	Column int
	Text   string
}

func (e *Error) Error() string { return e.Text }

// Each session has a range of this many numbers, from firstFD on.
const (
	maxObjects = 64
	firstFD    = 100
)

var slots struct {
	sync.Mutex
	taken []bool
}

// New returns a session without objects.
func New() *Session {
	s := &Session{
		Longest: time.Minute,
		names:   make(map[string]*object),
		open:    make(map[int]*object),
		counts:  make(map[string]tally),
	}
	slots.Lock()
	defer slots.Unlock()
	if s.slot = slices.Index(slots.taken, false); s.slot < 0 {
		s.slot = len(slots.taken)
		slots.taken = append(slots.taken, false)
	}
	slots.taken[s.slot] = true
	return s
}

// Close closes all that the session has open, and ends it.
func (s *Session) Close() error {
	var errs []error
	for fd := range s.open {
		errs = append(errs, unix.Close(fd))
	}
	clear(s.open)
	clear(s.names)
	slots.Lock()
	defer slots.Unlock()
	slots.taken[s.slot] = false
	return errors.Join(errs...)
}

// Do runs one line. When ctx ends, so does a call that sleeps.
func (s *Session) Do(ctx context.Context, line string) Result {
	r := s.do(ctx, line)
	awaitArrival()
	if len(r.Calls) > 0 {
		s.lastCall = r.Calls[len(r.Calls)-1].Name
	}
	if len(r.Lines) > 0 {
		s.answer = strings.Join(r.Lines, "\n")
	}
	return r
}

// answered matches what the kernel has answered in a transcript.
var answered = regexp.MustCompile(`^\w+\(.*\) += `)

func (s *Session) do(ctx context.Context, line string) Result {
	r := &run{Session: s, ctx: ctx}
	line = strings.TrimPrefix(line, Prompt) // it was copied from a transcript
	if answered.MatchString(line) {
		return r.Result
	}
	words, err := split(line)
	if err == nil && len(words) > 0 {
		var do func(*run, []arg) error
		var args []arg
		if do, args, err = s.parse(words); err == nil {
			r.Command = words[0].text
			err = do(r, args)
		}
	}
	if err == nil && r.overslept {
		err = &Error{Kind: Asleep, Column: 1, Text: fmt.Sprintf("%s slept for %v, and nothing happened: interrupted by a signal", r.Calls[len(r.Calls)-1].Name, s.Patience)}
	}
	if err != nil && !errors.As(err, &r.Err) {
		r.Err = &Error{Kind: Misuse, Column: 1, Text: err.Error()}
	}
	return r.Result
}

// A run is a line that is being run.
type run struct {
	*Session
	Result
	ctx       context.Context
	overslept bool // a call was interrupted because patience was at its end
	signalled bool // SIGALRM was sent during a call
	ended     bool // a call was interrupted by wakeUp, whatever for
}

// made counts a call and describes it.
func (r *run) made(n int, err error, name string, args ...any) Call {
	c := Call{Name: name, Value: n, Answer: strconv.Itoa(n)}
	for _, a := range args {
		c.Args = append(c.Args, fmt.Sprint(a))
	}
	t := r.counts[name]
	t.calls++
	if err != nil {
		errors.As(err, &c.Errno)
		c.Value = -1
		t.errors++
	}
	r.counts[name] = t
	return c
}

// note counts a call that returned 0 or an error, and shows it.
func (r *run) note(err error, name string, args ...any) {
	r.show(r.made(0, err, name, args...))
}

// failed notes a call that only prepares something, if it failed.
func (r *run) failed(err error, name string, args ...any) bool {
	if err != nil {
		r.note(err, name, args...)
	}
	return err != nil
}

// show puts a call in the answer.
func (r *run) show(c Call) {
	r.Calls = append(r.Calls, c)
	r.print("%v", c)
	if r.signalled {
		r.signalled = false
		text := "--- SIGALRM ---"
		if r.ended {
			text += " and it slept on, by SA_RESTART, until the lab ended it"
		}
		r.print("%s", text)
	}
}

// print puts a line in the answer, or several.
func (r *run) print(format string, args ...any) {
	for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		r.Lines = append(r.Lines, strings.TrimRight(line, " "))
	}
}

// ref is an object as it is printed.
func (s *Session) ref(o *object) string {
	if s.Raw {
		return strconv.Itoa(o.fd)
	}
	return o.name
}

// data is what is registered with epoll_ctl(2): the number, as most programs
// do, and in the upper half whose it was then.
func (o *object) data() uint64 { return uint64(o.id)<<32 | uint64(o.fd) }

// of returns the object that was registered with this data.
func (s *Session) of(data uint64) *object { return s.byID[data>>32] }

// current returns what a number means now; nil if it is closed.
func (s *Session) current(o *object) *object { return s.open[o.fd] }

// closed says whether the object was closed, by its name or by another one.
func (s *Session) closed(o *object) bool { return s.current(o) != o }

// adopt moves a new descriptor to the session's range and names it.
func (s *Session) adopt(name, kind string, fd int) (*object, error) {
	first := firstFD + s.slot*maxObjects
	moved, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, first)
	unix.Close(fd)
	if err == nil && moved >= first+maxObjects {
		unix.Close(moved)
		err = unix.EMFILE
	}
	if err != nil {
		return nil, fmt.Errorf("no descriptor for %s: %w", name, err)
	}
	o := &object{name, kind, moved, len(s.byID)}
	s.byID = append(s.byID, o)
	s.names[name], s.open[moved] = o, o
	return o, nil
}

// adoptPair adopts what a call has put into an array, and returns that array as
// it is printed.
func (r *run) adoptPair(a []arg, kind string, fds [2]int, err error) (string, error) {
	if err != nil {
		return "...", nil
	}
	first, err := r.adopt(a[0].text, kind, fds[0])
	if err != nil {
		unix.Close(fds[1])
		return "", err
	}
	second, err := r.adopt(a[1].text, kind, fds[1])
	if err != nil {
		return "", err
	}
	return "[" + r.ref(first) + ", " + r.ref(second) + "]", nil
}

// create names the descriptor that a call has returned, and shows the call.
func (r *run) create(name, kind string, fd int, err error, call string, args ...any) (*object, error) {
	c := r.made(fd, err, call, args...)
	var o *object
	if err == nil {
		if o, err = r.adopt(name, kind, fd); err != nil {
			return nil, err
		}
		c.Value, c.Answer = o.fd, r.ref(o)
	}
	r.show(c)
	return o, nil
}

// objects returns what has a name, in the order in which it was made.
func (s *Session) objects() []*object {
	return slices.SortedFunc(maps.Values(s.names), func(a, b *object) int { return cmp.Compare(a.id, b.id) })
}
