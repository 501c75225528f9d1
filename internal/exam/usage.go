package exam

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"epoll-step-by-step/internal/procfs"
)

// SustainedCPU returns the share of d in which the server wants a CPU. A server that
// spins never sleeps. Another one may seem to spin on a busy machine, so SustainedCPU
// measures up to three times and returns a low share if there is one.
func (s *Session) SustainedCPU(d time.Duration) (wanted float64) {
	for range 3 {
		if _, wanted = s.CPUShare(d); wanted < SpinningCPU {
			break
		}
	}
	return wanted
}

// CPUShare measures how much of one CPU the server uses during d, and how much it would
// use on a machine that has nothing else to do. For that it adds the time that the
// server waits for a CPU. The kernel adds up that time only when the wait ends, so a
// server that is not once seen asleep counts as one that wants all of a CPU.
func (s *Session) CPUShare(d time.Duration) (used, wanted float64) {
	const (
		interval = 10 * time.Millisecond // between two looks
		enough   = 10                    // looks, for a verdict on a server that never sleeps
	)
	cpu, waited := s.Server.CPUTime()
	begin := time.Now()
	looks, awake := 0, 0
	for time.Since(begin) < d && s.Ctx.Err() == nil {
		if looks++; !s.threadsAre(Sleeping) {
			awake++
		}
		time.Sleep(min(interval, max(d-time.Since(begin), 0)))
	}
	cpu2, waited2 := s.Server.CPUTime()
	took := float64(time.Since(begin))
	used = float64(cpu2-cpu) / took
	wanted = used + float64(waited2-waited)/took
	if awake == looks && looks >= enough {
		wanted = max(wanted, 1)
	}
	return used, wanted
}

// PeakMemory samples the server's resident memory until the check ends. It returns a
// function that returns the largest sample so far, in bytes.
func (s *Session) PeakMemory() func() int64 {
	ask, done := make(chan chan int64), make(chan struct{})
	s.AtEnd(func() { close(done) })
	go func() {
		most := int64(0)
		for {
			most = max(most, s.Server.Memory())
			select {
			case answer := <-ask:
				answer <- max(most, s.Server.Memory())
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() int64 {
		answer := make(chan int64)
		select {
		case ask <- answer:
			return <-answer
		case <-done:
			return 0
		}
	}
}

// CPUTime returns the time that the server's living threads have spent on a CPU, and the
// time that they have waited for one, ready to run.
func (s *Server) CPUTime() (used, waited time.Duration) {
	for _, pid := range s.family() {
		threads, _ := procfs.Threads(pid)
		for _, t := range threads {
			used, waited = used+t.CPU, waited+t.Waited
		}
	}
	return used, waited
}

// Threads returns all threads of the server, by TID.
func (s *Server) Threads() map[int]procfs.Thread {
	all := make(map[int]procfs.Thread)
	for _, pid := range s.Processes() {
		list, _ := procfs.Threads(pid)
		for _, t := range list {
			all[t.TID] = t
		}
	}
	return all
}

// Memory returns the resident memory of the server's processes in bytes.
func (s *Server) Memory() int64 {
	var sum int64
	for _, pid := range s.family() {
		m, _ := procfs.MemoryOf(pid)
		sum += m.RSS
	}
	return sum
}

// Descriptors returns how many descriptors the server's processes have open.
func (s *Server) Descriptors() int {
	sum := 0
	for _, pid := range s.family() {
		n, _ := procfs.FDCount(pid)
		sum += n
	}
	return sum
}

// canSee returns an error if /proc does not show us the server's descriptors and
// threads.
func (s *Server) canSee() error {
	pids := s.Processes()
	if len(pids) == 0 {
		return errors.New("cannot see which process listens: it belongs to another user or container")
	}
	for _, pid := range pids {
		if _, err := procfs.FDCount(pid); errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("process %d belongs to another user: run the examiner as that user", pid)
		}
	}
	return nil
}
