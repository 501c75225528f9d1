package exam

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// These checks are for an echo server of several processes: a parent, and
// workers that serve, each with a listening socket of its own on the same
// address. Who has accepted a client is who has its socket open, as /proc says.

// oneCore wants the clients spread over the workers. The kernel chooses by a
// hash, which is as good as chance. So with 200 clients and two workers, one of
// them has more than 80 % once in 10^17 times; and with 30 clients for each
// worker, the chance that any of them has none is less than 10^-10.
func oneCore(s *session) error {
	at, err := s.spread()
	if err != nil {
		return err
	}
	all, most := 0, 0
	for _, list := range at {
		all, most = all+len(list), max(most, len(list))
	}
	s.note("clients", "%d are connected; %s", all, shares(at))
	cores := min(runtime.NumCPU(), runtime.GOMAXPROCS(0))
	switch want := max(2, cores); {
	case len(at) == 1:
		return s.fail("processes", "one serves them all; wanted: %d, as this machine has %s", want, plural(cores, "core", "cores"))
	case len(at) < want:
		s.usually = "the number of processes is fixed, or that of the cores was not asked for"
		return s.fail("processes", "only %d serve; wanted: %d, as this machine has that many cores", len(at), want)
	}
	if err := s.ownListeners(at); err != nil {
		return err
	}
	if float64(most) > limits.uneven*float64(all) {
		s.usually = "somebody else than the kernel's hash chooses who gets a client"
		return s.fail("spread", "one process has %.0f %% of them", 100*float64(most)/float64(all))
	}
	return s.allWork(at)
}

