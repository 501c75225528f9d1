package xray

import "slices"

// A Report is the result of one look at a process. -json prints it.
type Report struct {
	Process Process  `json:"process"`
	Threads []Thread `json:"threads"` // by TID
	Epolls  []Epoll  `json:"epolls"`  // by descriptor
	Sockets []Socket `json:"sockets"` // TCP; each listener with its queue, then connections
	Notes   []string `json:"notes"`   // what is missing or uncertain, and why
}

// Process is the process as a whole.
type Process struct {
	PID     int    `json:"pid"`
	Name    string `json:"name"`
	Command string `json:"command"`    // its arguments, separated by spaces
	Go      bool   `json:"go"`         // built by Go, so the runtime has threads of its own
	Start   uint64 `json:"start_time"` // in clock ticks since boot; identifies the process, with PID

	CPUPercent  float64 `json:"cpu_percent"` // of one core, since the previous look; -1 if there was none
	CPUSeconds  float64 `json:"cpu_seconds"` // of the threads that still exist
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
	Call  string `json:"call"`  // the system call it sleeps in; "" if none or unknown
	FD    int    `json:"fd"`    // that call's descriptor; -1 if none or unknown

	// Timeout is the timeout of epoll_wait(2) or poll(2) in milliseconds; -1 if there
	// is none or it is unknown.
	Timeout int    `json:"timeout_ms"`
	Says    string `json:"says"` // the fields above as a sentence
}

// Epoll is an epoll instance: epoll(7).
type Epoll struct {
	FD    int    `json:"fd"`
	Owner string `json:"owner"` // "the Go runtime", or ""

	// Ready counts the entries that are ready now, and Unknown those that may be ready:
	// /proc does not show it.
	Ready   int `json:"ready"`
	Unknown int `json:"unknown"`

	Interests []Interest `json:"interests"` // by descriptor
}

// Interest is an entry of an epoll instance's interest list.
type Interest struct {
	FD      int    `json:"fd"`
	What    string `json:"what"`    // the file that was registered
	Asked   string `json:"asked"`   // the events; EPOLLERR and EPOLLHUP are always reported, so left out
	Trigger string `json:"trigger"` // level or edge; then "oneshot", or "fired" if it is disabled until re-armed

	// Ready is yes, no, told (edge-triggered, and epoll_wait has reported it already) or
	// unknown.
	Ready string `json:"ready"`
	Marks []Mark `json:"marks"` // what is wrong with it
}

// Mark describes what is wrong with an entry. The table marks lists the IDs.
type Mark struct {
	ID   string `json:"id"`
	Says string `json:"says"`
}

// Socket is a TCP socket of the process, or a connection that waits in a
// listener's queue.
type Socket struct {
	FD     int    `json:"fd"`     // -1 if it was not accepted yet
	State  string `json:"state"`  // the kernel's name: LISTEN, ESTABLISHED, …
	Local  string `json:"local"`  // address and port
	Remote string `json:"remote"` // "" for a listener

	Accepted bool `json:"accepted"` // it came in through a listener, and has a descriptor
	Waiting  int  `json:"waiting"`  // a listener's: connections that wait for accept(2)
	Backlog  int  `json:"backlog"`  // a listener's: the maximum of Waiting; -1 if unknown

	// Unread bytes arrived, and the process has not read them. EndUnread means that the
	// peer's end of file follows them. Unsent bytes were written, and the peer has not
	// acknowledged them.
	Unread    int  `json:"unread"`
	EndUnread bool `json:"end_unread"`
	Unsent    int  `json:"unsent"`
}

// compare fills in what takes two looks. The CPU share is that of the time in between. A
// mark is kept only if the previous look had it, too: a single look can catch a server
// halfway through a change.
func (r *Report) compare(before Report, seconds float64) {
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
	r.Epolls = slices.Clone(r.Epolls) // the caller compares the next look with all marks
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
