package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"epoll-step-by-step/internal/lab"
	"epoll-step-by-step/internal/walk"
)

// A tour serves the pages and runs what they ask for.
type tour struct {
	ctx context.Context // ends with the tour

	terminals *terminals

	mu    sync.Mutex
	walks map[string]*liveWalk // by the page's name for it
}

func newTour(ctx context.Context) *tour {
	return &tour{ctx: ctx, terminals: newTerminals(), walks: make(map[string]*liveWalk)}
}

func (t *tour) close() {
	t.terminals.close()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.walks {
		w.end()
	}
}

func (t *tour) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /static/", http.FileServerFS(static))
	mux.HandleFunc("GET /", t.document)
	mux.HandleFunc("GET /man/{page}", t.man)
	mux.HandleFunc("GET /kernel", t.kernel)
	mux.HandleFunc("POST /lab", t.lab)
	mux.HandleFunc("POST /walk/script", t.walkScript)
	mux.HandleFunc("POST /walk/{id}", t.walk)
	mux.HandleFunc("GET /terminals", t.terminals.events)
	mux.HandleFunc("POST /terminals/{number}", t.terminals.keys)
	return mux
}

// receive reads a request's JSON, and reports whether it is right.
func receive(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func send(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer)
}

const (
	maxScript    = 200              // lines of a script
	scriptTime   = 60 * time.Second // that a script may take
	labPatience  = 2 * time.Second  // of a call that sleeps, in the lab
	maxLiveWalks = 8
)

// An answer is a line of a script with what it printed.
type answer struct {
	Command string   `json:"command"`
	Lines   []string `json:"lines"`
	Error   bool     `json:"error,omitempty"`
}

// lab runs a script in a session of its own.
func (t *tour) lab(w http.ResponseWriter, r *http.Request) {
	var script []string
	if !receive(w, r, &script) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), scriptTime)
	defer cancel()
	s := lab.New()
	defer s.Close()
	s.Patience = labPatience
	answers := []answer{}
	for _, line := range script[:min(len(script), maxScript)] {
		result := s.Do(ctx, line)
		a := answer{Command: line, Lines: result.Lines}
		if result.Err != nil {
			a.Lines = append(a.Lines, result.Err.Report())
			a.Error = result.Err.Kind == lab.Misuse
		}
		answers = append(answers, a)
	}
	send(w, answers)
}

// walkScript runs the script of a walk block, and returns what was printed and all that
// was seen, so that the page can step through it.
func (t *tour) walkScript(w http.ResponseWriter, r *http.Request) {
	var script []string
	if !receive(w, r, &script) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), scriptTime)
	defer cancel()
	var seen struct {
		Answers []answer          `json:"answers"`
		Program string            `json:"program"`
		Sources map[string]string `json:"sources"`
		Steps   []namedStep       `json:"steps"`
		Error   string            `json:"error,omitempty"`
	}
	names := walk.NewNames()
	s := walk.Script{Build: buildOurs, Record: func(h walk.Header, step walk.Step) {
		seen.Program, seen.Sources = h.Program, h.Sources
		names.Learn(step.Kernel, step.Clients)
		if len(seen.Steps) == maxSteps {
			cancel() // it goes on and on, as step 2 does
			return
		}
		seen.Steps = append(seen.Steps, name(step, names))
	}}
	defer s.Close()
	for _, line := range script[:min(len(script), maxScript)] {
		var out strings.Builder
		err := s.Line(ctx, line, &out)
		a := answer{Command: line, Lines: strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")}
		if out.Len() == 0 {
			a.Lines = nil
		}
		if err != nil {
			a.Error, seen.Error = true, err.Error()
			a.Lines = append(a.Lines, err.Error())
		}
		seen.Answers = append(seen.Answers, a)
		if err != nil {
			break
		}
	}
	send(w, seen)
}

var manName = regexp.MustCompile(`^([a-z_][\w.-]*)\.([1-8])$`)

// man serves a man page of this machine as text.
func (t *tour) man(w http.ResponseWriter, r *http.Request) {
	m := manName.FindStringSubmatch(r.PathValue("page"))
	if m == nil {
		http.Error(w, "no name of a man page", http.StatusBadRequest)
		return
	}
	cmd := exec.CommandContext(r.Context(), "man", "--", m[2], m[1])
	cmd.Env = append(cmd.Environ(), "MANWIDTH=76", "LC_ALL=C.UTF-8", "MANPAGER=cat", "GROFF_NO_SGR=1", "MAN_KEEP_FORMATTING=")
	out, err := cmd.Output()
	if err != nil || len(out) == 0 {
		http.Error(w, m[1]+"("+m[2]+") is not installed here: make setup installs the man pages", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write(overstruck.ReplaceAll(out, nil))
}

// overstruck matches what a typewriter does for bold and underlined text.
var overstruck = regexp.MustCompile("_\b|.\b")
