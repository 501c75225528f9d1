package xray

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"epoll-step-by-step/internal/terminal"
)

// A line is at most as wide as the terminal, and all of one style.
type line struct {
	style terminal.Style
	text  string
}

// An item is a row of a table with its marks. It is shown as a whole or not at all.
type item struct {
	place int // index in its section
	rank  int // if not all items fit, those with low ranks are kept
	lines []line
}

const (
	important = iota // it has a mark, or is a listener or a note
	busy             // something is ready, unread, unsent or not accepted
	idle
)

// A section is a heading with items below it.
type section struct {
	head  []line
	items []item
}

func (s *section) add(rank int, lines []line) {
	s.items = append(s.items, item{len(s.items), rank, lines})
}

// render returns a report for people. No line is wider than width. A height of 0 means
// no limit; otherwise there are at most height lines, and omitted items are counted.
func render(r Report, width, height int, colour bool) string {
	width = max(width, 20)
	sections := []section{{head: headLines(r.Process, width)}, threadSection(r, width)}
	for _, e := range r.Epolls {
		sections = append(sections, e.section(width))
	}
	sections = append(sections, socketSection(r, width))
	if len(r.Notes) > 0 {
		sections = append(sections, noteSection(r, width))
	}
	var b strings.Builder
	for _, l := range fit(sections, width, height) {
		if colour {
			l.text = terminal.Paint(l.text, l.style)
		}
		b.WriteString(l.text + "\n")
	}
	return b.String()
}

// fit omits what does not fit into height lines: first the blank lines between sections,
// then items. Items of the lowest rank come first, one from each section in turn.
func fit(sections []section, width, height int) []line {
	shown := make([]int, len(sections))
	total := len(sections) - 1 // blank lines
	for i, s := range sections {
		shown[i] = len(s.items)
		total += s.size(shown[i])
	}
	if height == 0 || total <= height {
		return layout(sections, shown, width, true)
	}
	total = 0
	for i, s := range sections {
		slices.SortStableFunc(s.items, func(a, b item) int { return cmp.Compare(a.rank, b.rank) })
		shown[i] = 0
		total += s.size(0)
	}
	for {
		next := -1
		for i, s := range sections {
			n := shown[i]
			if n == len(s.items) || total-s.size(n)+s.size(n+1) > height {
				continue
			}
			if next < 0 || cmp.Or(cmp.Compare(s.items[n].rank, sections[next].items[shown[next]].rank),
				cmp.Compare(n, shown[next])) < 0 {
				next = i
			}
		}
		if next < 0 {
			break
		}
		s := sections[next]
		total += s.size(shown[next]+1) - s.size(shown[next])
		shown[next]++
	}
	all := layout(sections, shown, width, false)
	if len(all) > height {
		left := len(all) - height + 1
		all = append(all[:height-1:height-1], line{terminal.Faint, fmt.Sprintf("… %d more lines", left)})
	}
	return all
}

// size returns the number of lines of a section with its first n items shown.
func (s section) size(n int) int {
	lines := len(s.head)
	for _, it := range s.items[:n] {
		lines += len(it.lines)
	}
	if n < len(s.items) {
		lines++ // counts the omitted items
	}
	return lines
}

// layout joins the sections. shown has the number of items to show of each.
func layout(sections []section, shown []int, width int, blanks bool) []line {
	var all []line
	for i, s := range sections {
		if i > 0 && blanks {
			all = append(all, line{})
		}
		all = append(all, s.head...)
		kept, rest := slices.Clone(s.items[:shown[i]]), s.items[shown[i]:]
		slices.SortFunc(kept, func(a, b item) int { return cmp.Compare(a.place, b.place) })
		for _, it := range kept {
			all = append(all, it.lines...)
		}
		if len(rest) == 0 {
			continue
		}
		text := fmt.Sprintf("  … %d more", len(rest))
		if rest[0].rank < idle {
			text += ", not all idle"
		}
		all = append(all, line{terminal.Faint, terminal.Cut(text, width)})
	}
	return all
}

