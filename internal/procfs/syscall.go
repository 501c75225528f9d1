package procfs

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Syscall is the system call in which a thread sleeps: proc(5),
// /proc/pid/syscall.
type Syscall struct {
	State SyscallState

	// The other fields are set for SyscallBlocked. Otherwise Number is -1.
	Number int
	Name   string    // as in syscalls(2); "" if it is not in syscallNames
	Args   [6]uint64 // those that the call does not take are meaningless
}

// SyscallState is what is known about the system call of a thread.
type SyscallState uint8

const (
	SyscallUnknown SyscallState = iota // this kernel has no such file
	SyscallDenied                      // we may not read the file: ptrace(2)
	SyscallRunning                     // the thread is not blocked
	SyscallNone                        // blocked outside a call, for example in a page fault
	SyscallBlocked                     // blocked in the call that Number names
)

// String returns the name of the call, or a description of the other states.
func (s Syscall) String() string {
	switch s.State {
	case SyscallDenied:
		return "unknown (no permission)"
	case SyscallRunning:
		return "running"
	case SyscallNone:
		return "not in a system call"
	case SyscallBlocked:
		if s.Name == "" {
			return "syscall " + strconv.Itoa(s.Number)
		}
		return s.Name
	}
	return "unknown"
}

// SyscallOf returns the system call in which a thread sleeps or is stopped. [Threads]
// returns more of each thread, but reads more files.
func SyscallOf(pid, tid int) (Syscall, error) { return readSyscall(pid, tid) }

// SyscallName returns the name of a system call as in syscalls(2), or "syscall 999" if
// it is none of those that this package knows.
func SyscallName(number int) string {
	return Syscall{State: SyscallBlocked, Number: number, Name: syscallNames[number]}.String()
}

// readSyscall reads /proc/PID/task/TID/syscall. Reading it takes more permission
// than any other file here (PTRACE_MODE_ATTACH), so a refusal is not an error.
func readSyscall(pid, tid int) (Syscall, error) {
	name := taskPath(pid, tid, "syscall")
	text, err := read(name)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return Syscall{State: SyscallDenied, Number: -1}, nil
	case errors.Is(err, fs.ErrNotExist):
		return Syscall{State: SyscallUnknown, Number: -1}, nil
	case err != nil:
		return Syscall{}, err
	}
	s, err := parseSyscall(string(text))
	if err != nil {
		return Syscall{}, malformed(name, text)
	}
	return s, nil
}

// parseSyscall parses "running", or "-1 SP PC", or "NUMBER ARG×6 SP PC", where
// SP and PC are the stack pointer and the program counter.
func parseSyscall(text string) (Syscall, error) {
	fields := strings.Fields(text)
	if len(fields) == 1 && fields[0] == "running" {
		return Syscall{State: SyscallRunning, Number: -1}, nil
	}
	if len(fields) == 3 && fields[0] == "-1" {
		return Syscall{State: SyscallNone, Number: -1}, nil
	}
	if len(fields) != 9 {
		return Syscall{}, fmt.Errorf("%d fields", len(fields))
	}
	number, err := strconv.Atoi(fields[0])
	if err != nil {
		return Syscall{}, err
	}
	s := Syscall{State: SyscallBlocked, Number: number, Name: syscallNames[number]}
	for i := range s.Args {
		s.Args[i], err = strconv.ParseUint(fields[1+i], 0, 64)
		if err != nil {
			return Syscall{}, err
		}
	}
	return s, nil
}

