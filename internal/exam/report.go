package exam

import (
	"slices"
	"time"
)

// A Verdict is the outcome of one check.
type Verdict string

const (
	Pass  Verdict = "pass"
	Fail  Verdict = "fail"
	Skip  Verdict = "skip"  // it does not apply, or would show nothing
	Error Verdict = "error" // it could not be run
)

// A Status says how far the grading came.
type Status string

const (
	StatusGraded        Status = "graded"
	StatusNeverListened Status = "never listened"
	StatusHang          Status = "hang"         // the server listens and never answers
	StatusNotEcho       Status = "not echo"     // the server answers with other bytes
	StatusWrongAnswer   Status = "wrong answer" // the server changes the bytes that it sends back
	StatusInterrupted   Status = "interrupted"
)

// A Fact is one line of an explanation: "got back", "16 bytes, then silence".
type Fact struct {
	Label string `json:"label"`
	Text  string `json:"text"`
}

// A Result is what a check found.
type Result struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Verdict Verdict  `json:"verdict"`
	Failure string   `json:"failure,omitempty"` // the ID again, if it failed
	Reason  string   `json:"reason,omitempty"`  // for skip and error
	Facts   []Fact   `json:"facts,omitempty"`
	Usually string   `json:"usually,omitempty"`
	Reread  []string `json:"reread,omitempty"`
	Chapter string   `json:"chapter,omitempty"`

	FollowsFrom string `json:"follows_from,omitempty"` // the ID of the failed check that usually explains this one

	Seconds float64 `json:"seconds"`
}

// A Report is the outcome of a grading.
type Report struct {
	Status  Status    `json:"status"`
	Problem string    `json:"problem,omitempty"` // why it was not graded
	Output  string    `json:"output,omitempty"`  // what the server printed last, in that case
	Server  []string  `json:"server,omitempty"`
	Addr    string    `json:"addr,omitempty"`
	PID     int       `json:"pid,omitempty"`
	As      Profile   `json:"as"`
	Machine string    `json:"machine"`
	Kernel  string    `json:"kernel"`
	CPUs    int       `json:"cpus"`
	Date    time.Time `json:"date"`
	Seconds float64   `json:"seconds"`
	Begin   []string  `json:"begin_with,omitempty"` // IDs of failed checks that explain others; the one that explains most is first
	Results []Result  `json:"checks"`
}

// order finds out which failures follow from which others.
func (r *Report) order(checks []Check) {
	verdict := make(map[string]Verdict)
	for _, res := range r.Results {
		verdict[res.ID] = res.Verdict
	}
	causes := make(map[string][]string)
	for _, c := range checks {
		causes[c.ID] = c.FollowsFrom
	}
	explains := make(map[string]int) // how many others
	for i, res := range r.Results {
		if res.Verdict != Fail && res.Verdict != Error {
			continue
		}
		id := res.ID
		for { // to the first cause
			j := slices.IndexFunc(causes[id], func(cause string) bool { return verdict[cause] == Fail })
			if j < 0 {
				break
			}
			id = causes[id][j]
		}
		if id != res.ID {
			r.Results[i].FollowsFrom = id
			explains[id]++
		}
	}
	for _, res := range r.Results {
		if explains[res.ID] > 0 {
			r.Begin = append(r.Begin, res.ID)
		}
	}
	slices.SortStableFunc(r.Begin, func(a, b string) int { return explains[b] - explains[a] })
}

// Count returns how many checks ended with v.
func (r *Report) Count(v Verdict) int {
	n := 0
	for _, res := range r.Results {
		if res.Verdict == v {
			n++
		}
	}
	return n
}

// Passed reports whether the server was graded and passed all checks that were not
// skipped. A check that could not be run is not a pass.
func (r *Report) Passed() bool {
	return r.Status == StatusGraded && r.Count(Pass) > 0 && r.Count(Fail)+r.Count(Error) == 0
}
