package main

import (
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strings"

	"epoll-step-by-step/internal/terminal"
	"epoll-step-by-step/internal/walk"

	"github.com/gdamore/tcell/v2"
)

// What is marked is marked by its shape or its weight, too, so that it can be seen
// without colours.
var (
	plain   = tcell.StyleDefault
	faint   = plain.Dim(true)
	bold    = plain.Bold(true)
	current = bold // the line that makes the call
	changed = bold // since the step before
	isReady = bold
)

func init() {
	if terminal.Colour(os.Stdout) {
		current = bold.Foreground(tcell.ColorGreen)
		changed = bold.Foreground(tcell.ColorYellow)
		isReady = bold.Foreground(tcell.ColorTeal)
	}
}

const narrow = 80 // columns; with fewer, the two panes stand above one another

// draw draws everything. Nothing flickers: tcell sends only the cells that differ.
func (a *app) draw() {
	a.screen.Clear()
	defer a.screen.Show()
	width, height := a.screen.Size()
	if width < 40 || height < 20 {
		put(a.screen, 0, 0, width, plain, "walk needs 40 columns and 20 rows")
		return
	}
	if a.help {
		for y, line := range strings.Split(help, "\n") {
			put(a.screen, 1, y, width-1, plain, line)
		}
		return
	}
	a.header(width)
	if len(a.recording.Steps) == 0 {
		put(a.screen, 2, 2, width-2, plain, "starting …")
		return
	}
	step := a.recording.Steps[a.at]
	calls := min(20, max(4, (height-14)/2))
	panes := height - calls - 6
	bottom := height - calls - 4 // of the panes
	if width >= narrow {
		middle := max(width/2, width-64)
		line(a.screen, 1, width, '┌', '┐', mark{0, a.file(step)}, mark{middle, "kernel"})
		box(a.screen, 2, bottom, 0, middle, width-1)
		a.source(step, 2, 2, middle-3, panes)
		a.kernel(step, middle+2, 2, width-middle-4, panes)
		line(a.screen, bottom, width, '├', '┤', mark{0, "calls"}, mark{middle, ""})
	} else {
		upper := panes/2 - 1
		line(a.screen, 1, width, '┌', '┐', mark{0, a.file(step)})
		box(a.screen, 2, bottom, 0, width-1)
		a.source(step, 2, 2, width-4, upper)
		line(a.screen, 2+upper, width, '├', '┤', mark{0, "kernel"})
		a.kernel(step, 2, 3+upper, width-4, panes-upper-1)
		line(a.screen, bottom, width, '├', '┤', mark{0, "calls"})
	}
	box(a.screen, bottom+1, height-3, 0, width-1)
	a.calls(2, bottom+1, width-4, calls)
	line(a.screen, height-3, width, '└', '┘')
	a.footer(width, height)
}

func (a *app) header(width int) {
	program := a.recording.Program
	if a.server.IsValid() {
		program += "  " + a.server.String()
	}
	put(a.screen, 1, 0, width-1, bold, program)
	state := "starting"
	if n := len(a.recording.Steps); n > 0 {
		s := a.recording.Steps[a.at]
		state = fmt.Sprintf("call %d · slept %d×", s.Call.Number, a.sleeps)
		switch {
		case a.at < n-1 || a.session == nil:
			state = fmt.Sprintf("step %d of %d", a.at+1, n)
			if a.session != nil {
				state = "the past: " + state + " · End: now"
			}
		case s.Moment == walk.Ended:
			state = "ended: " + s.End
		}
	}
	style := plain
	if a.session != nil && a.at < len(a.recording.Steps)-1 {
		style = plain.Reverse(true)
	}
	room := width - 3 - len([]rune(program))
	state = cut(state, room)
	put(a.screen, width-1-len([]rune(state)), 0, room, style, state)
}

// footer shows a message or what the keys do.
func (a *app) footer(width, height int) {
	step := a.recording.Steps[a.at]
	first := "space next  e to next wait  r run  n client's next call  ←→ past  ? help  q"
	second := "c connect  s send  b 64 KiB  p pause  f FIN  x reset  d close"
	if width < narrow {
		first = "space next  e to wait  r run  ←→ past  ? help  q quit"
		second = "c connect  s send  b 64K  p pause  f FIN  x RST  d close"
	}
	if a.chosen < len(a.clients) && len(a.clients) > 1 {
		second += fmt.Sprintf("  1-%d client", len(a.clients))
	}
	style := faint
	switch {
	case a.note != "":
		first, style = a.note, bold
	case a.until != nil && a.slowly:
		first, style = "running slowly: r stops, clients can act", bold
	case a.until != nil && !a.once:
		first, style = "running: space stops", bold
	case a.session != nil && a.at == len(a.recording.Steps)-1 && step.Moment == walk.Asleep:
		first, style = asleepIn(step), bold
	}
	put(a.screen, 1, height-2, width-2, style, first)
	put(a.screen, 1, height-1, width-2, faint, second)
}

