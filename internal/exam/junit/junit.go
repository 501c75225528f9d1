// Package junit writes what the examiner found in the format that CI systems read:
// the XML of JUnit, as Jenkins and GitLab understand it. There is no standard for it;
// the elements and attributes here are those that Jenkins's schema, junit-10.xsd, has.
package junit

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/show"
)

const textWidth = 80 // columns of an explanation

type suites struct {
	XMLName xml.Name `xml:"testsuites"`
	counts
	Suites []suite `xml:"testsuite"`
}

type suite struct {
	counts
	Skipped    int        `xml:"skipped,attr"`
	Timestamp  string     `xml:"timestamp,attr"`
	Properties []property `xml:"properties>property"`
	Cases      []testCase `xml:"testcase"`
}

type counts struct {
	Name     string `xml:"name,attr"`
	Tests    int    `xml:"tests,attr"`
	Failures int    `xml:"failures,attr"`
	Errors   int    `xml:"errors,attr"`
	Time     string `xml:"time,attr"` // seconds
}

type property struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type testCase struct {
	Name      string   `xml:"name,attr"`
	ClassName string   `xml:"classname,attr"`
	Time      string   `xml:"time,attr"`
	Failure   *outcome `xml:"failure"`
	Error     *outcome `xml:"error"`
	Skipped   *outcome `xml:"skipped"`
}

// An outcome says why a test case did not pass.
type outcome struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",cdata"` // which keeps its lines readable in the file
}

// Write writes the report. Each check is a test case, named by its ID and its title. If
// the grading did not come to its end, a further test case has the error.
func Write(w io.Writer, r *exam.Report) error {
	s := suite{
		counts:    counts{Name: cmp.Or(strings.Join(r.Server, " "), r.Addr, "exam"), Time: seconds(r.Seconds)},
		Timestamp: r.Date.UTC().Format("2006-01-02T15:04:05"),
		Properties: []property{
			{"as", string(r.As)}, {"status", string(r.Status)}, {"kernel", r.Kernel},
			{"machine", r.Machine}, {"cpus", fmt.Sprint(r.CPUs)},
		},
	}
	class := "exam." + string(r.As)
	for _, res := range r.Results {
		c := testCase{Name: res.ID + ": " + res.Title, ClassName: class, Time: seconds(res.Seconds)}
		text := allowed("\n" + show.Style{Width: textWidth}.Text(res))
		switch res.Verdict {
		case exam.Fail:
			c.Failure = &outcome{res.Usually, res.ID, text}
		case exam.Error:
			c.Error = &outcome{res.Reason, res.ID, text}
		case exam.Skip:
			c.Skipped = &outcome{Message: res.Reason}
		}
		s.Cases = append(s.Cases, c)
	}
	if r.Status == exam.StatusNeverListened || r.Status == exam.StatusInterrupted {
		s.Cases = append(s.Cases, testCase{
			Name: "the server can be graded", ClassName: class, Time: seconds(0),
			Error: &outcome{r.Problem, string(r.Status), allowed(r.Output)},
		})
	}
	for _, c := range s.Cases {
		s.Tests++
		switch {
		case c.Failure != nil:
			s.Failures++
		case c.Error != nil:
			s.Errors++
		case c.Skipped != nil:
			s.Skipped++
		}
	}
	all := suites{counts: s.counts, Suites: []suite{s}}
	all.Name = "exam"
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// allowed replaces the characters that XML does not allow, even in CDATA. Package xml
// does that elsewhere.
func allowed(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t', r == '\n', r == '\r', 0x20 <= r && r <= 0xD7FF, 0xE000 <= r && r <= 0xFFFD, 0x10000 <= r:
			return r
		}
		return utf8.RuneError
	}, text)
}

func seconds(s float64) string { return fmt.Sprintf("%.3f", s) }
