package tasks

import (
	"io"
	"time"

	"epoll-step-by-step/internal/exam"
)

const (
	speechBytes = 32 << 20 // bytes that are said while one client does not read
	burstBytes  = 32 << 10 // bytes that are said at a time: less than a client may be behind
	behindBytes = 44 << 10 // bytes that wait for a client when it ends: fewer than it may be behind
	sipLines    = 500      // lines that the slow client reads in between
)

var ChatSlowReader = exam.Check{
	ID: "CHAT_SLOW_READER", Title: "a client that does not read loses only its own lines, or its connection, and costs little memory", For: []exam.Profile{exam.Chat}, Run: chatSlowReader, Looks: true,
	Usually: "lines are kept without limit for a client that does not read, or all others wait for it",
	Reread:  []string{`write(2) "RETURN VALUE"`, `epoll_ctl(2) "DESCRIPTION"`}, Chapter: exam.ChapterLevel,
}

// chatSlowReader has one client say much. Three others read all of it, and one reads
// nothing. The speaker continues when the three have read everything so far, so none of
// them is ever far behind.
func chatSlowReader(s *exam.Session) error {
	all, err := joinAll(s, "speaker", "ann", "bob", "cyd")
	if err != nil {
		return err
	}
	speaker, readers := all[0], all[1:]
	if err := lineWithoutEnd(s, speaker); err != nil {
		return err
	}
	slow, err := join(s, "slow", exam.TinyBuffer)
	if err != nil {
		return err
	}
	for _, t := range all {
		if problem := t.expects(hasJoined("slow")); problem != "" {
			return s.Fail(t.name, "heard %s", problem)
		}
	}
	before, peak := s.Server.Memory(), s.PeakMemory()
	s.Note("joined", "four that read, and one that reads nothing, with a small SO_RCVBUF")
	begin := time.Now()
	next, toldOfLeaving := 0, make(map[string]bool)
	gets := &slowReader{talker: slow}
	for total := 0; total < speechBytes; total += burstBytes {
		// The slow client reads a little in between: then there is some room, for a
		// line or for the rest of one.
		if total == speechBytes/2 {
			if err := gets.read(s, sipLines); err != nil && err != exam.ErrSilence && err != io.EOF {
				return err
			}
		}
		if next, err = sayLines(s, burstBytes, speaker, readers, next, toldOfLeaving); err != nil {
			s.Note("said", "%d bytes, by one of the four", total)
			s.Usually = "all others wait for the client that does not read, or they miss the same lines"
			return err
		}
		if grew := peak() - before; grew >= exam.MaxGrowth {
			s.Note("said", "%d bytes, by one of the four", total)
			return s.Fail("memory", "grew by %d KiB", grew>>10)
		}
	}
	s.Note("said", "%d lines by one of the four, %d bytes; the other three heard all of them, within %.1f s", next, speechBytes, time.Since(begin).Seconds())
	s.Note("memory", "grew by %d KiB", (peak()-before)>>10)
	if err := expectIdle(s, "with one client that reads nothing"); err != nil {
		return err
	}
	if err := catchesUp(s, gets, speaker, readers, next, toldOfLeaving); err != nil {
		return err
	}
	return endsWithPending(s, speaker, readers, next+1, toldOfLeaving)
}

// lineWithoutEnd has a client send many bytes without a line end.
func lineWithoutEnd(s *exam.Session, t *talker) error {
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
		s.Usually = "the beginning of a line is kept without limit until its end comes"
		s.Note(t.name, "sent %d bytes without a line end", t.Sent)
		return s.Fail("memory", "grew by %d KiB", grew>>10)
	}
	problem := sendPieces(s, t.Client, "\n")
	if problem == "" {
		problem = t.expects(tooLong)
	}
	if problem != "" {
		s.Note(t.name, "sent %d bytes without a line end, and then one", t.Sent)
		return s.Fail(t.name, "heard %s", problem)
	}
	return nil
}

