package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"time"

	"epoll-step-by-step/internal/walk"
)

// A namedStep is a step with the names of its descriptors.
type namedStep struct {
	walk.Step
	Text  string         `json:"text"` // the call as strace prints it
	Names map[int]string `json:"names"`
}

func name(s walk.Step, names *walk.Names) namedStep {
	n := namedStep{Step: s, Text: names.Call(s.Call), Names: make(map[int]string)}
	for _, socket := range s.Kernel.Sockets {
		n.Names[socket.FD] = names.Of(socket.FD)
	}
	for _, e := range s.Kernel.Epolls {
		n.Names[e.FD] = names.Of(e.FD)
		for _, in := range e.Interest {
			n.Names[in.FD] = names.Of(in.FD)
		}
	}
	return n
}

// programs are what a page may walk through.
var programs = regexp.MustCompile(`^(step[1-4]-[\w-]+|exercises/\d\d-[\w-]+(/starter|/solution)?)$`)

// buildOurs builds a program of the repository, and no other.
func buildOurs(ctx context.Context, command []string) ([]string, error) {
	if !programs.MatchString(command[0]) {
		return nil, fmt.Errorf("%s: the tour walks through the steps and the exercises only; make walk SERVER= takes any program", command[0])
	}
	return walk.Build(ctx, command)
}

// A liveWalk is a walk that the reader takes by hand.
type liveWalk struct {
	mu      sync.Mutex // held by a request
	session *walk.Session
	clients []*walk.Client
	letters int
	last    walk.Stop
	names   *walk.Names
	used    time.Time
}

func (l *liveWalk) end() {
	for _, c := range l.clients {
		c.Close()
	}
	l.session.Close()
}

// A walkRequest is one key of the page.
type walkRequest struct {
	Do      string `json:"do"`      // start, next, wait, client, end
	Program string `json:"program"` // of start
	Client  string `json:"client"`  // the name, of client
	Verb    string `json:"verb"`    // connect, send, send64k, pause, shutdown, close, reset
}

// A walkAnswer has the steps that a key has led to.
type walkAnswer struct {
	Program string            `json:"program,omitempty"`
	Sources map[string]string `json:"sources,omitempty"`
	Steps   []namedStep       `json:"steps"`
	Note    string            `json:"note,omitempty"`
	Output  string            `json:"output,omitempty"`
}

const patience = 2 * time.Second // for a call that is to return

func (t *tour) walk(w http.ResponseWriter, r *http.Request) {
	var request walkRequest
	if !receive(w, r, &request) {
		return
	}
	id := r.PathValue("id")
	var answer walkAnswer
	var err error
	if request.Do == "start" {
		answer, err = t.startWalk(r.Context(), id, request.Program)
	} else {
		t.mu.Lock()
		l := t.walks[id]
		if request.Do == "end" {
			delete(t.walks, id)
		}
		t.mu.Unlock()
		if l == nil {
			http.Error(w, "this walk has ended: start it again", http.StatusGone)
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.used = time.Now()
		answer, err = l.do(r.Context(), request)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	send(w, answer)
}

// startWalk starts a program in place of what the page has walked through before. If
// there are too many walks, the one that has not been used for longest ends.
func (t *tour) startWalk(ctx context.Context, id, program string) (walkAnswer, error) {
	args, err := buildOurs(ctx, []string{program})
	if err != nil {
		return walkAnswer{}, err
	}
	session, err := walk.Start(args)
	if err != nil {
		return walkAnswer{}, err
	}
	l := &liveWalk{session: session, names: walk.NewNames(), used: time.Now()}
	t.mu.Lock()
	ended := []*liveWalk{t.walks[id]}
	delete(t.walks, id)
	if len(t.walks) >= maxLiveWalks {
		oldest := ""
		for other, l := range t.walks {
			if oldest == "" || l.used.Before(t.walks[oldest].used) {
				oldest = other
			}
		}
		ended = append(ended, t.walks[oldest])
		delete(t.walks, oldest)
	}
	t.walks[id] = l
	t.mu.Unlock()
	for _, old := range ended {
		if old != nil {
			old.mu.Lock()
			old.end()
			old.mu.Unlock()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	answer, err := l.do(ctx, walkRequest{Do: "next"})
	header := session.Header(program)
	answer.Program, answer.Sources = header.Program, header.Sources
	return answer, err
}

func (l *liveWalk) do(ctx context.Context, r walkRequest) (walkAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch r.Do {
	case "next":
		return l.until(ctx, func(walk.Stop) bool { return true })
	case "wait":
		return l.until(ctx, func(s walk.Stop) bool { return s.Moment == walk.Before && s.Call.Waits() })
	case "client":
		return l.client(r.Client, r.Verb)
	case "end":
		l.end()
		return walkAnswer{}, nil
	}
	return walkAnswer{}, fmt.Errorf("%q: no such key", r.Do)
}

const maxSteps = 500 // of one answer: step 2 never waits

// until goes on until a stop is what is wanted, or the thread sleeps.
func (l *liveWalk) until(ctx context.Context, what func(walk.Stop) bool) (walkAnswer, error) {
	var answer walkAnswer
	for range maxSteps {
		stop, err := l.session.Next(ctx)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			answer.Note = "asleep in " + l.last.Call.Name + ": only a client can wake it"
			return answer, nil
		case errors.Is(err, walk.ErrEnded):
			answer.Note = "the program has ended"
			return answer, nil
		case err != nil:
			return answer, err
		}
		l.add(&answer, stop, "")
		if stop.Moment == walk.Ended {
			answer.Output = l.session.Output()
			return answer, nil
		}
		if what(stop) || stop.Moment == walk.Asleep {
			return answer, nil
		}
	}
	answer.Note = "it goes on and on: it never waits"
	return answer, nil
}

func (l *liveWalk) add(answer *walkAnswer, stop walk.Stop, did string) {
	l.last = stop
	step := walk.Step{Stop: stop, Did: did}
	for _, c := range l.clients {
		step.Clients = append(step.Clients, c.State())
	}
	l.names.Learn(stop.Kernel, step.Clients)
	answer.Steps = append(answer.Steps, name(step, l.names))
}

const maxClients = 9

// client lets a client do something, and looks at the kernel again.
func (l *liveWalk) client(who, verb string) (walkAnswer, error) {
	var answer walkAnswer
	var did string
	var err error
	if verb == "connect" {
		did, err = l.connect()
	} else {
		i := 0
		for i < len(l.clients) && l.clients[i].Name != who {
			i++
		}
		if i == len(l.clients) {
			return answer, errors.New("there is no such client: connect one")
		}
		c := l.clients[i]
		if verb == "close" || verb == "reset" {
			l.clients = append(l.clients[:i], l.clients[i+1:]...)
		}
		did, err = c.Act(verb)
	}
	if err != nil {
		return answer, err
	}
	stop, err := l.session.Look()
	if errors.Is(err, walk.ErrEnded) {
		answer.Note = "the program has ended"
		return answer, nil
	}
	if err == nil {
		l.add(&answer, stop, did)
	}
	return answer, err
}

func (l *liveWalk) connect() (string, error) {
	addr := l.last.Kernel.Listening()
	if !addr.IsValid() {
		return "", errors.New("the program does not listen yet: go on to its first wait")
	}
	if len(l.clients) == maxClients {
		return "", errors.New("nine clients are connected: close one")
	}
	c, err := walk.Connect(string(rune('a'+l.letters%26)), addr)
	if err != nil {
		return "", err
	}
	l.letters++
	l.clients = append(l.clients, c)
	return c.Name + " connects", nil
}