// syscallNames contains the calls that can sleep and those that servers make. The
// names are the kernel's: the call that pselect(2) describes is pselect6. The
// calls that only amd64 has are in syscall_amd64.go.
var syscallNames = map[int]string{
	// Reading and writing.
	unix.SYS_READ:            "read",
	unix.SYS_WRITE:           "write",
	unix.SYS_READV:           "readv",
	unix.SYS_WRITEV:          "writev",
	unix.SYS_PREAD64:         "pread64",
	unix.SYS_PWRITE64:        "pwrite64",
	unix.SYS_PREADV:          "preadv",
	unix.SYS_PWRITEV:         "pwritev",
	unix.SYS_PREADV2:         "preadv2",
	unix.SYS_PWRITEV2:        "pwritev2",
	unix.SYS_SENDFILE:        "sendfile",
	unix.SYS_SPLICE:          "splice",
	unix.SYS_TEE:             "tee",
	unix.SYS_VMSPLICE:        "vmsplice",
	unix.SYS_COPY_FILE_RANGE: "copy_file_range",
	unix.SYS_FSYNC:           "fsync",
	unix.SYS_FDATASYNC:       "fdatasync",
	unix.SYS_SYNC_FILE_RANGE: "sync_file_range",
	unix.SYS_SYNCFS:          "syncfs",
	unix.SYS_SYNC:            "sync",
	unix.SYS_MSYNC:           "msync",
	unix.SYS_FLOCK:           "flock",
	unix.SYS_FCNTL:           "fcntl",
	unix.SYS_IOCTL:           "ioctl",
	unix.SYS_OPENAT:          "openat",
	unix.SYS_CLOSE:           "close",
	unix.SYS_GETDENTS64:      "getdents64",
	unix.SYS_NEWFSTATAT:      "newfstatat",
	unix.SYS_LSEEK:           "lseek",
	unix.SYS_DUP:             "dup",
	unix.SYS_DUP3:            "dup3",
	unix.SYS_PIPE2:           "pipe2",

	// Sockets.
	unix.SYS_SOCKET:      "socket",
	unix.SYS_BIND:        "bind",
	unix.SYS_LISTEN:      "listen",
	unix.SYS_ACCEPT:      "accept",
	unix.SYS_ACCEPT4:     "accept4",
	unix.SYS_CONNECT:     "connect",
	unix.SYS_SHUTDOWN:    "shutdown",
	unix.SYS_RECVFROM:    "recvfrom",
	unix.SYS_SENDTO:      "sendto",
	unix.SYS_RECVMSG:     "recvmsg",
	unix.SYS_SENDMSG:     "sendmsg",
	unix.SYS_RECVMMSG:    "recvmmsg",
	unix.SYS_SENDMMSG:    "sendmmsg",
	unix.SYS_SETSOCKOPT:  "setsockopt",
	unix.SYS_GETSOCKOPT:  "getsockopt",
	unix.SYS_GETSOCKNAME: "getsockname",
	unix.SYS_GETPEERNAME: "getpeername",
	unix.SYS_SOCKETPAIR:  "socketpair",

	// Waiting for many descriptors, and descriptors made for that.
	unix.SYS_EPOLL_CREATE1:   "epoll_create1",
	unix.SYS_EPOLL_CTL:       "epoll_ctl",
	unix.SYS_EPOLL_PWAIT:     "epoll_pwait",
	unix.SYS_EPOLL_PWAIT2:    "epoll_pwait2",
	unix.SYS_PPOLL:           "ppoll",
	unix.SYS_PSELECT6:        "pselect6",
	unix.SYS_EVENTFD2:        "eventfd2",
	unix.SYS_SIGNALFD4:       "signalfd4",
	unix.SYS_TIMERFD_CREATE:  "timerfd_create",
	unix.SYS_TIMERFD_SETTIME: "timerfd_settime",
	unix.SYS_IO_URING_SETUP:  "io_uring_setup",
	unix.SYS_IO_URING_ENTER:  "io_uring_enter",
	unix.SYS_IO_GETEVENTS:    "io_getevents",
	unix.SYS_IO_PGETEVENTS:   "io_pgetevents",
	unix.SYS_IO_SUBMIT:       "io_submit",

	// Other threads, other processes, time, signals.
	unix.SYS_FUTEX:             "futex",
	unix.SYS_FUTEX_WAITV:       "futex_waitv",
	unix.SYS_FUTEX_WAIT:        "futex_wait",
	unix.SYS_SCHED_YIELD:       "sched_yield",
	unix.SYS_CLONE:             "clone",
	unix.SYS_CLONE3:            "clone3",
	unix.SYS_EXECVE:            "execve",
	unix.SYS_EXIT:              "exit",
	unix.SYS_EXIT_GROUP:        "exit_group",
	unix.SYS_WAIT4:             "wait4",
	unix.SYS_WAITID:            "waitid",
	unix.SYS_NANOSLEEP:         "nanosleep",
	unix.SYS_CLOCK_NANOSLEEP:   "clock_nanosleep",
	unix.SYS_RESTART_SYSCALL:   "restart_syscall",
	unix.SYS_RT_SIGTIMEDWAIT:   "rt_sigtimedwait",
	unix.SYS_RT_SIGSUSPEND:     "rt_sigsuspend",
	unix.SYS_MSGRCV:            "msgrcv",
	unix.SYS_MSGSND:            "msgsnd",
	unix.SYS_SEMOP:             "semop",
	unix.SYS_SEMTIMEDOP:        "semtimedop",
	unix.SYS_MQ_TIMEDRECEIVE:   "mq_timedreceive",
	unix.SYS_MQ_TIMEDSEND:      "mq_timedsend",
	unix.SYS_MEMBARRIER:        "membarrier",
	unix.SYS_RT_SIGACTION:      "rt_sigaction",
	unix.SYS_RT_SIGPROCMASK:    "rt_sigprocmask",
	unix.SYS_RT_SIGRETURN:      "rt_sigreturn",
	unix.SYS_KILL:              "kill",
	unix.SYS_TGKILL:            "tgkill",
	unix.SYS_GETPID:            "getpid",
	unix.SYS_GETTID:            "gettid",
	unix.SYS_CLOCK_GETTIME:     "clock_gettime",
	unix.SYS_TIMERFD_GETTIME:   "timerfd_gettime",
	unix.SYS_PRLIMIT64:         "prlimit64",
	unix.SYS_GETRANDOM:         "getrandom",
	unix.SYS_BRK:               "brk",
	unix.SYS_MPROTECT:          "mprotect",
	unix.SYS_MMAP:              "mmap",
	unix.SYS_MUNMAP:            "munmap",
	unix.SYS_MADVISE:           "madvise",
	unix.SYS_PTRACE:            "ptrace",
	unix.SYS_PROCESS_VM_READV:  "process_vm_readv",
	unix.SYS_PROCESS_VM_WRITEV: "process_vm_writev",
}
