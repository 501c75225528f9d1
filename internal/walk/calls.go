package walk

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// A Call is a system call. Its arguments are written as the man pages have them.
type Call struct {
	Number int      `json:"number"` // 1 for the first that the program's own code makes
	Name   string   `json:"name"`
	Args   []string `json:"args"` // before the call, what the kernel fills in is "…"
	FD     int      `json:"fd"`   // the first argument, if it is a descriptor, and otherwise -1

	// Set after the call.
	Done   bool    `json:"done,omitempty"`
	Result int64   `json:"result,omitempty"` // -1 if it failed
	Error  string  `json:"error,omitempty"`  // as in "EAGAIN"
	Events []Event `json:"events,omitempty"` // that epoll_wait(2) has returned
}

// Waits reports whether the call waits for events of many descriptors, as epoll_wait(2)
// and poll(2) do.
func (c Call) Waits() bool {
	return strings.HasPrefix(c.Name, "epoll_") && strings.Contains(c.Name, "wait") ||
		strings.HasSuffix(c.Name, "poll") || strings.Contains(c.Name, "select")
}

// An Event is one that epoll_wait(2) returned: epoll_event(3type).
type Event struct {
	FD     int           `json:"fd"` // that was registered with Data, or -1
	Events procfs.Events `json:"events"`
	Data   uint64        `json:"data"`
}

// String returns the call as strace(1) prints it, but shorter.
func (c Call) String() string {
	s := c.Name + "(" + strings.Join(c.Args, ", ") + ")"
	switch {
	case c.Error != "":
		s += " = -1 " + c.Error
	case c.Done:
		s += fmt.Sprintf(" = %d", c.Result)
	}
	return s
}

// An argument describes one argument of a call. The index is that of the argument.
type argument func(t *tracee, i int) string

// calls has the arguments of the calls that servers make. Others are shown without.
var calls = map[string][]argument{
	"accept":          {fd, addrOut, lenOut},
	"accept4":         {fd, addrOut, lenOut, flags(socketFlags)},
	"bind":            {fd, addrIn, integer},
	"close":           {fd},
	"connect":         {fd, addrIn, integer},
	"dup":             {fd},
	"dup2":            {fd, integer},
	"dup3":            {fd, integer, flags(openFlags)},
	"epoll_create":    {integer},
	"epoll_create1":   {flags([]bit{{unix.EPOLL_CLOEXEC, "EPOLL_CLOEXEC"}})},
	"epoll_ctl":       {fd, one(epollOps), integer, eventIn},
	"epoll_wait":      {fd, eventsOut, integer, integer},
	"epoll_pwait":     {fd, eventsOut, integer, integer, pointer},
	"epoll_pwait2":    {fd, eventsOut, integer, pointer, pointer},
	"eventfd2":        {integer, flags([]bit{{unix.EFD_SEMAPHORE, "EFD_SEMAPHORE"}, {unix.EFD_NONBLOCK, "EFD_NONBLOCK"}, {unix.EFD_CLOEXEC, "EFD_CLOEXEC"}})},
	"exit_group":      {integer},
	"fcntl":           {fd, one(fcntlCommands), fcntlArg},
	"getpeername":     {fd, addrOut, lenOut},
	"getpid":          {},
	"getsockname":     {fd, addrOut, lenOut},
	"getsockopt":      {fd, one(levels), option, intOut, lenOut},
	"listen":          {fd, integer},
	"poll":            {pointer, integer, integer},
	"ppoll":           {pointer, integer, pointer, pointer},
	"pread64":         {fd, bufferOut, integer, integer},
	"read":            {fd, bufferOut, integer},
	"readv":           {fd, pointer, integer},
	"recvfrom":        {fd, bufferOut, integer, flags(messageFlags), pointer, pointer},
	"rt_sigaction":    {signalName, pointer, pointer, integer},
	"sched_yield":     {},
	"sendto":          {fd, bufferIn, integer, flags(messageFlags), pointer, integer},
	"setsockopt":      {fd, one(levels), option, intIn, integer},
	"shutdown":        {fd, one([]bit{{unix.SHUT_RD, "SHUT_RD"}, {unix.SHUT_WR, "SHUT_WR"}, {unix.SHUT_RDWR, "SHUT_RDWR"}})},
	"signalfd4":       {fd, pointer, integer, flags([]bit{{unix.SFD_NONBLOCK, "SFD_NONBLOCK"}, {unix.SFD_CLOEXEC, "SFD_CLOEXEC"}})},
	"socket":          {one([]bit{{unix.AF_INET, "AF_INET"}, {unix.AF_INET6, "AF_INET6"}, {unix.AF_UNIX, "AF_UNIX"}}), socketType, integer},
	"timerfd_create":  {one([]bit{{unix.CLOCK_REALTIME, "CLOCK_REALTIME"}, {unix.CLOCK_MONOTONIC, "CLOCK_MONOTONIC"}}), flags([]bit{{unix.TFD_NONBLOCK, "TFD_NONBLOCK"}, {unix.TFD_CLOEXEC, "TFD_CLOEXEC"}})},
	"timerfd_settime": {fd, integer, timerIn, pointer},
	"write":           {fd, bufferIn, integer},
	"writev":          {fd, pointer, integer},
}

