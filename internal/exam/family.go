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

// Look finds out which processes the server consists of: those that have a listening
// socket, and those that had one and are alive. A server may replace its processes,
// and start them after it listens.
//
// Look is called often, and a search of all of /proc takes long when processes have
// thousands of descriptors. So it looks at the children of the known processes, which
// mostly have none, and searches everywhere only if no known process is left.
func (s *Server) Look() { s.search(false) }

func (s *Server) search(everywhere bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lookup(everywhere)
}

// lookup is search for a caller that holds the lock.
func (s *Server) lookup(everywhere bool) {
	defer func() { s.looked = time.Now() }()
	s.kinship = nil
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
		return // they have died, or no longer listen
	}
	if s.guardInput != nil {
		for _, pid := range found {
			fmt.Fprintln(s.guardInput, pid)
		}
	}
	s.pids = slices.Concat(left, found)
	slices.Sort(s.pids)
	if parent := commonAncestor(s.pids); parent != 0 {
		s.parent = parent
	}
}

// newListeners returns the descendants of the known processes that have got a
// listening socket.
func (s *Server) newListeners(known []int) []int {
	family := slices.Clone(known) // and then their descendants
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

// started reports whether the process that we started has one of the sockets.
func (s *Server) started(socks []procfs.Socket) bool {
	return s.cmd != nil && hasOne(s.cmd.Process.Pid, socks)
}

func hasOne(pid int, socks []procfs.Socket) bool {
	fds, _ := procfs.FDs(pid)
	return slices.ContainsFunc(fds, func(fd procfs.FD) bool {
		return slices.ContainsFunc(socks, func(l procfs.Socket) bool { return l.Inode == fd.Inode && fd.Kind == procfs.KindSocket })
	})
}

// childrenOf returns the children of a process. It reads /proc/pid/task/tid/children,
// where the kernel offers it: proc(5). That is fast, and may miss a child that begins
// or ends at this moment.
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

// Members returns the server's processes as of the last Look, and their parent: 0 if
// they have none in common.
func (s *Server) Members() (pids []int, parent int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pids, s.parent
}

// Processes returns the server's processes as of StallTime ago, or later.
func (s *Server) Processes() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.looked) > StallTime { // not if another caller has just done it
		s.lookup(false)
	}
	return s.pids
}

// awaitFamily waits until a server of several processes has started them all. The
// first one may listen before the others exist.
func (s *Server) awaitFamily() {
	family := func() []int {
		all, _ := procfs.Descendants(s.cmd.Process.Pid)
		return append(all, s.Processes()...)
	}
	before := family()
	if len(before) == 1 && before[0] == s.cmd.Process.Pid {
		return // a single process
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

// commonAncestor returns the nearest process that all of these descend from: it
// started them, may replace one, and gets the signals that ask the server to end. It
// may be one of them, and a single process is its own ancestor. It is 0 if they have
// only ancestors of ours in common, such as a shell or init.
func commonAncestor(pids []int) int {
	ours := ancestors(os.Getpid())
	var common []int
	for _, pid := range pids {
		line := ancestors(pid)
		if len(line) == 0 {
			continue // it has ended
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

// ancestors returns the process, its parent, and so on.
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

// family returns the server's processes and their descendants, as of StallTime ago or
// later. A process that serves may have been handed its connections by another one,
// and have no listening socket itself.
func (s *Server) family() []int {
	pids := slices.Clone(s.Processes())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kinship == nil {
		for i := 0; i < len(pids); i++ {
			for _, pid := range childrenOf(pids[i]) {
				if !slices.Contains(pids, pid) {
					pids = append(pids, pid)
				}
			}
		}
		s.kinship = pids
	}
	return s.kinship
}
