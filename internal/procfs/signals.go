package procfs

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// Signals says what a process does with each signal: proc(5), /proc/pid/status.
// Blocked is that of the main thread.
type Signals struct{ Blocked, Ignored, Caught SignalSet }

// SignalSet is a set of signals, as the kernel prints it.
type SignalSet uint64

// Has reports whether the signal is in the set.
func (s SignalSet) Has(sig unix.Signal) bool { return s>>(sig-1)&1 != 0 }

// SignalsOf returns what a process does with each signal.
func SignalsOf(pid int) (Signals, error) {
	name := path(pid, "status")
	text, err := read(name)
	if err != nil {
		return Signals{}, err
	}
	var s Signals
	for key, set := range map[string]*SignalSet{"SigBlk": &s.Blocked, "SigIgn": &s.Ignored, "SigCgt": &s.Caught} {
		hex, _ := value(text, key)
		n, err := strconv.ParseUint(hex, 16, 64)
		if err != nil {
			return Signals{}, malformed(name, text)
		}
		*set = SignalSet(n)
	}
	return s, nil
}
