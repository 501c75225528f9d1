package xray

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What terminals understand: console_codes(4). The alternate screen (xterm's
// 1049) gives back what was there before.
const (
	enter   = "\x1b[?1049h\x1b[?25l" // alternate screen, no cursor
	leave   = "\x1b[?25h\x1b[?1049l"
	home    = "\x1b[H"
	toRight = "\x1b[K" // clear the rest of the line
	toEnd   = "\x1b[J" // and what is below
)

// live draws a report again and again, until a signal or the process's end.
func (p *patient) live(w *os.File) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGTSTP, unix.SIGCONT, unix.SIGWINCH)
	defer signal.Stop(signals)
	fmt.Fprint(w, enter)
	defer fmt.Fprint(w, leave)

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
				fmt.Fprint(w, leave)
				// kill(2) would let any thread take the signal, and this one
				// might write enter before the stop gets to it.
				runtime.LockOSThread()
				unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP)
				runtime.UnlockOSThread()
				fmt.Fprint(w, enter)
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
	size, terminal := window(w)
	if !terminal {
		return errors.New("the terminal is gone")
	}
	lines := strings.TrimSuffix(text(r, size.width, max(1, size.height-2), colours()), "\n")
	frame := home + strings.ReplaceAll(lines, "\n", toRight+"\r\n") + toRight
	if size.height > 2 {
		foot := cut(fmt.Sprintf("%s, every %v; Ctrl-C ends this", p.when.Format(time.TimeOnly), p.interval), size.width)
		frame += "\r\n" + toEnd + "\r\n" + foot
	}
	_, err := fmt.Fprint(w, frame+toRight+toEnd)
	return err
}
