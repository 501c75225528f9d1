package made

import (
	"time"

	"epoll-step-by-step/internal/exam"
)

const loadTime = 600 * time.Millisecond // how long the clients keep the server busy

var ManyThreads = exam.Check{
	ID: "MANY_THREADS", Title: "one thread does the serving", For: epollServers, Run: manyThreads, Looks: true,
	Usually: "each client has a thread or a goroutine of its own",
	Reread:  []string{`pthreads(7) "DESCRIPTION"`}, Chapter: exam.ChapterLevel,
}

func manyThreads(s *exam.Session) error {
	var mine []*exam.Client
	for range 16 {
		c, err := s.DialAndPing()
		if err != nil {
			return err
		}
		mine = append(mine, c)
	}
	end := time.Now().Add(loadTime)
	var wg exam.WaitGroup
	errs := make(chan error, len(mine))
	for _, c := range mine {
		wg.Go(func() {
			var err error
			for err == nil && time.Now().Before(end) && s.Ctx.Err() == nil {
				err = c.Echo(4<<10, exam.SilenceTimeout)
			}
			errs <- err
		})
	}
	time.Sleep(loadTime / 3) // a runtime's own threads, such as its compiler's, have most to do at first
	before := s.Server.Threads()
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			s.Usually = "what comes back is another matter than threads: see LOST_BYTES and CROSSED_WIRES"
			return err
		}
	}
	// Who serves calls read(2) and write(2). A runtime's own threads do not,
	// however busy they are. If the server prefers recv(2) and send(2), which
	// the kernel does not count, CPU time must do.
	var calls, cpu exam.Tally
	for tid, t := range s.Server.Threads() {
		old := before[tid]
		calls.Add(float64(t.Reads - old.Reads + t.Writes - old.Writes))
		cpu.Add(float64(t.CPU - old.CPU))
	}
	what, by, enough := "read(2) and write(2) calls", calls, exam.OneThreadCalls
	if calls.Total < float64(len(mine)) {
		what, by, enough = "CPU time", cpu, exam.OneThreadCPU
	}
	if by.Total <= 0 {
		return exam.CannotRun("the server's threads used no CPU time at all")
	}
	s.Note("threads", "the busiest of %d had %.0f %% of the %s", by.Threads, 100*by.Busiest/by.Total, what)
	if by.Busiest/by.Total < enough {
		return exam.ErrFailed
	}
	return nil
}
