package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// history contains the lines of this and earlier sessions. It is saved in a file.
// If the file cannot be opened, the lines of this session are lost at its end.
type history struct {
	lines []string
	file  *os.File // nil if it is not saved
}

const maxHistory = 1000 // lines

func openHistory() *history {
	folder, err := os.UserCacheDir()
	if err != nil {
		return &history{}
	}
	return historyIn(filepath.Join(folder, "epoll-lab"))
}

func historyIn(folder string) *history {
	h := &history{}
	if os.MkdirAll(folder, 0o700) != nil {
		return h
	}
	name := filepath.Join(folder, "history")
	text, _ := os.ReadFile(name)
	h.lines = strings.Split(string(text), "\n")
	h.lines = slices.DeleteFunc(h.lines, func(line string) bool { return line == "" })
	if n := len(h.lines); n > maxHistory {
		h.lines = h.lines[n-maxHistory:]
		os.WriteFile(name, []byte(strings.Join(h.lines, "\n")+"\n"), 0o600)
	}
	if f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); err == nil {
		h.file = f
	}
	return h
}

// Add, Len and At implement term.History.

func (h *history) Add(line string) {
	if strings.TrimSpace(line) == "" || h.Len() > 0 && line == h.At(0) {
		return
	}
	h.lines = append(h.lines, line)
	if h.file != nil {
		h.file.WriteString(line + "\n")
	}
}

func (h *history) Len() int { return len(h.lines) }

// At returns a line, counted from the last one, which is line 0.
func (h *history) At(i int) string { return h.lines[len(h.lines)-1-i] }

func (h *history) close() {
	if h.file != nil {
		h.file.Close()
	}
}
