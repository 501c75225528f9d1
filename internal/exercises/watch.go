package exercises

import (
	"context"
	"fmt"
	"os"
	"time"
)

// An editor may write a file in several goes, or put another one in its place:
// it is graded when it has been the same in two looks.
const lookEvery = 200 * time.Millisecond

// A stamp changes when a file is saved. The zero stamp is no file.
type stamp struct {
	at   time.Time
	size int64
}

func (e *exercise) stamp() stamp {
	info, err := os.Stat(e.file("main.go"))
	if err != nil {
		return stamp{}
	}
	return stamp{info.ModTime(), info.Size()}
}

// watch grades e each time that it is saved. It goes on to another exercise
// only when told so.
func (s *session) watch(ctx context.Context, e *exercise, lines <-chan string) error {
	if e == nil {
		s.say("All %d are passed: there is nothing left to watch. To watch one all the same, say its number.", len(s.exercises))
		return nil
	}
	if s.json || s.all || len(s.server) > 0 {
		return fmt.Errorf("watch grades main.go for people: it takes no -json, -all or command")
	}
	for {
		graded := e.stamp()
		if err := s.check(ctx, e); ctx.Err() != nil {
			return s.bye()
		} else if err != nil && err != errFailed && err != errNotGraded {
			fmt.Fprintln(s.err, "exercises:", err)
		}
		switch s.told(ctx, e, graded, lines) {
		case "q":
			return s.bye()
		case "n":
			if next := s.next(e); next != nil {
				e = next
			} else {
				s.say("There is no other one left.")
			}
		}
	}
}

func (s *session) bye() error {
	fmt.Fprintln(s.out, "\nno longer watching")
	return nil
}

// told waits until e is to be graded again, and returns "", or the user wants
// another one, "n", or no more, "q".
func (s *session) told(ctx context.Context, e *exercise, graded stamp, lines <-chan string) string {
	prompt := func() {
		if lines == nil {
			fmt.Fprintf(s.out, "\n%02d: save main.go; Ctrl-C ends\n", e.Number)
			return
		}
		fmt.Fprintf(s.out, "\n%02d: save main.go, or type h (hint), n (next), q (quit): ", e.Number)
	}
	prompt()
	last := graded
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return "q"
		case <-look.C:
			now := e.stamp()
			if now != graded && now == last && now != (stamp{}) {
				fmt.Fprintf(s.out, "\n\nsaved at %s\n", now.at.Format("15:04:05"))
				return ""
			}
			last = now
		case line, more := <-lines:
			switch {
			case !more:
				return "q"
			case line == "" || line == "n" || line == "q":
				fmt.Fprintln(s.out)
				return line
			case line == "h":
				fmt.Fprintln(s.out)
				if err := s.hint(e); err != nil {
					fmt.Fprintln(s.err, "exercises:", err)
				}
			default:
				fmt.Fprintf(s.out, "%q means nothing here.\n", line)
			}
			prompt()
		}
	}
}
