package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"epoll-step-by-step/internal/walk"

	"github.com/gdamore/tcell/v2"
)

// An app is the program at a terminal: what has been seen, and what is shown of it. One
// goroutine owns it. Another waits for the session's next stop.
type app struct {
	session   *walk.Session // nil: a recording is shown
	recording walk.Recording
	writer    *walk.Writer // may be nil

	screen tcell.Screen
	at     int  // index of the step that is shown
	help   bool // it is shown in place of the panes
	note   string

	// While the session runs, a goroutine waits in Next.
	stops  chan nextStop
	cancel context.CancelFunc // not nil while it waits
	until  func(walk.Step) bool
	slowly bool
	once   bool // the run ends at the next stop
	again  int  // how often it is to be repeated, for keys that were pressed meanwhile

	clients []*walk.Client
	chosen  int // index in clients
	letters int // clients that have been connected
	server  netip.AddrPort
	names   *walk.Names
	sleeps  int // how often the thread has fallen asleep
}

type nextStop struct {
	stop walk.Stop
	err  error
}

const (
	slowPause = 200 * time.Millisecond // between two stops, running slowly
	lookPause = 250 * time.Millisecond // between two looks at a program that sleeps
	drawPause = 40 * time.Millisecond  // between two pictures, running
)

// show runs the app until the user quits or ctx ends.
func show(ctx context.Context, a *app) error {
	var err error
	if a.screen, err = tcell.NewScreen(); err != nil {
		return err
	}
	if err := a.screen.Init(); err != nil {
		return err
	}
	defer a.screen.Fini()
	return a.run(ctx)
}

func (a *app) run(ctx context.Context) error {
	a.stops = make(chan nextStop, 1)
	a.names = walk.NewNames()
	defer a.stopRunning()
	defer func() {
		for _, c := range a.clients {
			c.Close()
		}
	}()
	events, quit := make(chan tcell.Event), make(chan struct{})
	defer close(quit)
	go a.screen.ChannelEvents(events, quit)
	if a.session != nil {
		a.next(nil)
	} else {
		a.restoreNames()
	}
	look := time.NewTicker(lookPause)
	defer look.Stop()
	var drawn time.Time
	var slow <-chan time.Time
	for {
		if a.until == nil || a.cancel == nil || time.Since(drawn) > drawPause {
			a.draw()
			drawn = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-events:
			if !ok || a.handle(e) {
				return nil
			}
		case n := <-a.stops:
			if err := a.arrived(n); err != nil {
				return err
			}
			switch {
			case a.until == nil || a.cancel != nil: // it has ended, or has been repeated
			case a.slowly:
				slow = time.After(slowPause)
			default:
				a.goOn()
			}
		case <-slow:
			slow = nil
			if a.until != nil && a.cancel == nil {
				a.goOn()
			}
		case <-look.C:
			if err := a.lookAgain(); err != nil {
				return err
			}
		}
	}
}

// next lets the program go on until a step is what until says; nil means the next stop.
func (a *app) next(until func(walk.Step) bool) {
	if a.session == nil {
		a.note = "this is a recording: ← and → move in it"
		return
	}
	a.at = len(a.recording.Steps) - 1
	if a.last().Moment == walk.Ended {
		a.note = "the program has ended: q quits, ← looks back"
		return
	}
	a.once = until == nil
	if a.once {
		until = func(walk.Step) bool { return true }
	}
	a.until = until
	if a.cancel == nil {
		a.goOn()
	}
}

// goOn waits for the next stop in the background.
func (a *app) goOn() {
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	go func() {
		stop, err := a.session.Next(ctx)
		a.stops <- nextStop{stop, err}
	}()
}

// arrived adds a stop that goOn has waited for.
func (a *app) arrived(n nextStop) error {
	a.cancel()
	a.cancel = nil
	if errors.Is(n.err, context.Canceled) {
		return nil
	}
	if n.err != nil {
		return n.err
	}
	if n.stop.Moment == walk.Asleep {
		a.sleeps++
	}
	s := walk.Step{Stop: n.stop}
	if err := a.add(s); err != nil {
		return err
	}
	if a.until != nil && (a.until(s) || n.stop.Moment == walk.Ended || n.stop.Moment == walk.Asleep && !a.slowly) {
		once := a.once && n.stop.Moment != walk.Ended
		a.until, a.slowly, a.once = nil, false, false
		if once && a.again > 0 {
			a.again--
			a.next(nil)
		}
	}
	return nil
}

// stopRunning ends a run, and waits until the goroutine of goOn has ended.
func (a *app) stopRunning() error {
	a.until, a.slowly, a.once, a.again = nil, false, false, 0
	return a.interrupt()
}

func (a *app) interrupt() error {
	if a.cancel == nil {
		return nil
	}
	a.cancel()
	return a.arrived(<-a.stops)
}

// add appends a step and shows it.
func (a *app) add(s walk.Step) error {
	if at := s.Kernel.Listening(); at.IsValid() {
		a.server = at
	}
	for _, c := range a.clients {
		s.Clients = append(s.Clients, c.State())
	}
	a.names.Learn(s.Kernel, s.Clients)
	a.recording.Steps = append(a.recording.Steps, s)
	a.at = len(a.recording.Steps) - 1
	if a.writer == nil {
		return nil
	}
	return a.writer.Add(s)
}

// restoreNames learns the names of a recording's descriptors.
func (a *app) restoreNames() {
	a.names = walk.NewNames()
	a.sleeps = 0
	for _, s := range a.recording.Steps[:a.at+1] {
		a.names.Learn(s.Kernel, s.Clients)
		if s.Moment == walk.Asleep && s.Did == "" {
			a.sleeps++
		}
	}
}

