package xray

import (
	"cmp"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// A snapshot holds what /proc shows of one process at one time.
type snapshot struct {
	stat      procfs.Process
	args      []string
	goRuntime bool
	memory    procfs.Memory
	limit     procfs.Limit

	fds       []procfs.FD
	interests map[int][]procfs.Interest // by the instance's descriptor
	threads   []procfs.Thread
	sockets   []procfs.Socket // TCP: all of the network namespace

	// Indexes of the fields above, and what else is known of descriptors.
	byNumber  map[int]procfs.FD
	listening []procfs.Socket
	byInode   map[uint64]int // index in sockets
	backlogs  map[uint64]int // by the listener's inode; empty if sock_diag(7) is forbidden
	protocol  map[int]string // by descriptor, of sockets that are not TCP
	inodes    map[int]uint64 // by descriptor, of watched files that are neither sockets nor pipes
	asleep    map[int]bool   // by epoll descriptor: a thread sleeps in epoll_wait(2) on it
	ready     map[int]string // by epoll descriptor: how many entries are ready, in words
}

// errEnded reports that the process does not exist, or no longer.
var errEnded = errors.New("has ended")

// Inspect reports what a process waits for. It fails if the process does not exist, or
// if this process may not inspect it. CPUPercent of the result is not set.
func Inspect(pid int) (Report, error) { return inspect(pid) }

// inspect reports what a process waits for. It fails with errEnded if the process does
// not exist, and with fs.ErrPermission if this process may not inspect it.
func inspect(pid int) (Report, error) {
	snap, err := takeSnapshot(pid)
	if errors.Is(err, fs.ErrNotExist) || ended(pid) {
		return Report{}, errEnded
	}
	if err != nil {
		return Report{}, err
	}
	r := Report{Epolls: snap.epollList()}
	snap.ready = make(map[int]string)
	for _, e := range r.Epolls {
		snap.ready[e.FD] = e.watchSummary()
	}
	r.Threads = snap.threadList()
	r.Sockets = snap.socketList()
	r.Process = snap.process()
	r.Notes = snap.notes(r)
	return r, nil
}

// ended reports whether a process has ended. A zombie has ended unless it has other
// threads: then only its first thread has.
func ended(pid int) bool {
	p, err := procfs.Stat(pid)
	return errors.Is(err, fs.ErrNotExist) || err == nil && (p.State == 'Z' || p.State == 'X') && p.Threads <= 1
}

// takeSnapshot reads the threads' CPU times first and the threads last. A thread that is
// asleep at the end and used no CPU time in between slept throughout.
func takeSnapshot(pid int) (*snapshot, error) {
	snap := &snapshot{interests: make(map[int][]procfs.Interest)}
	var err error
	if snap.stat, err = procfs.Stat(pid); err != nil {
		return nil, err
	}
	before, _ := procfs.ThreadCPU(pid) // after an error, no thread counts as asleep
	if err = snap.readFiles(pid); err != nil {
		return nil, err
	}
	if snap.threads, err = procfs.Threads(pid); err != nil {
		return nil, err
	}
	snap.asleep = make(map[int]bool)
	for _, t := range snap.threads {
		cpu, known := before[t.TID]
		if name, fd := call(t); isEpollWait(name) && state(t) == "asleep" && known && cpu == t.CPU {
			snap.asleep[fd] = true
		}
	}
	if snap.limit, err = procfs.NOFILE(pid); err != nil {
		return nil, err
	}
	if snap.memory, err = procfs.MemoryOf(pid); err != nil {
		return nil, err
	}
	_, notGo := buildinfo.ReadFile("/proc/" + strconv.Itoa(pid) + "/exe")
	snap.goRuntime = notGo == nil
	snap.args, err = procfs.Cmdline(pid)
	return snap, err
}

// readFiles reads the descriptors, the interest lists and the sockets.
func (snap *snapshot) readFiles(pid int) (err error) {
	if snap.fds, err = procfs.FDs(pid); err != nil {
		return err
	}
	for _, fd := range snap.fds {
		if fd.Kind != procfs.KindEventpoll {
			continue
		}
		list, err := procfs.Interests(pid, fd.Num)
		if err == nil {
			snap.interests[fd.Num] = list
		} else if !errors.Is(err, fs.ErrNotExist) { // it was closed in the meantime
			return err
		}
	}
	if snap.sockets, err = procfs.TCPOf(pid); err != nil {
		return err
	}
	snap.buildIndexes(pid)
	return nil
}

// buildIndexes fills in the lookup fields.
func (snap *snapshot) buildIndexes(pid int) {
	snap.byInode, snap.byNumber = make(map[uint64]int), make(map[int]procfs.FD)
	snap.protocol, snap.inodes = make(map[int]string), make(map[int]uint64)
	snap.backlogs = make(map[uint64]int)
	listeners, _ := procfs.Listeners() // a sandbox may forbid it
	for _, l := range listeners {
		snap.backlogs[l.Inode] = l.Backlog
	}
	for i, s := range snap.sockets {
		if s.State == procfs.TCPListen {
			snap.listening = append(snap.listening, s)
		}
		if s.Inode != 0 {
			snap.byInode[s.Inode] = i
		}
	}
	for _, fd := range snap.fds {
		snap.byNumber[fd.Num] = fd
		if _, known := snap.byInode[fd.Inode]; fd.Kind == procfs.KindSocket && !known {
			snap.protocol[fd.Num], _ = procfs.Protocol(pid, fd.Num)
		}
	}
	for _, list := range snap.interests {
		for _, i := range list {
			if fd, open := snap.byNumber[i.FD]; open && fd.Inode == 0 {
				snap.inodes[i.FD], _ = procfs.Inode(pid, i.FD)
			}
		}
	}
}

func (snap *snapshot) process() Process {
	p := Process{
		PID:         snap.stat.PID,
		Name:        clean(programName(snap.stat.Name, snap.args)),
		Command:     clean(strings.TrimSpace(strings.Join(snap.args, " "))),
		Go:          snap.goRuntime,
		Start:       snap.stat.StartTime,
		CPUPercent:  -1,
		Threads:     len(snap.threads),
		Descriptors: len(snap.fds),
		Limit:       snap.limit.Soft,
		Resident:    snap.memory.RSS,
	}
	var cpu time.Duration
	for _, t := range snap.threads {
		cpu += t.CPU
	}
	p.CPUSeconds = cpu.Seconds()
	return p
}

// programName returns the full name of the program. The kernel cuts comm off after 15
// bytes, and it is the name of a thread.
func programName(comm string, args []string) string {
	if len(args) > 0 {
		if words := strings.Fields(args[0]); len(words) > 0 {
			return strings.TrimSuffix(filepath.Base(words[0]), ":") // "nginx: worker process"
		}
	}
	return comm
}

// clean escapes control characters: a process can choose any name.
func clean(s string) string {
	quoted := strconv.QuoteToASCII(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// epollList returns the epoll instances with their interest lists.
func (snap *snapshot) epollList() []Epoll {
	found := []Epoll{}
	for _, fd := range snap.fds {
		list, isEpoll := snap.interests[fd.Num]
		if !isEpoll {
			continue
		}
		e := Epoll{FD: fd.Num, Interests: []Interest{}}
		for _, i := range list {
			in := snap.entry(fd.Num, i)
			interest := Interest{
				FD:      i.FD,
				What:    snap.describeRegistered(in),
				Asked:   i.Events.Asked().String(),
				Trigger: in.trigger(),
				Ready:   in.ready(),
				Marks:   marksOf(in),
			}
			switch interest.Ready {
			case "yes":
				e.Ready++
			case "unknown":
				e.Unknown++
			}
			if snap.goRuntime && in.fd.Kind == procfs.KindEventfd && i.Data != uint64(i.FD) {
				e.Owner = "the Go runtime" // to wake its poller; the event's data is a pointer
			}
			e.Interests = append(e.Interests, interest)
		}
		found = append(found, e)
	}
	return found
}

func (snap *snapshot) entry(epfd int, i procfs.Interest) entry {
	e := entry{Interest: i, asleep: snap.asleep[epfd]}
	e.fd, e.open = snap.byNumber[i.FD]
	inode := cmp.Or(e.fd.Inode, snap.inodes[i.FD])
	e.reused = e.open && i.Inode != 0 && inode != 0 && inode != i.Inode
	registered := cmp.Or(i.Inode, inode) // old kernels do not show it
	if at, found := snap.byInode[registered]; found && registered != 0 {
		e.tcp, e.socket = true, snap.sockets[at]
	}
	if registered == 0 || e.open && !e.reused {
		return e
	}
	for _, fd := range snap.fds {
		if fd.Inode == registered {
			e.duplicates = append(e.duplicates, fd.Num)
		}
	}
	return e
}

// describeRegistered describes the file that an entry was registered for.
func (snap *snapshot) describeRegistered(e entry) string {
	switch {
	case e.tcp:
		return snap.describeTCP(e.socket)
	case e.open && !e.reused:
		return snap.describe(e.fd)
	case len(e.duplicates) > 0:
		return snap.describe(snap.byNumber[e.duplicates[0]])
	}
	return "a file without a descriptor in this process"
}

// describe describes the file that a descriptor refers to.
func (snap *snapshot) describe(fd procfs.FD) string {
	switch fd.Kind {
	case procfs.KindSocket:
		if at, found := snap.byInode[fd.Inode]; found {
			return snap.describeTCP(snap.sockets[at])
		}
		return strings.TrimSpace(snap.protocol[fd.Num] + " socket")
	case procfs.KindPipe:
		switch fd.Flags & unix.O_ACCMODE {
		case unix.O_RDONLY:
			return "read end of a pipe"
		case unix.O_WRONLY:
			return "write end of a pipe"
		}
		return "pipe"
	case procfs.KindEventpoll:
		return "epoll instance"
	case procfs.KindFile, procfs.KindDirectory, procfs.KindDevice:
		return clean(fd.Target)
	}
	return clean(string(fd.Kind))
}

func (snap *snapshot) describeTCP(s procfs.Socket) string {
	switch {
	case s.State == procfs.TCPListen:
		return "listener on " + s.Local.String()
	case snap.incoming(s):
		return "client " + s.Remote.String()
	}
	return "connection to " + s.Remote.String()
}

// incoming reports whether a connection came in through a listener.
func (snap *snapshot) incoming(s procfs.Socket) bool {
	_, found := snap.listener(s.Local)
	return found
}

// listener returns a socket that listens for connections to an address.
func (snap *snapshot) listener(local netip.AddrPort) (procfs.Socket, bool) {
	found := listenersFor(snap.listening, local)
	if len(found) == 0 {
		return procfs.Socket{}, false
	}
	return found[0], true
}

// listenersFor returns the listening sockets that can receive a connection to an
// address: those bound to it, else those bound to the wildcard address. With
// SO_REUSEPORT there can be several: socket(7).
func listenersFor(sockets []procfs.Socket, addr netip.AddrPort) []procfs.Socket {
	var best []procfs.Socket
	rank := 3
	for _, s := range sockets {
		if s.State != procfs.TCPListen || s.Local.Port() != addr.Port() {
			continue
		}
		r := 3
		switch ip := s.Local.Addr(); {
		case ip == addr.Addr():
			r = 0
		case ip.IsUnspecified() && ip.Is4() == addr.Addr().Is4():
			r = 1
		case ip.IsUnspecified() && ip.Is6():
			r = 2 // accepts IPv4 unless IPV6_V6ONLY is set: ipv6(7)
		}
		if r < rank {
			best, rank = nil, r
		}
		if r == rank && r < 3 {
			best = append(best, s)
		}
	}
	return best
}

// socketList returns the process's TCP sockets: each listener followed by the
// connections in its queue, then the accepted and the outgoing connections.
func (snap *snapshot) socketList() []Socket {
	waiting := make(map[uint64][]Socket)
	for _, s := range snap.sockets {
		if s.Inode != 0 || !slices.Contains(unacceptedStates, s.State) {
			continue
		}
		if l, found := snap.listener(s.Local); found {
			waiting[l.Inode] = append(waiting[l.Inode], snap.socket(-1, s))
		}
	}
	listeners, connections := []Socket{}, []Socket(nil)
	for _, fd := range snap.fds {
		at, found := snap.byInode[fd.Inode]
		if !found {
			continue
		}
		s := snap.sockets[at]
		if s.State == procfs.TCPListen {
			listeners = append(append(listeners, snap.socket(fd.Num, s)), waiting[s.Inode]...)
			delete(waiting, s.Inode) // a duplicate has the same queue
		} else {
			connections = append(connections, snap.socket(fd.Num, s))
		}
	}
	return append(listeners, connections...)
}

// unacceptedStates are the states of connections that can be in a listener's queue.
// Such a connection has no inode yet. In other states, one without an inode was closed
// by the process.
var unacceptedStates = []procfs.State{procfs.TCPSynRecv, procfs.TCPEstablished, procfs.TCPCloseWait}

func (snap *snapshot) socket(fd int, s procfs.Socket) Socket {
	out := Socket{FD: fd, State: s.State.String(), Local: s.Local.String(), Backlog: -1}
	if s.State == procfs.TCPListen {
		out.Waiting = s.RxQueue
		if n, known := snap.backlogs[s.Inode]; known {
			out.Backlog = n
		}
		return out
	}
	out.Remote = s.Remote.String()
	out.Accepted = fd >= 0 && snap.incoming(s)
	out.Unread, out.Unsent = s.RxQueue, s.TxQueue
	// /proc counts a FIN as one byte: procfs.Socket.
	if peerDone(s) && out.Unread > 0 {
		out.Unread, out.EndUnread = out.Unread-1, true
	}
	switch s.State {
	case procfs.TCPFinWait1, procfs.TCPClosing, procfs.TCPLastAck:
		out.Unsent = max(0, out.Unsent-1)
	}
	return out
}

// notes lists what the report cannot show, and what is uncertain.
func (snap *snapshot) notes(r Report) []string {
	notes := []string{}
	denied := func(t procfs.Thread) bool { return t.Syscall.State == procfs.SyscallDenied }
	if slices.ContainsFunc(snap.threads, denied) {
		notes = append(notes, "we may not see a thread's system call, only the kernel function that it sleeps in: "+
			`ptrace(2), "Ptrace access mode checking" and "/proc/sys/kernel/yama/ptrace_scope"; root may (sudo)`)
	}
	for _, s := range r.Sockets {
		if s.State != "LISTEN" {
			continue
		}
		addr, _ := netip.ParseAddrPort(s.Local)
		if n := len(listenersFor(snap.listening, addr)); n > 1 && s.Waiting > 0 {
			notes = append(notes, fmt.Sprintf("%d sockets listen on %s (SO_REUSEPORT): /proc does not show in whose queue a connection waits", n, s.Local))
		}
	}
	if note := snap.children(); note != "" {
		notes = append(notes, note)
	}
	slices.Sort(notes)
	return slices.Compact(notes)
}

// children returns a note about child processes that hold connections from this
// process's listeners, or "". A server that forks for each client holds none itself, so
// its own report shows no clients.
func (snap *snapshot) children() string {
	own, elsewhere := make(map[uint64]bool), make(map[uint64]bool) // by inode
	for _, fd := range snap.fds {
		own[fd.Inode] = true
	}
	listeners := slices.DeleteFunc(slices.Clone(snap.listening), func(l procfs.Socket) bool { return !own[l.Inode] })
	for _, s := range snap.sockets {
		if s.State != procfs.TCPListen && s.Inode != 0 && !own[s.Inode] && len(listenersFor(listeners, s.Local)) > 0 {
			elsewhere[s.Inode] = true
		}
	}
	if len(elsewhere) == 0 {
		return "" // the usual case: do not read all processes
	}
	below, _ := procfs.Descendants(snap.stat.PID)
	below = slices.DeleteFunc(below, func(pid int) bool {
		fds, _ := procfs.FDs(pid) // none if we have no permission
		return !slices.ContainsFunc(fds, func(fd procfs.FD) bool { return elsewhere[fd.Inode] })
	})
	if len(below) == 0 {
		return ""
	}
	return fmt.Sprintf("children that have connections through its listener: %d; to look at one: -pid %d (make: PID=%d)",
		len(below), below[0], below[0])
}
