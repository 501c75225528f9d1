package exercises

import (
	"context"
	"fmt"
	"os"
	"time"
)

// Editors write a file in several steps or replace it with another one. It is
// graded once two looks in a row find it unchanged.
const lookInterval = 200 * time.Millisecond

// A stamp changes when a file is saved. The zero stamp stands for no file.
type stamp struct {
	modified time.Time
	size     int64
}

func (e *exercise) stamp() stamp {
	info, err := os.Stat(e.file("main.go"))
	if err != nil {
		return stamp{}
	}
	return stamp{info.ModTime(), info.Size()}
}

// An action is what the learner asks watch to do next.
type action int

const (
	gradeAgain action = iota
	goToNext
	quit
)

// watch grades e each time main.go is saved. It goes to another exercise only
// when it is asked to.
func (s *session) watch(ctx context.Context, e *exercise, lines <-chan string) error {
	if e == nil {
		s.say("All %d have passed: there is nothing left to watch. To watch one of them, say its number.", len(s.exercises))
		return nil
	}
	if s.json || s.all || len(s.server) > 0 {
		return fmt.Errorf("watch grades main.go for people: it takes no -json, -all or command")
	}
	if err := s.prepare(e); err != nil {
		return err
	}
	for {
		graded := e.stamp()
		if err := s.checkAgain(ctx, e); ctx.Err() != nil {
			return s.endWatch()
		} else if err != nil && err != errFailed && err != errNotGraded {
			fmt.Fprintln(s.err, "exercises:", err)
		}
		switch s.await(ctx, e, graded, lines) {
		case quit:
			return s.endWatch()
		case goToNext:
			next := s.next(e)
			if next == nil {
				s.say("All the others have passed.")
			} else if err := s.prepare(next); err != nil {
				fmt.Fprintln(s.err, "exercises:", err)
			} else {
				e = next
			}
		}
	}
}

func (s *session) endWatch() error {
	fmt.Fprintln(s.out, "\nno longer watching")
	return nil
}

// await returns when main.go differs from what was graded, or with the action
// that the learner types.
func (s *session) await(ctx context.Context, e *exercise, graded stamp, lines <-chan string) action {
	prompt := func() {
		if lines == nil {
			fmt.Fprintf(s.out, "\n%02d: save main.go; Ctrl-C ends\n", e.Number)
			return
		}
		fmt.Fprintf(s.out, "\n%02d: save main.go, or type h (hint), n (next), q (quit): ", e.Number)
	}
	prompt()
	last := graded
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return quit
		case <-look.C:
			now := e.stamp()
			if now != graded && now == last && now != (stamp{}) {
				fmt.Fprintf(s.out, "\n\nsaved at %s\n", now.modified.Format("15:04:05"))
				return gradeAgain
			}
			last = now
		case line, more := <-lines:
			if !more {
				return quit
			}
			switch line {
			case "":
				fmt.Fprintln(s.out)
				return gradeAgain
			case "n":
				fmt.Fprintln(s.out)
				return goToNext
			case "q":
				fmt.Fprintln(s.out)
				return quit
			case "h":
				fmt.Fprintln(s.out)
				if err := s.hint(e); err != nil {
					fmt.Fprintln(s.err, "exercises:", err)
				}
			default:
				fmt.Fprintf(s.out, "%q has no meaning here.\n", line)
			}
			prompt()
		}
	}
}
