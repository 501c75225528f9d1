package tasks

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// These checks are for an echo server of several processes: a parent, and
// workers that serve, each with a listening socket of its own on the same
// address. Who has accepted a client is who has its socket open, as /proc says.

const (
	spreadClients = 200 // clients that the processes share; or 30 for each, if that is more
	maxShare      = 0.8 // of the clients that one process may have
)

var OneCore = exam.Check{
	ID: "ONE_CORE", Title: "clients are spread over a process for each core, each with its own listening socket", For: []exam.Profile{exam.Cores}, Run: oneCore, Looks: true, Clients: spreadClients,
	Usually: "one process serves everybody, and so one core works",
	Reread:  []string{`socket(7) "Socket options"`, `fork(2) "DESCRIPTION"`}, Chapter: exam.ChapterCores,
}

// oneCore wants the clients spread over the workers. The kernel chooses by a
// hash, which is as good as chance. So with 200 clients and two workers, one of
// them has more than 80 % once in 10^17 times; and with 30 clients for each
// worker, the chance that any of them has none is less than 10^-10.
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
		return s.Fail("processes", "one serves them all; wanted: %d, as this machine has %s", want, exam.Plural(cores, "core", "cores"))
	case len(at) < want:
		s.Usually = "the number of processes is fixed, or that of the cores was not asked for"
		return s.Fail("processes", "only %d serve; wanted: %d, as this machine has that many cores", len(at), want)
	}
	if err := ownListeners(s, at); err != nil {
		return err
	}
	if float64(most) > maxShare*float64(all) {
		s.Usually = "somebody else than the kernel's hash chooses who gets a client"
		return s.Fail("spread", "one process has %.0f %% of them", 100*float64(most)/float64(all))
	}
	return allWork(s, at)
}

// spread connects clients, each of which is answered once, and finds out which
// process has which of them.
func spread(s *exam.Session) (map[int][]*exam.Client, error) {
	socks, err := exam.Listeners(s.Server.Addr)
	if err != nil {
		return nil, err
	}
	var mine []*exam.Client
	for i := range max(spreadClients, 30*len(socks)) {
		c, err := s.Dial(0)
		if err == nil {
			err = c.Ping(exam.NewcomerTimeout)
		}
		if err != nil {
			s.Note("clients", "%d connected and were answered; the next one got %v", i, exam.SilenceFor(err, exam.NewcomerTimeout))
			return nil, explainUnanswered(s)
		}
		mine = append(mine, c)
	}
	inode := make(map[*exam.Client]uint64)
	for _, c := range mine {
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
	for _, c := range mine {
		for _, o := range owners[inode[c]] {
			at[o.PID] = append(at[o.PID], c)
			break // several, if a copy was left open: WORKER_LOST sees what that does
		}
	}
	if len(at) == 0 {
		return nil, exam.CannotRun("the server's ends of the connections are not among its descriptors")
	}
	return at, nil
}

// shares words how many clients each process has.
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

// unaccepted says where a client waits that was not answered.
func explainUnanswered(s *exam.Session) error {
	socks, err := exam.Listeners(s.Server.Addr)
	if err != nil {
		return err
	}
	for _, sock := range socks {
		if sock.RxQueue > 0 {
			s.Usually = "a socket that listens gets its share of the clients, whether anybody accepts from it or not; " +
				"so who does not accept must not listen"
			return s.Fail("waiting", "%s in the accept queue of one of the %d listening sockets, which %s open",
				exam.Plural(sock.RxQueue, "client", "clients"), len(socks), haveOpen(exam.Owners([]procfs.Socket{sock})))
		}
	}
	return exam.ErrFailed
}

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

// ownListeners wants that each process which serves has a listening socket from
// which no other one that serves can accept. The parent may have it open, too.
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
			s.Usually = "the processes have copies of one listening socket: who is awake first takes all that wait there. " +
				"Open one for each of them, with SO_REUSEPORT; and close-on-exec, or each of them inherits those of the others"
			return s.Fail("listening", "%s for %d processes: %s the same one open", exam.Plural(len(socks), "socket", "sockets"), len(at), haveOpen(shared))
		}
	}
	s.Note("listening", "%d sockets; each process that serves has one of its own", len(socks))
	return nil
}

// allWork keeps some clients of each process busy, and wants that each process
// works, in one thread, and that they may do so at the same time.
func allWork(s *exam.Session, at map[int][]*exam.Client) error {
	const each = 8
	before := s.Server.Threads()
	end := time.Now().Add(time.Second)
	var wg exam.WaitGroup
	errs := make(chan error, each*len(at))
	for _, list := range at {
		for _, c := range list[:min(each, len(list))] {
			wg.Go(func() {
				var err error
				for err == nil && time.Now().Before(end) && s.Ctx.Err() == nil {
					err = c.Echo(4<<10, exam.SilenceTimeout)
				}
				errs <- err
			})
		}
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	after := s.Server.Threads()
	var cpus unix.CPUSet
	for _, pid := range slices.Sorted(maps.Keys(at)) {
		serving, err := oneThread(s, pid, before, after)
		if err != nil {
			return err
		}
		var may unix.CPUSet
		if err := unix.SchedGetaffinity(serving, &may); err != nil {
			return err
		}
		for i := range may {
			cpus[i] |= may[i]
		}
	}
	if n := cpus.Count(); n < min(len(at), runtime.NumCPU()) {
		s.Usually = "sched_setaffinity(2) ties each process to the same core"
		return s.Fail("cores", "the %d processes may run on %s only", len(at), exam.Plural(n, "core", "cores"))
	}
	s.Note("load", "each process worked, in one thread")
	return nil
}

// oneThread returns the thread of process pid that did the work. See
// manyThreads for who does.
func oneThread(s *exam.Session, pid int, before, after map[int]procfs.Thread) (tid int, err error) {
	var calls, cpu exam.Tally
	var most uint64
	tid = pid
	for id, t := range after {
		if t.PID != pid {
			continue
		}
		old := before[id]
		n := t.Reads - old.Reads + t.Writes - old.Writes
		calls.Add(float64(n))
		cpu.Add(float64(t.CPU - old.CPU))
		if n > most {
			tid, most = id, n
		}
	}
	what, by, enough := "read(2) and write(2) calls", calls, exam.OneThreadCalls
	if calls.Total < 16 {
		what, by, enough = "CPU time", cpu, exam.OneThreadCPU
	}
	if by.Total <= 0 {
		return 0, s.Fail("load", "process %d did nothing, though its clients were answered", pid)
	}
	if by.Busiest/by.Total < enough {
		s.Usually = "each client has a thread or a goroutine of its own: one loop, in one thread, is enough for a core"
		return 0, s.Fail("threads", "in process %d, the busiest of %d had %.0f %% of the %s", pid, by.Threads, 100*by.Busiest/by.Total, what)
	}
	return tid, nil
}
