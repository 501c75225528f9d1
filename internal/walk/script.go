package walk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Prompt stands before each command of a script in a document.
const Prompt = "walk> "

// Help lists the commands of a script.
const Help = `start PROGRAM [ARG…]   start a program, such as step3-epoll-lt
next [N]               the next N calls; of a call that sleeps, the sleep
until WHAT             all calls up to WHAT, which is one of
                         asleep    the thread sleeps in a call
                         end       the program has ended
                         CALL      this call has returned, such as read
                         CALL A    this call, on this client or listener
skip WHAT              the same, without printing them
show                   what the kernel holds now
a connect              a client: any single letter is its name
a send TEXT            send TEXT and a newline; or N bytes: 64K, 4M
a received             what the client has received since it was last asked
a stop | a go          stop reading, so that what arrives stays queued; go on
a shutdown             shutdown(2) with SHUT_WR: a FIN
a close | a reset      close, with a FIN or an RST`

// Width is how many columns the lines have at most that a Script prints.
const Width = 76

// A Script drives a session with text commands and prints what happens.
type Script struct {
	// Build returns the arguments to run for those of start.
	Build func(ctx context.Context, args []string) ([]string, error)

	// Record, if not nil, gets everything that is seen: first the header, then each step.
	Record func(Header, Step)

	out     io.Writer
	session *Session
	header  Header
	clients map[string]*Client
	names   *Names
	kernel  Kernel // what has been shown of it
	stop    Stop
	server  netip.AddrPort
}

// Close ends the program and the clients.
func (s *Script) Close() {
	if s.session != nil {
		s.session.Close()
	}
	for _, c := range s.clients {
		c.Close()
	}
}

// Replay runs the lines of a transcript that begin with Prompt, and returns it with the
// answers made again.
func (s *Script) Replay(ctx context.Context, transcript string) (string, error) {
	defer s.Close()
	var out strings.Builder
	s.out = &out
	for line := range strings.Lines(transcript) {
		line = strings.TrimRight(line, "\n")
		command, ok := strings.CutPrefix(line, strings.TrimRight(Prompt, " "))
		if !ok {
			continue
		}
		fmt.Fprintln(&out, line)
		if err := s.do(ctx, command); err != nil {
			return out.String(), fmt.Errorf("%s: %w", strings.TrimSpace(command), err)
		}
	}
	return out.String(), nil
}

// Run runs a script of commands, one a line, and prints each with its answers.
func (s *Script) Run(ctx context.Context, script string, out io.Writer) error {
	defer s.Close()
	s.out = out
	n := 0
	for line := range strings.Lines(script) {
		n++
		line = strings.TrimSpace(strings.TrimPrefix(line, Prompt))
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fmt.Fprintln(out, Prompt+line)
		if err := s.do(ctx, line); err != nil {
			return fmt.Errorf("line %d: %s: %w", n, line, err)
		}
	}
	return nil
}

// Line runs one command and prints its answers.
func (s *Script) Line(ctx context.Context, line string, out io.Writer) error {
	s.out = out
	return s.do(ctx, strings.TrimPrefix(line, Prompt))
}

var errUsage = errors.New("no such command; these exist:\n" + Help)

// do runs one command. A comment begins with " # ".
func (s *Script) do(ctx context.Context, line string) error {
	line, _, _ = strings.Cut(line, " # ")
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil
	}
	if len(words[0]) == 1 {
		return s.client(words[0], words[1:])
	}
	if words[0] == "start" && len(words) > 1 {
		return s.start(ctx, words[1:])
	}
	if s.session == nil {
		return errors.New("no program is running: begin with start")
	}
	switch what := strings.Join(words[1:], " "); words[0] {
	case "next":
		n := 1
		if what != "" {
			var err error
			if n, err = strconv.Atoi(what); err != nil || n < 1 {
				return fmt.Errorf("%s: want a number of calls", what)
			}
		}
		return s.until(ctx, "", n, true)
	case "until", "skip":
		if what == "" {
			return errUsage
		}
		return s.until(ctx, what, 0, words[0] == "until")
	case "show":
		return s.show()
	}
	return errUsage
}

