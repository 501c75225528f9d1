package tasks

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// These checks are for an echo server of several processes: a parent, and workers that
// serve, each with a listening socket of its own on the same address. The process that
// has accepted a client is the one that has its socket open: /proc shows that.

const (
	spreadClients = 200 // clients that the processes share,
	eachClients   = 30  // or so many for each process, if that is more
	maxShare      = 0.8 // of the clients that one process may have
	loadClients   = 8   // of each process, that keep it busy
)

var OneCore = exam.Check{
	ID: "ONE_CORE", Title: "clients are spread over a process for each core, each with its own listening socket", For: []exam.Profile{exam.Cores}, Run: oneCore, Looks: true, Clients: spreadClients,
	Usually: "one process serves all clients, so only one core works",
	Reread:  []string{`socket(7) "Socket options"`, `fork(2) "DESCRIPTION"`}, Chapter: exam.ChapterCores,
}

// oneCore expects the clients to be spread over the workers. The kernel chooses by a
// hash, which is as good as chance. With 200 clients and two workers, one of them gets
// more than 80 % with a probability of 10^-17; and with 30 clients for each worker,
// any of them gets none with a probability below 10^-10.
func oneCore(s *exam.Session) error {
	at, err := spread(s)
	if err != nil {
		return err
	}
	all, most := 0, 0
	for _, list := range at {
		all, most = all+len(list), max(most, len(list))
	}
	s.Note("clients", "%d are connected; %s", all, shares(at))
	cores := min(runtime.NumCPU(), runtime.GOMAXPROCS(0))
	switch want := max(2, cores); {
	case len(at) == 1:
		return s.Fail("processes", "one serves them all; want %d, because this machine has %s", want, exam.Plural(cores, "core", "cores"))
	case len(at) < want:
		s.Usually = "the number of processes is fixed, and does not depend on the number of cores"
		return s.Fail("processes", "only %d serve; want %d, because this machine has that many cores", len(at), want)
	}
	if err := ownListeners(s, at); err != nil {
		return err
	}
	if float64(most) > maxShare*float64(all) {
		s.Usually = "it is not the kernel's hash that chooses the process for a client"
		return s.Fail("spread", "one process has %.0f %% of them", 100*float64(most)/float64(all))
	}
	return allWork(s, at)
}

// spread connects clients, each of which is answered once, and returns the clients of
// each process.
func spread(s *exam.Session) (map[int][]*exam.Client, error) {
	socks, err := exam.Listeners(s.Server.Addr)
	if err != nil {
		return nil, err
	}
	var clients []*exam.Client
	for i := range max(spreadClients, eachClients*len(socks)) {
		c, err := s.Dial(0)
		if err == nil {
			err = c.Ping(exam.NewcomerTimeout)
		}
		if err != nil {
			s.Note("clients", "%d connected and were answered; the next one got %v", i, exam.SilenceFor(err, exam.NewcomerTimeout))
			return nil, explainUnanswered(s)
		}
		clients = append(clients, c)
	}
	inode := make(map[*exam.Client]uint64)
	for _, c := range clients {
		end, found, err := c.ServerEnd()
		if err != nil {
			return nil, err
		}
		if found {
			inode[c] = end.Inode
		}
	}
	owners, err := procfs.Owners(slices.Collect(maps.Values(inode))...)
	if err != nil {
		return nil, err
	}
	at := make(map[int][]*exam.Client)
	for _, c := range clients {
		for _, o := range owners[inode[c]] {
			at[o.PID] = append(at[o.PID], c)
			break // there are several if a copy was left open: WORKER_LOST reports that
		}
	}
	if len(at) == 0 {
		return nil, exam.CannotRun("the server's ends of the connections are not among its descriptors")
	}
	return at, nil
}

// shares says how many clients each process has.
func shares(at map[int][]*exam.Client) string {
	pids := slices.Sorted(maps.Keys(at))
	var list []string
	least, most := len(at[pids[0]]), 0
	for _, pid := range pids {
		n := len(at[pid])
		least, most = min(least, n), max(most, n)
		list = append(list, fmt.Sprintf("process %d has %d", pid, n))
	}
	if len(list) > 4 {
		return fmt.Sprintf("%d processes have from %d to %d of them", len(list), least, most)
	}
	return strings.Join(list, ", ")
}

