package exam

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// These checks are for a chat: the first line that a client sends is its name,
// and each other one goes to everybody else. exercises/16-chat/README.md has it
// exactly.

const (
	question = "* your name?\n"
	notName  = "* not a name\n"
	taken    = "* taken\n"
	tooLong  = "* too long\n"

	mostOfLine = 1024 // bytes, without the line end
	mostOfName = 16
)

func joined(name string) string     { return "* " + name + " joined\n" }
func left(name string) string       { return "* " + name + " left\n" }
func says(name, line string) string { return name + ": " + line + "\n" }

// A talker is a client of the chat.
type talker struct {
	*client
	name string
	in   *bufio.Reader
}

// arrive connects a client that has not said its name.
func (s *session) arrive(rcvbuf int) (*talker, error) {
	c, err := s.dial(rcvbuf)
	if err != nil {
		return nil, err
	}
	return &talker{client: c, in: bufio.NewReaderSize(c, 4<<10)}, nil
}

// join connects a client and lets it say its name.
func (s *session) join(name string, rcvbuf int) (*talker, error) {
	t, err := s.arrive(rcvbuf)
	if err != nil {
		return nil, err
	}
	t.name = name
	if problem := s.tell(t.client, name+"\n"); problem != "" {
		s.note("sent", "%q", name+"\n")
		return nil, s.fail("got back", "%s", problem)
	}
	if problem := t.hears(question + joined(name)); problem != "" {
		s.note("sent", "%q, the first line of a new client", name+"\n")
		return nil, s.fail("got back", "%s", problem)
	}
	return t, nil
}

func (s *session) joinAll(names ...string) ([]*talker, error) {
	var all []*talker
	for _, name := range names {
		t, err := s.join(name, 0)
		if err != nil {
			return nil, err
		}
		for _, other := range all {
			if problem := other.hears(joined(name)); problem != "" {
				return nil, s.fail(other.name, "was there when %s joined, and heard %s", name, problem)
			}
		}
		all = append(all, t)
	}
	return all, nil
}

// hears wants exactly this to come next. It returns what came instead.
func (t *talker) hears(want string) (problem string) {
	got := make([]byte, len(want))
	t.SetReadDeadline(time.Now().Add(limits.silence))
	n, err := readLike(t.in, got, want)
	talk := conversation{want: want, noun: "line"}
	if i := differ(got[:n], []byte(want[:n])); i >= 0 {
		rest := make([]byte, 64)
		t.SetReadDeadline(time.Now().Add(limits.stalled))
		m, _ := t.in.Read(rest)
		return talk.unlike(string(got[:n])+string(rest[:m]), i)
	}
	if err != nil {
		if len(want) <= 2*shown {
			return fmt.Sprintf("%q, then %v; it was to be %q", got[:n], orSilence(err, limits.silence), want)
		}
		return fmt.Sprintf("%s, then %v", talk.answers(string(got[:n])), orSilence(err, limits.silence))
	}
	return ""
}

// line reads one line, without its end. What has come of one whose end does not
// come is returned with the error.
func (t *talker) line(d time.Duration) (string, error) {
	t.SetReadDeadline(time.Now().Add(d))
	text, err := t.in.ReadString('\n')
	return strings.TrimSuffix(text, "\n"), err
}

// A saying is what one of three says, and what each of them is then to hear.
type saying struct {
	who    int
	what   string // in words; empty if it is pieces
	pieces []string
	hear   [3]string
}

