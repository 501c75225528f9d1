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

// A view is what /proc says of one process, as it was read.
type view struct {
	stat      procfs.Process
	args      []string
	goRuntime bool
	memory    procfs.Memory
	limit     procfs.Limit

	fds       []procfs.FD
	interests map[int][]procfs.Interest // by the instance's descriptor
	threads   []procfs.Thread
	sockets   []procfs.Socket // TCP: all of the network namespace

	// Made from these, to look things up.
	byNumber  map[int]procfs.FD
	listening []procfs.Socket
	byInode   map[uint64]int // of sockets, as index
	backlogs  map[uint64]int // by inode; empty if the kernel does not tell
	protocol  map[int]string // of sockets that are not in sockets
	inodes    map[int]uint64 // of what is watched and neither socket nor pipe
	asleep    map[int]bool   // the instances in whose epoll_wait a thread sleeps
	ready     map[int]string // says of an instance how much of it is ready
}

// errEnded is the error for a process that is not there (any more).
var errEnded = errors.New("has ended")

// look gathers what a process waits for. If the process does not exist, the
// error is errEnded; if it is somebody else's, fs.ErrPermission.
func look(pid int) (Report, error) {
	v, err := gather(pid)
	if errors.Is(err, fs.ErrNotExist) || ended(pid) {
		return Report{}, errEnded
	}
	if err != nil {
		return Report{}, err
	}
	r := Report{Epolls: v.epolls()}
	v.ready = make(map[int]string)
	for _, e := range r.Epolls {
		v.ready[e.FD] = e.watches()
	}
	r.Threads = v.sleepers()
	r.Sockets = v.tcp()
	r.Process = v.process()
	r.Notes = v.notes(r)
	return r, nil
}

// ended is true of a zombie, too: its first thread is over, and no other lives.
func ended(pid int) bool {
	p, err := procfs.Stat(pid)
	return errors.Is(err, fs.ErrNotExist) || err == nil && (p.State == 'Z' || p.State == 'X') && p.Threads <= 1
}

// gather reads the threads' CPU times first and the threads last: one that is
// asleep then, and has used no CPU in between, slept all the while.
func gather(pid int) (*view, error) {
	v := &view{interests: make(map[int][]procfs.Interest)}
	var err error
	if v.stat, err = procfs.Stat(pid); err != nil {
		return nil, err
	}
	before, _ := procfs.ThreadCPU(pid) // if not, nobody counts as asleep
	if err = v.files(pid); err != nil {
		return nil, err
	}
	if v.threads, err = procfs.Threads(pid); err != nil {
		return nil, err
	}
	v.asleep = make(map[int]bool)
	for _, t := range v.threads {
		cpu, known := before[t.TID]
		if name, fd := call(t); waits(name) && state(t) == "asleep" && known && cpu == t.CPU {
			v.asleep[fd] = true
		}
	}
	if v.limit, err = procfs.NOFILE(pid); err != nil {
		return nil, err
	}
	if v.memory, err = procfs.MemoryOf(pid); err != nil {
		return nil, err
	}
	_, notGo := buildinfo.ReadFile("/proc/" + strconv.Itoa(pid) + "/exe")
	v.goRuntime = notGo == nil
	v.args, err = procfs.Cmdline(pid)
	return v, err
}

// files reads the descriptors, and what is behind them.
func (v *view) files(pid int) (err error) {
	if v.fds, err = procfs.FDs(pid); err != nil {
		return err
	}
	for _, fd := range v.fds {
		if fd.Kind != procfs.KindEventpoll {
			continue
		}
		list, err := procfs.Interests(pid, fd.Num)
		if err == nil {
			v.interests[fd.Num] = list
		} else if !errors.Is(err, fs.ErrNotExist) { // else it was closed meanwhile
			return err
		}
	}
	if v.sockets, err = procfs.TCPOf(pid); err != nil {
		return err
	}
	v.index(pid)
	return nil
}

// index prepares for questions about descriptors.
func (v *view) index(pid int) {
	v.byInode, v.byNumber = make(map[uint64]int), make(map[int]procfs.FD)
	v.protocol, v.inodes = make(map[int]string), make(map[int]uint64)
	v.backlogs = make(map[uint64]int)
	listeners, _ := procfs.Listeners() // a sandbox may forbid it
	for _, l := range listeners {
		v.backlogs[l.Inode] = l.Backlog
	}
	for i, s := range v.sockets {
		if s.State == procfs.TCPListen {
			v.listening = append(v.listening, s)
		}
		if s.Inode != 0 {
			v.byInode[s.Inode] = i
		}
	}
	for _, fd := range v.fds {
		v.byNumber[fd.Num] = fd
		if _, known := v.byInode[fd.Inode]; fd.Kind == procfs.KindSocket && !known {
			v.protocol[fd.Num], _ = procfs.Protocol(pid, fd.Num)
		}
	}
	for _, list := range v.interests {
		for _, i := range list {
			if fd, open := v.byNumber[i.FD]; open && fd.Inode == 0 {
				v.inodes[i.FD], _ = procfs.Inode(pid, i.FD)
			}
		}
	}
}