// endsWithPending has a client end its stream while lines are pending for it that the
// kernel has no room for, but fewer than the server must keep. It must still get them.
func endsWithPending(s *exam.Session, speaker *talker, readers []*talker, next int, toldOfLeaving map[string]bool) error {
	late, err := join(s, "late", exam.TinyBuffer)
	if err != nil {
		return err
	}
	all := append([]*talker{speaker}, readers...)
	for _, t := range all {
		if problem := t.expects(hasJoined("late")); problem != "" {
			return s.Fail(t.name, "heard %s", problem)
		}
	}
	gets := &slowReader{talker: late, next: next}
	first, behind, said := next, 0, 0
	for said < speechBytes && behind < behindBytes {
		size := burstBytes
		if behind > 0 {
			size /= 4 // the kernel may still find some room, little by little
		}
		if next, err = sayLines(s, size, speaker, readers, next, toldOfLeaving); err != nil {
			return err
		}
		s.AwaitSleep()
		_, found, err := late.ServerEnd()
		if err != nil {
			return err
		}
		if !found {
			s.Usually = "the server keeps fewer than 64 KiB of lines for a client"
			return s.Fail("late", "had not read yet, and was cut off when no more than %d bytes were pending", behind+size)
		}
		line := len(saidBy("speaker", speechLine(0)))
		said = (next - first) * line
		queued, err := late.AnswersQueued()
		if err != nil {
			return err
		}
		behind = said - gets.heard*line - late.in.Buffered() - queued
		if behind > 0 && gets.heard == 0 {
			// A read makes the kernel look for room again: now, and not when the end comes.
			if err := gets.read(s, burstBytes/line); err != nil && err != io.EOF && err != exam.ErrSilence {
				return err
			}
		}
	}
	if err := late.CloseWrite(); err != nil {
		return exam.PlainError(err)
	}
	s.Note("late", "joined, read nothing, and called shutdown(SHUT_WR) when %d bytes were said that the kernel had no room for", behind)
	// Meanwhile the server has time to see the end, and to make the mistake, before
	// there is room again.
	if err := expectIdle(s, "with nothing to do for that client"); err != nil {
		s.Usually = "the end cannot be read before the pending lines are written, but EPOLLIN is still requested: it is reported again and again"
		return err
	}
	err = gets.read(s, next-first-gets.heard)
	if err == nil {
		if problem := expectEOF(s, late); problem != "" {
			return s.Fail("late", "then read all %d lines, and %s", next-first, problem)
		}
	} else if err != io.EOF && err != exam.ErrSilence {
		return err
	}
	if gets.heard < next-first {
		s.Usually = "read(2) returned 0 and the connection was closed with lines still pending; or the server keeps fewer than 64 KiB of lines for a client"
		return s.Fail("late", "then read %d of the %d lines said before", gets.heard, next-first)
	}
	for _, t := range all {
		if problem := t.expects(hasLeft("late")); problem != "" {
			return s.Fail(t.name, "heard %s", problem)
		}
	}
	return nil
}

// catchesUp has the slow client read to the end at last. Either its connection has
// ended, and the others have learned of that, or it gets new lines again.
func catchesUp(s *exam.Session, slow *slowReader, speaker *talker, readers []*talker, said int, toldOfLeaving map[string]bool) error {
	err := slow.read(s, said+1)
	switch err {
	case io.EOF:
		s.Note("slow", "then read %d of %d lines, and its connection had ended", slow.heard, said)
		for _, t := range append(readers, speaker) {
			if toldOfLeaving[t.name] {
				continue
			}
			if problem := t.expects(hasLeft("slow")); problem != "" {
				return s.Fail(t.name, "heard %s", problem)
			}
		}
		return nil
	case exam.ErrSilence:
	default:
		return err
	}
	s.Note("slow", "then read %d of %d lines", slow.heard, said)
	if problem := sendPieces(s, speaker.Client, speechLine(said)+"\n"); problem != "" {
		return s.Fail("speaker", "got back %s", problem)
	}
	if err := slow.read(s, 1); err == exam.ErrSilence || err == io.EOF {
		s.Usually = "after EAGAIN the server never writes to that client again: EPOLLOUT reports when there is room"
		return s.Fail("slow", "was still connected and had read everything; then another line was said, and it heard nothing")
	} else if err != nil {
		return err
	}
	for _, t := range readers {
		if problem := t.expects(saidBy("speaker", speechLine(said))); problem != "" {
			return s.Fail(t.name, "heard %s", problem)
		}
	}
	return nil
}