func headLines(p Process, width int) []line {
	first := fmt.Sprintf("%s, process %d", p.Name, p.PID)
	if p.Command != "" && p.Command != p.Name {
		first += ": " + p.Command
	}
	share := "CPU not known yet"
	if p.CPUPercent >= 0 {
		share = fmt.Sprintf("CPU %.1f %% of one core", p.CPUPercent)
	}
	second := fmt.Sprintf("%s, %s, %d of %d descriptors, %s resident",
		share, plural(p.Threads, "thread"), p.Descriptors, p.Limit, mebibytes(p.Resident))
	lines := []line{{terminal.Bold, terminal.Cut(first, width)}}
	return append(lines, wrap("", second, 0, width, terminal.Plain)...)
}

func mebibytes(bytes int64) string {
	if bytes < 10<<20 {
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}

// threadSection groups threads with the same sentence. Background threads come last.
func threadSection(r Report, width int) section {
	s := section{head: []line{{terminal.Bold, "THREADS"}}}
	var sentences []string
	group := make(map[string][]Thread)
	for _, t := range r.Threads {
		if group[t.Says] == nil {
			sentences = append(sentences, t.Says)
		}
		group[t.Says] = append(group[t.Says], t)
	}
	slices.SortStableFunc(sentences, func(a, b string) int {
		return cmp.Compare(background(r.Process, group[a][0]), background(r.Process, group[b][0]))
	})
	for n, what := range sentences {
		list := group[what]
		rank := busy
		label := fmt.Sprintf("  %d  ", list[0].TID)
		switch behind := background(r.Process, list[0]) > 0; {
		case behind || len(list) > 1:
			rank = idle
			label = fmt.Sprintf("  %d ", len(list))
			if behind && n > 0 {
				label += "more "
			}
			what += ownersOf(r.Process, list)
		case list[0].Name != r.Process.Name && !strings.HasPrefix(r.Process.Name, list[0].Name):
			what = list[0].Name + ": " + what
		}
		s.add(rank, wrap(label, what, 8, width, terminal.Plain))
	}
	return s
}

// background returns 1 for a thread that waits for other threads: futex(2), else 0. In a
// Go program only the runtime's monitor thread calls nanosleep(2).
func background(p Process, t Thread) int {
	if t.Call == "futex" || p.Go && t.Call == "nanosleep" {
		return 1
	}
	return 0
}

// ownersOf describes a group of threads by their names.
func ownersOf(p Process, list []Thread) string {
	if p.Go && background(p, list[0]) > 0 {
		return ": the Go runtime's"
	}
	var names []string
	for _, t := range list {
		if t.Name != p.Name && !strings.HasPrefix(p.Name, t.Name) && !slices.Contains(names, t.Name) {
			names = append(names, t.Name)
		}
	}
	if names == nil {
		return ""
	}
	return ": " + strings.Join(names, ", ")
}

// section renders an interest list.
func (e Epoll) section(width int) section {
	title := fmt.Sprintf("EPOLL on fd %d", e.FD)
	if e.Owner != "" {
		title += " (" + e.Owner + "'s own)"
	}
	n := len(e.Interests)
	title += " watches " + plural(n, "descriptor") + e.readyCount()
	if e.Owner != "" && n == 1 && len(e.Interests[0].Marks) == 0 { // nothing to see in it
		return section{head: wrap("", title+": "+e.Interests[0].What, 2, width, terminal.Bold)}
	}
	s := section{head: wrap("", title, 2, width, terminal.Bold)}
	if n == 0 {
		return s
	}
	rows := [][]string{{"fd", "asks for", "trigger", "ready", "what it is"}}
	for _, i := range e.Interests {
		rows = append(rows, []string{fmt.Sprint(i.FD), i.Asked, i.Trigger, i.Ready, i.What})
	}
	drawn := table(rows, "r", width)
	s.head = append(s.head, restyle(drawn[0][:1], terminal.Faint)...)
	for n, i := range e.Interests {
		rank, lines := idle, drawn[n+1]
		if i.Ready == "yes" {
			rank, lines = busy, restyle(lines, terminal.Yellow)
		}
		for _, m := range i.Marks {
			rank = important
			lines = append(lines, wrap("      ! ", m.Says, 8, width, terminal.Red)...)
		}
		s.add(rank, lines)
	}
	return s
}

// socketSection renders the listeners, their queues, and the connections.
func socketSection(r Report, width int) section {
	if len(r.Sockets) == 0 {
		return section{head: []line{{terminal.Bold, "TCP SOCKETS: none"}}}
	}
	listeners := 0
	for _, k := range r.Sockets {
		if k.State == "LISTEN" {
			listeners++
		}
	}
	rows := [][]string{{"fd", "state", "unread", "unsent", "who"}}
	for _, k := range r.Sockets {
		rows = append(rows, k.row(listeners > 1))
	}
	drawn := table(rows, "r rr", width)
	s := section{head: append([]line{{terminal.Bold, "TCP SOCKETS"}}, restyle(drawn[0][:1], terminal.Faint)...)}
	for n, k := range r.Sockets {
		rank, lines := idle, drawn[n+1]
		if k.Waiting > 0 || k.FD < 0 || k.Unread > 0 || k.EndUnread || k.Unsent > 0 {
			rank, lines = busy, restyle(lines, terminal.Yellow)
		}
		if k.State == "LISTEN" {
			rank = important
		}
		s.add(rank, lines)
	}
	return s
}

// row returns a row of the table of sockets. bothEnds asks for both addresses of a
// connection.
func (k Socket) row(bothEnds bool) []string {
	if k.State == "LISTEN" {
		return []string{fmt.Sprint(k.FD), k.State, "", "", k.Local + ": " + k.queue()}
	}
	num, label := fmt.Sprint(k.FD), "client "+k.Remote
	switch incoming := k.FD < 0 || k.Accepted; {
	case incoming && bothEnds:
		label = k.Local + " <- " + k.Remote
	case !incoming && bothEnds:
		label = k.Local + " -> " + k.Remote
	case !incoming:
		label = "connection to " + k.Remote
	}
	if k.FD < 0 {
		num = "-"
		label += ", not accepted yet"
	}
	if k.EndUnread {
		label += ", end of file unread"
	}
	return []string{num, k.State, fmt.Sprint(k.Unread), fmt.Sprint(k.Unsent), label}
}

func noteSection(r Report, width int) section {
	s := section{head: []line{{terminal.Bold, "NOTES"}}}
	for _, note := range r.Notes {
		s.add(important, wrap("  ", note, 2, width, terminal.Plain))
	}
	return s
}

// table renders rows in columns. A column with an r in align is flush right. The last
// column is wrapped.
func table(rows [][]string, align string, width int) [][]line {
	last := len(rows[0]) - 1
	wide := make([]int, last)
	for _, row := range rows {
		for c := range wide {
			wide[c] = max(wide[c], utf8.RuneCountInString(row[c]))
		}
	}
	drawn := make([][]line, len(rows))
	for n, row := range rows {
		start := "  "
		for c := range wide {
			if c < len(align) && align[c] == 'r' {
				start += fmt.Sprintf("%*s  ", wide[c], row[c])
			} else {
				start += fmt.Sprintf("%-*s  ", wide[c], row[c])
			}
		}
		drawn[n] = wrapCell(start, row[last], width)
	}
	return drawn
}

// wrapCell returns start followed by text: on one line, or wrapped at that column, or
// below start if the rest of the line is too narrow.
func wrapCell(start, text string, width int) []line {
	column := utf8.RuneCountInString(start)
	longest := 0
	for _, word := range strings.Fields(text) {
		longest = max(longest, utf8.RuneCountInString(word))
	}
	if room := width - column; room >= longest && (room >= 24 || room >= utf8.RuneCountInString(text)) {
		return wrap(start, text, column, width, terminal.Plain)
	}
	lines := []line{{terminal.Plain, strings.TrimRight(start, " ")}}
	if utf8.RuneCountInString(lines[0].text) > width {
		lines = wrap("  ", start, 6, width, terminal.Plain)
	}
	return append(lines, wrap("      ", text, 6, width, terminal.Plain)...)
}

// wrap is [terminal.Wrap] with lines of one style. A word that is too long for a line is
// cut.
func wrap(start, text string, indent, width int, style terminal.Style) []line {
	var lines []line
	for _, wrapped := range terminal.Wrap(start, text, indent, width) {
		lines = append(lines, line{style, terminal.Cut(wrapped, width)})
	}
	return lines
}

func restyle(lines []line, style terminal.Style) []line {
	out := slices.Clone(lines)
	for i := range out {
		out[i].style = style
	}
	return out
}
