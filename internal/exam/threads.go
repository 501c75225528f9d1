package exam

import (
	"sync/atomic"
	"time"

	"epoll-step-by-step/internal/procfs"
)

// A server has one thread for its work if that has this share of it, at least.
const (
	oneThreadCalls = 0.95 // of the calls of read(2) and write(2)
	oneThreadCPU   = 0.7  // of the CPU time, which a runtime's own threads use too
)

// Work is what the threads of a process did.
type Work struct {
	Unit    string  // what was counted
	Total   float64 // of that
	Threads int     // that did something
	Busiest int     // TID of the thread that did most
	Share   float64 // of the busiest thread

	enough float64
}

// ByOneThread reports whether one thread did the work.
func (w Work) ByOneThread() bool { return w.Share >= w.enough }

// WorkOf compares two looks at the threads of a server, for the process pid or for
// all if pid is 0. It counts calls of read(2) and write(2): a thread that serves
// makes them, and a runtime's own threads do not, however busy they are. The kernel
// does not count recv(2) and send(2). If it counted fewer calls than minCalls, CPU
// time is compared instead.
func WorkOf(before, after map[int]procfs.Thread, pid int, minCalls float64) Work {
	calls := Work{Unit: "read(2) and write(2) calls", enough: oneThreadCalls}
	cpu := Work{Unit: "CPU time", enough: oneThreadCPU}
	for tid, t := range after {
		if pid != 0 && t.PID != pid {
			continue
		}
		old := before[tid]
		calls.add(tid, float64(t.Reads-old.Reads+t.Writes-old.Writes))
		cpu.add(tid, float64(t.CPU-old.CPU))
	}
	if calls.Total < minCalls {
		return cpu
	}
	return calls
}

func (w *Work) add(tid int, amount float64) {
	if amount <= 0 {
		return
	}
	most := max(w.Share*w.Total, amount)
	if most == amount {
		w.Busiest = tid
	}
	w.Threads, w.Total = w.Threads+1, w.Total+amount
	w.Share = most / w.Total
}

const (
	loadMessage = 4 << 10                // bytes
	loadWarmUp  = 200 * time.Millisecond // a runtime's own threads, such as its compiler's, have most to do at first
	loadEchoes  = 100                    // of each client: enough to compare threads by
	loadMost    = 3 * time.Second        // or so long, if that comes first
)

// Load keeps the server busy with the clients. It returns the threads as they were
// at the beginning and at the end, and the first error of a client.
func (s *Session) Load(clients []*Client) (before, after map[int]procfs.Thread, err error) {
	var stop atomic.Bool
	var echoes atomic.Int64
	errs := make(chan error, len(clients))
	for _, c := range clients {
		go func() {
			var err error
			for err == nil && !stop.Load() {
				err = c.Ask(loadMessage, SilenceTimeout)
				echoes.Add(1)
			}
			errs <- err
		}()
	}
	time.Sleep(loadWarmUp)
	before = s.Server.Threads()
	enough := echoes.Load() + int64(loadEchoes*len(clients))
	for deadline := time.Now().Add(loadMost); echoes.Load() < enough && time.Now().Before(deadline) && s.Ctx.Err() == nil; {
		time.Sleep(time.Millisecond)
	}
	after = s.Server.Threads()
	stop.Store(true)
	for range clients {
		if e := <-errs; err == nil {
			err = e
		}
	}
	return before, after, err
}
