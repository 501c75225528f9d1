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

const replaceTimeout = 5 * time.Second // until there is another process for one that died

var WorkerLost = exam.Check{
	ID: "WORKER_LOST", Title: "when a process dies, only its own clients are lost, and soon there is another one", For: []exam.Profile{exam.Cores}, Run: workerLost, Starts: true, Looks: true, Clients: 3 * spreadClients,
	Usually: "nobody waits for the processes that serve, or starts another one",
	Reread:  []string{`wait4(2) "DESCRIPTION"`, `socket(7) "Socket options"`}, Chapter: exam.ChapterCores,
}

var LeftBehind = exam.Check{
	ID: "LEFT_BEHIND", Title: "when the parent ends, even by SIGKILL, the others end, too", For: []exam.Profile{exam.Cores}, Run: leftBehind, Starts: true, Looks: true, Kills: true,
	Usually: "the workers live on without their parent, and keep the address",
	Reread:  []string{`prctl(2) "DESCRIPTION"`, `signal(7) "Standard signals"`}, Chapter: exam.ChapterCores,
}

// workerLost kills each worker once (four of them, if there are many), with
// clients on all.
func workerLost(s *exam.Session) error {
	at, err := spread(s)
	if err != nil {
		return err
	}
	if len(at) == 1 {
		return exam.SkipCheck("one process serves all clients: see ONE_CORE")
	}
	victims := slices.Sorted(maps.Keys(at))
	for _, pid := range victims[:min(len(victims), 4)] {
		if err := lose(s, pid, at); err != nil {
			return err
		}
	}
	return nil
}

// lose kills one process. Its clients are lost, and see it. All others are not;
// and soon there is another process, which serves.
func lose(s *exam.Session, pid int, at map[int][]*exam.Client) error {
	if _, parent := s.Server.Members(); pid == parent {
		return s.Fail("process", "%d serves %s, and it has started the others: who is to replace it, when it dies?",
			pid, exam.Plural(len(at[pid]), "client", "clients"))
	}
	known, _ := s.Server.Members()
	lost := at[pid]
	delete(at, pid)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return s.Fail("process", "%d has ended already, by itself: %v", pid, err)
	}
	s.Note("killed", "process %d, which had %s", pid, exam.Plural(len(lost), "client", "clients"))
	for _, c := range lost {
		if err := c.AwaitEOF(exam.ReplyTimeout); err == exam.ErrSilence {
			s.Usually = "another process has the client's socket open, too: fork(2) copies what is not close-on-exec"
			return s.Fail("clients", "of it were not told: after %v the connection is still open", exam.ReplyTimeout)
		}
		s.CloseClient(c)
	}
	for _, other := range slices.Sorted(maps.Keys(at)) {
		for _, c := range at[other] {
			before := c.Got
			if err := c.Ping(exam.NewcomerTimeout); err != nil {
				s.Usually = "the parent ends when a worker does, or what one of them dies of, the others share"
				return s.Fail("another", "client, of process %d, sent 16 bytes and got %v", other, c.Outcome(before, exam.PingSize, exam.SilenceFor(err, exam.NewcomerTimeout)))
			}
		}
	}
	began := time.Now()
	heir := awaitReplacement(s, known)
	if how, dead := s.Server.Died(); dead {
		s.Usually = "the parent ends when a worker does"
		return s.Fail("server", "died, the parent too: %s", how)
	}
	if heir == 0 {
		s.Usually = "nobody waits for the workers: the parent is to notice with wait4(2), and to start another one"
		return s.Fail("replaced", "by nobody within %v", replaceTimeout)
	}
	s.Note("replaced", "by process %d after %v", heir, time.Since(began).Round(10*time.Millisecond))
	more, err := spread(s)
	if err != nil {
		s.Note("since", "process %d had been killed and replaced", pid)
		return err
	}
	if more[heir] == nil {
		s.Usually = "the new process does not listen on the address, or the listening socket that it has is not watched"
		return s.Fail("newcomers", "%s, and process %d none", shares(more), heir)
	}
	const each = 8 // stay: with many processes, the descriptors would run out
	for pid, list := range more {
		stay := min(each, len(list))
		at[pid] = append(at[pid], list[:stay]...)
		for _, c := range list[stay:] {
			s.CloseClient(c)
		}
	}
	return nil
}

// heir waits for a process that has a listening socket and is not known yet.
func awaitReplacement(s *exam.Session, known []int) int {
	for deadline := time.Now().Add(replaceTimeout); time.Now().Before(deadline) && s.Ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		s.Server.Look()
		now, _ := s.Server.Members()
		for _, pid := range now {
			if !slices.Contains(known, pid) && exam.Alive(pid) {
				return pid
			}
		}
		if _, dead := s.Server.Died(); dead {
			break
		}
	}
	return 0
}

// leftBehind ends the parent, in two ways, and wants all others gone with it.
func leftBehind(s *exam.Session) error {
	if err := orphans(s, unix.SIGTERM, "the workers are not told that the parent ends"); err != nil {
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
	return orphans(s, unix.SIGKILL, "the parent can do nothing about SIGKILL: the workers must notice by themselves, "+
		"or have the kernel tell them; prctl(2), PR_SET_PDEATHSIG")
}

func orphans(s *exam.Session, sig unix.Signal, usually string) error {
	for range 10 {
		if _, err := s.DialAndPing(); err != nil {
			return err
		}
	}
	s.Server.Look()
	all, parent := s.Server.Members()
	if parent == 0 {
		return s.Fail("processes", "%d, and no parent in common: whom is one to end?", len(all))
	}
	children, _ := procfs.Descendants(parent)
	all = slices.Concat(all, children, []int{parent})
	slices.Sort(all)
	all = slices.Compact(all)
	begin := time.Now()
	if err := unix.Kill(parent, sig); err != nil {
		return s.Fail("process", "%d has ended already, by itself: %v", parent, err)
	}
	name := unix.SignalName(sig)
	for slices.ContainsFunc(all, exam.Alive) {
		if time.Since(begin) < exam.ExitTimeout {
			time.Sleep(2 * time.Millisecond)
			continue
		}
		s.Usually = usually
		s.Note(name, "to process %d, the parent of %d others", parent, len(all)-1)
		left := slices.DeleteFunc(all, func(pid int) bool { return !exam.Alive(pid) })
		return s.Fail("after", "%v: still there %s", exam.ExitTimeout, names(left))
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