func sayings(names []string) []saying {
	ann, bob, cyd := names[0], names[1], names[2]
	longest := strings.Repeat("x", mostOfLine)
	others := func(who int, text string) (hear [3]string) {
		for i := range hear {
			if i != who {
				hear[i] = text
			}
		}
		return hear
	}
	only := func(who int, text string) (hear [3]string) {
		hear[who] = text
		return hear
	}
	return []saying{
		{0, "", []string{"hello\n"}, others(0, says(ann, "hello"))},
		{1, "", []string{"hi all\n"}, others(1, says(bob, "hi all"))},
		{2, "", []string{"one\ntwo\nthree\n"}, others(2, says(cyd, "one")+says(cyd, "two")+says(cyd, "three"))},
		{0, `"good morning\n" byte by byte, each when the server had read the one before`, strings.Split("good morning\n", ""), others(0, says(ann, "good morning"))},
		{0, "", []string{"hel", "lo\nthe", "re\n"}, others(0, says(ann, "hello")+says(ann, "there"))},
		{1, "", []string{"with a CR\r\nwith two\r\r\n"}, others(1, says(bob, "with a CR")+says(bob, "with two\r"))},
		{1, "", []string{"\n\r\n\nafter empty lines\n"}, others(1, says(bob, "after empty lines"))},
		{2, "", []string{"a NUL \x00, a CR \r, grüße, \xff\xfe\n"}, others(2, says(cyd, "a NUL \x00, a CR \r, grüße, \xff\xfe"))},
		{0, fmt.Sprintf("a line of %d bytes, which is not too long", mostOfLine), []string{longest + "\r\n"}, others(0, says(ann, longest))},
		{1, fmt.Sprintf("a line of %d bytes, which is too long", mostOfLine+1), []string{longest + "x\n"}, only(1, tooLong)},
		{1, "a line of 300000 bytes", []string{strings.Repeat("x", 300_000) + "\n"}, only(1, tooLong)},
		{1, "", []string{"a short one\n"}, others(1, says(bob, "a short one"))},
	}
}

func chatLostLine(s *session) error {
	names := []string{"ann", "bob", "cyd"}
	all, err := s.joinAll(names...)
	if err != nil {
		return err
	}
	for _, say := range sayings(names) {
		what := say.what
		if what == "" {
			what = fmt.Sprintf("%q", say.pieces)
			what = strings.ReplaceAll(what[1:len(what)-1], `" "`, `", and when the server had read it, "`)
		}
		problem := s.tell(all[say.who].client, say.pieces...)
		if problem != "" {
			s.note(names[say.who], "sent %s", what)
			return s.fail("got back", "%s", problem)
		}
		for i, t := range all {
			if problem := t.hears(say.hear[i]); problem != "" {
				s.note(names[say.who], "sent %s", what)
				return s.fail(t.name, "heard %s", problem)
			}
		}
	}
	if err := s.inBetween(all); err != nil {
		return err
	}
	if err := s.atOnce(all); err != nil {
		return err
	}
	if err := s.murmur(all); err != nil {
		return err
	}
	return s.lastWords(all[2], all[:2])
}

// inBetween has two lines come piece by piece, in turn.
func (s *session) inBetween(all []*talker) error {
	s.note("in turn", `ann sent "hel", bob "in bet", ann "lo\n", and bob "ween\n", each when the server had read the one before`)
	for i, piece := range []string{"hel", "in bet", "lo\n", "ween\n"} {
		t := all[i%2]
		if problem := s.tell(t.client, piece); problem != "" {
			return s.fail(t.name, "got back %s", problem)
		}
		if !s.awaitRead(t.client, limits.first) {
			return s.fail("server", "did not read that within %v", limits.first)
		}
	}
	hello, between := says("ann", "hello"), says("bob", "in between")
	for i, want := range []string{between, hello, hello + between} {
		if problem := all[i].hears(want); problem != "" {
			return s.fail(all[i].name, "heard %s", problem)
		}
	}
	return nil
}

// atOnce has all of them say many lines at the same time. Each hears those of
// one in their order; how they are mixed is the server's choice.
func (s *session) atOnce(all []*talker) error {
	const n = 300
	s.note("at once", "each of the three sent %d lines in one write(2)", n)
	for _, t := range all {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "line %d\n", i)
		}
		if problem := s.tell(t.client, b.String()); problem != "" {
			return s.fail(t.name, "got back %s", problem)
		}
	}
	for _, t := range all {
		next := make(map[string]int)
		for range n * (len(all) - 1) {
			line, err := t.line(limits.silence)
			if err != nil {
				return s.fail(t.name, "heard lines up to %v, then %v", next, orSilence(err, limits.silence))
			}
			name, text, _ := strings.Cut(line, ": ")
			if want := fmt.Sprintf("line %d", next[name]); text != want || name == t.name {
				return s.fail(t.name, "heard %q, when %q was next", line, name+": "+want)
			}
			next[name]++
		}
	}
	return nil
}

