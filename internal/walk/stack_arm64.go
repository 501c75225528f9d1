package walk

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// registers returns the frame pointer and the link register, which holds the return
// address of a function that calls no other.
func (t *tracee) registers() (fp, lr uint64, ok bool) {
	var regs unix.PtraceRegs
	const general = 1 // NT_PRSTATUS of elf(5): the general registers
	iov := unix.Iovec{Base: (*byte)(unsafe.Pointer(&regs)), Len: uint64(unsafe.Sizeof(regs))}
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GETREGSET, uintptr(t.pid), general,
		uintptr(unsafe.Pointer(&iov)), 0, 0)
	return regs.Regs[29], regs.Regs[30], errno == 0
}

const eventSize = 16 // bytes of an epoll_event