func (a *app) last() walk.Step {
	if len(a.recording.Steps) == 0 {
		return walk.Step{}
	}
	return a.recording.Steps[len(a.recording.Steps)-1]
}

// lookAgain adds a step if somebody else has changed what the kernel holds for a program
// that sleeps, such as nc in another terminal.
func (a *app) lookAgain() error {
	last := a.last()
	if a.session == nil || a.cancel != nil || last.Moment != walk.Asleep {
		return nil
	}
	stop, err := a.session.Look()
	if err != nil || len(stop.Kernel.Since(last.Kernel)) == 0 {
		return err
	}
	past := a.at < len(a.recording.Steps)-1
	shown := a.at
	err = a.add(walk.Step{Stop: stop, Did: "meanwhile"})
	if past {
		a.at = shown
	}
	return err
}

// handle does what a key asks for. It reports whether the user quits.
func (a *app) handle(e tcell.Event) (quit bool) {
	key, ok := e.(*tcell.EventKey)
	if !ok {
		if _, ok := e.(*tcell.EventResize); ok {
			a.screen.Sync()
		}
		return false
	}
	a.note = ""
	if key.Key() == tcell.KeyCtrlC || key.Rune() == 'q' {
		return true
	}
	if a.help {
		a.help = false
		return false
	}
	if a.slowly && a.until != nil && key.Rune() == 'r' {
		a.fail(a.stopRunning())
		return false
	}
	switch key.Key() {
	case tcell.KeyLeft:
		a.move(a.at - 1)
	case tcell.KeyRight:
		a.move(a.at + 1)
	case tcell.KeyHome:
		a.move(0)
	case tcell.KeyEnd:
		a.move(len(a.recording.Steps) - 1)
	case tcell.KeyEnter:
		a.next(nil)
	case tcell.KeyRune:
		a.rune(key.Rune())
	}
	return false
}

func (a *app) rune(r rune) {
	switch {
	case r == ' ':
		switch {
		case a.until == nil:
			a.next(nil)
		case !a.once:
			a.fail(a.stopRunning())
		case a.last().Moment != walk.Asleep || hasCome(a.last()): // otherwise it waits for a client
			a.again++
		}
	case r == 'e':
		a.next(func(s walk.Step) bool { return s.Moment == walk.Before && s.Call.Waits() })
	case r == 'z':
		a.next(func(walk.Step) bool { return false }) // the sleep ends it
	case r == 'r':
		a.slowly = a.session != nil
		a.next(func(walk.Step) bool { return false })
	case r == 'n':
		if c := a.client(); c != nil {
			a.next(func(s walk.Step) bool { return s.Moment == walk.Before && a.names.Of(s.Call.FD) == c.Name })
		}
	case r == '?':
		a.help = true
	case r == 'c':
		a.act(a.connect)
	case '1' <= r && r <= '9':
		if i := int(r - '1'); i < len(a.clients) {
			a.chosen = i
		} else {
			a.note = fmt.Sprintf("there is no client %d: c connects one", i+1)
		}
	case verbs[r] != "":
		if c := a.client(); c != nil {
			if r == 'd' || r == 'x' {
				a.remove(c)
			}
			a.act(func() (string, error) { return c.Act(verbs[r]) })
		}
	default:
		a.note = fmt.Sprintf("%q does nothing: ? lists the keys", r)
	}
}

func (a *app) move(to int) {
	if a.until != nil {
		a.fail(a.stopRunning())
	}
	a.at = max(0, min(to, len(a.recording.Steps)-1))
	if a.session == nil {
		a.restoreNames()
	}
}

func (a *app) fail(err error) {
	if err != nil {
		a.note = err.Error()
	}
}

// client returns the chosen client.
func (a *app) client() *walk.Client {
	if a.chosen >= len(a.clients) {
		a.note = "there is no client: c connects one"
		return nil
	}
	return a.clients[a.chosen]
}

// verbs are the keys that make the chosen client do something.
var verbs = map[rune]string{
	's': "send", 'b': "send64k", 'B': "send16m", 'p': "pause", 'f': "shutdown", 'd': "close", 'x': "reset",
}

func (a *app) remove(c *walk.Client) {
	i := slices.Index(a.clients, c)
	a.clients = slices.Delete(a.clients, i, i+1)
	a.chosen = max(0, min(a.chosen, len(a.clients)-1))
}

func (a *app) connect() (string, error) {
	if !a.server.IsValid() {
		return "", errors.New("the program does not listen yet: e runs it up to its first wait")
	}
	if len(a.clients) == 9 {
		return "", errors.New("nine clients are connected: d closes one")
	}
	name := string(rune('a' + a.letters%26))
	c, err := walk.Connect(name, a.server)
	if err != nil {
		return "", err
	}
	a.letters++
	a.clients = append(a.clients, c)
	a.chosen = len(a.clients) - 1
	return name + " connects", nil
}

// act lets a client do something, and shows what it has changed in the kernel. A run
// goes on afterwards.
func (a *app) act(do func() (string, error)) {
	if a.session == nil {
		a.note = "this is a recording: it has no clients"
		return
	}
	if a.last().Moment == walk.Ended {
		a.note = "the program has ended"
		return
	}
	if err := a.interrupt(); err != nil {
		a.fail(err)
		return
	}
	did, err := do()
	if err != nil {
		a.fail(err)
		return
	}
	stop, err := a.session.Look()
	if err == nil {
		err = a.add(walk.Step{Stop: stop, Did: did})
	}
	a.fail(err)
	if a.until != nil && a.cancel == nil && err == nil {
		a.goOn()
	}
}