// murmur has a client with a long name say many short lines in one write(2), which
// are far more for those who hear them. They read all the time, and the kernel has
// room for that.
func (s *session) murmur(all []*talker) error {
	m, err := s.join(strings.Repeat("m", mostOfName), 0)
	if err != nil {
		return err
	}
	s.note("another", "whose name has %d letters joined, and sent %d lines of one letter in one write(2)", mostOfName, limits.murmur)
	for _, t := range all {
		if problem := t.hears(joined(m.name)); problem != "" {
			return s.fail(t.name, "heard %s", problem)
		}
	}
	s.awaitSleep()
	if problem := s.tell(m.client, strings.Repeat("y\n", limits.murmur)); problem != "" {
		return s.fail("that one", "got back %s", problem)
	}
	err = together(all, func(_ int, t *talker) error {
		for i := range limits.murmur {
			line, err := t.line(limits.silence)
			if err != nil || line+"\n" != says(m.name, "y") {
				return fmt.Errorf("%d of them, and then %s", i, heardWhat(line, err))
			}
		}
		return nil
	})
	if err != nil {
		s.usually = "one read(2) may bring more lines than are kept for a client: try to write(2) before it is taken for slow"
		return s.fail("the others", "read all the time, and heard %v", err)
	}
	return nil
}

// lastWords has one client say something and end its side.
func (s *session) lastWords(t *talker, others []*talker) error {
	s.note(t.name, `sent "bye\nthis is no li", and called shutdown(SHUT_WR)`)
	if problem := s.tell(t.client, "bye\nthis is no li"); problem != "" {
		return s.fail("got back", "%s", problem)
	}
	if err := t.CloseWrite(); err != nil {
		return plain(err)
	}
	for _, other := range others {
		if problem := other.hears(says(t.name, "bye") + left(t.name)); problem != "" {
			return s.fail(other.name, "heard %s", problem)
		}
	}
	if problem := s.leaves(t); problem != "" {
		return s.fail(t.name, "got %s", problem)
	}
	return nil
}

// leaves wants the end of what t gets. It returns what came instead.
func (s *session) leaves(t *talker) (problem string) {
	rest, err := t.line(limits.silence)
	switch {
	case err == nil || rest != "":
		s.usually = "who has left is still told what the others are told"
		return fmt.Sprintf("%q instead of EOF", rest)
	case err != io.EOF:
		s.usually = "read(2) returned 0, so that nothing is owed any more: it is time for close(2)"
		return fmt.Sprintf("no EOF: %v", orSilence(err, limits.silence))
	}
	return ""
}

