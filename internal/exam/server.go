package exam

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// A server is the process that is being graded: one that we started, or one
// that was there.
type server struct {
	addr netip.AddrPort

	mu     sync.Mutex
	pids   []int     // who has a listening socket; empty if we may not see
	parent int       // of those, or the only one; 0 if there is none
	kin    []int     // pids and their children; nil if nobody has asked since
	looked time.Time // when that was looked up

	cmd    *exec.Cmd // nil if we did not start it
	guard  *exec.Cmd // kills them all if we die
	names  io.Writer // of those who are to be killed
	output *tail
	exited chan struct{} // closed when cmd has been waited for
	said   chan struct{} // closed when nobody can print any more
}

// A startError says why there is nothing to grade.
type startError struct {
	status Status
	reason string
	output string // what the server printed last
}

func (e *startError) Error() string {
	if e.output == "" {
		return e.reason
	}
	return e.reason + "\n" + e.output
}

// start runs the command and waits until it listens. nofile limits its
// descriptors, hard and soft: getrlimit(2), RLIMIT_NOFILE.
func start(ctx context.Context, command []string, addr netip.AddrPort, nofile uint64) (*server, error) {
	path, err := exec.LookPath(command[0])
	if err != nil {
		reason := fmt.Sprintf("%s: no such program, or it may not be executed", command[0])
		if _, err := os.Stat(command[0]); err == nil && !strings.Contains(command[0], "/") {
			reason += fmt.Sprintf("; for the file that is here: ./%s", command[0])
		} else if strings.Contains(command[0], "=") || command[0] == "cd" {
			reason += "; what a shell has to read: sh -c '…'"
		}
		return nil, &startError{StatusNeverListened, reason, ""}
	}
	if socks, err := listeners(addr); err == nil && len(socks) > 0 {
		return nil, &startError{StatusNeverListened, fmt.Sprintf("%s is taken already%s: stop it, or let the command take {port}", addr, whoHas(socks)), ""}
	}

	s := &server{addr: addr, output: new(tail), exited: make(chan struct{}), said: make(chan struct{})}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	// A shell sets the limit and becomes the server: same process, same PID.
	s.cmd = exec.Command("/bin/sh", append([]string{"-c", `ulimit -n "$0" && exec "$@"`,
		strconv.FormatUint(nofile, 10), path}, command[1:]...)...)
	s.cmd.Stdout, s.cmd.Stderr = w, w
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	err = launch(s.cmd)
	w.Close()
	if err != nil {
		r.Close()
		return nil, &startError{StatusNeverListened, err.Error(), ""}
	}
	go func() {
		io.Copy(s.output, r)
		r.Close()
		close(s.said)
	}()
	go func() {
		s.cmd.Wait()
		close(s.exited)
	}()
	// If we are killed, the pipe closes, and the guard kills the process group
	// and whoever has left it and was named to the guard.
	s.guard = exec.Command("/bin/sh", "-c", `while read -r pid; do set -- "$@" "$pid"; done; kill -KILL "-$0" "$@"`,
		strconv.Itoa(s.cmd.Process.Pid))
	s.guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.names, err = s.guard.StdinPipe()
	if err == nil {
		err = s.guard.Start()
	}
	if err == nil {
		err = s.awaitListener(ctx)
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *server) awaitListener(ctx context.Context) error {
	deadline := time.Now().Add(limits.startup)
	exited := s.exited
	var verdict string
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		socks, err := listeners(s.addr)
		if err != nil {
			return err
		}
		if len(socks) > 0 {
			s.look()
			s.awaitFamily()
			return nil
		}
		if time.Now().After(deadline) {
			if verdict == "" {
				verdict = fmt.Sprintf("%s runs, but did not listen on %s within %v%s",
					s.name(), s.addr, limits.startup, s.elsewhere())
			}
			return &startError{StatusNeverListened, verdict, s.lastWords()}
		}
		select {
		case <-exited:
			exited = nil
			verdict = fmt.Sprintf("%s ended (%s), and nobody listens on %s", s.name(), s.cmd.ProcessState, s.addr)
			deadline = time.Now() // look once more: it may have been just in time
			if s.cmd.ProcessState.Success() {
				deadline = time.Now().Add(time.Second) // or left a daemon behind
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// look finds out which processes the server consists of now: who has a
// listening socket, and who had one and is still alive. A server may replace
// its processes, and start them when it listens already.
//
// It is called often, and to ask all of /proc takes time where processes have
// thousands of descriptors. So it looks at the children of those that are known
// already, and mostly there is none; at all others it looks if nobody is left.
func (s *server) look() { s.search(false) }

func (s *server) search(everywhere bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looked, s.kin = time.Now(), nil
	left := slices.DeleteFunc(slices.Clone(s.pids), func(pid int) bool { return !alive(pid) })
	var found []int
	if len(left) > 0 && !everywhere {
		if found = s.strangers(left); len(found) == 0 && len(left) == len(s.pids) {
			return
		}
	} else if socks, _ := listeners(s.addr); len(socks) > 0 && s.started(socks) && !everywhere {
		found = []int{s.cmd.Process.Pid}
	} else if len(socks) > 0 {
		found = slices.DeleteFunc(ownersOf(socks), func(pid int) bool { return slices.Contains(left, pid) })
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
func (s *server) strangers(known []int) []int {
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
	socks, _ := listeners(s.addr)
	return slices.DeleteFunc(children, func(pid int) bool { return !hasOne(pid, socks) })
}

// started tells whether the process that we have started has one of the sockets.
func (s *server) started(socks []procfs.Socket) bool {
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
func (s *server) members() (pids []int, parent int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pids, s.parent
}

// processes returns them as they were a moment ago at the earliest.
func (s *server) processes() []int {
	s.mu.Lock()
	old := time.Since(s.looked) > limits.stalled
	s.mu.Unlock()
	if old {
		s.look()
	}
	pids, _ := s.members()
	return pids
}

// awaitFamily waits until a server of several processes has started them all:
// the first one may listen before the others are there.
func (s *server) awaitFamily() {
	family := func() []int {
		all, _ := procfs.Descendants(s.cmd.Process.Pid)
		return append(all, s.processes()...)
	}
	before := family()
	if len(before) == 1 && before[0] == s.cmd.Process.Pid {
		return // it is alone
	}
	for deadline := time.Now().Add(limits.silence); time.Now().Before(deadline); {
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

// lastWords is what the server printed last.
func (s *server) lastWords() string {
	select {
	case <-s.said:
	case <-time.After(200 * time.Millisecond): // somebody lives and may print more
	}
	return s.output.String()
}

// elsewhere names the addresses that the started processes listen on instead.
func (s *server) elsewhere() string {
	family, _ := procfs.Descendants(s.cmd.Process.Pid)
	family = append(family, s.cmd.Process.Pid)
	socks, _ := sockets()
	var found []string
	for _, sock := range socks {
		if sock.State != procfs.TCPListen {
			continue
		}
		for _, pid := range ownersOf([]procfs.Socket{sock}) {
			if slices.Contains(family, pid) {
				found = append(found, sock.Local.String())
			}
		}
	}
	if found == nil {
		return ""
	}
	return fmt.Sprintf("; it listens on %s: say so with -addr (make: ADDR=), or use {addr} or {port} in the command", strings.Join(found, ", "))
}

func (s *server) name() string { return s.cmd.Args[4] }

// attach finds a server that runs already.
func attach(addr netip.AddrPort, pid int) (*server, error) {
	all, err := sockets()
	if err != nil {
		return nil, err
	}
	var mine []procfs.Socket
	for _, sock := range all {
		if sock.State != procfs.TCPListen || addr.IsValid() && !covers(sock.Local, addr) {
			continue
		}
		if pid == 0 || slices.Contains(ownersOf([]procfs.Socket{sock}), pid) {
			mine = append(mine, sock)
		}
	}
	switch {
	case len(mine) == 0 && pid != 0 && addr.IsValid():
		return nil, &startError{StatusNeverListened, fmt.Sprintf("process %d has no listening TCP socket that we may see on %s", pid, addr), ""}
	case len(mine) == 0 && pid != 0:
		return nil, &startError{StatusNeverListened, fmt.Sprintf("process %d has no listening TCP socket that we may see", pid), ""}
	case len(mine) == 0:
		return nil, &startError{StatusNeverListened, fmt.Sprintf("nobody listens on %s: start the server first, or give its command after -- (make: SERVER=)", addr), ""}
	}
	if !addr.IsValid() {
		var ports []string
		for _, sock := range mine {
			if p := strconv.Itoa(int(sock.Local.Port())); !slices.Contains(ports, p) {
				ports = append(ports, p)
			}
		}
		if len(ports) > 1 {
			return nil, &startError{StatusNeverListened, fmt.Sprintf("process %d listens on the ports %s: choose one with -addr (make: ADDR=)", pid, strings.Join(ports, ", ")), ""}
		}
		addr = mine[0].Local
		if addr.Addr().IsUnspecified() {
			addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), addr.Port())
		}
	}
	if !addr.Addr().Is4() || !addr.Addr().IsLoopback() {
		return nil, &startError{StatusNeverListened, fmt.Sprintf("process %d listens on %s: the examiner talks to 127.0.0.0/8 only", pid, addr), ""}
	}
	s := &server{addr: addr}
	s.look()
	return s, nil
}

// sockets is all TCP sockets. For that the kernel goes through a table of its
// own, and writes a line for each: 10 ms or more. Whoever asks again and again shall
// not keep a processor from the server with it: so half of the time is a pause.
func sockets() ([]procfs.Socket, error) {
	time.Sleep(min(time.Duration(tookToRead.Load()), 20*time.Millisecond))
	begin := time.Now()
	all, err := procfs.TCP()
	tookToRead.Store(int64(time.Since(begin)))
	return all, err
}

var tookToRead atomic.Int64 // the last time, in ns

// connection finds one end of a connection. That takes no time.
func connection(local, remote netip.AddrPort) (procfs.Socket, bool, error) {
	s, found, err := procfs.Connection(local, remote)
	if err == nil {
		return s, found, nil
	}
	all, err := sockets() // a sandbox
	i := slices.IndexFunc(all, func(s procfs.Socket) bool { return s.Local == local && s.Remote == remote })
	if i < 0 {
		return procfs.Socket{}, false, err
	}
	return all[i], true, nil
}

// listeners returns the listening sockets that a client of addr would reach.
func listeners(addr netip.AddrPort) ([]procfs.Socket, error) {
	all, err := procfs.Listeners()
	if err != nil { // a sandbox
		sockets, err := sockets()
		return slices.DeleteFunc(sockets, func(s procfs.Socket) bool {
			return s.State != procfs.TCPListen || !covers(s.Local, addr)
		}), err
	}
	var found []procfs.Socket
	for _, l := range all {
		if covers(l.Local, addr) {
			found = append(found, l.Socket)
		}
	}
	return found, nil
}

func covers(local, addr netip.AddrPort) bool {
	return local.Port() == addr.Port() && (local.Addr() == addr.Addr() || local.Addr().IsUnspecified())
}

func ownersOf(socks []procfs.Socket) []int {
	var inodes []uint64
	for _, s := range socks {
		inodes = append(inodes, s.Inode)
	}
	owners, _ := procfs.Owners(inodes...)
	var pids []int
	for _, list := range owners {
		for _, o := range list {
			pids = append(pids, o.PID)
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}

func whoHas(socks []procfs.Socket) string {
	for _, pid := range ownersOf(socks) {
		if args, err := procfs.Cmdline(pid); err == nil && len(args) > 0 {
			return fmt.Sprintf(" by process %d (%s)", pid, strings.Join(args, " "))
		}
	}
	return ""
}

// died tells whether a server that we started has ended, and how. It has not if
// somebody is left who may replace the others.
func (s *server) died() (how string, dead bool) {
	if s.cmd == nil || s.anyAlive() {
		return "", false
	}
	if s.look(); s.anyAlive() {
		return "", false
	}
	select {
	case <-s.exited:
		return s.cmd.ProcessState.String(), true
	case <-time.After(200 * time.Millisecond): // not our child, but its child
	}
	return "the process that listened is gone", len(s.processes()) > 0
}

func (s *server) anyAlive() bool {
	pids, parent := s.members()
	return slices.ContainsFunc(pids, alive) || parent != 0 && alive(parent)
}

// dies is died for a server that has just closed a connection in a way that
// looks like its end: a process closes its descriptors before it is gone.
func (s *server) dies() (how string, dead bool) {
	for deadline := time.Now().Add(200 * time.Millisecond); !dead && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		how, dead = s.died()
	}
	return how, dead
}

// signal sends sig to the server's processes. One that asks to end is for their
// parent alone: the others are its business.
func (s *server) signal(sig unix.Signal) error {
	if sig != unix.SIGCONT { // that is for those who were stopped
		s.look()
	}
	_, parent := s.members()
	pids := s.all()
	if slices.Contains([]unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT}, sig) && parent != 0 {
		pids = []int{parent}
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
			return os.NewSyscallError("kill", err)
		}
	}
	return nil
}

// stop kills what start started, children and daemons too, and waits for it.
func (s *server) stop() {
	if s.cmd == nil {
		return
	}
	s.look()
	pids, parent := s.members()
	family, _ := procfs.Descendants(s.cmd.Process.Pid)
	family = slices.Concat(pids, family)
	if parent != 0 && alive(parent) {
		family = append([]int{parent}, family...) // first: it would replace the others
	}
	unix.Kill(-s.cmd.Process.Pid, unix.SIGKILL)
	for _, pid := range family {
		unix.Kill(pid, unix.SIGKILL)
	}
	<-s.exited
	deadline := time.Now().Add(5 * time.Second)
	for _, pid := range family {
		for alive(pid) && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
	}
	if s.guard != nil && s.guard.Process != nil {
		s.guard.Process.Kill()
		s.guard.Wait()
	}
}

// alive is false when a process has closed its descriptors. Its first thread may
// be gone (Z) while others, which share them, are still ending.
func alive(pid int) bool {
	p, err := procfs.Stat(pid)
	return err == nil && (p.State != 'Z' && p.State != 'X' || p.Threads > 1)
}

// all is the server's processes and their children: one that serves may have
// been handed its connection, and have no listening socket. They are as they
// were a moment ago at the earliest.
func (s *server) all() []int {
	pids := slices.Clone(s.processes())
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

// cpu is the time that all live threads of the server have spent on a CPU, and
// the time that they have waited for one, ready to run.
func (s *server) cpu() (used, waited time.Duration) {
	for _, pid := range s.all() {
		threads, _ := procfs.Threads(pid)
		for _, t := range threads {
			used, waited = used+t.CPU, waited+t.Waited
		}
	}
	return used, waited
}

// threads is all threads of the server, by TID.
func (s *server) threads() map[int]procfs.Thread {
	all := make(map[int]procfs.Thread)
	for _, pid := range s.processes() {
		list, _ := procfs.Threads(pid)
		for _, t := range list {
			all[t.TID] = t
		}
	}
	return all
}

// rss is the resident memory of the server's processes in bytes.
func (s *server) rss() int64 {
	var sum int64
	for _, pid := range s.all() {
		m, _ := procfs.MemoryOf(pid)
		sum += m.RSS
	}
	return sum
}

// descriptors is how many the server's processes have open.
func (s *server) descriptors() int {
	sum := 0
	for _, pid := range s.all() {
		n, _ := procfs.FDCount(pid)
		sum += n
	}
	return sum
}

// canSee tells whether /proc shows us the server's descriptors and threads.
func (s *server) canSee() error {
	pids := s.processes()
	if len(pids) == 0 {
		return errors.New("cannot see which process listens: it belongs to another user or container")
	}
	for _, pid := range pids {
		if _, err := procfs.FDCount(pid); errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("process %d belongs to another user: run the examiner as that user", pid)
		}
	}
	return nil
}

// doing says in words what the server's main threads are at.
func (s *server) doing() string {
	if how, dead := s.died(); dead {
		return "died: " + how
	}
	// The process and the thread that have worked most are the ones to ask; but
	// for a parent, who may have had to start the others.
	var threads []procfs.Thread
	most := time.Duration(-1)
	pids := s.processes()
	_, parent := s.members()
	for _, pid := range pids {
		if pid == parent && len(pids) > 1 {
			continue
		}
		list, err := procfs.Threads(pid)
		var sum time.Duration
		for _, t := range list {
			sum += t.CPU
		}
		if err == nil && len(list) > 0 && sum > most {
			threads, most = list, sum
		}
	}
	if threads == nil {
		return "cannot be seen from here"
	}
	t := slices.MaxFunc(threads, func(a, b procfs.Thread) int { return int(a.CPU - b.CPU) })
	if main := threads[0]; main.Syscall.Name != "futex" && main.State != 'R' {
		t = main
	}
	switch {
	case t.State == 'R':
		return "running"
	case t.State == 'T' || t.State == 't':
		return "stopped"
	case t.Syscall.State == procfs.SyscallBlocked:
		return "asleep in " + t.Syscall.String()
	}
	return "asleep"
}

// Two goroutines of one examiner, or two examiners, must not choose the same
// port; and clients' ports, which the kernel takes from ip_local_port_range,
// must stay out of the way. Hence below it, at random, and each one only once.
var ports struct {
	sync.Mutex
	used map[int]bool
}

func freePort() (netip.AddrPort, error) {
	ports.Lock()
	defer ports.Unlock()
	if ports.used == nil {
		ports.used = make(map[int]bool)
	}
	for range 1000 {
		port := 10000 + rand.IntN(20000)
		if ports.used[port] {
			continue
		}
		ports.used[port] = true
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
		if bindable(addr) {
			return addr, nil
		}
	}
	return netip.AddrPort{}, errors.New("no free port between 10000 and 30000")
}

// bindable tells whether bind(2) would let a server without SO_REUSEADDR have
// the address.
func bindable(addr netip.AddrPort) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}) == nil
}

// expand fills in the address that the command shall listen on. It reports
// whether the command had a place for it.
func expand(command []string, addr netip.AddrPort) ([]string, bool) {
	r := strings.NewReplacer("{addr}", addr.String(), "{host}", addr.Addr().String(), "{port}", strconv.Itoa(int(addr.Port())))
	out := make([]string, len(command))
	for i, word := range command {
		out[i] = r.Replace(word)
	}
	return out, !slices.Equal(out, command)
}

// PR_SET_PDEATHSIG kills the child when the *thread* that started it ends, not
// the process: prctl(2). So all are started by one thread that never ends.
var launcher = sync.OnceValue(func() chan func() {
	ch := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range ch {
			f()
		}
	}()
	return ch
})

func launch(cmd *exec.Cmd) error {
	result := make(chan error)
	launcher() <- func() { result <- cmd.Start() }
	return <-result
}

// tail keeps the end of what the server prints, and never makes it wait.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 64<<10 {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-32<<10:]...)
	}
	return len(p), nil
}

// String returns the last lines, at most twelve; those that a crash begins with
// if there is one.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimRight(string(t.buf), "\n")
	for _, crash := range []string{"\nfatal error: ", "\npanic: ", "\nTraceback "} {
		if i := strings.Index(text, crash); i >= 0 {
			lines := strings.Split(text[i+1:], "\n")
			return strings.Join(lines[:min(len(lines), 12)], "\n")
		}
	}
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}
