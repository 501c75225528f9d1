package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// events are a stream of server-sent events, which the page reads with EventSource.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
	ctx     context.Context // ends with the connection
}

func newEvents(w http.ResponseWriter, r *http.Request) events {
	w.Header().Set("Content-Type", "text/event-stream")
	return events{w, http.NewResponseController(w), r.Context()}
}

// send writes one event, which must not contain a line end.
func (e events) send(text []byte) error {
	_, err := fmt.Fprintf(e.w, "data: %s\n\n", text)
	return err
}

// pause sends what was written and waits. It reports whether the page is still there.
func (e events) pause(d time.Duration) bool {
	if e.control.Flush() != nil {
		return false
	}
	select {
	case <-e.ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
