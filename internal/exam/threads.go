package exam

// The work of a server that has one thread for it: shares of the busiest thread.
const (
	OneThreadCalls = 0.95 // of the calls of read(2) and write(2)
	OneThreadCPU   = 0.7  // of the CPU time, where a runtime has threads of its own
)

// A tally is how much the threads did of something, and the busiest of them.
type Tally struct {
	Threads        int
	Total, Busiest float64
}

func (t *Tally) Add(x float64) {
	if x > 0 {
		t.Threads, t.Total, t.Busiest = t.Threads+1, t.Total+x, max(t.Busiest, x)
	}
}