func (s *Script) start(ctx context.Context, args []string) error {
	if s.session != nil {
		return errors.New("a program is running already")
	}
	var err error
	program := args[0]
	args, err = s.Build(ctx, args)
	if err != nil {
		return err
	}
	if s.session, err = Start(args); err == nil {
		s.header = s.session.Header(program)
	}
	s.clients = make(map[string]*Client)
	s.names = NewNames()
	return err
}

// patience limits the wait for a call that was to come. On a busy machine, the start of a Go
// program alone takes seconds: it makes hundreds of calls, and each is two stops.
const patience = 2 * time.Minute

// until goes on until a stop is what, or for n stops.
func (s *Script) until(ctx context.Context, what string, n int, print bool) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		stop, err := s.session.Next(limited)
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("waited %s; the program is %s", patience, s.where())
		}
		if err != nil {
			return err
		}
		s.stop = stop
		s.learn(stop.Kernel)
		s.record(stop, "")
		switch {
		case stop.Moment == Before:
			continue
		case stop.Moment == Ended:
			fmt.Fprintf(s.out, "     the program has ended: %s\n", stop.End)
			s.session.Close()
			if what == "end" {
				return nil
			}
			return fmt.Errorf("the program has ended; it has printed:\n%s", s.session.Output())
		case print:
			s.print(stop)
		}
		s.kernel = stop.Kernel
		if n--; n == 0 {
			return nil
		}
		if what != "" && s.is(stop, what) {
			return nil
		}
	}
}

func (s *Script) where() string {
	if s.stop.Moment == Asleep {
		return "asleep in " + s.stop.Call.Name
	}
	return "running"
}

// is reports whether a stop is what until waits for.
func (s *Script) is(stop Stop, what string) bool {
	if what == "asleep" {
		return stop.Moment == Asleep
	}
	call, of, _ := strings.Cut(what, " ")
	return stop.Moment == After && stop.Call.Name == call && (of == "" || s.names.Of(stop.Call.FD) == of)
}

// print prints the line of code, the call, its result, and what has changed.
func (s *Script) print(stop Stop) {
	place := strings.Repeat(" ", 4)
	if len(stop.Stack) > 0 {
		place = fmt.Sprintf("%4d", stop.Stack[0].Line)
	}
	text := s.names.Call(stop.Call)
	if stop.Moment == Asleep {
		text += " …asleep"
	}
	fmt.Fprintln(s.out, fold(place+" "+text))
	s.changes(stop.Kernel)
}

// fold breaks a line that is too long between two arguments.
func fold(line string) string {
	if len([]rune(line)) <= Width {
		return line
	}
	at := strings.LastIndex(string([]rune(line)[:Width]), ", ")
	if at < 0 {
		return line
	}
	return line[:at+1] + "\n         " + line[at+2:]
}

// changes prints what has changed in the kernel since it was last shown.
func (s *Script) changes(k Kernel) {
	line := ""
	for _, c := range k.Since(s.kernel) {
		text := s.names.Of(c.FD) + ": " + c.What
		if line != "" && len([]rune(line+text)) > Width-10 {
			fmt.Fprintln(s.out, "     · "+line)
			line = ""
		}
		if line != "" {
			line += " · "
		}
		line += text
	}
	if line != "" {
		fmt.Fprintln(s.out, "     · "+line)
	}
	s.kernel = k
}

func (s *Script) learn(k Kernel) {
	if at := k.Listening(); at.IsValid() {
		s.server = at
	}
	s.names.Learn(k, s.states())
}

// states returns what is known of the clients, by name.
func (s *Script) states() []ClientState {
	var states []ClientState
	for _, name := range slices.Sorted(maps.Keys(s.clients)) {
		states = append(states, s.clients[name].State())
	}
	return states
}

func (s *Script) record(stop Stop, did string) {
	if s.Record != nil {
		s.Record(s.header, Step{Stop: stop, Did: did, Clients: s.states()})
	}
}

