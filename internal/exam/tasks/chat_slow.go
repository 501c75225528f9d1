package tasks

import (
	"io"
	"time"

	"epoll-step-by-step/internal/exam"
)

const (
	speechBytes = 32 << 20 // bytes that are said while one client does not read
	burstBytes  = 32 << 10 // bytes that are said at a time: less than a client may be behind
	behindBytes = 44 << 10 // bytes that wait for a client when it leaves: fewer than it may be behind
	sipLines    = 500      // lines that the slow client reads in between
)

var ChatSlowReader = exam.Check{
	ID: "CHAT_SLOW_READER", Title: "who does not read loses his own lines, or his connection, and costs little memory", For: []exam.Profile{exam.Chat}, Run: chatSlowReader, Looks: true,
	Usually: "lines are kept without limit for a client that does not read, or everybody waits for it",
	Reread:  []string{`write(2) "RETURN VALUE"`, `epoll_ctl(2) "DESCRIPTION"`}, Chapter: exam.ChapterLevel,
}

// chatSlowReader has one client say much. Three others read it all, and one
// reads nothing. The one who speaks goes on when the three have read what was
// said so far: so nobody of them is ever far behind.
func chatSlowReader(s *exam.Session) error {
	all, err := joinAll(s, "speaker", "ann", "bob", "cyd")
	if err != nil {
		return err
	}
	speaker, readers := all[0], all[1:]
	if err := endlessLine(s, speaker); err != nil {
		return err
	}
	slow, err := join(s, "slow", exam.TinyBuffer)
	if err != nil {
		return err
	}
	for _, t := range all {
		if problem := t.hears(joined("slow")); problem != "" {
			return s.Fail(t.name, "heard %s", problem)
		}
	}
	before, peak := s.Server.Memory(), s.PeakMemory()
	s.Note("joined", "four that read, and one that reads nothing, with a small SO_RCVBUF")
	begin := time.Now()
	next, thrown := 0, make(map[string]bool)
	gets := &listener{talker: slow}
	for total := 0; total < speechBytes; total += burstBytes {
		// It takes a sip when much has been said: now there is some room, for
		// a line or for the rest of one.
		if total == speechBytes/2 {
			if err := gets.read(s, sipLines); err != nil && err != exam.ErrSilence && err != io.EOF {
				return err
			}
		}
		if next, err = speech(s, burstBytes, speaker, readers, next, thrown); err != nil {
			s.Note("said", "%d bytes, by one of the four", total)
			s.Usually = "everybody waits for the one that does not read, or what it misses is missed by others, too"
			return err
		}
		if grew := peak() - before; grew >= exam.MaxGrowth {
			s.Note("said", "%d bytes, by one of the four", total)
			return s.Fail("memory", "grew by %d KiB", grew>>10)
		}
	}
	s.Note("said", "%d lines by one of the four, %d bytes; the other three heard all of them, within %.1f s", next, speechBytes, time.Since(begin).Seconds())
	s.Note("memory", "grew by %d KiB", (peak()-before)>>10)
	if err := restsInCrowd(s, "with one client that reads nothing"); err != nil {
		return err
	}
	if err := catchesUp(s, gets, speaker, readers, next, thrown); err != nil {
		return err
	}
	return leavesBehind(s, speaker, readers, next+1, thrown)
}

// endlessLine has a client send without an end of the line.
func endlessLine(s *exam.Session, t *talker) error {
	before := s.Server.Memory()
	for {
		sent, err := t.StallWith('y', exam.Flood-t.Sent)
		if err != nil {
			return s.Fail(t.name, "sent %d bytes without a line end, then: %v", t.Sent, err)
		}
		if !s.AwaitRead(t.Client, exam.FirstReplyTimeout) || sent == 0 {
			break
		}
	}
	if grew := s.Server.Memory() - before; grew >= exam.MaxGrowth {
		s.Usually = "what has come of a line is kept without limit until its end comes"
		s.Note(t.name, "sent %d bytes without a line end", t.Sent)
		return s.Fail("memory", "grew by %d KiB", grew>>10)
	}
	problem := tell(s, t.Client, "\n")
	if problem == "" {
		problem = t.hears(tooLong)
	}
	if problem != "" {
		s.Note(t.name, "sent %d bytes without a line end, and then one", t.Sent)
		return s.Fail(t.name, "heard %s", problem)
	}
	return nil
}

