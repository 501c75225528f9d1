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

// live redraws the report until a signal arrives or the process ends.
func (o *observer) live(w *os.File) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGTSTP, unix.SIGCONT, unix.SIGWINCH)
	defer signal.Stop(signals)
	fmt.Fprint(w, terminal.EnterAlternate)
	defer fmt.Fprint(w, terminal.LeaveAlternate)

	var r Report
	drawn := false
	timer := time.NewTimer(min(o.interval, 100*time.Millisecond))
	for {
		select {
		case <-timer.C:
			var err error
			if r, err = o.next(); err != nil {
				return err
			}
			drawn = true
			// A look at a process with many descriptors takes long. Leave most
			// of the CPU time to the process.
			timer.Reset(max(o.interval, 4*o.lookTook))
		case sig := <-signals:
			switch sig {
			case unix.SIGWINCH, unix.SIGCONT:
			case unix.SIGTSTP: // Ctrl-Z
				fmt.Fprint(w, terminal.LeaveAlternate)
				// kill(2) could deliver the signal to another thread. Then this
				// thread might enter the screen again before it is stopped.
				runtime.LockOSThread()
				unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP)
				runtime.UnlockOSThread()
				fmt.Fprint(w, terminal.EnterAlternate)
			default:
				return nil
			}
		}
		if drawn {
			if err := o.draw(w, r); err != nil {
				return err
			}
		}
	}
}

// draw replaces the previous frame with one write, to avoid flicker.
func (o *observer) draw(w *os.File, r Report) error {
	if !terminal.Is(w) {
		return errors.New("the terminal is gone")
	}
	width, height := terminal.Size(w)
	lines := strings.TrimSuffix(render(r, width, max(1, height-2), terminal.Colour(w)), "\n")
	frame := terminal.Home + strings.ReplaceAll(lines, "\n", terminal.ClearToRight+"\r\n") + terminal.ClearToRight
	if height > 2 {
		foot := terminal.Cut(fmt.Sprintf("%s, every %v; Ctrl-C ends this", o.lookedAt.Format(time.TimeOnly), o.interval), width)
		frame += "\r\n" + terminal.ClearBelow + "\r\n" + foot
	}
	_, err := fmt.Fprint(w, frame+terminal.ClearToRight+terminal.ClearBelow)
	return err
}