// client runs a command of a client.
func (s *Script) client(name string, words []string) error {
	if s.session == nil {
		return errors.New("no program is running: begin with start")
	}
	if len(words) == 0 {
		return errUsage
	}
	c := s.clients[name]
	verb, text := words[0], strings.Join(words[1:], " ")
	if c == nil && verb != "connect" {
		return fmt.Errorf("there is no client %s: connect it first", name)
	}
	var err error
	switch verb {
	case "connect":
		if c != nil {
			return fmt.Errorf("there is a client %s already", name)
		}
		if !s.server.IsValid() {
			return errors.New("the program does not listen yet: try skip asleep first")
		}
		if c, err = Connect(name, s.server); err == nil {
			s.clients[name] = c
		}
	case "send":
		data := text + "\n"
		if n, ok := size(text); ok && n > mostUnsent {
			return fmt.Errorf("%s: at most %s", text, Bytes(mostUnsent))
		} else if ok {
			data = strings.Repeat("0123456789abcdef", n/16+1)[:n]
		}
		err = c.Send(data)
	case "received":
		s.received(c)
	case "stop", "go":
		err = c.Stop(verb == "stop")
	case "shutdown":
		err = c.Shutdown()
	case "close":
		err = c.Close()
	case "reset":
		err = c.Reset()
	default:
		return errUsage
	}
	if verb == "close" || verb == "reset" {
		delete(s.clients, name)
	}
	if err != nil {
		return err
	}
	stop, err := s.session.Look()
	if err != nil {
		return err
	}
	s.learn(stop.Kernel)
	s.record(stop, strings.TrimSpace(name+" "+verb+" "+text))
	s.changes(stop.Kernel)
	if state := c.State(); state.QueuedUnread > 0 && verb != "received" {
		fmt.Fprintf(s.out, "     · %s: not accepted yet, unread %s\n", name, Bytes(state.QueuedUnread))
	}
	return nil
}

func (s *Script) received(c *Client) {
	text, total, end := c.Received()
	switch {
	case text == "" && end == "":
		fmt.Fprintf(s.out, "     %s has received nothing\n", c.Name)
		return
	case text == "":
	case len(text) <= 40:
		fmt.Fprintf(s.out, "     %s has received %q\n", c.Name, text)
	default:
		fmt.Fprintf(s.out, "     %s has received %d bytes in all\n", c.Name, total)
	}
	if end != "" {
		fmt.Fprintf(s.out, "     %s has received %s\n", c.Name, end)
	}
}

var sizes = regexp.MustCompile(`^(\d{1,4})([KM])$`)

// size parses a number of bytes: 64K, 4M.
func size(text string) (int, bool) {
	m := sizes.FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	n, _ := strconv.Atoi(m[1])
	return n << map[string]int{"K": 10, "M": 20}[m[2]], true
}

// show prints what the kernel holds.
func (s *Script) show() error {
	stop, err := s.session.Look()
	if err != nil {
		return err
	}
	k := stop.Kernel
	s.learn(k)
	s.kernel = k
	for _, e := range k.Epolls {
		fmt.Fprintf(s.out, "     %-9s interest list   ready list\n", s.names.Of(e.FD))
		for _, in := range e.Interest {
			ready := ""
			if in.Ready {
				ready = Mask(Shown(in))
			}
			fmt.Fprintln(s.out, strings.TrimRight(fmt.Sprintf("     %-9s %-15s %s", s.names.Of(in.FD), Mask(in.Events), ready), " "))
		}
	}
	for _, socket := range k.Sockets {
		if socket.Listening {
			fmt.Fprintf(s.out, "     %-9s accept queue %d\n", s.names.Of(socket.FD), socket.Unread)
			continue
		}
		fmt.Fprintf(s.out, "     %-9s unread %s, unsent %s\n", s.names.Of(socket.FD), Bytes(socket.Unread), Bytes(socket.Unsent))
	}
	return nil
}