// leavesBehind has a client end its stream while lines wait for it that the kernel
// has no room for, fewer than it may be behind: it still gets them.
func leavesBehind(s *exam.Session, speaker *talker, readers []*talker, next int, thrown map[string]bool) error {
	late, err := join(s, "late", exam.TinyBuffer)
	if err != nil {
		return err
	}
	all := append([]*talker{speaker}, readers...)
	for _, t := range all {
		if problem := t.hears(joined("late")); problem != "" {
			return s.Fail(t.name, "heard %s", problem)
		}
	}
	gets := &listener{talker: late, next: next}
	first, behind, said := next, 0, 0
	for said < speechBytes && behind < behindBytes {
		size := burstBytes
		if behind > 0 {
			size /= 4 // the kernel may still find some room: little by little
		}
		if next, err = speech(s, size, speaker, readers, next, thrown); err != nil {
			return err
		}
		s.AwaitSleep()
		_, found, err := late.ServerEnd()
		if err != nil {
			return err
		}
		if !found {
			s.Usually = "fewer than 64 KiB of lines are kept for a client"
			return s.Fail("late", "who had not read yet, was cut off when no more than %d bytes were waiting", behind+size)
		}
		line := len(says("speaker", speechLine(0)))
		said = (next - first) * line
		taken, err := late.AnswersQueued()
		if err != nil {
			return err
		}
		behind = said - gets.heard*line - late.in.Buffered() - taken
		if behind > 0 && gets.heard == 0 {
			// That makes the kernel look for room once more: now, and not when the end comes.
			if err := gets.read(s, burstBytes/line); err != nil && err != io.EOF && err != exam.ErrSilence {
				return err
			}
		}
	}
	if err := late.CloseWrite(); err != nil {
		return exam.PlainError(err)
	}
	s.Note("late", "joined, read nothing, and called shutdown(SHUT_WR) when %d bytes were said that the kernel had no room for", behind)
	// Meanwhile it has time to see that and to make the mistake, before there is
	// room again.
	if err := restsInCrowd(s, "with nothing to do for that one"); err != nil {
		s.Usually = "the end is behind the lines that are pending, and EPOLLIN is still asked for: it is reported again and again, and nobody reads it"
		return err
	}
	err = gets.read(s, next-first-gets.heard)
	if err == nil {
		if problem := leaves(s, late); problem != "" {
			return s.Fail("late", "then read all %d lines, and %s", next-first, problem)
		}
	} else if err != io.EOF && err != exam.ErrSilence {
		return err
	}
	if gets.heard < next-first {
		s.Usually = "read(2) returned 0 and the connection was closed with lines still pending; or fewer than 64 KiB of lines are kept for a client"
		return s.Fail("late", "then read %d of the %d lines that had been said", gets.heard, next-first)
	}
	for _, t := range all {
		if problem := t.hears(left("late")); problem != "" {
			return s.Fail(t.name, "heard %s", problem)
		}
	}
	return nil
}

// catchesUp has the slow one read at last, to the end. Either its connection has
// ended, and the others have been told, or it is one of them again.
func catchesUp(s *exam.Session, slow *listener, speaker *talker, readers []*talker, said int, thrown map[string]bool) error {
	err := slow.read(s, said+1)
	switch err {
	case io.EOF:
		s.Note("slow", "then read %d of %d lines, and its connection had ended", slow.heard, said)
		for _, t := range append(readers, speaker) {
			if thrown[t.name] {
				continue
			}
			if problem := t.hears(left("slow")); problem != "" {
				return s.Fail(t.name, "heard %s", problem)
			}
		}
		return nil
	case exam.ErrSilence:
	default:
		return err
	}
	s.Note("slow", "then read %d of %d lines", slow.heard, said)
	if problem := tell(s, speaker.Client, speechLine(said)+"\n"); problem != "" {
		return s.Fail("speaker", "got back %s", problem)
	}
	if err := slow.read(s, 1); err == exam.ErrSilence || err == io.EOF {
		s.Usually = "a client that was full once is never written to again: EPOLLOUT says when there is room"
		return s.Fail("slow", "was still connected and had read everything; then one more line was said, and it heard nothing")
	} else if err != nil {
		return err
	}
	for _, t := range readers {
		if problem := t.hears(says("speaker", speechLine(said))); problem != "" {
			return s.Fail(t.name, "heard %s", problem)
		}
	}
	return nil
}
