package exam

import (
	"os"
	"time"
)

// limits has every threshold of every check. Those on the server are where
// real servers were seen to separate.
var limits = struct {
	startup time.Duration // from start to listening; an interpreter or "go run" takes its time
	check   time.Duration // for one check: then it is a hang
	connect time.Duration // for a client's connect(2)

	first    time.Duration // for the first answer of all
	reply    time.Duration // for an answer when nothing else goes on
	prompt   time.Duration // for an answer while others keep the server busy
	newcomer time.Duration // for a new client's answer meanwhile
	silence  time.Duration // no byte for so long: nothing will come
	stalled  time.Duration // the server took no byte for so long: it has stopped reading
	moment   time.Duration // three of them are enough if it sleeps each time, and will not be woken

	message int   // bytes: more than the kernel's buffers swallow (loopback: 4 to 8 MiB)
	flood   int   // bytes offered to see who buffers without limit
	growth  int64 // bytes of resident memory that a client which never reads may cost
	tiny    int   // bytes of SO_RCVBUF of the slow client
	sip     int   // bytes that it reads at a time
	edge    int   // bytes in one edge: several reads of anybody's
	fair    int   // bytes that others are served while a short message waits: no doubt
	unfair  int   // and with this many none, either

	idle         int           // clients that say nothing
	pings        int           // messages of one that does
	naps         int           // in so many of which the server may not be caught asleep
	watch        time.Duration // how long CPU time is measured
	idleCPU      float64       // share of one CPU that is still idle
	spinCPU      float64       // share of the time that it wants a CPU, if it spins
	fewFDs       uint64        // RLIMIT_NOFILE of the server that runs out
	manyFDs      int           // clients that it gets
	queued       int           // clients that connect while nobody can accept
	burst        int           // clients that connect at once
	burstTime    time.Duration
	churn        int           // clients that come and go
	unread       int           // clients that go with unread data
	stalling     int           // clients that go while they are owed something
	leak         int           // descriptors that may be more after that
	resets       int           // clients that go with a RST
	term         time.Duration // from SIGTERM to the end
	load         time.Duration // how long they keep the server busy
	oneThread    float64       // share of the system calls that the busiest thread must have
	oneThreadCPU float64       // and of the CPU time, where a runtime has threads of its own

	longLine  int // bytes of a line: more than one read of anybody's
	manyLines int // in one piece

	crowd   int           // clients that fall silent and are to be closed
	tooSoon time.Duration // after the last byte: the timeout is 2 s
	tooLate time.Duration
	kept    time.Duration // how long a client is kept that speaks
	every   time.Duration // so often
	dearer  float64       // times what a message costs without the crowd
	wakeUps int           // in a while in which nothing happens
	quiet   time.Duration // such a while

	counted   int     // messages whose calls are counted
	reads     float64 // calls of read(2) that one of them may cost
	lastWords int     // bytes before a FIN: many reads of anybody's
	lastChunk int     // likewise: one read, if it is of 64 KiB, and a short one
	capacity  int     // bytes that a connection's queues have room for, or somewhat less

	grace time.Duration // for clients that do not take what they are owed, after SIGTERM
	slack time.Duration // that the end may come later, or sooner, than that
	soon  time.Duration // for what has to be done at once, after SIGTERM

	spread   int           // clients that the processes share, or 30 for each
	uneven   float64       // share of them that one process may have
	replaced time.Duration // until there is another one for a process that died

	room      int           // clients in one chat
	said      int           // bytes that are said there while one of them does not read
	sips      int           // lines that this one reads, once in a while
	murmur    int           // lines of one letter, in one piece: ten times as much for who hears them
	behind    int           // bytes that wait for a client when it leaves: fewer than it may be behind
	breath    int           // bytes that are said there at a time: less than a client may be behind
	roomTime  time.Duration // for everybody to hear everybody
	pipelined int           // commands in one piece
	calls     int           // of read(2), and of write(2), that those may take
	value     int           // bytes of a value
	gets      int           // times that it is asked for without being read
	benchmark int           // requests of each kind
	tool      time.Duration // for one run of redis-cli or redis-benchmark
}{
	startup: 20 * time.Second, check: 60 * time.Second, connect: 5 * time.Second,
	first: 5 * time.Second, reply: 2 * time.Second, prompt: 500 * time.Millisecond, newcomer: 3 * time.Second,
	silence: 3 * time.Second, stalled: 250 * time.Millisecond, moment: 20 * time.Millisecond,
	message: 16 << 20, flood: 64 << 20, growth: 24 << 20, tiny: 16 << 10, sip: 32 << 10, edge: 256 << 10, fair: 3 << 20, unfair: 10 << 20,
	idle: 1000, pings: 20, naps: 5, watch: 2 * time.Second, idleCPU: 0.02, spinCPU: 0.5,
	fewFDs: 32, manyFDs: 60, queued: 2000, burst: 5000, burstTime: 14 * time.Second,
	churn: 2000, unread: 150, stalling: 12, leak: 5, resets: 60,
	term: 2500 * time.Millisecond, load: 600 * time.Millisecond, oneThread: 0.95, oneThreadCPU: 0.7,
	longLine: 300_000, manyLines: 10_000,
	crowd: 5000, tooSoon: 1900 * time.Millisecond, tooLate: 3500 * time.Millisecond,
	kept: 5 * time.Second, every: 500 * time.Millisecond, dearer: 2, wakeUps: 4, quiet: time.Second,
	counted: 300, reads: 1.1, lastWords: 1 << 20, lastChunk: 60_000, capacity: 2 << 20,
	grace: 3 * time.Second, slack: time.Second, soon: 2 * time.Second,
	spread: 200, uneven: 0.8, replaced: 5 * time.Second,
	room: 500, said: 32 << 20, breath: 32 << 10, behind: 44 << 10, sips: 500, murmur: 32_000, roomTime: 15 * time.Second,
	pipelined: 1000, calls: 100, value: 50_000, gets: 2000, benchmark: 20_000, tool: 15 * time.Second,
}

