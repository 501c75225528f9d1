// Package lab makes one system call for each line of input and prints it as
// strace(1) does, but with the names of the lab's objects in place of descriptor
// numbers:
//
//	add e a in,et
//	epoll_ctl(e, EPOLL_CTL_ADD, a, {EPOLLIN|EPOLLET, a}) = 0
//
// A [Session] takes lines and returns [Result]s; it does not use a terminal. [Run]
// runs a script in a session, and [Replay] a transcript.
//
// # Descriptors
//
// After close(2) the kernel may use the number for the next descriptor. The lab
// shows this. But in a process with other goroutines that next descriptor may
// not be the lab's. Therefore each session moves its descriptors to a range of
// its own. The kernel always returns the lowest free number, so nothing else in
// the process gets a number of this range, and no line can reach a descriptor
// outside it.
//
// # Calls that sleep
//
// A call that sleeps is locked to its thread. A signal interrupts it, and it
// fails with EINTR. See [Session.Patience] and sleep.go.
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

// A Session runs lines and keeps the objects that they create. It must be closed
// after use. Only one goroutine may use it at a time.
type Session struct {
	// Raw prints descriptor numbers and event data in place of names.
	Raw bool

	// Patience limits the time that a call without a timeout may sleep. 0 is
	// for interactive use: only the context of Do ends the call.
	Patience time.Duration

	// Longest limits the times given to sleep, alarm, timerfd and wait. [New]
	// sets it to 60 s.
	Longest time.Duration

	slot       int // index of the range of descriptor numbers
	names      map[string]*object
	open       map[int]*object  // by number: the object that has it now
	byID       []*object        // all objects ever made
	counts     map[string]tally // by call, since the last command calls
	alarm      *time.Duration   // set by alarm for the next call that sleeps
	filesBytes int              // bytes written to all files

	answer   string // the last lines printed, for expect
	lastCall string // for help ERRNO
}

// An object is a named descriptor. Its number may have been closed since, or
// reused for a newer object.
type object struct {
	name string
	kind string // pair, tcp, pipe, epoll, …
	fd   int
	id   int // registered together with fd as the data of an event
}

type tally struct{ calls, errors int }

// A Result is the outcome of a line.
type Result struct {
	Command string   // its name, or "" for a blank line
	Calls   []Call   // those that are shown; repeat and until show only two
	Lines   []string // the text to print
	Err     *Error   // if the line was wrong or did not succeed
	Quit    bool     // the user wants to leave
}

// A Call is a system call and its result.
type Call struct {
	Name   string   // as in section 2 of the manual
	Args   []string // as printed
	Value  int      // the return value, -1 for an error
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

// errnoName returns the name of an errno in the kernel. unix.ErrnoName returns
// ENOTSUP for EOPNOTSUPP, a second name that only C libraries use.
func errnoName(e unix.Errno) string {
	if e == unix.EOPNOTSUPP {
		return "EOPNOTSUPP"
	}
	return unix.ErrnoName(e)
}

// Kind is the kind of an [Error]. (A system call that fails is not an error of the
// lab, but a result.)
type Kind string

const (
	Misuse Kind = "misuse" // the line has no meaning, and nothing was done
	Asleep Kind = "asleep" // a call slept for longer than Session.Patience
	Unmet  Kind = "unmet"  // the last answer is not what expect says
)

// Error is a mistake in a line, or a line that had no success. Column counts
// characters from 1.
type Error struct {
	Kind   Kind
	Column int
	Text   string
}

func (e *Error) Error() string { return e.Text }

// Each session has a range of maxObjects descriptor numbers. The first range
// begins at firstFD.
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

// Close closes all descriptors of the session and ends it.
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

// Do runs one line. If ctx is done, a call that sleeps is interrupted.
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

// resultLine matches a line of a transcript that shows the result of a call.
var resultLine = regexp.MustCompile(`^\w+\(.*\) += `)

func (s *Session) do(ctx context.Context, line string) Result {
	r := &run{Session: s, ctx: ctx}
	line = strings.TrimPrefix(line, Prompt) // if the line was copied from a transcript
	if resultLine.MatchString(line) {
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

// A run is the execution of one line.
type run struct {
	*Session
	Result
	ctx         context.Context
	overslept   bool // a call was interrupted because it slept longer than Patience
	signalled   bool // SIGALRM was sent during a call
	interrupted bool // a call was interrupted by wakeUp, for whatever reason
}

// record counts a call and describes it.
func (r *run) record(n int, err error, name string, args ...any) Call {
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

// recordAndShow counts and shows a call that returned 0 or an error.
func (r *run) recordAndShow(err error, name string, args ...any) {
	r.show(r.record(0, err, name, args...))
}

// failed reports whether err is an error. If so, it counts and shows the call. It
// is for calls that only prepare something and are not shown if they succeed.
func (r *run) failed(err error, name string, args ...any) bool {
	if err != nil {
		r.recordAndShow(err, name, args...)
	}
	return err != nil
}

// show adds a call to the result.
func (r *run) show(c Call) {
	r.Calls = append(r.Calls, c)
	r.print("%v", c)
	if r.signalled {
		r.signalled = false
		text := "--- SIGALRM ---"
		if r.interrupted {
			text += " and it slept on, by SA_RESTART, until the lab ended it"
		}
		r.print("%s", text)
	}
}

// print adds one or more lines to the result.
func (r *run) print(format string, args ...any) {
	for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		r.Lines = append(r.Lines, strings.TrimRight(line, " "))
	}
}

// ref returns the printed form of an object: its name or its number.
func (s *Session) ref(o *object) string {
	if s.Raw {
		return strconv.Itoa(o.fd)
	}
	return o.name
}

// data returns the data that the lab registers with epoll_ctl(2): the descriptor
// number, as most programs do, and in the upper half the ID of the object that
// had this number at the time.
func (o *object) data() uint64 { return uint64(o.id)<<32 | uint64(o.fd) }

// registered returns the object that was registered with this data.
func (s *Session) registered(data uint64) *object { return s.byID[data>>32] }

// current returns the object that has the number of o now, or nil if the number
// is closed.
func (s *Session) current(o *object) *object { return s.open[o.fd] }

// closed reports whether the object was closed, under its own or another name.
func (s *Session) closed(o *object) bool { return s.current(o) != o }

// adopt moves a new descriptor to the range of the session and gives it a name.
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

// adoptPair adopts two descriptors that a call returned in an array, and returns
// the printed form of the array.
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

// create adopts the descriptor that a call returned, and shows the call.
func (r *run) create(name, kind string, fd int, err error, call string, args ...any) (*object, error) {
	c := r.record(fd, err, call, args...)
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

// objects returns all named objects in the order of their creation.
func (s *Session) objects() []*object {
	return slices.SortedFunc(maps.Values(s.names), func(a, b *object) int { return cmp.Compare(a.id, b.id) })
}