func chatWrongName(s *session) error {
	all, err := s.joinAll("ann", "bob")
	if err != nil {
		return err
	}
	ann, bob := all[0], all[1]
	t, err := s.arrive(0)
	if err != nil {
		return err
	}
	if problem := t.hears(question); problem != "" {
		s.note("connected", "a client that has not said anything yet")
		return s.fail("it heard", "%s", problem)
	}
	for _, try := range []struct{ name, reply string }{
		{"two words", notName}, {"a:", notName}, {"*", notName}, {"grüße", notName}, {"\x00", notName},
		{strings.Repeat("x", mostOfName+1), notName}, {strings.Repeat("x", mostOfLine+1), tooLong},
		{"ann", taken}, {"bob", taken}, {"", ""},
	} {
		problem := s.tell(t.client, try.name+"\n")
		if problem == "" {
			problem = t.hears(try.reply)
		}
		if problem != "" {
			s.note("a client", "without a name sent %q; there were an ann and a bob", try.name[:min(len(try.name), 2*mostOfName)]+"\n")
			return s.fail("it heard", "%s", problem)
		}
	}
	// Meanwhile nobody has heard anything of it, and it hears nothing of them.
	if problem := s.tell(ann.client, "are we alone?\n"); problem != "" {
		return s.fail("ann", "got back %s", problem)
	}
	if problem := bob.hears(says("ann", "are we alone?")); problem != "" {
		s.note("a client", "without a name tried some, and ann said something")
		return s.fail("bob", "heard %s", problem)
	}
	t.name = "Ann"
	if problem := s.tell(t.client, "Ann\nhello\n"); problem != "" {
		return s.fail("Ann", "got back %s", problem)
	}
	for _, h := range []struct {
		t    *talker
		want string
	}{{t, joined("Ann")}, {ann, joined("Ann") + says("Ann", "hello")}, {bob, joined("Ann") + says("Ann", "hello")}} {
		if problem := h.t.hears(h.want); problem != "" {
			s.note("a client", "sent %q in one write(2), after names that were refused and a line of ann's, whose name is another one", "Ann\nhello\n")
			return s.fail(h.t.name, "heard %s", problem)
		}
	}
	// Those who leave without having had a name are nobody's business.
	nobody, err := s.arrive(0)
	if err != nil {
		return err
	}
	if problem := nobody.hears(question); problem != "" {
		return s.fail("a client", "that connected heard %s", problem)
	}
	s.forget(nobody.client)
	for _, how := range []string{"closed its connection", "reset its connection"} {
		if how[0] == 'c' {
			s.forget(t.client)
		} else {
			t.reset()
		}
		for _, other := range []*talker{ann, bob} {
			if problem := other.hears(left("Ann")); problem != "" {
				s.note("Ann", "%s", how)
				return s.fail(other.name, "heard %s", problem)
			}
		}
		if t, err = s.join("Ann", 0); err != nil {
			s.note("that was", "after another one of this name had left")
			return err
		}
		for _, other := range []*talker{ann, bob} {
			if problem := other.hears(joined("Ann")); problem != "" {
				return s.fail(other.name, "heard %s, when an Ann joined again", problem)
			}
		}
	}
	s.note("names", "were given, refused, and given again; and everybody heard who joined and who left")
	return nil
}

// together has all of them do something at the same time, and returns the first
// error.
func together(all []*talker, f func(i int, t *talker) error) error {
	var wg group
	errs := make([]error, len(all))
	for i, t := range all {
		wg.Go(func() { errs[i] = f(i, t) })
	}
	wg.Wait()
	i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if i < 0 {
		return nil
	}
	n := 0
	for _, err := range errs {
		if err != nil {
			n++
		}
	}
	return fmt.Errorf("%w (as with %s of %d clients)", errs[i], all[i].name, n)
}

func chatCrowd(s *session) error {
	var all []*talker
	for i := range limits.room {
		t, err := s.join(fmt.Sprint("c", i), 0)
		if err != nil {
			s.note("clients", "%d had joined before", i)
			return err
		}
		all = append(all, t)
	}
	n := len(all)
	s.note("clients", "%d joined, one after the other", n)
	// collect reads exactly as many lines as wanted has, in whatever order.
	collect := func(t *talker, skip string, wanted map[string]bool) error {
		missing := len(wanted)
		if wanted[skip] {
			missing--
		}
		seen := make(map[string]bool)
		for deadline := time.Now().Add(limits.roomTime); missing > 0; missing-- {
			line, err := t.line(time.Until(deadline))
			switch {
			case err != nil:
				return fmt.Errorf("%d of the lines were missing, then %v", missing, orSilence(err, limits.roomTime))
			case !wanted[line] || line == skip:
				return fmt.Errorf("%q came, which nobody had said to it", line)
			case seen[line]:
				return fmt.Errorf("%q came twice", line)
			}
			seen[line] = true
		}
		return nil
	}
	begin := time.Now()
	err := together(all, func(i int, t *talker) error {
		var want strings.Builder
		for j := i + 1; j < n; j++ {
			want.WriteString(joined(all[j].name))
		}
		if problem := t.hears(want.String()); problem != "" {
			return errors.New(problem)
		}
		return nil
	})
	if err != nil {
		return s.fail("heard", "of who joined later: %v", err)
	}
	everybodys := make(map[string]bool)
	for _, t := range all {
		everybodys[t.name+": hello"] = true
	}
	for _, t := range all {
		if problem := s.tell(t.client, "hello\n"); problem != "" {
			return s.fail(t.name, "got back %s", problem)
		}
	}
	if err := together(all, func(_ int, t *talker) error { return collect(t, t.name+": hello", everybodys) }); err != nil {
		s.note("sent", "a line from each of them, all at the same time")
		return s.fail("heard", "%v", err)
	}
	s.note("each sent", "a line, and heard those of the others, %d altogether, within %.1f s", n*(n-1), time.Since(begin).Seconds())
	if err := s.restsInCrowd("with everybody there, and nobody saying anything"); err != nil {
		return err
	}
	// Half of them leave, some in peace, some by a RST.
	gone := make(map[string]bool)
	for i, t := range all[:n/2] {
		gone[strings.TrimSpace(left(t.name))] = true
		if i%2 == 0 {
			s.forget(t.client)
		} else {
			t.reset()
		}
	}
	if err := together(all[n/2:], func(_ int, t *talker) error { return collect(t, "", gone) }); err != nil {
		s.note("left", "%d of them at the same time, some by a RST", n/2)
		return s.fail("the others", "heard: %v", err)
	}
	last := all[n-1]
	if problem := s.tell(last.client, "who is left?\n"); problem != "" {
		return s.fail(last.name, "got back %s", problem)
	}
	if err := together(all[n/2:n-1], func(_ int, t *talker) error {
		if problem := t.hears(says(last.name, "who is left?")); problem != "" {
			return errors.New(problem)
		}
		return nil
	}); err != nil {
		return s.fail("afterwards", "one said something, and the others heard %v", err)
	}
	return s.restsInCrowd("when half of them had left, and nobody said anything")
}