// decode describes the call that t is about to make.
func (t *tracee) decode() Call {
	c := Call{Name: procfs.SyscallName(t.number), FD: -1}
	if args := calls[c.Name]; len(args) > 0 && c.takesFD() {
		c.FD = int(int32(t.args[0]))
	}
	t.call = c
	return t.describe()
}

func (c Call) takesFD() bool {
	switch c.Name {
	case "socket", "epoll_create", "epoll_create1", "eventfd2", "exit_group", "poll", "ppoll", "rt_sigaction", "timerfd_create":
		return false
	}
	return true
}

// finish adds the result to the call that t has made.
func (t *tracee) finish(result int64, failed bool) {
	t.call.Done, t.call.Result = true, result
	if failed {
		t.call.Result, t.call.Error = -1, errorName(unix.Errno(-result))
	}
	if !t.own {
		return
	}
	if t.call.Error == "" && strings.HasPrefix(t.call.Name, "epoll_") && result >= 0 {
		t.finishEpoll(result)
	}
	t.call = t.describe()
}

// finishEpoll notes new instances, and the events that a wait returned.
func (t *tracee) finishEpoll(result int64) {
	if strings.HasPrefix(t.call.Name, "epoll_create") {
		t.epolls[int(result)] = true
	}
	if !strings.Contains(t.call.Name, "wait") {
		return
	}
	interests, _ := procfs.Interests(t.pid, t.call.FD)
	for i := range result {
		e, ok := t.event(t.args[1] + uint64(i)*eventSize)
		if !ok {
			return
		}
		e.FD = -1
		for _, in := range interests {
			switch {
			case in.Data != e.Data:
			case e.FD < 0:
				e.FD = in.FD
			default: // two entries have these data: it may be either
				e.FD = -1
				t.ambiguous = true
			}
		}
		t.call.Events = append(t.call.Events, e)
	}
}

func errorName(e unix.Errno) string {
	const restart = 512 // ERESTARTSYS and its like, which only a tracer sees
	if e >= restart && e < restart+5 {
		return "EINTR"
	}
	return unix.ErrnoName(e)
}

func (t *tracee) describe() Call {
	c := t.call
	c.Args = nil
	known, ok := calls[c.Name]
	if !ok {
		c.Args = []string{"…"}
	}
	for i, describe := range known {
		c.Args = append(c.Args, describe(t, i))
	}
	return c
}

// Descriptors and integers are int in C: the upper half of the register is undefined.
func integer(t *tracee, i int) string { return strconv.Itoa(int(int32(t.args[i]))) }

func fd(t *tracee, i int) string { return integer(t, i) }

func pointer(t *tracee, i int) string {
	if t.args[i] == 0 {
		return "NULL"
	}
	return "…"
}

type bit struct {
	bit  uint64
	name string
}

