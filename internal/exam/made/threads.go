package made

import "epoll-step-by-step/internal/exam"

const loadClients = 16 // that keep the server busy

var ManyThreads = exam.Check{
	ID: "MANY_THREADS", Title: "one thread does the serving", For: epollServers, Run: manyThreads, Looks: true,
	Usually: "each client has a thread or a goroutine of its own",
	Reread:  []string{`pthreads(7) "DESCRIPTION"`}, Chapter: exam.ChapterLevel,
}

func manyThreads(s *exam.Session) error {
	var clients []*exam.Client
	for range loadClients {
		c, err := s.DialAndPing()
		if err != nil {
			return exam.NotPrepared(err)
		}
		clients = append(clients, c)
	}
	before, after, err := s.Load(clients)
	if err != nil {
		return exam.NotPrepared(err)
	}
	work := exam.WorkOf(before, after, 0, loadClients)
	if work.Total == 0 {
		return exam.CannotRun("the server's threads used no CPU time at all")
	}
	s.Note("threads", "the busiest of %d had %.0f %% of the %s", work.Threads, 100*work.Share, work.Unit)
	if !work.ByOneThread() {
		return exam.ErrFailed
	}
	return nil
}
