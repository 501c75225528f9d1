package walk

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"

	"epoll-step-by-step/internal/procfs"
)

// A Recording is what has been seen of a program. It is stored as lines of JSON: a
// Header, and then one Step each.
type Recording struct {
	Header
	Steps []Step
}

// A Header describes the program of a recording.
type Header struct {
	Format  int               `json:"walk"` // 1
	Program string            `json:"program"`
	Sources map[string]string `json:"sources"` // text by the File of a Frame
}

// A Step is a stop, and what the clients did before it.
type Step struct {
	Stop
	Did     string        `json:"did,omitempty"` // as in `a sends 4 bytes`
	Clients []ClientState `json:"clients,omitempty"`
}

// A ClientState is what is known of a client at a step.
type ClientState struct {
	Name     string         `json:"name"`
	Addr     netip.AddrPort `json:"addr"`
	Stopped  bool           `json:"stopped,omitempty"` // it does not read
	Unsent   int            `json:"unsent,omitempty"`  // bytes that no queue holds yet
	Received int            `json:"received"`          // bytes in all
	End      string         `json:"end,omitempty"`     // how receiving has ended

	// Queued says that the client waits in the accept queue: no descriptor of the program
	// stands for it. QueuedUnread is how many bytes it has sent there.
	Queued       bool `json:"queued,omitempty"`
	QueuedUnread int  `json:"queued_unread,omitempty"`
}

const format = 1 // of recordings

// State returns what is known of the client.
func (c *Client) State() ClientState {
	c.mu.Lock()
	state := ClientState{
		Name: c.Name, Addr: c.Addr, Stopped: c.stopped, Unsent: len(c.unsent), Received: c.total, End: c.end,
	}
	c.mu.Unlock()
	s, found, err := procfs.Connection(c.server, c.Addr)
	switch {
	case err != nil || !found || s.Inode != 0:
	case s.State == procfs.TCPEstablished:
		state.Queued, state.QueuedUnread = true, s.RxQueue
	case s.State == procfs.TCPCloseWait: // the FIN counts as one
		state.Queued, state.QueuedUnread = true, s.RxQueue-1
	}
	return state
}

// Header returns the header of a recording of the session.
func (s *Session) Header(program string) Header {
	h := Header{Format: format, Program: program, Sources: make(map[string]string)}
	for file := range s.debug.paths {
		if text, err := s.Source(file); err == nil {
			h.Sources[file] = text
		}
	}
	return h
}

// A Writer stores a recording step by step. What has been written can be read even if
// the writer is killed.
type Writer struct {
	file *os.File
	json *json.Encoder
}

// Create creates a file for a recording and writes the header.
func Create(name string, h Header) (*Writer, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	w := &Writer{f, json.NewEncoder(f)}
	return w, w.json.Encode(h)
}

// Add appends a step.
func (w *Writer) Add(s Step) error { return w.json.Encode(s) }

// Close closes the file.
func (w *Writer) Close() error { return w.file.Close() }

// ReadRecording reads a recording. A last line that is incomplete is left out, since the
// program that wrote it may have been killed.
func ReadRecording(name string) (Recording, error) {
	f, err := os.Open(name)
	if err != nil {
		return Recording{}, err
	}
	defer f.Close()
	decoder := json.NewDecoder(bufio.NewReader(f))
	var r Recording
	if err := decoder.Decode(&r.Header); err != nil || r.Format == 0 {
		return Recording{}, fmt.Errorf("%s is no recording: make one with -record", name)
	}
	if r.Format != format {
		return Recording{}, fmt.Errorf("%s has format %d; this program reads format %d", name, r.Format, format)
	}
	for {
		var s Step
		err := decoder.Decode(&s)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return r, nil
		}
		if err != nil {
			return r, fmt.Errorf("%s, step %d: %w", name, len(r.Steps)+1, err)
		}
		r.Steps = append(r.Steps, s)
	}
}