// explainUnanswered says where a client waits that was not answered.
func explainUnanswered(s *exam.Session) error {
	socks, err := exam.Listeners(s.Server.Addr)
	if err != nil {
		return err
	}
	for _, sock := range socks {
		if sock.RxQueue > 0 {
			s.Usually = "each listening socket gets its share of the clients, even if no process accepts from it: " +
				"a process that does not accept must not listen"
			return s.Fail("waiting", "%s in the accept queue of one of the %d listening sockets, which %s open",
				exam.Plural(sock.RxQueue, "client", "clients"), len(socks), haveOpen(exam.Owners([]procfs.Socket{sock})))
		}
	}
	return exam.ErrFailed
}

// haveOpen names the processes, and ends with "has" or "have".
func haveOpen(pids []int) string {
	if len(pids) == 1 {
		return fmt.Sprintf("process %d has", pids[0])
	}
	var list []string
	for _, pid := range pids {
		list = append(list, fmt.Sprint(pid))
	}
	return fmt.Sprintf("the processes %s have", strings.Join(list, ", "))
}

// ownListeners expects each process that serves to have a listening socket from which no
// other one that serves can accept. The parent may have it open, too.
func ownListeners(s *exam.Session, at map[int][]*exam.Client) error {
	socks, err := exam.Listeners(s.Server.Addr)
	if err != nil {
		return err
	}
	own := make(map[int]bool)
	var shared []int
	for _, sock := range socks {
		serving := slices.DeleteFunc(exam.Owners([]procfs.Socket{sock}), func(pid int) bool { return at[pid] == nil })
		if len(serving) == 1 {
			own[serving[0]] = true
		} else if len(serving) > 1 {
			shared = serving
		}
	}
	for pid := range at {
		if !own[pid] {
			s.Usually = "the processes have copies of one listening socket: the first that wakes up takes all waiting clients. " +
				"Open one for each process, with SO_REUSEPORT, and close-on-exec, or each process inherits those of the others"
			return s.Fail("listening", "%s for %d processes: %s the same one open", exam.Plural(len(socks), "socket", "sockets"), len(at), haveOpen(shared))
		}
	}
	s.Note("listening", "%d sockets; each process that serves has one of its own", len(socks))
	return nil
}

// allWork has some clients of each process send messages at the same time. It expects
// each process to work, in one thread, and not all threads to be tied to one core.
func allWork(s *exam.Session, at map[int][]*exam.Client) error {
	var clients []*exam.Client
	for _, own := range at {
		clients = append(clients, own[:min(loadClients, len(own))]...)
	}
	before, after, err := s.Load(clients)
	if err != nil {
		return err
	}
	var cpus unix.CPUSet // that any of the threads may use
	for _, pid := range slices.Sorted(maps.Keys(at)) {
		work := exam.WorkOf(before, after, pid, loadClients)
		if work.Total == 0 {
			return s.Fail("load", "process %d did nothing, although its clients were answered", pid)
		}
		if !work.ByOneThread() {
			s.Usually = "each client has a thread or a goroutine of its own: one loop, in one thread, is enough for a core"
			return s.Fail("threads", "in process %d, the busiest of %d had %.0f %% of the %s", pid, work.Threads, 100*work.Share, work.Unit)
		}
		var affinity unix.CPUSet
		if err := unix.SchedGetaffinity(work.Busiest, &affinity); err != nil {
			return err
		}
		for i := range affinity {
			cpus[i] |= affinity[i]
		}
	}
	if n := cpus.Count(); n < min(len(at), runtime.NumCPU()) {
		s.Usually = "sched_setaffinity(2) ties each process to the same core"
		return s.Fail("cores", "the %d processes may run on %s only", len(at), exam.Plural(n, "core", "cores"))
	}
	s.Note("load", "each process worked, in one thread")
	return nil
}
