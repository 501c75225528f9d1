package walk

import "golang.org/x/sys/unix"

// registers returns the frame pointer. A return address is always on the stack.
func (t *tracee) registers() (fp, lr uint64, ok bool) {
	var regs unix.PtraceRegs
	err := unix.PtraceGetRegs(t.pid, &regs)
	return regs.Rbp, 0, err == nil
}

const eventSize = 12 // bytes of an epoll_event
