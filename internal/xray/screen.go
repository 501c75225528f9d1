package xray

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"

	"epoll-step-by-step/internal/terminal"

	"golang.org/x/sys/unix"
)

// live draws a report again and again, until a signal or the process's end.
func (p *patient) live(w *os.File) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGTSTP, unix.SIGCONT, unix.SIGWINCH)
	defer signal.Stop(signals)
	fmt.Fprint(w, terminal.EnterAlternate)
	defer fmt.Fprint(w, terminal.LeaveAlternate)

	var r Report
	drawn := false
	timer := time.NewTimer(min(p.interval, 100*time.Millisecond))
	for {
		select {
		case <-timer.C:
			var err error
			if r, err = p.again(); err != nil {
				return err
			}
			drawn = true
			// On a process with many descriptors a look takes long: be a
			// small part of what goes on.
			timer.Reset(max(p.interval, 4*p.took))
		case sig := <-signals:
			switch sig {
			case unix.SIGWINCH, unix.SIGCONT:
			case unix.SIGTSTP: // Ctrl-Z
				fmt.Fprint(w, terminal.LeaveAlternate)
				// kill(2) would let any thread take the signal, and this one
				// might write enter before the stop gets to it.
				runtime.LockOSThread()
				unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP)
				runtime.UnlockOSThread()
				fmt.Fprint(w, terminal.EnterAlternate)
			default:
				return nil
			}
		}
		if drawn {
			if err := p.draw(w, r); err != nil {
				return err
			}
		}
	}
}

// draw writes a frame over the last one, in one piece, so that nothing flickers.
func (p *patient) draw(w *os.File, r Report) error {
	if !terminal.Is(w) {
		return errors.New("the terminal is gone")
	}
	width, height := terminal.Size(w)
	lines := strings.TrimSuffix(text(r, width, max(1, height-2), terminal.Colour(w)), "\n")
	frame := terminal.Home + strings.ReplaceAll(lines, "\n", terminal.ClearToRight+"\r\n") + terminal.ClearToRight
	if height > 2 {
		foot := terminal.Cut(fmt.Sprintf("%s, every %v; Ctrl-C ends this", p.when.Format(time.TimeOnly), p.interval), width)
		frame += "\r\n" + terminal.ClearBelow + "\r\n" + foot
	}
	_, err := fmt.Fprint(w, frame+terminal.ClearToRight+terminal.ClearBelow)
	return err
}