// A Check asks one question about a server.
type Check struct {
	ID      string    // never changes
	Title   string    // what a server does that passes
	For     []Profile // who has to pass it; nobody, if it is only asked by its ID
	Usually string    // what is wrong, most of the time
	Reread  []string  // man pages: page(section) "Heading"
	Chapter string    // the chapter that teaches it

	run     func(*session) error
	starts  bool   // must start the server itself: it limits, signals or restarts it
	looks   bool   // must see its process in /proc
	kills   bool   // the server is expected to end
	nofile  uint64 // RLIMIT_NOFILE for the server, if not what we have
	clients int    // descriptors that the examiner needs
}

func (c Check) result(v Verdict) Result {
	r := Result{ID: c.ID, Title: c.Title, Verdict: v}
	if v == Fail {
		r.Failure, r.Usually, r.Reread = c.ID, c.Usually, c.Reread
		if _, err := os.Stat(c.Chapter); err == nil { // we are in the repository
			r.Chapter = c.Chapter
		}
	}
	return r
}

const (
	chapter1 = "docs/01-blocking.md"
	chapter2 = "docs/02-nonblocking.md"
	chapter3 = "docs/03-epoll-level-triggered.md"
	chapter4 = "docs/04-epoll-edge-triggered.md"
	chapter7 = "docs/07-beyond-one-thread.md"
)

var (
	everybody = []Profile{Echo, LT, ET}
	epollers  = []Profile{LT, ET}
	echoers   = []Profile{Echo, LT, ET, Timeout, Cores}
)

