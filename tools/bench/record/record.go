// Package record writes and reads the results of bench: text in the Go benchmark
// format, which benchstat reads, with one line for each server, load and round.
package record

import (
	"fmt"
	"io"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// A Line is one measurement.
type Line struct {
	Load   string  // for example PingPong64
	Server string  // step3
	Params []Param // the rest of the name, in order: conns=50
	N      int     // messages, or another unit that the load counts
	Values []Value
}

// A Param is a part of a line's name.
type Param struct{ Key, Value string }

// A Value is a figure with its unit: 7312 cpu-ns/msg.
type Value struct {
	Unit   string
	Number float64
}

// Case is the load with its parameters: PingPong64/conns=50.
func (l Line) Case() string {
	name := l.Load
	for _, p := range l.Params {
		name += "/" + p.Key + "=" + p.Value
	}
	return name
}

// Param returns a parameter's value, or "".
func (l Line) Param(key string) string {
	for _, p := range l.Params {
		if p.Key == key {
			return p.Value
		}
	}
	return ""
}

// Value returns the figure in a unit.
func (l Line) Value(unit string) (number float64, found bool) {
	for _, v := range l.Values {
		if v.Unit == unit {
			return v.Number, true
		}
	}
	return 0, false
}

// Config is the header of a file, such as goos, cpu and date.
type Config []Param

// Get returns the value of a key, or "".
func (c Config) Get(key string) string {
	return Line{Params: c}.Param(key)
}

// higher are the units of which more is better.
var higher = []string{"msgs/s"}

// A Writer writes lines below their configuration.
type Writer struct {
	out    *benchfmt.Writer
	config []benchfmt.Config
}

// NewWriter returns a Writer whose lines have the given configuration.
func NewWriter(w io.Writer, config Config) (*Writer, error) {
	for _, unit := range higher {
		if _, err := fmt.Fprintf(w, "Unit %s better=higher\n", unit); err != nil {
			return nil, err
		}
	}
	all := make([]benchfmt.Config, len(config))
	for i, p := range config {
		all[i] = benchfmt.Config{Key: p.Key, Value: []byte(p.Value), File: true}
	}
	return &Writer{benchfmt.NewWriter(w), all}, nil
}

// Write writes a line.
func (w *Writer) Write(l Line) error {
	name := l.Load + "/server=" + l.Server + strings.TrimPrefix(l.Case(), l.Load)
	r := benchfmt.Result{
		Config: w.config,
		Name:   benchfmt.Name(fmt.Sprintf("%s-%d", name, runtime.GOMAXPROCS(0))),
		Iters:  l.N,
	}
	for _, v := range l.Values {
		r.Values = append(r.Values, benchfmt.Value{Value: v.Number, Unit: v.Unit})
	}
	return w.out.Write(&r)
}

var processors = regexp.MustCompile(`-\d+$`)

// Read returns all lines, and the configuration of the last one.
func Read(r io.Reader, file string) ([]Line, Config, error) {
	var lines []Line
	var config Config
	reader := benchfmt.NewReader(r, file)
	for reader.Scan() {
		switch rec := reader.Result().(type) {
		case *benchfmt.SyntaxError:
			return nil, nil, rec
		case *benchfmt.Result:
			l, err := line(rec)
			if err != nil {
				return nil, nil, err
			}
			lines = append(lines, l)
			config = config[:0]
			for _, c := range rec.Config {
				if c.File {
					config = append(config, Param{c.Key, string(c.Value)})
				}
			}
		}
	}
	return lines, config, reader.Err()
}

func line(rec *benchfmt.Result) (Line, error) {
	l := Line{N: rec.Iters}
	name := processors.ReplaceAllString(string(rec.Name), "")
	for i, part := range strings.Split(name, "/") {
		key, value, found := strings.Cut(part, "=")
		switch {
		case i == 0:
			l.Load = part
		case !found:
			file, at := rec.Pos()
			return l, fmt.Errorf("%s:%d: %s: want KEY=VALUE after each slash", file, at, name)
		case key == "server":
			l.Server = value
		default:
			l.Params = append(l.Params, Param{key, value})
		}
	}
	for _, v := range rec.Values {
		if v.OrigUnit != "" { // the reader converts ns to seconds
			v.Unit, v.Value = v.OrigUnit, v.OrigValue
		}
		l.Values = append(l.Values, Value{v.Unit, v.Value})
	}
	return l, nil
}

// A Summary describes the values of several rounds.
type Summary struct {
	Rounds           int
	Median, Min, Max float64
	Low, High        float64 // quartiles
}

// Summarize returns a Summary with Rounds 0 if there are no values.
func Summarize(values []float64) Summary {
	if len(values) == 0 {
		return Summary{}
	}
	v := slices.Sorted(slices.Values(values))
	return Summary{
		Rounds: len(v), Median: Quantile(v, 0.5), Min: v[0], Max: v[len(v)-1],
		Low: Quantile(v, 0.25), High: Quantile(v, 0.75),
	}
}

// Quantile interpolates between the two sorted values on either side of q.
func Quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// A Table holds lines by case and server.
type Table struct {
	Cases, Servers []string // in order of their first line
	lines          map[[2]string][]Line
}

// Tabulate builds a table of lines.
func Tabulate(lines []Line) *Table {
	t := &Table{lines: make(map[[2]string][]Line)}
	for _, l := range lines {
		if !slices.Contains(t.Cases, l.Case()) {
			t.Cases = append(t.Cases, l.Case())
		}
		if !slices.Contains(t.Servers, l.Server) {
			t.Servers = append(t.Servers, l.Server)
		}
		at := [2]string{l.Case(), l.Server}
		t.lines[at] = append(t.lines[at], l)
	}
	return t
}

// Lines returns the rounds of one case and server.
func (t *Table) Lines(name, server string) []Line { return t.lines[[2]string{name, server}] }

// Values returns the figures of the rounds in one unit.
func (t *Table) Values(name, server, unit string) []float64 {
	var values []float64
	for _, l := range t.Lines(name, server) {
		if v, found := l.Value(unit); found {
			values = append(values, v)
		}
	}
	return values
}

// Summary summarizes Values.
func (t *Table) Summary(name, server, unit string) Summary {
	return Summarize(t.Values(name, server, unit))
}