func (s *session) restsInCrowd(when string) error {
	if wanted := s.spins(limits.stalled); wanted >= limits.spinCPU {
		return s.fail("CPU", "wanted %.0f %% of the time, %s", wanted*100, when)
	}
	return nil
}

// chatSlowReader has one client say much. Three others read it all, and one
// reads nothing. The one who speaks goes on when the three have read what was
// said so far: so nobody of them is ever far behind.
func chatSlowReader(s *session) error {
	all, err := s.joinAll("speaker", "ann", "bob", "cyd")
	if err != nil {
		return err
	}
	speaker, readers := all[0], all[1:]
	if err := s.endlessLine(speaker); err != nil {
		return err
	}
	slow, err := s.join("slow", limits.tiny)
	if err != nil {
		return err
	}
	for _, t := range all {
		if problem := t.hears(joined("slow")); problem != "" {
			return s.fail(t.name, "heard %s", problem)
		}
	}
	before, peak := s.server.rss(), s.peak()
	s.note("joined", "four that read, and one that reads nothing, with a small SO_RCVBUF")
	begin := time.Now()
	next, thrown := 0, make(map[string]bool)
	gets := &listener{talker: slow}
	for total := 0; total < limits.said; total += limits.breath {
		// It takes a sip when much has been said: now there is some room, for
		// a line or for the rest of one.
		if total == limits.said/2 {
			if err := gets.read(s, limits.sips); err != nil && err != errSilence && err != io.EOF {
				return err
			}
		}
		if next, err = s.speech(limits.breath, speaker, readers, next, thrown); err != nil {
			s.note("said", "%d bytes, by one of the four", total)
			s.usually = "everybody waits for the one that does not read, or what it misses is missed by others, too"
			return err
		}
		if grew := peak() - before; grew >= limits.growth {
			s.note("said", "%d bytes, by one of the four", total)
			return s.fail("memory", "grew by %d KiB", grew>>10)
		}
	}
	s.note("said", "%d lines by one of the four, %d bytes; the other three heard all of them, within %.1f s", next, limits.said, time.Since(begin).Seconds())
	s.note("memory", "grew by %d KiB", (peak()-before)>>10)
	if err := s.restsInCrowd("with one client that reads nothing"); err != nil {
		return err
	}
	if err := s.catchesUp(gets, speaker, readers, next, thrown); err != nil {
		return err
	}
	return s.leavesBehind(speaker, readers, next+1, thrown)
}