var (
	socketFlags   = []bit{{unix.SOCK_NONBLOCK, "SOCK_NONBLOCK"}, {unix.SOCK_CLOEXEC, "SOCK_CLOEXEC"}}
	openFlags     = []bit{{unix.O_RDWR, "O_RDWR"}, {unix.O_WRONLY, "O_WRONLY"}, {unix.O_APPEND, "O_APPEND"}, {unix.O_NONBLOCK, "O_NONBLOCK"}, {unix.O_CLOEXEC, "O_CLOEXEC"}}
	messageFlags  = []bit{{unix.MSG_NOSIGNAL, "MSG_NOSIGNAL"}, {unix.MSG_DONTWAIT, "MSG_DONTWAIT"}, {unix.MSG_PEEK, "MSG_PEEK"}, {unix.MSG_MORE, "MSG_MORE"}, {unix.MSG_TRUNC, "MSG_TRUNC"}}
	epollOps      = []bit{{unix.EPOLL_CTL_ADD, "EPOLL_CTL_ADD"}, {unix.EPOLL_CTL_MOD, "EPOLL_CTL_MOD"}, {unix.EPOLL_CTL_DEL, "EPOLL_CTL_DEL"}}
	fcntlCommands = []bit{{unix.F_GETFL, "F_GETFL"}, {unix.F_SETFL, "F_SETFL"}, {unix.F_GETFD, "F_GETFD"}, {unix.F_SETFD, "F_SETFD"}, {unix.F_DUPFD, "F_DUPFD"}, {unix.F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC"}}
	levels        = []bit{{unix.SOL_SOCKET, "SOL_SOCKET"}, {unix.IPPROTO_TCP, "IPPROTO_TCP"}, {unix.IPPROTO_IPV6, "IPPROTO_IPV6"}}
	socketOptions = []bit{{unix.SO_REUSEADDR, "SO_REUSEADDR"}, {unix.SO_REUSEPORT, "SO_REUSEPORT"}, {unix.SO_ERROR, "SO_ERROR"}, {unix.SO_LINGER, "SO_LINGER"}, {unix.SO_KEEPALIVE, "SO_KEEPALIVE"}, {unix.SO_RCVBUF, "SO_RCVBUF"}, {unix.SO_SNDBUF, "SO_SNDBUF"}, {unix.SO_PROTOCOL, "SO_PROTOCOL"}, {unix.SO_DOMAIN, "SO_DOMAIN"}, {unix.SO_TYPE, "SO_TYPE"}}
	tcpOptions    = []bit{{unix.TCP_NODELAY, "TCP_NODELAY"}, {unix.TCP_CORK, "TCP_CORK"}, {unix.TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT"}}
)

func join(value uint64, of []bit) string {
	var names []string
	for _, f := range of {
		if value&f.bit == f.bit && f.bit != 0 {
			names = append(names, f.name)
			value &^= f.bit
		}
	}
	if value != 0 || names == nil {
		names = append(names, fmt.Sprintf("%#x", value))
	}
	return strings.ReplaceAll(strings.Join(names, "|"), "0x0", "0")
}

func flags(of []bit) argument {
	return func(t *tracee, i int) string { return join(uint64(uint32(t.args[i])), of) }
}

func nameOf(value uint64, of []bit) string {
	i := slices.IndexFunc(of, func(f bit) bool { return f.bit == value })
	if i < 0 {
		return strconv.Itoa(int(value))
	}
	return of[i].name
}

func one(of []bit) argument {
	return func(t *tracee, i int) string { return nameOf(uint64(uint32(t.args[i])), of) }
}

func socketType(t *tracee, i int) string {
	types := []bit{{unix.SOCK_STREAM, "SOCK_STREAM"}, {unix.SOCK_DGRAM, "SOCK_DGRAM"}}
	const kind = 0xf // SOCK_TYPE_MASK of the kernel
	value := uint64(uint32(t.args[i]))
	s := nameOf(value&kind, types)
	if value&^kind != 0 {
		s += "|" + join(value&^kind, socketFlags)
	}
	return s
}

func option(t *tracee, i int) string {
	if uint32(t.args[i-1]) == unix.IPPROTO_TCP {
		return one(tcpOptions)(t, i)
	}
	return one(socketOptions)(t, i)
}

func fcntlArg(t *tracee, i int) string {
	switch uint32(t.args[i-1]) {
	case unix.F_GETFL, unix.F_GETFD:
		return "0"
	case unix.F_SETFL:
		return join(uint64(uint32(t.args[i])), openFlags)
	case unix.F_SETFD:
		return join(uint64(uint32(t.args[i])), []bit{{unix.FD_CLOEXEC, "FD_CLOEXEC"}})
	}
	return integer(t, i)
}

func signalName(t *tracee, i int) string { return unix.SignalName(unix.Signal(t.args[i])) }

// out describes what the kernel fills in: only a call that succeeded has done it.
func out(t *tracee, i int, describe func() string) string {
	switch {
	case t.args[i] == 0:
		return "NULL"
	case !t.call.Done || t.call.Error != "":
		return "…"
	}
	return describe()
}

func intOut(t *tracee, i int) string {
	return out(t, i, func() string { return intIn(t, i) })
}

func intIn(t *tracee, i int) string {
	var b [4]byte
	if !t.read(t.args[i], b[:]) {
		return "…"
	}
	return fmt.Sprintf("[%d]", int32(native.Uint32(b[:])))
}

func lenOut(t *tracee, i int) string {
	return out(t, i, func() string { return intIn(t, i) })
}

func addrOut(t *tracee, i int) string {
	return out(t, i, func() string { return addrIn(t, i) })
}

// addrIn describes a sockaddr_in or sockaddr_in6: ip(7), ipv6(7).
func addrIn(t *tracee, i int) string {
	var b [28]byte
	if !t.read(t.args[i], b[:16]) {
		return "…"
	}
	port := binary.BigEndian.Uint16(b[2:])
	switch native.Uint16(b[:]) {
	case unix.AF_INET:
		return "{" + netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), port).String() + "}"
	case unix.AF_INET6:
		if t.read(t.args[i], b[:]) {
			return "{" + netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])), port).String() + "}"
		}
	}
	return "…"
}

