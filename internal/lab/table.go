package lab

import (
	"slices"
	"strings"
)

// A Command is a row of the table that drives parsing, completion and help.
type Command struct {
	Name string
	Does string
	More string // the rest of the text of help COMMAND
	Read string // the man page and the heading to read

	forms []form
}

// A form describes the words that may follow a command. +A is a new name, and A
// the name of an object. A word in brackets is optional: [BYTES=65536] contains
// the default, and the default of [wr|rd|both] is wr. Other words in capitals are
// numbers (see numbers) or EVENTS. TEXT… is the rest of the line.
type form struct {
	args string
	run  func(*run, []arg) error
}

// Commands is the table, in the order in which help lists it.
var Commands []Command

func init() { // not in the declaration, because help refers to the table
	Commands = []Command{
		{"pair", "two connected sockets", "An AF_UNIX stream, nonblocking. Bytes written to one are read from the other.",
			`socketpair(2) "DESCRIPTION"`, []form{{"+A +B", (*run).pair}}},
		{"tcp", "a TCP connection: B has connected", "A is the accepted side, B the client. Over 127.0.0.1, nonblocking, with TCP_NODELAY at both ends. The listener is closed again.",
			`tcp(7) "DESCRIPTION"`, []form{{"+A +B", (*run).tcp}}},
		{"udp", "two UDP sockets, connected to each other", "Over 127.0.0.1, nonblocking. A write is a datagram, and a read fetches one.",
			`udp(7) "DESCRIPTION"`, []form{{"+A +B", (*run).udp}}},
		{"socket", "a fresh, unconnected TCP socket", "Nonblocking.",
			`socket(2) "DESCRIPTION"`, []form{{"+A", (*run).socket}}},
		{"listen", "a TCP listener", "On 127.0.0.1, on a port of the kernel's choosing, nonblocking: socket(2) and bind(2), which are not shown, and listen(2).",
			`listen(2) "DESCRIPTION"`, []form{{"+L [BACKLOG=4096]", (*run).listen}}},
		{"connect", "connect a client C to L", "A new C is connected when connect(2) returns, and then made nonblocking. A C that is there already is connected as it is: nonblocking, that gives EINPROGRESS.",
			`connect(2) "DESCRIPTION"`, []form{{"+C L", (*run).connectNew}, {"C L", (*run).connect}}},
		{"accept", "fetch a connection from L", "It is nonblocking.",
			`accept(2) "DESCRIPTION"`, []form{{"L +A", (*run).accept}}},
		{"pipe", "a pipe: a reading and a writing end", "Nonblocking.",
			`pipe(7) "I/O on pipes and FIFOs"`, []form{{"+R +W", (*run).pipe}}},
		{"eventfd", "a counter", "Nonblocking. write V NUMBER adds to it, read V fetches it.",
			`eventfd(2) "DESCRIPTION"`, []form{{"+V [COUNT=0]", (*run).eventfd}}},
		{"timerfd", "a timer that expires after MS", "And then every INTERVAL ms, if that is not 0. Nonblocking; read T fetches how often it has expired.",
			`timerfd_create(2) "DESCRIPTION"`, []form{{"+T MS [INTERVAL=0]", (*run).timerfd}}},
		{"file", "a regular file, in memory, with no name", "",
			`memfd_create(2) "DESCRIPTION"`, []form{{"+F", (*run).file}}},
		{"dir", "a directory: /", "",
			`open(2) "DESCRIPTION"`, []form{{"+D", (*run).dir}}},
		{"epoll", "an epoll instance", "It may be added to another one.",
			`epoll_create1(2) "DESCRIPTION"`, []form{{"+E", (*run).epoll}}},
		{"dup", "another number for what A stands for", "This is also what a child process holds after fork(2): a copy of the number, and one open file behind both.",
			`dup(2) "DESCRIPTION"`, []form{{"A +B", (*run).dup}}},

		{"add", "put A on the interest list of E", "EVENTS as in in,et or EPOLLIN|EPOLLET; 0 is none. As data, the lab registers whose number it is now.",
			`epoll_ctl(2) "DESCRIPTION"`, []form{{"E A EVENTS", (*run).add}}},
		{"mod", "change the events of A in E", "This also arms it again: if A is ready, that is reported again.",
			`epoll_ctl(2) "DESCRIPTION"`, []form{{"E A EVENTS", (*run).mod}}},
		{"del", "take A from the interest list of E", "",
			`epoll_ctl(2) "DESCRIPTION"`, []form{{"E A", (*run).del}}},
		{"wait", "wait for events", "At most MAX of them, for TIMEOUT ms: 0 does not wait, -1 waits without a limit, until Ctrl-C; in a script, for 5 s.",
			`epoll_wait(2) "DESCRIPTION"`, []form{{"E [MAX=16] [TIMEOUT=0]", (*run).wait}}},
		{"poll", "ask poll(2) about A, without waiting", "E may be asked, too: it is readable when a wait would return something.",
			`poll(2) "DESCRIPTION"`, []form{{"A [EVENTS=in,out]", (*run).poll}}},
		{"read", "read up to BYTES from A", "until EAGAIN: again and again, until there is an error or the end of the stream.",
			`read(2) "RETURN VALUE"`, []form{{"A [BYTES=65536]", (*run).read}, {"A until EAGAIN", (*run).readAll}}},
		{"write", "write to A", `A text as in Go: "a\n"; BYTES of the alphabet; 64 KiB of it until EAGAIN; a NUMBER in 8 bytes, for an eventfd; or with oob, by sendmsg(2), a text whose last byte is urgent data.`,
			`write(2) "RETURN VALUE"`, []form{{`A "text"`, (*run).write}, {"A BYTES bytes", (*run).writeBytes}, {"A until EAGAIN", (*run).writeAll}, {"A NUMBER", (*run).writeNumber}, {`A "text" oob`, (*run).writeUrgent}}},
		{"shutdown", "end one direction of a connection", "After wr the peer reads the end of the stream, and A can still read.",
			`shutdown(2) "DESCRIPTION"`, []form{{"A [wr|rd|both]", (*run).shutdown}}},
		{"close", "close A", "The name stays, for the number that is free now, until it is given to something else.",
			`close(2) "DESCRIPTION"`, []form{{"A", (*run).close}}},
		{"reset", "close A with a RST", "SO_LINGER with 0 seconds, and close(2).",
			`socket(7) "Socket options"`, []form{{"A", (*run).reset}}},
		{"setsockopt", "set a size or a timeout", "The size of a queue, which the kernel doubles; or how long, in ms, written data may stay unacknowledged. getsockopt(2) shows the result.",
			`tcp(7) "Socket options"`, []form{{"A SO_RCVBUF|SO_SNDBUF|TCP_USER_TIMEOUT VALUE", (*run).setsockopt}}},
		{"fcntl", "the status flags of A", "Without O_NONBLOCK a call may sleep: until Ctrl-C; in a script, for 5 s.",
			`fcntl(2) "File status flags"`, []form{{"A", (*run).getFlags}, {"A +O_NONBLOCK|-O_NONBLOCK", (*run).setFlags}}},
		{"alarm", "a signal, MS into the next sleep", "SIGALRM, MS after the next call that sleeps has begun, to the thread that sleeps. The handler has SA_RESTART; epoll_wait(2) returns EINTR nevertheless.",
			`signal(7) "Interruption of system calls and library functions by signal handlers"`, []form{{"MS", (*run).setAlarm}}},

		{"show", "all objects: what the kernel has of each", "Interest lists are from /proc, unread from FIONREAD (of a listener: clients waiting for accept), unsent from SIOCOUTQ (TCP: what the peer has not acknowledged), the events from poll(2).",
			`epoll(7) "DESCRIPTION"`, []form{{"", (*run).showAll}}},
		{"calls", "how many calls, since it was asked last", "Without those that only prepare an object.",
			"", []form{{"", (*run).calls}}},
		{"repeat", "the same again and again", "The first and the last answer are shown.",
			"", []form{{"TIMES COMMAND…", (*run).repeat}}},
		{"sleep", "do nothing for MS", "",
			"", []form{{"MS", (*run).pause}}},
		{"expect", "the last answer must contain TEXT", "In a script it is an error if it does not. Quotes are for a TEXT with blanks at its ends.",
			"", []form{{"TEXT…", (*run).expect}}},
		{"help", "this list, or what wait or EAGAIN means", "A WORD is a command, or the name of an error, an event or a call.",
			"", []form{{"", (*run).help}, {"WORD", (*run).helpAbout}}},
		{"quit", "leave", "",
			"", []form{{"", (*run).quit}}},
	}
}

func find(name string) *Command {
	if i := slices.IndexFunc(Commands, func(c Command) bool { return c.Name == name }); i >= 0 {
		return &Commands[i]
	}
	return nil
}

func commandNames() []string {
	var names []string
	for _, c := range Commands {
		names = append(names, c.Name)
	}
	return names
}

// Usage returns the forms of a command, as help prints them.
func (c Command) Usage() []string {
	var lines []string
	for _, f := range c.forms {
		line := c.Name
		for _, p := range strings.Fields(f.args) {
			if (param{text: p}).isNew() {
				p = p[1:]
			}
			line += " " + p
		}
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

func usage(name string) string { return strings.Join(find(name).Usage(), ", or ") }
