package main

import (
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"epoll-step-by-step/tools/bench/record"
)

// Every chart is well-formed XML with light and dark colours.
func TestCharts(t *testing.T) {
	in, out := t.TempDir(), t.TempDir()
	f, err := os.Create(filepath.Join(in, "bench.txt"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := record.NewWriter(f, record.Config{{Key: "cpu", Value: "some & other"}, {Key: "date", Value: "2026-01-02T03:04:05Z"}})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range []string{"step2", "step3", "c"} {
		for _, name := range []string{"PingPong64/conns=50", "Where64/conns=50", "OpenLoop64/conns=50", "IdleCost64/idle=0", "IdleCost64/idle=19000", "IdleMemory/idle=19000"} {
			load, param, _ := strings.Cut(name, "/")
			key, value, _ := strings.Cut(param, "=")
			is := float64(1000 * (i + 1))
			w.Write(record.Line{Load: load, Server: s, N: 1, Params: []record.Param{{Key: key, Value: value}}, Values: []record.Value{
				{Unit: "cpu-ns/msg", Number: is}, {Unit: "p50-ns", Number: is}, {Unit: "p99-ns", Number: 2 * is}, {Unit: "p99.9-ns", Number: 3 * is}, {Unit: "own-B/conn", Number: is},
				{Unit: "kernel-%", Number: 80}, {Unit: "runtime-%", Number: 15}, {Unit: "own-%", Number: 5},
			}})
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := run(in, out); err != nil {
		t.Fatal(err)
	}
	for _, c := range charts {
		text, err := os.ReadFile(filepath.Join(out, c.file))
		if err != nil {
			t.Fatal(err)
		}
		for dec := xml.NewDecoder(strings.NewReader(string(text))); ; {
			if _, err := dec.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", c.file, err)
			}
		}
		for _, want := range []string{"<title>" + c.title, "step 3", "prefers-color-scheme:dark", `class="f`, "some &amp; other"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s: there is no %q", c.file, want)
			}
		}
		for _, p := range palette {
			if strings.Contains(string(text), `style="fill:`+hex(p.light)) {
				t.Errorf("%s: a colour has no class", c.file)
			}
		}
	}
}

func TestNoResults(t *testing.T) {
	if err := run(t.TempDir(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "make bench RECORD=1") {
		t.Errorf("got %v, want an error that names the command", err)
	}
}

func TestGroupThousands(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 100: "100", 19000: "19,000", 1234567: "1,234,567", 2.5: "2.5"} {
		if got := groupThousands(x); got != want {
			t.Errorf("%v: got %s, want %s", x, got, want)
		}
	}
}