func asleepIn(s walk.Step) string {
	if hasCome(s) {
		return "asleep, but what it waits for has come: space shows the result"
	}
	return "asleep in " + s.Call.Name + ": only a client can wake it (c connects, s sends)"
}

// hasCome reports whether what the call waits for has come since the thread fell asleep.
func hasCome(s walk.Step) bool {
	for _, e := range s.Kernel.Epolls {
		if e.FD == s.Call.FD {
			return slices.ContainsFunc(e.Interest, func(in walk.Interest) bool { return in.Ready })
		}
	}
	socket, ok := s.Kernel.Socket(s.Call.FD)
	return ok && (socket.Unread > 0 || socket.EOF)
}

func (a *app) file(s walk.Step) string {
	if len(s.Stack) == 0 {
		return "source"
	}
	return s.Stack[0].File
}

// source shows the line that makes the call, those around it, and the stack.
func (a *app) source(s walk.Step, x, y, width, height int) {
	if len(s.Stack) == 0 {
		put(a.screen, x, y, width, bold, "the program has ended: "+s.End)
		if a.session != nil {
			lines := strings.Split(strings.TrimSpace(a.session.Output()), "\n")
			for i, l := range lines[max(0, len(lines)-height+2):] {
				put(a.screen, x, y+2+i, width, plain, l)
			}
		}
		return
	}
	lines := strings.Split(a.recording.Sources[s.Stack[0].File], "\n")
	rows := max(1, height-2)
	if height < 6 {
		rows = height - 1 // no empty line above the stack
	}
	first := max(1, min(s.Stack[0].Line-rows*3/5, len(lines)-rows+1))
	for i := range rows {
		n := first + i
		if n > len(lines) {
			break
		}
		pointer, style := " ", plain
		if n == s.Stack[0].Line {
			pointer, style = "▶", current
		} else if slices.ContainsFunc(s.Stack[1:], func(f walk.Frame) bool { return f.Line == n && f.File == s.Stack[0].File }) {
			pointer = "·" // a caller
		}
		text := strings.ReplaceAll(lines[n-1], "\t", "  ")
		put(a.screen, x, y+i, width, style, fmt.Sprintf("%3d %s %s", n, pointer, text))
	}
	var stack []string
	for i, f := range s.Stack {
		name := f.Func
		if i > 0 {
			name = name[strings.LastIndex(name, ".")+1:]
		}
		stack = append(stack, name)
	}
	put(a.screen, x, y+height-1, width, faint, strings.Join(stack, " ‹ "))
}

// kernel shows the interest list, the ready list and the queues.
func (a *app) kernel(s walk.Step, x, y, width, height int) {
	var before walk.Kernel
	if a.at > 0 {
		before = a.recording.Steps[a.at-1].Kernel
	}
	differs := make(map[int]string) // what has changed, by descriptor
	for _, c := range s.Kernel.Since(before) {
		differs[c.FD] += c.What + "; "
	}
	type row struct {
		style tcell.Style
		text  string
		ready string
	}
	var rows []row
	style := func(fd int, words ...string) tcell.Style {
		for _, w := range words {
			if strings.Contains(differs[fd], w) {
				return changed
			}
		}
		return plain
	}
	name := func(fd int) string {
		name := a.names.Of(fd)
		if strings.HasPrefix(name, "fd ") {
			name = ""
		}
		return fmt.Sprintf("%3d %-8s", fd, name)
	}
	for _, e := range s.Kernel.Epolls {
		rows = append(rows, row{faint, fmt.Sprintf("epoll %-5d  interest     ready", e.FD), ""})
		for _, in := range e.Interest {
			ready := ""
			switch {
			case in.Ready:
				ready = "● " + walk.Mask(walk.Shown(in))
			case !in.Known:
				ready = "?"
			}
			rows = append(rows, row{style(in.FD, "interest", "ready"), name(in.FD) + fmt.Sprintf(" %-12s", walk.Mask(in.Events)), ready})
		}
	}
	heading := false
	for _, k := range s.Kernel.Sockets {
		if k.Listening {
			rows = append(rows, row{style(k.FD, "accept", "listening"), fmt.Sprintf("%s accept queue %s %d", name(k.FD), strings.Repeat("●", max(0, min(k.Unread, 8))), k.Unread), ""})
			continue
		}
		if k.State == "CLOSE" {
			what := "not connected"
			if a.wasConnected(k.FD) {
				what = "reset by its client"
			}
			rows = append(rows, row{style(k.FD, "TCP", "reset"), name(k.FD) + " " + what, ""})
			continue
		}
		if !heading {
			rows = append(rows, row{faint, "queues       unread      unsent", ""})
			heading = true
		}
		end := ""
		if k.EOF {
			end = " FIN"
		}
		rows = append(rows, row{style(k.FD, "unread", "unsent", "FIN", "reset", "connection"),
			fmt.Sprintf("%s %s %-5s %s %-5s%s", name(k.FD), bar(k.Unread), walk.Bytes(k.Unread), bar(k.Unsent), walk.Bytes(k.Unsent), end), ""})
	}
	for i, c := range s.Clients {
		if i == 0 {
			rows = append(rows, row{faint, "clients", ""})
		}
		rows = append(rows, row{plain, a.describe(i, c), ""})
	}
	for i, r := range rows {
		if i == height-1 && len(rows) > height {
			put(a.screen, x, y+i, width, faint, fmt.Sprintf("… and %d lines more", len(rows)-i))
			return
		}
		end := put(a.screen, x, y+i, width, r.style, r.text)
		put(a.screen, end, y+i, width-(end-x), isReady, r.ready)
		if r.style == changed {
			put(a.screen, x+width-1, y+i, 1, changed, "◂")
		}
	}
}