// Checks is every check, in the order in which they are run.
var Checks = []Check{
	{
		ID: "NO_REPLY", Title: "every message is answered, even a single byte", For: echoers, run: noReply,
		Usually: "read(2) is called until a buffer or a line is full, but a client may send less and wait",
		Reread:  []string{`read(2) "RETURN VALUE"`}, Chapter: chapter1,
	},
	{
		ID: "WRONG_BYTES", Title: "what comes back is what was sent, whatever the bytes", For: everybody, run: wrongBytes,
		Usually: "data is treated as text: a NUL ends it, or a line end is changed",
		Reread:  []string{`read(2) "RETURN VALUE"`, `write(2) "DESCRIPTION"`}, Chapter: chapter1,
	},
	{
		ID: "ONE_AT_A_TIME", Title: "two clients, both open, are answered in turn", For: everybody, run: oneAtATime,
		Usually: "the server sleeps in read(2) on one client and does not see the other",
		Reread:  []string{`epoll(7) "DESCRIPTION"`, `accept(2) "DESCRIPTION"`}, Chapter: chapter2,
	},
	{
		ID: "LOST_BYTES", Title: "a reader that stalls still gets every byte", For: echoers, run: lostBytes,
		Usually: "write(2) returned less than it was given, and the rest was dropped",
		Reread:  []string{`write(2) "RETURN VALUE"`}, Chapter: chapter3,
	},
	{
		ID: "STUCK_WRITER", Title: "a slow reader with a small buffer gets every byte", For: everybody, run: stuckWriter,
		Usually: "after EAGAIN the rest is never sent, or is sent again from its beginning",
		Reread:  []string{`write(2) "RETURN VALUE"`, `epoll_ctl(2) "DESCRIPTION"`}, Chapter: chapter3,
	},
	{
		ID: "UNBOUNDED_BUFFER", Title: "a client that never reads costs little memory", For: everybody, run: unboundedBuffer, looks: true,
		Usually: "the server goes on reading from a client that does not take its answers",
		Reread:  []string{`tcp(7) "DESCRIPTION"`}, Chapter: chapter3,
	},
	{
		ID: "SLOW_READER_BLOCKS", Title: "a client that never reads holds up nobody else", For: everybody, run: slowReaderBlocks,
		Usually: "write(2) sleeps because that client's descriptor is blocking, or the loop repeats it until all is sent",
		Reread:  []string{`write(2) "ERRORS"`, `fcntl(2) "File status flags"`}, Chapter: chapter2,
	},
	{
		ID: "HALF_CLOSE_LOST", Title: "after shutdown(SHUT_WR) a client gets all it is owed, then EOF", For: everybody, run: halfClose,
		Usually: "read(2) returned 0 and the connection was closed with data still pending",
		Reread:  []string{`shutdown(2) "DESCRIPTION"`, `read(2) "RETURN VALUE"`}, Chapter: chapter2,
	},
	{
		ID: "DIED_ON_RESET", Title: "clients that reset their connection harm nobody else", For: everybody, run: diedOnReset,
		Usually: "ECONNRESET or EPIPE ends the process, or SIGPIPE does (send(2), MSG_NOSIGNAL)",
		Reread:  []string{`write(2) "ERRORS"`, `send(2) "The flags argument"`, `tcp(7) "Error handling"`}, Chapter: chapter1,
	},
	{
		ID: "DIED_OUT_OF_FDS", Title: "out of descriptors, it still serves the clients it has", For: everybody, run: diedOutOfFDs,
		starts: true, nofile: limits.fewFDs, looks: true,
		Usually: "EMFILE from accept(2) is taken for a fatal error",
		Reread:  []string{`accept(2) "ERRORS"`, `getrlimit(2) "DESCRIPTION"`}, Chapter: chapter3,
	},
	{
		ID: "SPINS_OUT_OF_FDS", Title: "out of descriptors, it sleeps", For: everybody, run: spinsOutOfFDs,
		starts: true, nofile: limits.fewFDs, looks: true,
		Usually: "a level-triggered listener is reported again and again while accept(2) fails",
		Reread:  []string{`accept(2) "ERRORS"`, `epoll_ctl(2) "DESCRIPTION"`}, Chapter: chapter3,
	},
	{
		ID: "DEAF_AFTER_OUT_OF_FDS", Title: "when descriptors are free again, it accepts again", For: everybody, run: deafOutOfFDs,
		starts: true, nofile: limits.fewFDs, looks: true,
		Usually: "the listener was unregistered, or its one edge was used up, and nothing asks again",
		Reread:  []string{`accept(2) "ERRORS"`, `epoll(7) "Questions and answers"`}, Chapter: chapter4,
	},
	{
		ID: "BUSY_LOOP", Title: "1000 idle clients cost no CPU time, nor do two that read nothing", For: everybody, run: busyLoop, looks: true, clients: limits.idle,
		Usually: "the loop asks everybody instead of sleeping, or EPOLLOUT is asked for with nothing to write",
		Reread:  []string{`epoll_wait(2) "DESCRIPTION"`, `epoll(7) "Level-triggered and edge-triggered"`}, Chapter: chapter3,
	},
	{
		ID: "STARVED", Title: "clients that never stop sending leave room for others", For: everybody, run: starved,
		Usually: "one client is read until EAGAIN, which never comes; or the loop goes on with those it knows, and does not ask who else is ready",
		Reread:  []string{`epoll(7) "Possible pitfalls and ways to avoid them"`}, Chapter: chapter4,
	},
	{
		ID: "ACCEPT_LOST", Title: "5000 clients that connect at once are all served", For: everybody, run: acceptLost, clients: limits.burst,
		Usually: "one accept(2) for each edge: several clients in one edge, and all but the first wait",
		Reread:  []string{`epoll(7) "Questions and answers"`, `listen(2) "DESCRIPTION"`}, Chapter: chapter4,
	},
	{
		ID: "DIED_ON_SIGNAL", Title: "it is stopped and continued, and serves on", For: everybody, run: diedOnSignal, starts: true, looks: true,
		Usually: "EINTR from epoll_wait(2) is taken for a fatal error",
		Reread:  []string{`signal(7) "Interruption of system calls and library functions by stop signals"`, `epoll_wait(2) "ERRORS"`}, Chapter: chapter3,
	},
	{
		ID: "FD_LEAK", Title: "clients that have gone leave no descriptor behind", For: everybody, run: fdLeak, looks: true,
		Usually: "shutdown(2) without close(2), or an error path without close(2)",
		Reread:  []string{`close(2) "DESCRIPTION"`, `shutdown(2) "DESCRIPTION"`}, Chapter: chapter1,
	},
	{
		ID: "CROSSED_WIRES", Title: "each client gets its own bytes and nobody else's", For: everybody, run: crossedWires,
		Usually: "state kept by descriptor number outlives the connection, and the number is used again",
		Reread:  []string{`close(2) "DESCRIPTION"`, `epoll(7) "Possible pitfalls and ways to avoid them"`}, Chapter: chapter3,
	},
	{
		ID: "IGNORES_SIGTERM", Title: "SIGTERM ends it, clients or not", For: everybody, run: ignoresSIGTERM, starts: true, looks: true, kills: true,
		Usually: "the signal is caught or ignored, and nothing wakes the loop to see it",
		Reread:  []string{`signal(7) "Standard signals"`, `epoll_wait(2) "DESCRIPTION"`}, Chapter: chapter1,
	},
	{
		ID: "PORT_STUCK", Title: "killed with a client attached, it can be started again at once", For: everybody, run: portStuck, starts: true, looks: true, kills: true,
		Usually: "bind(2) without SO_REUSEADDR fails while an old connection is in TIME_WAIT",
		Reread:  []string{`socket(7) "Socket options"`, `bind(2) "ERRORS"`}, Chapter: chapter1,
	},
	{
		ID: "EDGE_LOST", Title: "much data in one edge, then silence: all of it is answered", For: everybody, run: edgeLost,
		Usually: "one read(2) for each edge: what it left is only noticed when more arrives; or the loop sleeps although it knows of work",
		Reread:  []string{`epoll(7) "Level-triggered and edge-triggered"`, `epoll(7) "Questions and answers"`}, Chapter: chapter4,
	},
	{
		ID: "BLOCKING_FD", Title: "every accepted socket has O_NONBLOCK", For: epollers, run: blockingFD, looks: true,
		Usually: "O_NONBLOCK was set on the listener alone, and accept(2) does not inherit it",
		Reread:  []string{`accept(2) "STANDARDS"`, `fcntl(2) "File status flags"`}, Chapter: chapter2,
	},
	{
		ID: "NOT_EPOLL", Title: "the listener and the clients are in one epoll instance", For: epollers, run: notEpoll, looks: true,
		Usually: "another call than epoll_wait(2) waits for the clients",
		Reread:  []string{`epoll_create1(2) "epoll_create1()"`, `epoll_ctl(2) "DESCRIPTION"`}, Chapter: chapter3,
	},
	{
		ID: "NOT_LEVEL", Title: "clients are registered level-triggered", For: []Profile{LT}, run: notLevel, looks: true,
		Usually: "EPOLLET is in the events",
		Reread:  []string{`epoll(7) "Level-triggered and edge-triggered"`}, Chapter: chapter3,
	},
	{
		ID: "NOT_EDGE", Title: "clients are registered edge-triggered", For: []Profile{ET}, run: notEdge, looks: true,
		Usually: "EPOLLET is not in the events",
		Reread:  []string{`epoll(7) "Level-triggered and edge-triggered"`}, Chapter: chapter4,
	},
	{
		ID: "EPOLLOUT_ALWAYS_ARMED", Title: "EPOLLOUT is asked for only while something is pending", For: []Profile{LT}, run: epolloutArmed, looks: true,
		Usually: "EPOLLOUT was never taken back after the last byte was written",
		Reread:  []string{`epoll_ctl(2) "DESCRIPTION"`}, Chapter: chapter3,
	},
	{
		ID: "MANY_THREADS", Title: "one thread does the serving", For: epollers, run: manyThreads, looks: true,
		Usually: "each client has a thread or a goroutine of its own",
		Reread:  []string{`pthreads(7) "DESCRIPTION"`}, Chapter: chapter3,
	},
	{
		ID: "SPLIT_LINE", Title: "each line is answered with its length, however its bytes arrive", For: []Profile{Lines}, run: splitLine,
		Usually: "one read(2) is taken for one line, but it returns what has come: a part of a line, or several",
		Reread:  []string{`read(2) "RETURN VALUE"`, `tcp(7) "DESCRIPTION"`}, Chapter: chapter1,
	},
	{
		ID: "NEVER_TIMES_OUT", Title: "clients that are silent for 2 s are closed, and that costs little", For: []Profile{Timeout}, run: neverTimesOut, looks: true, clients: limits.crowd,
		Usually: "epoll_wait(2) has no timeout, and nobody looks at the clock; or the first client on the list speaks, and the others wait behind it",
		Reread:  []string{`epoll_wait(2) "DESCRIPTION"`, `timerfd_create(2) "Operating on a timer file descriptor"`}, Chapter: chapter3,
	},
	{
		ID: "ONE_READ_TOO_MANY", Title: "a message costs one read(2), and no FIN is missed", run: oneReadTooMany, starts: true, looks: true,
		Usually: "read(2) is called once more for each message, only to meet EAGAIN",
		Reread:  []string{`epoll(7) "Questions and answers"`, `epoll_ctl(2) "DESCRIPTION"`}, Chapter: chapter4,
	},
	{
		ID: "DROPPED_ON_TERM", Title: "SIGTERM ends it when everybody has what he is owed", run: droppedOnTerm, starts: true, looks: true, kills: true,
		Usually: "the signal has its default disposition, and ends the process in the middle of its work",
		Reread:  []string{`signal(7) "Signal dispositions"`, `eventfd(2) "DESCRIPTION"`, `tcp(7) "DESCRIPTION"`}, Chapter: chapter4,
	},
	{
		ID: "ONE_CORE", Title: "clients are spread over a process for each core, each with its own listening socket", For: []Profile{Cores}, run: oneCore, looks: true, clients: limits.spread,
		Usually: "one process serves everybody, and so one core works",
		Reread:  []string{`socket(7) "Socket options"`, `fork(2) "DESCRIPTION"`}, Chapter: chapter7,
	},
	{
		ID: "WORKER_LOST", Title: "when a process dies, only its own clients are lost, and soon there is another one", For: []Profile{Cores}, run: workerLost, starts: true, looks: true, clients: 3 * limits.spread,
		Usually: "nobody waits for the processes that serve, or starts another one",
		Reread:  []string{`wait4(2) "DESCRIPTION"`, `socket(7) "Socket options"`}, Chapter: chapter7,
	},
	{
		ID: "LEFT_BEHIND", Title: "when the parent ends, even by SIGKILL, the others end, too", For: []Profile{Cores}, run: leftBehind, starts: true, looks: true, kills: true,
		Usually: "the workers live on without their parent, and keep the address",
		Reread:  []string{`prctl(2) "DESCRIPTION"`, `signal(7) "Standard signals"`}, Chapter: chapter7,
	},
	{
		ID: "CHAT_LOST_LINE", Title: "each line goes to everybody else, whole, once and in order", For: []Profile{Chat}, run: chatLostLine,
		Usually: "what one read(2) returns is taken for a line, or what has come of a line is kept for all clients together",
		Reread:  []string{`read(2) "RETURN VALUE"`, `tcp(7) "DESCRIPTION"`}, Chapter: chapter3,
	},
	{
		ID: "CHAT_WRONG_NAME", Title: "everybody has a name of his own, and the others hear who joins and who leaves", For: []Profile{Chat}, run: chatWrongName,
		Usually: "the name outlives its connection, or a client that has no name yet is treated as one of the others",
		Reread:  []string{`close(2) "DESCRIPTION"`, `read(2) "RETURN VALUE"`}, Chapter: chapter3,
	},
	{
		ID: "CHAT_CROWD", Title: "500 clients hear each other, and when all is said the server sleeps", For: []Profile{Chat}, run: chatCrowd, looks: true, clients: limits.room,
		Usually: "a client is left out while many are served, or EPOLLOUT is asked for with nothing to write",
		Reread:  []string{`epoll_wait(2) "DESCRIPTION"`, `epoll_ctl(2) "DESCRIPTION"`}, Chapter: chapter3,
	},
	{
		ID: "CHAT_SLOW_READER", Title: "who does not read loses his own lines, or his connection, and costs little memory", For: []Profile{Chat}, run: chatSlowReader, looks: true,
		Usually: "lines are kept without limit for a client that does not read, or everybody waits for it",
		Reread:  []string{`write(2) "RETURN VALUE"`, `epoll_ctl(2) "DESCRIPTION"`}, Chapter: chapter3,
	},
	{
		ID: "REDIS_WRONG_REPLY", Title: "each command gets the reply that Redis gives", For: []Profile{Redis}, run: redisWrongReply,
		Usually: "a length is ignored and a line end looked for, or a command has a case that was not thought of",
		Reread:  []string{`read(2) "RETURN VALUE"`}, Chapter: chapter3,
	},
	{
		ID: "REDIS_SPLIT", Title: "commands are the same however they are cut, and however many come together", For: []Profile{Redis}, run: redisSplit,
		Usually: "one read(2) is taken for one command, or what has come of one is kept for all clients together",
		Reread:  []string{`read(2) "RETURN VALUE"`, `tcp(7) "DESCRIPTION"`}, Chapter: chapter3,
	},
	{
		ID: "REDIS_PROTOCOL_ERROR", Title: "who sends what is no command hears of it, and only that connection ends", For: []Profile{Redis}, run: redisProtocolError,
		Usually: "the connection is not closed, and the rest is taken for commands; or it is closed before the error is sent",
		Reread:  []string{`shutdown(2) "DESCRIPTION"`, `close(2) "DESCRIPTION"`}, Chapter: chapter3,
	},
	{
		ID: "REDIS_UNREAD_REPLIES", Title: "who does not read its replies costs little memory, and holds up nobody", For: []Profile{Redis}, run: redisUnread, looks: true,
		Usually: "the server goes on reading from a client that does not take its replies",
		Reread:  []string{`write(2) "RETURN VALUE"`, `tcp(7) "DESCRIPTION"`}, Chapter: chapter3,
	},
	{
		ID: "REDIS_MANY_WRITES", Title: "commands that come together are read together, and answered together", For: []Profile{Redis}, run: redisManyWrites, looks: true,
		Usually: "each reply is a write(2) of its own",
		Reread:  []string{`write(2) "DESCRIPTION"`, `tcp(7) "Socket options"`}, Chapter: chapter3,
	},
	{
		ID: "REDIS_TOOLS", Title: "redis-cli and redis-benchmark can work with it", For: []Profile{Redis}, run: redisTools,
		Usually: "a reply is missing, or one too many: the tools count",
		Reread:  []string{`read(2) "RETURN VALUE"`}, Chapter: chapter3,
	},
}