const shownBytes = 24 // of a message

func bufferIn(t *tracee, i int) string {
	return t.quote(t.args[i], t.args[i+1])
}

func bufferOut(t *tracee, i int) string {
	return out(t, i, func() string { return t.quote(t.args[i], uint64(t.call.Result)) })
}

// quote returns the first bytes of a message.
func (t *tracee) quote(addr, size uint64) string {
	b := make([]byte, min(size, shownBytes))
	if !t.read(addr, b) {
		return "…"
	}
	var s strings.Builder
	s.WriteByte('"')
	for _, c := range b {
		switch {
		case c == '\n':
			s.WriteString(`\n`)
		case c == '\r':
			s.WriteString(`\r`)
		case c == '"', c == '\\':
			s.WriteString("\\" + string(c))
		case c >= ' ' && c < 0x7f:
			s.WriteByte(c)
		default:
			fmt.Fprintf(&s, `\x%02x`, c)
		}
	}
	s.WriteByte('"')
	if size > shownBytes {
		s.WriteString("…")
	}
	return s.String()
}

// event reads an epoll_event. Only on amd64 is it packed: epoll_event(3type).
func (t *tracee) event(addr uint64) (Event, bool) {
	var b [eventSize]byte
	ok := t.read(addr, b[:])
	return Event{Events: procfs.Events(native.Uint32(b[:])), Data: native.Uint64(b[eventSize-8:])}, ok
}

func eventIn(t *tracee, i int) string {
	if t.args[i] == 0 {
		return "NULL"
	}
	e, ok := t.event(t.args[i])
	if !ok {
		return "…"
	}
	if e.Data > math.MaxUint32 {
		return fmt.Sprintf("{%s, %#x}", e.Events, e.Data) // a pointer
	}
	return fmt.Sprintf("{%s, %d}", e.Events, int32(e.Data))
}

func eventsOut(t *tracee, i int) string {
	return out(t, i, func() string {
		return list(t.call.Events, func(fd int) string { return strconv.Itoa(fd) })
	})
}

const shownEvents = 4 // of one call

func list(events []Event, name func(fd int) string) string {
	var texts []string
	for i, e := range events {
		if i == shownEvents {
			texts = append(texts, "…")
			break
		}
		if e.FD >= 0 {
			texts = append(texts, fmt.Sprintf("{%s, %s}", e.Events, name(e.FD)))
		} else {
			texts = append(texts, fmt.Sprintf("{%s, %#x}", e.Events, e.Data))
		}
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// timerIn describes the it_value of an itimerspec: timerfd_settime(2).
func timerIn(t *tracee, i int) string {
	var b [32]byte
	if !t.read(t.args[i], b[:]) {
		return "…"
	}
	seconds := float64(native.Uint64(b[16:])) + float64(native.Uint64(b[24:]))/1e9
	return fmt.Sprintf("{%gs}", seconds)
}
