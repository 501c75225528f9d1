package exam

import (
	"runtime"
	"slices"
	"strings"
	"time"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// States of threads that sleep: proc(5), /proc/pid/stat.
const Sleeping = "SDI"

// States of threads that neither use a CPU nor wait for one.
const notRunnable = Sleeping + "TtZX"

const (
	// A deadline is extended so many times for a server that waits for a CPU.
	maxExtensions = 4

	sleeplessWaits = 2                     // a server that has work for a moment is not busy during so many
	spinningWait   = 20 * time.Millisecond // a loop that polls has come round many times by then

	delaySample = 100 * time.Millisecond // how long it is watched for that
	minDelay    = 20 * time.Millisecond  // of this time it waits for a CPU, at least
)

// delayed reports whether the server is ready to run and other processes keep the
// CPU from it. What it owes then is not lost, but late. Thousands of clients may ask at
// the same time, and to look at thousands of threads takes long. So clients that ask
// before a look begins share its result.
func (s *Session) delayed() bool {
	asked := time.Now()
	s.delays.Lock()
	defer s.delays.Unlock()
	if !s.delays.begin.After(asked) {
		s.delays.begin = time.Now()
		s.delays.result = s.isDelayed()
	}
	return s.delays.result
}

func (s *Session) isDelayed() bool {
	if len(s.Server.Processes()) == 0 || s.threadsAre(notRunnable) {
		return false
	}
	used, waited := s.Server.CPUTime()
	begin := time.Now()
	time.Sleep(delaySample)
	took := time.Since(begin)
	usedNow, waitedNow := s.Server.CPUTime()
	if waitedNow-waited >= minDelay {
		return true
	}
	// A wait that has not ended yet is not part of that time. While it lasts, the
	// server is ready to run and does not use the CPU.
	return !s.threadsAre(notRunnable) && usedNow-used < took-minDelay
}

// Await polls done until it returns true, for d. A server that waits for a CPU
// gets d again, a few times. It reports whether done returned true.
func (s *Session) Await(d time.Duration, done func() bool) bool {
	for extensions := 0; ; extensions++ {
		for deadline := time.Now().Add(d); time.Now().Before(deadline) && s.Ctx.Err() == nil; time.Sleep(2 * time.Millisecond) {
			if done() {
				return true
			}
		}
		if s.Ctx.Err() != nil || extensions == maxExtensions || !s.delayed() {
			return done()
		}
	}
}

// WhileStopped stops the server with SIGSTOP while f runs.
func (s *Session) WhileStopped(f func() error) error {
	if err := s.Server.Signal(unix.SIGSTOP); err != nil {
		return err
	}
	stopped := s.AwaitThreads("Tt", stopTimeout)
	err := f()
	if err := s.Server.Signal(unix.SIGCONT); err != nil {
		return err
	}
	if !stopped {
		return CannotRun("the server did not stop on SIGSTOP")
	}
	s.AwaitThreads("SDIRZX", ReplyTimeout)
	return err
}

// RunFor lets a server that is stopped run for d, or somewhat longer, and stops it again.
func (s *Session) RunFor(d time.Duration) error {
	pids := s.Server.family()
	pause := unix.NsecToTimespec(int64(d))
	signal := func(sig unix.Signal) {
		for _, pid := range pids {
			unix.Kill(pid, sig)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	setSlice(runSlice)
	defer setSlice(0)
	signal(unix.SIGCONT)
	unix.Nanosleep(&pause, nil) // time.Sleep may take 1 ms
	signal(unix.SIGSTOP)
	if !s.AwaitThreads("Tt", stopTimeout) {
		return CannotRun("the server did not stop on SIGSTOP")
	}
	return nil
}

// runSlice is the time slice of our thread that stops the server. Where both have only one
// CPU, a thread with a short slice gets it at once when it wakes up.
const runSlice = 100 * time.Microsecond

// setSlice asks for a time slice, 0 for the usual one: sched_setattr(2), sched_runtime.
// Kernels before Linux 6.12 ignore it, and let a thread that has slept run at once.
func setSlice(d time.Duration) {
	if attr, err := unix.SchedGetAttr(0, 0); err == nil {
		attr.Runtime = uint64(d)
		unix.SchedSetAttr(0, attr, 0)
	}
}

// AwaitThreads waits up to d until each thread of the server is in one of the
// states. It reports whether they were.
func (s *Session) AwaitThreads(states string, d time.Duration) bool {
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if s.threadsAre(states) {
			return true
		}
	}
	return false
}

func (s *Session) threadsAre(states string) bool {
	return !slices.ContainsFunc(s.Server.family(), func(pid int) bool {
		threads, _ := procfs.ThreadStates(pid)
		for _, state := range threads {
			if !strings.ContainsRune(states, rune(state)) {
				return true
			}
		}
		return false
	})
}

// AwaitSleep waits until the server sleeps, but not long: some servers never do. One that
// has used a CPU during sleeplessWaits in a row spins, and is waited for shortly until it
// is seen to sleep.
func (s *Session) AwaitSleep() {
	if s.threadsAre(Sleeping) {
		s.sleepless.Store(0)
		return
	}
	spins := s.sleepless.Load() >= sleeplessWaits
	d := StallTime
	if spins {
		d = spinningWait
	}
	begin := time.Now()
	before, _ := s.Server.CPUTime()
	switch {
	case s.AwaitThreads(Sleeping, d):
		s.sleepless.Store(0)
	case !spins:
		after, _ := s.Server.CPUTime()
		if float64(after-before) < SpinningCPU*float64(time.Since(begin)) {
			s.sleepless.Store(0) // it waits for a CPU
		} else {
			s.sleepless.Add(1)
		}
	}
}

// Asleep reports whether all threads of the server are seen to sleep.
func (s *Session) Asleep() bool {
	return len(s.Server.Processes()) > 0 && s.threadsAre(Sleeping)
}

// AwaitRead waits for d until the server has read all that c has sent, or longer as
// [Session.Await] does. It reports whether the server did.
func (s *Session) AwaitRead(c *Client, d time.Duration) bool { return s.AwaitAllRead([]*Client{c}, d) }

// AwaitAllRead is AwaitRead for several clients.
func (s *Session) AwaitAllRead(clients []*Client, d time.Duration) bool {
	return s.Await(d, func() bool { return !slices.ContainsFunc(clients, (*Client).hasUnread) })
}

// AwaitArrival waits until all that the clients have sent, and not received back,
// is in the receive queues of a server that is stopped.
func (s *Session) AwaitArrival(d time.Duration, clients ...*Client) error {
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		arrived := 0
		for _, c := range clients {
			end, found, err := c.ServerEnd()
			if err != nil {
				return err
			}
			if found && end.RxQueue == c.Sent-c.dialogue.asked(c.Got) {
				arrived++
			}
		}
		if arrived == len(clients) {
			return nil
		}
	}
	return CannotRun("what the clients sent did not arrive in the queues of the server, which was stopped")
}