func (v *view) process() Process {
	p := Process{
		PID:         v.stat.PID,
		Name:        clean(name(v.stat.Name, v.args)),
		Command:     clean(strings.TrimSpace(strings.Join(v.args, " "))),
		Go:          v.goRuntime,
		Start:       v.stat.StartTime,
		CPUPercent:  -1,
		Threads:     len(v.threads),
		Descriptors: len(v.fds),
		Limit:       v.limit.Soft,
		Resident:    v.memory.RSS,
	}
	var cpu time.Duration
	for _, t := range v.threads {
		cpu += t.CPU
	}
	p.CPUSeconds = cpu.Seconds()
	return p
}

// name is the program's in full where the kernel has cut it off, or where a
// thread has another.
func name(comm string, args []string) string {
	if len(args) > 0 {
		if words := strings.Fields(args[0]); len(words) > 0 {
			return strings.TrimSuffix(filepath.Base(words[0]), ":") // "nginx: worker process"
		}
	}
	return comm
}

// clean makes control characters harmless: a process may call itself anything.
func clean(s string) string {
	quoted := strconv.QuoteToASCII(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// epolls returns the epoll instances with their interest lists.
func (v *view) epolls() []Epoll {
	found := []Epoll{}
	for _, fd := range v.fds {
		list, isEpoll := v.interests[fd.Num]
		if !isEpoll {
			continue
		}
		e := Epoll{FD: fd.Num, Interests: []Interest{}}
		for _, i := range list {
			in := v.entry(fd.Num, i)
			interest := Interest{
				FD:      i.FD,
				What:    v.registered(in),
				Asked:   i.Events.Asked().String(),
				Trigger: in.trigger(),
				Ready:   in.ready(),
				Marks:   marked(in),
			}
			switch interest.Ready {
			case "yes":
				e.Ready++
			case "unknown":
				e.Unknown++
			}
			if v.goRuntime && in.fd.Kind == procfs.KindEventfd && i.Data != uint64(i.FD) {
				e.Owner = "the Go runtime" // wakes itself so; its data is a pointer
			}
			e.Interests = append(e.Interests, interest)
		}
		found = append(found, e)
	}
	return found
}

func (v *view) entry(epfd int, i procfs.Interest) entry {
	e := entry{Interest: i, asleep: v.asleep[epfd]}
	e.fd, e.open = v.byNumber[i.FD]
	inode := cmp.Or(e.fd.Inode, v.inodes[i.FD])
	e.reused = e.open && i.Inode != 0 && inode != 0 && inode != i.Inode
	registered := cmp.Or(i.Inode, inode) // an old kernel does not tell
	if at, found := v.byInode[registered]; found && registered != 0 {
		e.tcp, e.socket = true, v.sockets[at]
	}
	if registered == 0 || e.open && !e.reused {
		return e
	}
	for _, fd := range v.fds {
		if fd.Inode == registered {
			e.twins = append(e.twins, fd.Num)
		}
	}
	return e
}

// registered says what file an entry is for.
func (v *view) registered(e entry) string {
	switch {
	case e.tcp:
		return v.tcpName(e.socket)
	case e.open && !e.reused:
		return v.what(e.fd)
	case len(e.twins) > 0:
		return v.what(v.byNumber[e.twins[0]])
	}
	return "a file that has no number here"
}

// what says what a descriptor stands for.
func (v *view) what(fd procfs.FD) string {
	switch fd.Kind {
	case procfs.KindSocket:
		if at, found := v.byInode[fd.Inode]; found {
			return v.tcpName(v.sockets[at])
		}
		return strings.TrimSpace(v.protocol[fd.Num] + " socket")
	case procfs.KindPipe:
		switch fd.Flags & unix.O_ACCMODE {
		case unix.O_RDONLY:
			return "pipe, the end to read"
		case unix.O_WRONLY:
			return "pipe, the end to write"
		}
		return "pipe"
	case procfs.KindEventpoll:
		return "epoll instance"
	case procfs.KindFile, procfs.KindDirectory, procfs.KindDevice:
		return clean(fd.Target)
	}
	return clean(string(fd.Kind))
}

func (v *view) tcpName(s procfs.Socket) string {
	switch {
	case s.State == procfs.TCPListen:
		return "listener on " + s.Local.String()
	case v.came(s):
		return "client " + s.Remote.String()
	}
	return "connection to " + s.Remote.String()
}

// came says whether a connection came in through a listener.
func (v *view) came(s procfs.Socket) bool {
	_, found := v.listener(s.Local)
	return found
}

// listener returns the socket that listens for connections to an address.
func (v *view) listener(local netip.AddrPort) (procfs.Socket, bool) {
	found := reaches(v.listening, local)
	if len(found) == 0 {
		return procfs.Socket{}, false
	}
	return found[0], true
}

// reaches returns the listening sockets that a connection to an address gets
// to: those of that very address, else those of any address. There are several
// with SO_REUSEPORT: socket(7).
func reaches(sockets []procfs.Socket, addr netip.AddrPort) []procfs.Socket {
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
			r = 2 // IPv4 comes to an IPv6 socket, too, unless IPV6_V6ONLY: ipv6(7)
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

// tcp returns the process's TCP sockets: each listener followed by those who
// wait for it, then the connections.
func (v *view) tcp() []Socket {
	waiting := make(map[uint64][]Socket)
	for _, s := range v.sockets {
		if s.Inode != 0 || !slices.Contains(unaccepted, s.State) {
			continue
		}
		if l, found := v.listener(s.Local); found {
			waiting[l.Inode] = append(waiting[l.Inode], v.socket(-1, s))
		}
	}
	listeners, connections := []Socket{}, []Socket(nil)
	for _, fd := range v.fds {
		at, found := v.byInode[fd.Inode]
		if !found {
			continue
		}
		s := v.sockets[at]
		if s.State == procfs.TCPListen {
			listeners = append(append(listeners, v.socket(fd.Num, s)), waiting[s.Inode]...)
			delete(waiting, s.Inode) // a duplicate has the same queue
		} else {
			connections = append(connections, v.socket(fd.Num, s))
		}
	}
	return append(listeners, connections...)
}

// unaccepted has the states of connections that may wait in a listener's queue.
// Without an inode, any other has been closed by the process, or is one of
// TIME_WAIT's.
var unaccepted = []procfs.State{procfs.TCPSynRecv, procfs.TCPEstablished, procfs.TCPCloseWait}

func (v *view) socket(fd int, s procfs.Socket) Socket {
	out := Socket{FD: fd, State: s.State.String(), Local: s.Local.String(), Backlog: -1}
	if s.State == procfs.TCPListen {
		out.Waiting = s.RxQueue
		if n, known := v.backlogs[s.Inode]; known {
			out.Backlog = n
		}
		return out
	}
	out.Remote = s.Remote.String()
	out.Accepted = fd >= 0 && v.came(s)
	out.Unread, out.Unsent = s.RxQueue, s.TxQueue
	// A FIN counts as one byte: procfs.Socket.
	if peerDone(s) && out.Unread > 0 {
		out.Unread, out.EndUnread = out.Unread-1, true
	}
	switch s.State {
	case procfs.TCPFinWait1, procfs.TCPClosing, procfs.TCPLastAck:
		out.Unsent = max(0, out.Unsent-1)
	}
	return out
}

// notes says what could not be seen, and what is not certain.
func (v *view) notes(r Report) []string {
	notes := []string{}
	denied := func(t procfs.Thread) bool { return t.Syscall.State == procfs.SyscallDenied }
	if slices.ContainsFunc(v.threads, denied) {
		notes = append(notes, "we may not see a thread's system call, only the kernel function that it sleeps in: "+
			`ptrace(2), "Ptrace access mode checking" and "/proc/sys/kernel/yama/ptrace_scope"; root may (sudo)`)
	}
	for _, s := range r.Sockets {
		if s.State != "LISTEN" {
			continue
		}
		addr, _ := netip.ParseAddrPort(s.Local)
		if n := len(reaches(v.listening, addr)); n > 1 && s.Waiting > 0 {
			notes = append(notes, fmt.Sprintf("%d sockets listen on %s (SO_REUSEPORT): for which of them a connection waits, /proc does not tell", n, s.Local))
		}
	}
	if note := v.children(); note != "" {
		notes = append(notes, note)
	}
	slices.Sort(notes)
	return slices.Compact(notes)
}

// children says which of the process's children have the connections that came
// through its listeners: a server that forks for each client has none itself,
// and looks as if it had no clients. Without such a child it returns "".
func (v *view) children() string {
	own, elsewhere := make(map[uint64]bool), make(map[uint64]bool) // by inode
	for _, fd := range v.fds {
		own[fd.Inode] = true
	}
	listeners := slices.DeleteFunc(slices.Clone(v.listening), func(l procfs.Socket) bool { return !own[l.Inode] })
	for _, s := range v.sockets {
		if s.State != procfs.TCPListen && s.Inode != 0 && !own[s.Inode] && len(reaches(listeners, s.Local)) > 0 {
			elsewhere[s.Inode] = true
		}
	}
	if len(elsewhere) == 0 {
		return "" // as of most servers: do not look at all processes
	}
	below, _ := procfs.Descendants(v.stat.PID)
	below = slices.DeleteFunc(below, func(pid int) bool {
		fds, _ := procfs.FDs(pid) // none where we may not look
		return !slices.ContainsFunc(fds, func(fd procfs.FD) bool { return elsewhere[fd.Inode] })
	})
	if len(below) == 0 {
		return ""
	}
	return fmt.Sprintf("children that have connections through its listener: %d; to look at one: -pid %d (make: PID=%d)",
		len(below), below[0], below[0])
}