// endlessLine has a client send without an end of the line.
func (s *session) endlessLine(t *talker) error {
	before := s.server.rss()
	for {
		sent, err := t.stallWith('y', limits.flood-t.sent)
		if err != nil {
			return s.fail(t.name, "sent %d bytes without a line end, then: %v", t.sent, err)
		}
		if !s.awaitRead(t.client, limits.first) || sent == 0 {
			break
		}
	}
	if grew := s.server.rss() - before; grew >= limits.growth {
		s.usually = "what has come of a line is kept without limit until its end comes"
		s.note(t.name, "sent %d bytes without a line end", t.sent)
		return s.fail("memory", "grew by %d KiB", grew>>10)
	}
	problem := s.tell(t.client, "\n")
	if problem == "" {
		problem = t.hears(tooLong)
	}
	if problem != "" {
		s.note(t.name, "sent %d bytes without a line end, and then one", t.sent)
		return s.fail(t.name, "heard %s", problem)
	}
	return nil
}

// leavesBehind has a client end its stream while lines wait for it that the kernel
// has no room for, fewer than it may be behind: it still gets them.
func (s *session) leavesBehind(speaker *talker, readers []*talker, next int, thrown map[string]bool) error {
	late, err := s.join("late", limits.tiny)
	if err != nil {
		return err
	}
	all := append([]*talker{speaker}, readers...)
	for _, t := range all {
		if problem := t.hears(joined("late")); problem != "" {
			return s.fail(t.name, "heard %s", problem)
		}
	}
	gets := &listener{talker: late, next: next}
	first, behind, said := next, 0, 0
	for said < limits.said && behind < limits.behind {
		size := limits.breath
		if behind > 0 {
			size /= 4 // the kernel may still find some room: little by little
		}
		if next, err = s.speech(size, speaker, readers, next, thrown); err != nil {
			return err
		}
		s.awaitSleep()
		_, found, err := late.serverEnd()
		if err != nil {
			return err
		}
		if !found {
			s.usually = "fewer than 64 KiB of lines are kept for a client"
			return s.fail("late", "who had not read yet, was cut off when no more than %d bytes were waiting", behind+size)
		}
		line := len(says("speaker", speechLine(0)))
		said = (next - first) * line
		taken, err := late.taken()
		if err != nil {
			return err
		}
		behind = said - gets.heard*line - late.in.Buffered() - taken
		if behind > 0 && gets.heard == 0 {
			// That makes the kernel look for room once more: now, and not when the end comes.
			if err := gets.read(s, limits.breath/line); err != nil && err != io.EOF && err != errSilence {
				return err
			}
		}
	}
	if err := late.CloseWrite(); err != nil {
		return plain(err)
	}
	s.note("late", "joined, read nothing, and called shutdown(SHUT_WR) when %d bytes were said that the kernel had no room for", behind)
	// Meanwhile it has time to see that and to make the mistake, before there is
	// room again.
	if err := s.restsInCrowd("with nothing to do for that one"); err != nil {
		s.usually = "the end is behind the lines that are pending, and EPOLLIN is still asked for: it is reported again and again, and nobody reads it"
		return err
	}
	err = gets.read(s, next-first-gets.heard)
	if err == nil {
		if problem := s.leaves(late); problem != "" {
			return s.fail("late", "then read all %d lines, and %s", next-first, problem)
		}
	} else if err != io.EOF && err != errSilence {
		return err
	}
	if gets.heard < next-first {
		s.usually = "read(2) returned 0 and the connection was closed with lines still pending; or fewer than 64 KiB of lines are kept for a client"
		return s.fail("late", "then read %d of the %d lines that had been said", gets.heard, next-first)
	}
	for _, t := range all {
		if problem := t.hears(left("late")); problem != "" {
			return s.fail(t.name, "heard %s", problem)
		}
	}
	return nil
}

// speechLine is line i of the one who speaks. A line that is put together of two
// is none of them.
func speechLine(i int) string {
	text := fmt.Sprintf("%08d ", i)
	return text + strings.Repeat(text, 100)
}

