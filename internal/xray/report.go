package xray

import "slices"

// A Report is what one look at a process has found, and what -json prints.
type Report struct {
	Process Process  `json:"process"`
	Threads []Thread `json:"threads"` // by TID
	Epolls  []Epoll  `json:"epolls"`  // by descriptor
	Sockets []Socket `json:"sockets"` // TCP; each listener with its queue, then connections
	Notes   []string `json:"notes"`   // what is not shown, and why
}

// Process is the process as a whole.
type Process struct {
	PID     int    `json:"pid"`
	Name    string `json:"name"`
	Command string `json:"command"`    // its arguments, separated by blanks
	Go      bool   `json:"go"`         // built by Go, so with a runtime's threads
	Start   uint64 `json:"start_time"` // in clock ticks since boot: with PID, names it

	CPUPercent  float64 `json:"cpu_percent"` // of one core, since the look before; -1: there was none
	CPUSeconds  float64 `json:"cpu_seconds"` // of the threads that live
	Threads     int     `json:"threads"`
	Descriptors int     `json:"descriptors"`      // open
	Limit       uint64  `json:"descriptor_limit"` // RLIMIT_NOFILE, the soft one
	Resident    int64   `json:"resident_bytes"`
}

// Thread is one thread, and what it waits for.
type Thread struct {
	TID   int    `json:"tid"`
	Name  string `json:"name"`
	State string `json:"state"` // running, asleep, uninterruptible, stopped or ended
	Call  string `json:"call"`  // the system call it sleeps in; "" if none, or not known
	FD    int    `json:"fd"`    // that call's descriptor; -1 if none, or not known

	// Timeout is that of epoll_wait(2) and poll(2) in milliseconds; -1 if there
	// is none, or none is known.
	Timeout int    `json:"timeout_ms"`
	Says    string `json:"says"` // all this, as a sentence
}

// Epoll is an epoll instance: epoll(7).
type Epoll struct {
	FD    int    `json:"fd"`
	Owner string `json:"owner"` // "the Go runtime" if it is that's, else ""

	// Ready counts the entries that are ready now, and Unknown those of which
	// /proc does not tell.
	Ready   int `json:"ready"`
	Unknown int `json:"unknown"`

	Interests []Interest `json:"interests"` // by descriptor
}

// Interest is an entry of an epoll instance's interest list.
type Interest struct {
	FD      int    `json:"fd"`
	What    string `json:"what"`    // the file that was registered
	Asked   string `json:"asked"`   // the events, without EPOLLERR and EPOLLHUP: always reported
	Trigger string `json:"trigger"` // level or edge; oneshot too, or fired: until armed again

	// Ready is yes, no, told (edge-triggered, and epoll_wait has said so) or
	// unknown.
	Ready string `json:"ready"`
	Marks []Mark `json:"marks"` // what is odd about it
}

// Mark says what is odd about an entry. The table marks has the IDs.
type Mark struct {
	ID   string `json:"id"`
	Says string `json:"says"`
}

// Socket is a TCP socket of the process, or a connection that waits in a
// listener's queue.
type Socket struct {
	FD     int    `json:"fd"`     // -1: nobody has accepted it yet
	State  string `json:"state"`  // the kernel's name: LISTEN, ESTABLISHED, …
	Local  string `json:"local"`  // address and port
	Remote string `json:"remote"` // "" for a listener

	Accepted bool `json:"accepted"` // it came in through a listener, and has a descriptor
	Waiting  int  `json:"waiting"`  // a listener's: connections that wait for accept(2)
	Backlog  int  `json:"backlog"`  // a listener's: how many may; -1 if not known

	// Unread bytes have come, and nobody has read them; then the peer's end of
	// file may wait, too. Unsent bytes have been written, and the peer has not
	// acknowledged them.
	Unread    int  `json:"unread"`
	EndUnread bool `json:"end_unread"`
	Unsent    int  `json:"unsent"`
}

// since fills in what takes two looks. The CPU share is that of the time in
// between; and a mark counts only if the look before had it, too: while a
// server works, /proc shows it in the middle of things.
func (r *Report) since(before Report, seconds float64) {
	used := r.Process.CPUSeconds - before.Process.CPUSeconds
	r.Process.CPUPercent = max(0, 100*used/seconds) // a thread may have ended
	type key struct {
		epfd, fd int
		id       string
	}
	seen := make(map[key]bool)
	for _, e := range before.Epolls {
		for _, i := range e.Interests {
			for _, m := range i.Marks {
				seen[key{e.FD, i.FD, m.ID}] = true
			}
		}
	}
	r.Epolls = slices.Clone(r.Epolls) // the next look is compared with all marks
	for n := range r.Epolls {
		e := &r.Epolls[n]
		e.Interests = slices.Clone(e.Interests)
		for n, i := range e.Interests {
			kept := []Mark{}
			for _, m := range i.Marks {
				if seen[key{e.FD, i.FD, m.ID}] {
					kept = append(kept, m)
				}
			}
			e.Interests[n].Marks = kept
		}
	}
}
