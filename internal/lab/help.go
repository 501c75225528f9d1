package lab

import (
	"slices"
	"strings"
	"unicode/utf8"
)

const width = 72

func (r *run) help([]arg) error {
	for _, c := range Commands {
		for i, usage := range c.Usage() {
			does := ""
			if i == 0 {
				does = c.Does
			}
			if len(usage) > 30 && does != "" {
				r.print("%s", usage)
				usage = ""
			}
			r.print("%-30s %s", usage, does)
		}
	}
	r.print("A blank line and # comments do nothing. help COMMAND says more.")
	return nil
}

func (r *run) helpAbout(a []arg) error {
	if c := find(a[0].text); c != nil {
		r.print("%s", strings.Join(c.Usage(), "\n"))
		r.print("%s", wrap(upperFirst(c.Does)+". "+c.More))
		if c.Read != "" {
			r.print("%s", wrap("Read "+c.Read+"."))
		}
		return nil
	}
	name := strings.ToUpper(a[0].text)
	if text := r.explain(name); text != "" {
		r.print("%s", wrap(text))
		return nil
	}
	if means := eventMeanings[strings.TrimPrefix(name, "EPOLL")]; means != "" {
		r.print("%s", wrap("EPOLL"+strings.TrimPrefix(name, "EPOLL")+": "+means+`. Read epoll_ctl(2) "DESCRIPTION".`))
		return nil
	}
	var commands []string // that make this call
	for _, c := range Commands {
		if strings.HasPrefix(c.Read, strings.ToLower(name)+"(") {
			commands = append(commands, c.Name)
		}
	}
	if commands != nil {
		r.print("%s", wrap(strings.ToLower(name)+": see help "+strings.Join(commands, ", help ")+"."))
		return nil
	}
	return misuse(a[0].column, "no command, errno, event or call %q%s", a[0].text, didYouMean(a[0].text, commandNames(), "help lists the commands"))
}

// eventMeanings explains the events. The keys are their names without EPOLL.
var eventMeanings = map[string]string{
	"IN":        "a read would not sleep: bytes have come, or the end of the stream; of a listener, a client",
	"OUT":       "a write would not sleep: there is room",
	"RDHUP":     "the peer will send no more",
	"PRI":       "something urgent has come: see poll(2)",
	"ERR":       "an error waits for the next call. It is always reported",
	"HUP":       "both directions are closed, or the other end of a pipe. It is always reported",
	"ET":        "edge-triggered: a change is reported once, and not the state again and again",
	"ONESHOT":   "after one report the entry is silent, until mod arms it again",
	"EXCLUSIVE": "of several instances that watch the same thing, not all are woken",
	"WAKEUP":    "the machine does not go to sleep while the event is dealt with",
}

// explain returns the meaning of an errno, preferably for the last call.
func (r *run) explain(name string) string {
	i := slices.IndexFunc(errnos, func(e errno) bool {
		return e.name == name && (e.calls == "" || slices.Contains(strings.Fields(e.calls), r.lastCall))
	})
	if i < 0 { // the last call does not return this errno
		i = slices.IndexFunc(errnos, func(e errno) bool { return e.name == name })
	}
	if i < 0 {
		return ""
	}
	e := errnos[i]
	call := r.lastCall
	if e.calls != "" && !slices.Contains(strings.Fields(e.calls), call) {
		call, _, _ = strings.Cut(e.calls, " ")
	}
	text := name + ": " + e.means + "."
	if call != "" {
		text += " Read " + call + `(2) "ERRORS".`
	}
	return text
}

// An errno is an explanation of an error for some calls, or for all if calls is
// empty.
type errno struct{ name, calls, means string }

// errnos contains the errors that the lab's calls can return. For each errno the
// first entry that fits the call is used.
var errnos = []errno{
	{"EAGAIN", "read", "nothing has come; a blocking read would sleep until something does"},
	{"EAGAIN", "write", "the queue has no room for even one byte; a blocking write would sleep until there is some"},
	{"EAGAIN", "accept4", "no client is waiting to be accepted"},
	{"EAGAIN", "", "not now: the call would have to sleep"},
	{"EBADF", "epoll_ctl", "one of the two numbers is closed. (What was registered under it may still be on the interest list, if a copy is open.)"},
	{"EBADF", "", "the number is closed, or not open for that: the reading end of a pipe cannot be written"},
	{"EPERM", "epoll_ctl", "this kind of file does not support epoll: a regular file or a directory is always ready"},
	{"EPERM", "", "this is not allowed"},
	{"EEXIST", "epoll_ctl", "it is registered already; EPOLL_CTL_MOD changes it"},
	{"ENOENT", "epoll_ctl", "it is not registered in this instance"},
	{"EINVAL", "epoll_ctl", "the first is no epoll instance, or both are the same; or EPOLLEXCLUSIVE is where it must not be: in a MOD, for an epoll instance, or with anything but IN, OUT, ET and WAKEUP"},
	{"EINVAL", "epoll_wait", "this is no epoll instance, or the maximum is not greater than 0"},
	{"EINVAL", "read", "what is read comes in 8 bytes, and the buffer is smaller; or it cannot be read at all, as an epoll instance"},
	{"EINVAL", "write", "an eventfd takes 8 bytes, and not its largest number; other things cannot be written at all"},
	{"EINVAL", "accept4", "it is a socket, but it does not listen"},
	{"EINVAL", "", "an argument makes no sense"},
	{"ELOOP", "epoll_ctl", "epoll instances would watch each other in a circle, or are nested too deep"},
	{"ENOSPC", "epoll_ctl", "/proc/sys/fs/epoll/max_user_watches is reached"},
	{"EINTR", "epoll_wait", "a signal came first. It is never restarted, whatever SA_RESTART says: signal(7)"},
	{"EINTR", "", "a signal came before the call had anything to return"},
	{"EPIPE", "write", "there will be no reader any more: the other end is closed, or this one is shut down for writing. A C program gets SIGPIPE besides"},
	{"ECONNRESET", "", "the peer has torn the connection down: it has closed with bytes unread, or asked for a RST"},
	{"ECONNREFUSED", "connect", "nobody listens there"},
	{"EINPROGRESS", "connect", "nonblocking: the connection is being made, and EPOLLOUT will say when it stands"},
	{"EALREADY", "connect", "the connection is being made already"},
	{"EISCONN", "connect", "it is connected already"},
	{"ENOTCONN", "", "the socket is not connected"},
	{"ENOTSOCK", "", "this is not a socket"},
	{"EOPNOTSUPP", "", "this kind of socket cannot do that"},
	{"EISDIR", "read", "a directory is read by getdents(2)"},
	{"EMFILE", "", "this process has no descriptor number left"},
	{"ENFILE", "", "the whole system has none left"},
	{"ENOMEM", "", "the kernel has no memory for it"},
	{"ETIMEDOUT", "", "the peer has not answered for too long"},
}

func upperFirst(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// wrap breaks a text into lines of at most width columns.
func wrap(text string) string {
	var b strings.Builder
	column := 0
	for i, w := range strings.Fields(text) {
		n := utf8.RuneCountInString(w)
		switch {
		case i == 0:
		case column+1+n > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(w)
		column += n
	}
	return b.String()
}