// wasConnected reports whether a descriptor was a connection in an earlier step, before
// it was closed.
func (a *app) wasConnected(fd int) bool {
	for i := a.at; i >= 0; i-- {
		socket, ok := a.recording.Steps[i].Kernel.Socket(fd)
		if !ok || socket.State != "CLOSE" {
			return ok
		}
	}
	return false
}

func (a *app) describe(i int, c walk.ClientState) string {
	chosen := " "
	if a.session != nil && i == a.chosen {
		chosen = "›"
	}
	text := fmt.Sprintf("%s %s got %s", chosen, c.Name, walk.Bytes(c.Received))
	if c.Queued {
		text += ", not accepted, unread " + walk.Bytes(c.QueuedUnread)
	}
	if c.Stopped {
		text += ", does not read"
	}
	if c.Unsent > 0 {
		text += ", keeps " + walk.Bytes(c.Unsent)
	}
	if c.End != "" {
		text += ", " + c.End
	}
	return text
}

const cells = 5 // of a bar

// bar shows a number of bytes on a logarithmic scale: each cell is 32 times the last.
func bar(n int) string {
	full := min(cells, (bits.Len(uint(n))+4)/5)
	return strings.Repeat("█", full) + strings.Repeat("·", cells-full)
}

// calls shows the last calls, and what the clients did between them.
func (a *app) calls(x, y, width, height int) {
	var lines []string
	steps := a.recording.Steps[:a.at+1]
	for i := len(steps) - 1; i >= 0 && len(lines) < height; i-- {
		s := steps[i]
		switch {
		case s.Did != "":
			lines = append(lines, "— "+s.Did)
		case s.Moment == walk.After:
			lines = append(lines, s.Call.String())
		case s.Moment == walk.Ended:
			lines = append(lines, "+++ "+s.End+" +++")
		case !slices.ContainsFunc(steps[i+1:], func(s walk.Step) bool { return s.Did == "" }): // it has not returned
			text := s.Call.String()
			if s.Moment == walk.Asleep {
				text += "  asleep"
			}
			lines = append(lines, text)
		}
	}
	slices.Reverse(lines)
	for i, l := range lines {
		style := plain
		if i == len(lines)-1 {
			style = bold
		}
		put(a.screen, x, y+i, width, style, l)
	}
}

type mark struct {
	x     int
	title string
}

// line draws a horizontal line with titles, and a joint where a column begins.
func line(s tcell.Screen, y, width int, left, right rune, marks ...mark) {
	for x := range width {
		s.SetContent(x, y, '─', nil, faint)
	}
	for _, m := range marks {
		if m.x > 0 {
			joint := '┬'
			if left == '├' {
				joint = '┴'
			}
			s.SetContent(m.x, y, joint, nil, faint)
		}
		if m.title != "" {
			put(s, m.x+1, y, width-m.x-2, bold, " "+m.title+" ")
		}
	}
	s.SetContent(0, y, left, nil, faint)
	s.SetContent(width-1, y, right, nil, faint)
}

func box(s tcell.Screen, from, to int, columns ...int) {
	for y := from; y < to; y++ {
		for _, x := range columns {
			s.SetContent(x, y, '│', nil, faint)
		}
	}
}

// put writes text into at most width columns, and returns the column after it.
func put(s tcell.Screen, x, y, width int, style tcell.Style, text string) int {
	for _, r := range cut(text, width) {
		s.SetContent(x, y, r, nil, style)
		x++
	}
	return x
}

func cut(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	if width < 1 {
		return ""
	}
	return string(runes[:width-1]) + "…"
}
