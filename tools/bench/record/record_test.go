package record

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func TestWriteAndRead(t *testing.T) {
	config := Config{{"goos", "linux"}, {"cpu", "AMD EPYC"}, {"date", "2026-01-02T03:04:05Z"}}
	want := []Line{
		{"PingPong64", "step3", []Param{{"conns", "50"}}, 1200, []Value{{"ns/op", 8000}, {"cpu-ns/msg", 7312}, {"p99.9-ns", 12.5}}},
		{"PingPong64", "c", []Param{{"conns", "50"}}, 1300, []Value{{"ns/op", 7000}}},
		{"IdleMemory", "step3", []Param{{"idle", "19000"}}, 19000, []Value{{"own-B/conn", 250}}},
	}
	var text bytes.Buffer
	w, err := NewWriter(&text, config)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range want {
		if err := w.Write(l); err != nil {
			t.Fatal(err)
		}
	}
	if line := "BenchmarkPingPong64/server=step3/conns=50-"; !strings.Contains(text.String(), line) {
		t.Errorf("no line begins with %s:\n%s", line, &text)
	}
	got, gotConfig, err := Read(&text, "test")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, want %+v", got, want)
	}
	if !reflect.DeepEqual(gotConfig, config) {
		t.Errorf("read the configuration %v, want %v", gotConfig, config)
	}
}

func TestReadWrong(t *testing.T) {
	for name, text := range map[string]string{
		"a figure that is none": "BenchmarkA/server=c-2 1 x ns/op\n",
		"a name without a key":  "BenchmarkA/c-2 1 5 ns/op\n",
	} {
		if lines, _, err := Read(strings.NewReader(text), name); err == nil {
			t.Errorf("%s: read %+v, want an error", name, lines)
		}
	}
}

func TestSummarize(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Summary
	}{
		{nil, Summary{}},
		{[]float64{3}, Summary{1, 3, 3, 3, 3, 3}},
		{[]float64{4, 1, 3, 2}, Summary{4, 2.5, 1, 4, 1.75, 3.25}},
		{[]float64{5, 1, 2, 4, 3}, Summary{5, 3, 1, 5, 2, 4}},
	} {
		if got := Summarize(c.values); got != c.want {
			t.Errorf("%v: got %+v, want %+v", c.values, got, c.want)
		}
	}
}

func TestTable(t *testing.T) {
	table := Tabulate([]Line{
		{Load: "A", Server: "x", Values: []Value{{"ns/op", 1}}},
		{Load: "B", Server: "x"},
		{Load: "A", Server: "y", Values: []Value{{"ns/op", 5}}},
		{Load: "A", Server: "x", Values: []Value{{"ns/op", 3}}},
	})
	if !reflect.DeepEqual(table.Cases, []string{"A", "B"}) || !reflect.DeepEqual(table.Servers, []string{"x", "y"}) {
		t.Errorf("got cases %v and servers %v", table.Cases, table.Servers)
	}
	if got := table.Values("A", "x", "ns/op"); !reflect.DeepEqual(got, []float64{1, 3}) {
		t.Errorf("got %v, want the rounds in order", got)
	}
	if got := table.Summary("A", "z", "ns/op"); got.Rounds != 0 {
		t.Errorf("a server that was not measured has %+v", got)
	}
}
