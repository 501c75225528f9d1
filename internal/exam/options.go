// Package exam is the engine of the examiner: it starts a server or finds one
// that runs, gives each check a session with clients, and reports what the checks
// found. It knows no check by name: the packages below it have them, and
// [epoll-step-by-step/internal/exam/checks] lists them.
//
// It knows the server as a command and an address, talks to it over TCP, and
// looks at its process through /proc: proc(5). It needs no tracing, no root and
// no help from the server, which may be written in any language.
package exam

import (
	"net/netip"
	"time"
)

// Options say what to grade and how.
type Options struct {
	// Command starts the server. {addr}, {host} and {port} in its words stand
	// for the address that it has to listen on. An empty Command grades a server
	// that is already running.
	Command []string

	// Addr is where the server listens. If its port is 0, and the Command has a
	// place for it, the examiner chooses another port for each check: of that host,
	// or of 127.0.0.1 if Addr is not valid.
	Addr netip.AddrPort
	PID  int // of a server that is already running; 0 if Addr is enough to find it

	// StartTimeout is the time from the start of the Command to listening; 0: 20 s. A
	// Command that succeeds may have left a daemon behind, which has DaemonTimeout from
	// then on, 0: 5 s, or StartTimeout as long as there is a process.
	StartTimeout, DaemonTimeout time.Duration

	As       Profile   // Echo if empty
	Dialogue *Dialogue // what its clients say; EchoDialogue if nil
	Checks   []Check   // what to run, in this order

	// Started and Finished, if not nil, are called when each check begins and ends.
	// The first of n checks is 1.
	Started  func(i, n int, c Check)
	Finished func(Result)
}

// A Profile says what the server claims to be.
type Profile string

const (
	Echo Profile = "echo" // any echo server, however it is made
	LT   Profile = "lt"   // one thread and level-triggered epoll(7)
	ET   Profile = "et"   // one thread and edge-triggered epoll(7)

	Lines   Profile = "lines"   // no echo: each line is answered with its length
	Timeout Profile = "timeout" // an echo server that closes clients that are silent for 2 s
	Chat    Profile = "chat"    // no echo: each line goes to all other clients
	Redis   Profile = "redis"   // no echo: a few of Redis's commands
	Cores   Profile = "cores"   // an echo server with a process for each core
)

// Profiles has all of them.
var Profiles = []Profile{Echo, LT, ET, Lines, Timeout, Chat, Redis, Cores}