// speech is a burst of lines, so many bytes, from line next on, and each reader
// hears it.
func (s *session) speech(size int, speaker *talker, readers []*talker, next int, thrown map[string]bool) (int, error) {
	var said, heard bytes.Buffer
	for ; said.Len() < size; next++ {
		said.WriteString(speechLine(next) + "\n")
		heard.WriteString(says("speaker", speechLine(next)))
	}
	if problem := s.tell(speaker.client, said.String()); problem != "" {
		return next, s.fail("speaker", "got back %s", problem)
	}
	for _, t := range readers {
		for want := heard.String(); want != ""; {
			line, err := t.line(limits.silence)
			if err == nil && line+"\n" == left("slow") && !thrown[t.name] {
				thrown[t.name] = true
				continue
			}
			expected, rest, _ := strings.Cut(want, "\n")
			if err != nil || line != expected {
				return next, s.fail(t.name, "heard %s when this was next: %s", heardWhat(line, err), brief(expected))
			}
			want = rest
		}
	}
	return next, nil
}

func heardWhat(line string, err error) string {
	if err != nil && line == "" {
		return orSilence(err, limits.silence).Error()
	}
	if err != nil {
		return fmt.Sprintf("%s, without its end, and then %v,", brief(line), orSilence(err, limits.silence))
	}
	return brief(line)
}

func brief(line string) string {
	if len(line) > 2*shown {
		return fmt.Sprintf("%q … (%d bytes)", line[:2*shown], len(line))
	}
	return fmt.Sprintf("%q", line)
}

// A listener reads what the speaker said. Some lines may be missing. None may
// be there twice, or be put together of two.
type listener struct {
	*talker
	next, heard int // the line that may come next at the earliest; how many have come
}

// read reads n lines at most. It returns errSilence if no more comes, and io.EOF
// if the connection has ended.
func (l *listener) read(s *session, n int) error {
	for range n {
		line, err := l.line(limits.reply)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && line != "":
			s.usually = "a line was written in part, and the rest of it forgotten: what is begun must be finished"
			return s.fail("slow", "read %s, and then a part of one, %s, whose rest did not come", plural(l.heard, "line", "lines"), brief(line))
		case errors.Is(err, os.ErrDeadlineExceeded):
			return errSilence
		case err == io.EOF || errors.Is(err, unix.ECONNRESET):
			return io.EOF // in the middle of a line, maybe
		case err != nil:
			return plain(err)
		}
		text, _ := strings.CutPrefix(line, "speaker: ")
		i, err := strconv.Atoi(text[:min(len(text), 8)])
		if err != nil || line != "speaker: "+speechLine(i) {
			s.usually = "a line was written in part, and the rest of it dropped for lack of room: what is begun must be finished"
			return s.fail("slow", "read %s, and then one that nobody had said: %s", plural(l.heard, "line", "lines"), brief(line))
		}
		if i < l.next {
			return s.fail("slow", "read line %d when it had read line %d", i, l.next-1)
		}
		l.next, l.heard = i+1, l.heard+1
	}
	return nil
}

// catchesUp has the slow one read at last, to the end. Either its connection has
// ended, and the others have been told, or it is one of them again.
func (s *session) catchesUp(slow *listener, speaker *talker, readers []*talker, said int, thrown map[string]bool) error {
	err := slow.read(s, said+1)
	switch err {
	case io.EOF:
		s.note("slow", "then read %d of %d lines, and its connection had ended", slow.heard, said)
		for _, t := range append(readers, speaker) {
			if thrown[t.name] {
				continue
			}
			if problem := t.hears(left("slow")); problem != "" {
				return s.fail(t.name, "heard %s", problem)
			}
		}
		return nil
	case errSilence:
	default:
		return err
	}
	s.note("slow", "then read %d of %d lines", slow.heard, said)
	if problem := s.tell(speaker.client, speechLine(said)+"\n"); problem != "" {
		return s.fail("speaker", "got back %s", problem)
	}
	if err := slow.read(s, 1); err == errSilence || err == io.EOF {
		s.usually = "a client that was full once is never written to again: EPOLLOUT says when there is room"
		return s.fail("slow", "was still connected and had read everything; then one more line was said, and it heard nothing")
	} else if err != nil {
		return err
	}
	for _, t := range readers {
		if problem := t.hears(says("speaker", speechLine(said))); problem != "" {
			return s.fail(t.name, "heard %s", problem)
		}
	}
	return nil
}
