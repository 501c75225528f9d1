package exam

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"epoll-step-by-step/internal/procfs"
)

// look finds out which processes the server consists of now: who has a
// listening socket, and who had one and is still alive. A server may replace
// its processes, and start them when it listens already.
//
// It is called often, and to ask all of /proc takes time where processes have
// thousands of descriptors. So it looks at the children of those that are known
// already, and mostly there is none; at all others it looks if nobody is left.
func (s *Server) Look() { s.search(false) }

func (s *Server) search(everywhere bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looked, s.kin = time.Now(), nil
	left := slices.DeleteFunc(slices.Clone(s.pids), func(pid int) bool { return !Alive(pid) })
	var found []int
	if len(left) > 0 && !everywhere {
		if found = s.newListeners(left); len(found) == 0 && len(left) == len(s.pids) {
			return
		}
	} else if socks, _ := Listeners(s.Addr); len(socks) > 0 && s.started(socks) && !everywhere {
		found = []int{s.cmd.Process.Pid}
	} else if len(socks) > 0 {
		found = slices.DeleteFunc(Owners(socks), func(pid int) bool { return slices.Contains(left, pid) })
	}
	if len(left)+len(found) == 0 {
		return // they have died, or do not listen any more
	}
	if s.names != nil {
		for _, pid := range found {
			fmt.Fprintln(s.names, pid)
		}
	}
	s.pids = slices.Concat(left, found)
	slices.Sort(s.pids)
	if parent := commonAncestor(s.pids); parent != 0 {
		s.parent = parent
	}
}

// strangers returns those who have come to have a listening socket, among the
// children of the others.
func (s *Server) newListeners(known []int) []int {
	family := slices.Clone(known) // and then their children, and theirs
	if s.parent != 0 {
		family = append(family, s.parent)
	}
	if s.cmd != nil {
		family = append(family, s.cmd.Process.Pid)
	}
	slices.Sort(family)
	family = slices.Compact(family)
	old := len(family)
	for i := 0; i < len(family); i++ {
		for _, pid := range childrenOf(family[i]) {
			if !slices.Contains(family, pid) {
				family = append(family, pid)
			}
		}
	}
	children := family[old:]
	if len(children) == 0 {
		return nil
	}
	socks, _ := Listeners(s.Addr)
	return slices.DeleteFunc(children, func(pid int) bool { return !hasOne(pid, socks) })
}

// started tells whether the process that we have started has one of the sockets.
func (s *Server) started(socks []procfs.Socket) bool {
	return s.cmd != nil && hasOne(s.cmd.Process.Pid, socks)
}

func hasOne(pid int, socks []procfs.Socket) bool {
	fds, _ := procfs.FDs(pid)
	return slices.ContainsFunc(fds, func(fd procfs.FD) bool {
		return slices.ContainsFunc(socks, func(l procfs.Socket) bool { return l.Inode == fd.Inode && fd.Kind == procfs.KindSocket })
	})
}

// childrenOf is for those who ask often. It asks the process alone, where the
// kernel offers that: proc(5), /proc/pid/task/tid/children. One that begins or
// ends at this moment may be missed.
func childrenOf(pid int) []int {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if len(tasks) == 0 {
		all, _ := procfs.Descendants(pid)
		return all
	}
	var children []int
	for _, name := range tasks {
		text, _ := os.ReadFile(name)
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				children = append(children, child)
			}
		}
	}
	return children
}

// members returns them as they were at the last look, and their parent.
func (s *Server) Members() (pids []int, parent int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pids, s.parent
}

// processes returns them as they were a moment ago at the earliest.
func (s *Server) Processes() []int {
	s.mu.Lock()
	old := time.Since(s.looked) > StallTime
	s.mu.Unlock()
	if old {
		s.Look()
	}
	pids, _ := s.Members()
	return pids
}

// awaitFamily waits until a server of several processes has started them all:
// the first one may listen before the others are there.
func (s *Server) awaitFamily() {
	family := func() []int {
		all, _ := procfs.Descendants(s.cmd.Process.Pid)
		return append(all, s.Processes()...)
	}
	before := family()
	if len(before) == 1 && before[0] == s.cmd.Process.Pid {
		return // it is alone
	}
	for deadline := time.Now().Add(SilenceTimeout); time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
		now := family()
		if slices.Equal(now, before) {
			break
		}
		before = now
	}
	s.search(true)
}

// commonAncestor is the process that all of these descend from: it has started
// them, it may replace one, and it is the one to be asked to end. It may be one
// of them; and one process is its own. It is 0 if they have nobody in common but
// those who are ours, too: a shell, or init.
func commonAncestor(pids []int) int {
	ours := ancestors(os.Getpid())
	var common []int
	for _, pid := range pids {
		line := ancestors(pid)
		if len(line) == 0 {
			continue // it has gone meanwhile
		}
		if common == nil {
			common = line
			continue
		}
		common = slices.DeleteFunc(common, func(p int) bool { return !slices.Contains(line, p) })
	}
	if len(common) == 0 || common[0] == 1 || slices.Contains(ours, common[0]) {
		return 0
	}
	return common[0]
}

// ancestors returns the process, its parent and so on.
func ancestors(pid int) []int {
	var line []int
	for pid != 0 {
		p, err := procfs.Stat(pid)
		if err != nil {
			break
		}
		line, pid = append(line, pid), p.PPID
	}
	return line
}

// all is the server's processes and their children: one that serves may have
// been handed its connection, and have no listening socket. They are as they
// were a moment ago at the earliest.
func (s *Server) family() []int {
	pids := slices.Clone(s.Processes())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kin == nil {
		for i := 0; i < len(pids); i++ {
			for _, pid := range childrenOf(pids[i]) {
				if !slices.Contains(pids, pid) {
					pids = append(pids, pid)
				}
			}
		}
		s.kin = pids
	}
	return s.kin
}
