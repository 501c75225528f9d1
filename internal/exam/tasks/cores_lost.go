package tasks

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

const (
	maxKilled      = 4               // workers
	replaceTimeout = 5 * time.Second // until there is another process for one that died
	stayingClients = 8               // of those that each process gets later: all would need too many descriptors
	orphanClients  = 10              // connected when the parent ends
)

var WorkerLost = exam.Check{
	ID: "WORKER_LOST", Title: "when a process dies, only its own clients are lost, and another process soon replaces it", For: []exam.Profile{exam.Cores}, Run: workerLost, Starts: true, Looks: true, Clients: 3 * spreadClients,
	Usually: "no process waits for the processes that serve, or starts another one",
	Reread:  []string{`wait4(2) "DESCRIPTION"`, `socket(7) "Socket options"`}, Chapter: exam.ChapterCores,
}

var LeftBehind = exam.Check{
	ID: "LEFT_BEHIND", Title: "when the parent ends, even by SIGKILL, the others end, too", For: []exam.Profile{exam.Cores}, Run: leftBehind, Starts: true, Looks: true, Kills: true,
	Usually: "the workers keep running without their parent, and keep the address",
	Reread:  []string{`prctl(2) "DESCRIPTION"`, `signal(7) "Standard signals"`}, Chapter: exam.ChapterCores,
}

// workerLost kills workers, one after the other, while all of them have clients.
func workerLost(s *exam.Session) error {
	at, err := spread(s)
	if err != nil {
		return err
	}
	if len(at) == 1 {
		return exam.SkipCheck("one process serves all clients: see ONE_CORE")
	}
	victims := slices.Sorted(maps.Keys(at))
	for _, pid := range victims[:min(len(victims), maxKilled)] {
		if err := killWorker(s, pid, at); err != nil {
			return err
		}
	}
	return nil
}

// lose kills one process. Its clients must notice, all others must be served on, and
// soon another process must serve.
func killWorker(s *exam.Session, pid int, at map[int][]*exam.Client) error {
	if _, parent := s.Server.Members(); pid == parent {
		return s.Fail("process", "%d serves %s, and it has started the others: no process is left to replace it when it dies",
			pid, exam.Plural(len(at[pid]), "client", "clients"))
	}
	known, _ := s.Server.Members()
	lost := at[pid]
	delete(at, pid)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return s.Fail("process", "%d has already ended by itself: %v", pid, err)
	}
	s.Note("killed", "process %d, which had %s", pid, exam.Plural(len(lost), "client", "clients"))
	for _, c := range lost {
		if err := c.AwaitEOF(exam.ReplyTimeout); err == exam.ErrSilence {
			s.Usually = "another process has the client's socket open, too: fork(2) copies what is not close-on-exec"
			return s.Fail("clients", "of it did not notice: after %v the connection is still open", exam.ReplyTimeout)
		}
		s.CloseClient(c)
	}
	for _, other := range slices.Sorted(maps.Keys(at)) {
		for _, c := range at[other] {
			before := c.Got
			if err := c.Ping(exam.NewcomerTimeout); err != nil {
				s.Usually = "the parent ends when a worker does, or the workers die of the same thing"
				return s.Fail("another", "client, of process %d, sent 16 bytes and got %v", other, c.Outcome(before, exam.PingSize, exam.SilenceFor(err, exam.NewcomerTimeout)))
			}
		}
	}
	began := time.Now()
	replacement := awaitReplacement(s, known)
	if how, dead := s.Server.Died(); dead {
		s.Usually = "the parent ends when a worker does"
		return s.Fail("server", "died, the parent too: %s", how)
	}
	if replacement == 0 {
		s.Usually = "the parent does not wait for the workers: it has to notice with wait4(2), and start another one"
		return s.Fail("replaced", "by no process within %v", replaceTimeout)
	}
	s.Note("replaced", "by process %d after %v", replacement, time.Since(began).Round(10*time.Millisecond))
	more, err := spread(s)
	if err != nil {
		s.Note("since", "process %d was killed and replaced", pid)
		return err
	}
	if more[replacement] == nil {
		s.Usually = "the new process does not listen on the address, or its loop does not watch its listening socket"
		return s.Fail("newcomers", "%s, and process %d none", shares(more), replacement)
	}
	for pid, list := range more {
		stay := min(stayingClients, len(list))
		at[pid] = append(at[pid], list[:stay]...)
		for _, c := range list[stay:] {
			s.CloseClient(c)
		}
	}
	return nil
}

// awaitReplacement waits for a process that has a listening socket and is not known yet.
// It returns 0 if there is none.
func awaitReplacement(s *exam.Session, known []int) int {
	replacement := 0
	s.Await(replaceTimeout, func() bool {
		s.Server.Look()
		now, _ := s.Server.Members()
		for _, pid := range now {
			if !slices.Contains(known, pid) && exam.Alive(pid) {
				replacement = pid
			}
		}
		_, dead := s.Server.Died()
		return replacement != 0 || dead
	})
	return replacement
}

// leftBehind ends the parent, in two ways, and expects the workers to end, too.
func leftBehind(s *exam.Session) error {
	if err := orphans(s, unix.SIGTERM, "the workers do not learn that the parent ends"); err != nil {
		return err
	}
	s.Server.Stop()
	s.ResetAll()
	if err := s.Restart(); err != nil {
		var start *exam.StartError
		if errors.As(err, &start) {
			return s.Fail("started", "again: %s", start.Reason)
		}
		return err
	}
	return orphans(s, unix.SIGKILL, "the parent cannot catch SIGKILL: the workers must notice by themselves, "+
		"or ask the kernel for a signal: prctl(2), PR_SET_PDEATHSIG")
}

func orphans(s *exam.Session, sig unix.Signal, usually string) error {
	for range orphanClients {
		if _, err := s.DialAndPing(); err != nil {
			return err
		}
	}
	s.Server.Look()
	all, parent := s.Server.Members()
	if parent == 0 {
		return s.Fail("processes", "%d, and they have no parent in common: there is no process to end", len(all))
	}
	children, _ := procfs.Descendants(parent)
	all = slices.Concat(all, children, []int{parent})
	slices.Sort(all)
	all = slices.Compact(all)
	begin := time.Now()
	if err := unix.Kill(parent, sig); err != nil {
		return s.Fail("process", "%d has already ended by itself: %v", parent, err)
	}
	name := unix.SignalName(sig)
	if !s.Await(exam.ExitTimeout, func() bool { return !slices.ContainsFunc(all, exam.Alive) }) {
		s.Usually = usually
		s.Note(name, "to process %d, the parent of %d others", parent, len(all)-1)
		left := slices.DeleteFunc(all, func(pid int) bool { return !exam.Alive(pid) })
		return s.Fail("after", "%v: still there: %s", exam.ExitTimeout, names(left))
	}
	s.Note(name, "to process %d: %s gone after %v", parent, exam.Plural(len(all), "process", "processes"), time.Since(begin).Round(time.Millisecond))
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
