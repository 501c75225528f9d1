package exam

import "os"

// A Check asks one question about a server.
type Check struct {
	ID      string    // never changes
	Title   string    // what a server does that passes
	For     []Profile // who has to pass it; nobody, if it is only asked by its ID
	Usually string    // what is wrong, most of the time
	Reread  []string  // man pages: page(section) "Heading"
	Chapter string    // the chapter that teaches it

	Run      func(*Session) error
	Starts   bool   // must start the server itself: it limits, signals or restarts it
	Looks    bool   // must see its process in /proc
	Kills    bool   // the server is expected to end
	Survival bool   // it asks whether the server survives: Usually explains its death
	NOFILE   uint64 // RLIMIT_NOFILE for the server, if not what we have
	Clients  int    // descriptors that the examiner needs
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
	ChapterBlocking    = "docs/01-blocking.md"
	ChapterNonblocking = "docs/02-nonblocking.md"
	ChapterLevel       = "docs/03-epoll-level-triggered.md"
	ChapterEdge        = "docs/04-epoll-edge-triggered.md"
	ChapterCores       = "docs/07-beyond-one-thread.md"
)
