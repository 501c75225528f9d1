package exam

import "os"

// A Check asks one question about a server.
type Check struct {
	ID      string    // never changes
	Title   string    // what a server does that passes
	For     []Profile // that have to pass it; none, if it is only run by its ID
	Usually string    // the usual mistake behind a failure
	Reread  []string  // man pages: page(section) "Heading"
	Chapter string    // the file of the chapter that teaches it

	// Run asks the question. It returns nil, ErrFailed, one of the other verdicts,
	// or the error of a client, which fails the check.
	Run func(*Session) error

	FollowsFrom []string // IDs of checks: if one of them fails, it usually explains a failure of this one

	EchoOnly bool   // it asks what only an echo server can answer
	NotEcho  bool   // it is about requests of several bytes
	Starts   bool   // the examiner must have started the server: it limits, signals or restarts it
	Looks    bool   // the examiner must see the server's process in /proc
	Kills    bool   // the server is expected to end
	Survival bool   // the question is whether the server survives: Usually explains its death
	NOFILE   uint64 // RLIMIT_NOFILE of the server, if not ours
	Clients  int    // descriptors that the examiner needs
}

func (c Check) verdict(v Verdict, reason string, facts []Fact) Result {
	r := Result{ID: c.ID, Title: c.Title, Verdict: v, Reason: reason, Facts: facts}
	if v == Fail {
		r.Failure, r.Usually, r.Reread = c.ID, c.Usually, c.Reread
		if _, err := os.Stat(c.Chapter); err == nil { // we are in the repository
			r.Chapter = c.Chapter
		}
	}
	return r
}

// The chapters, for Check.Chapter.
const (
	ChapterBlocking    = "docs/01-blocking.md"
	ChapterNonblocking = "docs/02-nonblocking.md"
	ChapterLevel       = "docs/03-epoll-level-triggered.md"
	ChapterEdge        = "docs/04-epoll-edge-triggered.md"
	ChapterCores       = "docs/07-beyond-one-thread.md"
)
