// Package walk runs a program one system call at a time. At every stop it says
// which line of the program makes the call, what the call is, and what the kernel
// holds: interest lists, which descriptors are ready, and the queues of sockets.
//
// It traces the main thread with ptrace(2), so the program has to be one that works
// on its main thread, as the steps do. It stops at the calls that the program's own
// code makes. The calls that Go's runtime makes on the same thread, such as futex(2),
// are counted and passed over. No privileges are needed: the program is a child.
//
// The package prints nothing. A terminal, a document and a browser can show its
// [Stop] values; they can also be stored as JSON and shown again later.
package walk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// A Moment is what a stop shows of a call.
type Moment string

const (
	Before Moment = "before" // the call is about to be made
	Asleep Moment = "asleep" // the thread sleeps in the call
	After  Moment = "after"  // the call has returned
	Ended  Moment = "ended"  // the program has ended: there is no call
)

// A Stop is a moment at which the program's main thread stands still.
type Stop struct {
	Moment Moment  `json:"moment"`
	Call   Call    `json:"call"`
	Stack  []Frame `json:"stack,omitempty"` // in the program's own source, innermost first
	Kernel Kernel  `json:"kernel"`
	End    string  `json:"end,omitempty"` // of a program that has ended: how it ended
}

// A Session is a program that is walked through. Its methods may be called by any
// goroutine, one at a time, except that Close may be called at any time.
type Session struct {
	PID    int
	asked  chan request  // to the goroutine that traces
	stops  chan result   // from it
	closed chan struct{} // the tracing goroutine has returned
	stop   context.CancelFunc
	debug  *debugInfo
	counts map[string]int
	view   *view
	output *output
}

type request struct {
	ctx  context.Context
	look bool // only a fresh snapshot
}

type result struct {
	stop Stop
	err  error
}

// ErrEnded is returned by Next after the program has ended.
var ErrEnded = errors.New("the program has ended")

// Start starts a command and stops it before its first instruction. The program is
// killed by Close, and by the kernel if the process that called Start ends.
func Start(command []string) (*Session, error) {
	path, err := exec.LookPath(command[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return nil, err
	}
	debug, err := readDebugInfo(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", command[0], err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Session{
		asked:  make(chan request),
		stops:  make(chan result),
		closed: make(chan struct{}),
		stop:   stop,
		debug:  debug,
		counts: make(map[string]int),
		view:   newView(),
		output: &output{done: make(chan struct{})},
	}
	started := make(chan error)
	go func() {
		// ptrace(2) accepts requests only from the thread that traces. The thread is
		// given back at the end: if it ended, the kernel would kill every process that
		// was started on it with a parent-death signal (prctl(2)).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(s.closed)
		defer s.view.ready.close()
		t, err := launch(path, command, debug, s.output)
		started <- err
		if err != nil {
			return
		}
		defer t.kill()
		s.PID = t.pid
		s.trace(ctx, t)
	}()
	if err := <-started; err != nil {
		stop()
		return nil, err
	}
	return s, nil
}

// Next lets the program go on up to its next stop. After Before comes Asleep if the
// thread falls asleep in the call, and then After. If ctx ends first, Next returns its
// error; the program goes on, and the next Next returns the stop.
func (s *Session) Next(ctx context.Context) (Stop, error) { return s.ask(request{ctx: ctx}) }

// Look returns the last stop with a fresh snapshot. The program does not go on. What
// has changed since the stop was done by others, such as a client.
func (s *Session) Look() (Stop, error) {
	return s.ask(request{ctx: context.Background(), look: true})
}

func (s *Session) ask(r request) (Stop, error) {
	select {
	case s.asked <- r:
	case <-s.closed:
		return Stop{}, ErrEnded
	}
	select {
	case r := <-s.stops:
		return r.stop, r.err
	case <-s.closed:
		return Stop{}, ErrEnded
	}
}

// Close kills the program, if it has not ended, and returns when nothing is left of it.
func (s *Session) Close() {
	s.stop()
	<-s.closed
}

// Counts returns how many system calls of each name the main thread has begun since
// the program's start, those of Go's runtime included. Call it between two Nexts.
func (s *Session) Counts() map[string]int { return maps.Clone(s.counts) }

// Output returns the end of what the program has printed to standard output and standard
// error: 4 KiB at most. After the end of the program, that is all of it, unless another
// process can still print there.
func (s *Session) Output() string {
	select {
	case <-s.closed:
		select {
		case <-s.output.done:
		case <-time.After(time.Second):
		}
	default:
	}
	s.output.mu.Lock()
	defer s.output.mu.Unlock()
	return string(s.output.text)
}

// Source returns the text of a file that a Frame names.
func (s *Session) Source(file string) (string, error) {
	path, ok := s.debug.paths[file]
	if !ok {
		return "", fmt.Errorf("%s: no such source file", file)
	}
	text, err := os.ReadFile(path)
	return string(text), err
}

// trace answers requests until the program has ended or ctx has.
func (s *Session) trace(ctx context.Context, t *tracee) {
	var last Stop
	calls := 0
	for {
		var r request
		select {
		case r = <-s.asked:
		case <-ctx.Done():
			return
		}
		var stop Stop
		var err error
		if r.look {
			t.settle()
			stop = last
			stop.Kernel, err = s.view.snapshot(t)
		} else {
			both, cancel := context.WithCancel(r.ctx)
			undo := context.AfterFunc(ctx, cancel)
			stop, err = s.next(both, t, &calls)
			undo()
			cancel()
		}
		if err == nil {
			last = stop
		}
		select {
		case s.stops <- result{stop, err}:
		case <-ctx.Done():
			return
		}
		if stop.Moment == Ended {
			return
		}
	}
}

// next runs the program up to its next stop at a call of its own.
func (s *Session) next(ctx context.Context, t *tracee, calls *int) (Stop, error) {
	for {
		moment, err := t.step(ctx)
		if err != nil {
			return Stop{}, err
		}
		switch {
		case moment == Ended:
			return Stop{Moment: Ended, End: t.end}, nil
		case moment == Before:
			s.counts[t.call.Name]++
		}
		if !t.own {
			continue
		}
		if moment == Before {
			*calls++
			t.call.Number = *calls
		}
		if moment == After {
			s.view.ready.observe(t)
		}
		stop := Stop{Moment: moment, Call: t.call, Stack: t.stack}
		stop.Kernel, err = s.view.snapshot(t)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is being killed: the next step says how it ended
		}
		return stop, err
	}
}

// Listening returns the address of the program's first listening TCP socket in this
// snapshot. It is not valid if there is none.
func (k Kernel) Listening() netip.AddrPort {
	for _, s := range k.Sockets {
		if s.Listening {
			return s.Local
		}
	}
	return netip.AddrPort{}
}
