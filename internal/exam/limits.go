package exam

import "time"

// Times that the engine or several groups of checks use. A time or a threshold of a
// single check stands beside that check.
const (
	startTimeout   = 20 * time.Second      // from start to listening: an interpreter or "go run" takes its time
	daemonTimeout  = 5 * time.Second       // from the end of a command that succeeded to listening: it may have left a daemon behind
	daemonPause    = time.Second           // between two looks whether that daemon lives: then it has up to Options.StartTimeout
	checkTimeout   = 60 * time.Second      // for one check: then it is a hang
	stopTimeout    = 20 * time.Second      // from SIGSTOP to a stopped server: on a busy machine, each of its threads has to get a CPU first
	connectTimeout = 5 * time.Second       // for a client's connect(2)
	offerMoment    = 20 * time.Millisecond // for one write(2): three in a row that write nothing are enough if the server sleeps

	FirstReplyTimeout = 5 * time.Second         // for the first answer of a server
	ReplyTimeout      = 2 * time.Second         // for an answer when nothing else goes on
	NewcomerTimeout   = 3 * time.Second         // for a new client's answer while others keep the server busy
	SilenceTimeout    = 3 * time.Second         // without a byte: then no byte will come
	StallTime         = 250 * time.Millisecond  // without the server taking a byte: then it has stopped reading
	ExitTimeout       = 2500 * time.Millisecond // from SIGTERM to the end of the process
)

// Sizes and shares that the engine or several groups of checks use.
const (
	BigMessage = 16 << 20  // bytes: more than the kernel's buffers hold (loopback: 4 to 8 MiB)
	Flood      = 64 << 20  // bytes offered to a server that may buffer without limit
	MaxGrowth  = 24 << 20  // bytes of resident memory that a client which never reads may cost
	TinyBuffer = 16 << 10  // bytes of SO_RCVBUF of a slow client
	EdgeSize   = 256 << 10 // bytes in one edge: several reads of any server
	sipSize    = 32 << 10  // bytes that a slow client reads at a time

	SpinningCPU = 0.5 // share of the time that a spinning server wants a CPU, at least

	manyClients = 5000 // from so many clients on, a check runs alone in this process
)