// spread connects clients, each of which is answered once, and finds out which
// process has which of them.
func (s *session) spread() (map[int][]*client, error) {
	socks, err := listeners(s.server.addr)
	if err != nil {
		return nil, err
	}
	var mine []*client
	for i := range max(limits.spread, 30*len(socks)) {
		c, err := s.dial(0)
		if err == nil {
			err = c.ping(limits.newcomer)
		}
		if err != nil {
			s.note("clients", "%d connected and were answered; the next one got %v", i, silent(err, limits.newcomer))
			return nil, s.unaccepted()
		}
		mine = append(mine, c)
	}
	inode := make(map[*client]uint64)
	for _, c := range mine {
		end, found, err := c.serverEnd()
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
	at := make(map[int][]*client)
	for _, c := range mine {
		for _, o := range owners[inode[c]] {
			at[o.PID] = append(at[o.PID], c)
			break // several, if a copy was left open: WORKER_LOST sees what that does
		}
	}
	if len(at) == 0 {
		return nil, &cannotRun{"the server's ends of the connections are not among its descriptors"}
	}
	return at, nil
}

// shares words how many clients each process has.
func shares(at map[int][]*client) string {
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
func (s *session) unaccepted() error {
	socks, err := listeners(s.server.addr)
	if err != nil {
		return err
	}
	for _, sock := range socks {
		if sock.RxQueue > 0 {
			s.usually = "a socket that listens gets its share of the clients, whether anybody accepts from it or not; " +
				"so who does not accept must not listen"
			return s.fail("waiting", "%s in the accept queue of one of the %d listening sockets, which %s open",
				plural(sock.RxQueue, "client", "clients"), len(socks), who(ownersOf([]procfs.Socket{sock})))
		}
	}
	return errFailed
}

func who(pids []int) string {
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
func (s *session) ownListeners(at map[int][]*client) error {
	socks, err := listeners(s.server.addr)
	if err != nil {
		return err
	}
	own := make(map[int]bool)
	var shared []int
	for _, sock := range socks {
		serving := slices.DeleteFunc(ownersOf([]procfs.Socket{sock}), func(pid int) bool { return at[pid] == nil })
		if len(serving) == 1 {
			own[serving[0]] = true
		} else if len(serving) > 1 {
			shared = serving
		}
	}
	for pid := range at {
		if !own[pid] {
			s.usually = "the processes have copies of one listening socket: who is awake first takes all that wait there. " +
				"Open one for each of them, with SO_REUSEPORT; and close-on-exec, or each of them inherits those of the others"
			return s.fail("listening", "%s for %d processes: %s the same one open", plural(len(socks), "socket", "sockets"), len(at), who(shared))
		}
	}
	s.note("listening", "%d sockets; each process that serves has one of its own", len(socks))
	return nil
}

// allWork keeps some clients of each process busy, and wants that each process
// works, in one thread, and that they may do so at the same time.
func (s *session) allWork(at map[int][]*client) error {
	const each = 8
	before := s.server.threads()
	end := time.Now().Add(time.Second)
	var wg group
	errs := make(chan error, each*len(at))
	for _, list := range at {
		for _, c := range list[:min(each, len(list))] {
			wg.Go(func() {
				var err error
				for err == nil && time.Now().Before(end) && s.ctx.Err() == nil {
					err = c.echo(4<<10, limits.silence)
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
	after := s.server.threads()
	var cpus unix.CPUSet
	for _, pid := range slices.Sorted(maps.Keys(at)) {
		serving, err := s.oneThread(pid, before, after)
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
		s.usually = "sched_setaffinity(2) ties each process to the same core"
		return s.fail("cores", "the %d processes may run on %s only", len(at), plural(n, "core", "cores"))
	}
	s.note("load", "each process worked, in one thread")
	return nil
}

// oneThread returns the thread of process pid that did the work. See
// manyThreads for who does.
func (s *session) oneThread(pid int, before, after map[int]procfs.Thread) (tid int, err error) {
	var calls, cpu tally
	var most uint64
	tid = pid
	for id, t := range after {
		if t.PID != pid {
			continue
		}
		old := before[id]
		n := t.Reads - old.Reads + t.Writes - old.Writes
		calls.add(float64(n))
		cpu.add(float64(t.CPU - old.CPU))
		if n > most {
			tid, most = id, n
		}
	}
	what, by, enough := "read(2) and write(2) calls", calls, limits.oneThread
	if calls.all < 16 {
		what, by, enough = "CPU time", cpu, limits.oneThreadCPU
	}
	if by.all <= 0 {
		return 0, s.fail("load", "process %d did nothing, though its clients were answered", pid)
	}
	if by.most/by.all < enough {
		s.usually = "each client has a thread or a goroutine of its own: one loop, in one thread, is enough for a core"
		return 0, s.fail("threads", "in process %d, the busiest of %d had %.0f %% of the %s", pid, by.n, 100*by.most/by.all, what)
	}
	return tid, nil
}

// workerLost kills each worker once (four of them, if there are many), with
// clients on all.
func workerLost(s *session) error {
	at, err := s.spread()
	if err != nil {
		return err
	}
	if len(at) == 1 {
		return &skip{"one process serves all clients: see ONE_CORE"}
	}
	victims := slices.Sorted(maps.Keys(at))
	for _, pid := range victims[:min(len(victims), 4)] {
		if err := s.lose(pid, at); err != nil {
			return err
		}
	}
	return nil
}

// lose kills one process. Its clients are lost, and see it. All others are not;
// and soon there is another process, which serves.
func (s *session) lose(pid int, at map[int][]*client) error {
	if _, parent := s.server.members(); pid == parent {
		return s.fail("process", "%d serves %s, and it has started the others: who is to replace it, when it dies?",
			pid, plural(len(at[pid]), "client", "clients"))
	}
	known, _ := s.server.members()
	lost := at[pid]
	delete(at, pid)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return s.fail("process", "%d has ended already, by itself: %v", pid, err)
	}
	s.note("killed", "process %d, which had %s", pid, plural(len(lost), "client", "clients"))
	for _, c := range lost {
		if err := c.eof(limits.reply); err == errSilence {
			s.usually = "another process has the client's socket open, too: fork(2) copies what is not close-on-exec"
			return s.fail("clients", "of it were not told: after %v the connection is still open", limits.reply)
		}
		s.forget(c)
	}
	for _, other := range slices.Sorted(maps.Keys(at)) {
		for _, c := range at[other] {
			before := c.got
			if err := c.ping(limits.newcomer); err != nil {
				s.usually = "the parent ends when a worker does, or what one of them dies of, the others share"
				return s.fail("another", "client, of process %d, sent 16 bytes and got %v", other, c.outcome(before, pingSize, silent(err, limits.newcomer)))
			}
		}
	}
	began := time.Now()
	heir := s.heir(known)
	if how, dead := s.server.died(); dead {
		s.usually = "the parent ends when a worker does"
		return s.fail("server", "died, the parent too: %s", how)
	}
	if heir == 0 {
		s.usually = "nobody waits for the workers: the parent is to notice with wait4(2), and to start another one"
		return s.fail("replaced", "by nobody within %v", limits.replaced)
	}
	s.note("replaced", "by process %d after %v", heir, time.Since(began).Round(10*time.Millisecond))
	more, err := s.spread()
	if err != nil {
		s.note("since", "process %d had been killed and replaced", pid)
		return err
	}
	if more[heir] == nil {
		s.usually = "the new process does not listen on the address, or the listening socket that it has is not watched"
		return s.fail("newcomers", "%s, and process %d none", shares(more), heir)
	}
	const each = 8 // stay: with many processes, the descriptors would run out
	for pid, list := range more {
		stay := min(each, len(list))
		at[pid] = append(at[pid], list[:stay]...)
		for _, c := range list[stay:] {
			s.forget(c)
		}
	}
	return nil
}

// heir waits for a process that has a listening socket and is not known yet.
func (s *session) heir(known []int) int {
	for deadline := time.Now().Add(limits.replaced); time.Now().Before(deadline) && s.ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		s.server.look()
		now, _ := s.server.members()
		for _, pid := range now {
			if !slices.Contains(known, pid) && alive(pid) {
				return pid
			}
		}
		if _, dead := s.server.died(); dead {
			break
		}
	}
	return 0
}

// leftBehind ends the parent, in two ways, and wants all others gone with it.
func leftBehind(s *session) error {
	if err := s.orphans(unix.SIGTERM, "the workers are not told that the parent ends"); err != nil {
		return err
	}
	s.server.stop()
	s.resetAll()
	again, err := s.start(hardNOFILE())
	if err != nil {
		var start *startError
		if errors.As(err, &start) {
			return s.fail("started", "again: %s", start.reason)
		}
		return err
	}
	s.server = again
	return s.orphans(unix.SIGKILL, "the parent can do nothing about SIGKILL: the workers must notice by themselves, "+
		"or have the kernel tell them; prctl(2), PR_SET_PDEATHSIG")
}

func (s *session) orphans(sig unix.Signal, usually string) error {
	for range 10 {
		if _, err := s.served(); err != nil {
			return err
		}
	}
	s.server.look()
	all, parent := s.server.members()
	if parent == 0 {
		return s.fail("processes", "%d, and no parent in common: whom is one to end?", len(all))
	}
	children, _ := procfs.Descendants(parent)
	all = slices.Concat(all, children, []int{parent})
	slices.Sort(all)
	all = slices.Compact(all)
	begin := time.Now()
	if err := unix.Kill(parent, sig); err != nil {
		return s.fail("process", "%d has ended already, by itself: %v", parent, err)
	}
	name := unix.SignalName(sig)
	for slices.ContainsFunc(all, alive) {
		if time.Since(begin) < limits.term {
			time.Sleep(2 * time.Millisecond)
			continue
		}
		s.usually = usually
		s.note(name, "to process %d, the parent of %d others", parent, len(all)-1)
		left := slices.DeleteFunc(all, func(pid int) bool { return !alive(pid) })
		return s.fail("after", "%v: still there %s", limits.term, names(left))
	}
	s.note(name, "to process %d: %s gone after %v", parent, plural(len(all), "process", "processes"), time.Since(begin).Round(time.Millisecond))
	return nil
}

func names(pids []int) string {
	var list []string
	for _, pid := range pids[:min(len(pids), 4)] {
		args, _ := procfs.Cmdline(pid)
		list = append(list, fmt.Sprintf("%d (%s)", pid, strings.Join(args, " ")))
	}
	if len(pids) > len(list) {
		list = append(list, fmt.Sprintf("and %d more", len(pids)-len(list)))
	}
	return strings.Join(list, ", ")
}
