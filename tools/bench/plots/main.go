// Plots draws the charts of the documentation from the results of bench.
//
// Usage: plots [-in results] [-out ../../docs/img]   (make plots)
package main

import (
	"errors"
	"flag"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"epoll-step-by-step/tools/bench/record"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// The colours by role, in their light variants. svg.go maps each one to a class and
// its dark variant.
var (
	ink   = color.RGBA{0x22, 0x26, 0x2e, 0xff}
	soft  = color.RGBA{0x5a, 0x60, 0x6c, 0xff}
	grid  = color.RGBA{0xd9, 0xd5, 0xca, 0xff}
	steps = color.RGBA{0x3b, 0x6f, 0xb5, 0xff}
	peers = color.RGBA{0x9a, 0x93, 0xb0, 0xff}
	green = color.RGBA{0x3f, 0x8a, 0x50, 0xff}
	amber = color.RGBA{0xb2, 0x7a, 0x0c, 0xff}
	red   = color.RGBA{0xb8, 0x4a, 0x42, 0xff}
)

// titles are the names of the servers in a picture.
var titles = map[string]string{
	"step1": "step 1", "step2": "step 2", "step3": "step 3", "step4": "step 4", "raw": "exercise 19", "c": "C loop", "cpp": "step 3 in C++",
	"goroutines": "goroutines", "netpoll": "cloudwego/netpoll", "libevent": "libevent", "redis": "Redis PING", "node": "node",
}

func title(server string) string {
	if t := titles[server]; t != "" {
		return t
	}
	return server
}

// ours tells a server of this repository from the others.
func ours(server string) bool {
	return strings.HasPrefix(server, "step") || server == "raw" || server == "cpp"
}

// A chart is one picture. draw returns a description of it in words.
type chart struct {
	file, title string
	height      vg.Length
	draw        func(p *plot.Plot, t *record.Table) (string, error)
}

var charts = []chart{
	{"bench-cpu.svg", "CPU time for one message", 400, drawCPU},
	{"bench-where.svg", "Where the CPU time of a message goes", 420, drawWhere},
	{"bench-idle.svg", "CPU time for one message, beside idle clients", 420, drawIdle},
	{"bench-latency.svg", "Latency at 20,000 messages a second", 420, drawLatency},
	{"bench-memory.svg", "Memory of the process for each idle connection", 380, drawMemory},
}

const width = 640 // of the pictures of the documentation

func main() {
	in := flag.String("in", "results", "`folder` with the recorded results")
	out := flag.String("out", "../../docs/img", "`folder` for the pictures")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*in, *out); err != nil {
		fmt.Fprintln(os.Stderr, "plots:", err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	file := filepath.Join(in, "bench.txt")
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("%w: make bench RECORD=1 writes it", err)
	}
	defer f.Close()
	lines, config, err := record.Read(f, file)
	if err != nil {
		return err
	}
	t := record.Tabulate(lines)
	for _, c := range charts {
		text, err := render(c, t, config)
		if err != nil {
			return fmt.Errorf("%s: %w", c.file, err)
		}
		if err := os.WriteFile(filepath.Join(out, c.file), text, 0o644); err != nil {
			return err
		}
		fmt.Println(filepath.Join(out, c.file))
	}
	return nil
}

func render(c chart, t *record.Table, config record.Config) ([]byte, error) {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	plotter.DefaultFont = plot.DefaultFont
	p := plot.New()
	p.BackgroundColor = nil
	p.Title.Text = c.title
	p.Title.TextStyle.Font.Size, p.Title.TextStyle.Color = 19, ink
	p.Title.Padding = 10
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Color, a.Label.TextStyle.Color, a.Tick.Color, a.Tick.Label.Color = soft, soft, grid, ink
		a.Label.TextStyle.Font.Size, a.Tick.Label.Font.Size = 15, 15
		a.Label.Padding, a.Padding = 6, 4
	}
	p.Legend.TextStyle.Font.Size, p.Legend.TextStyle.Color = 15, ink
	p.Legend.ThumbnailWidth, p.Legend.Padding = 24, 3
	shown, err := c.draw(p, t)
	if err != nil {
		return nil, err
	}
	day, _, _ := strings.Cut(config.Get("date"), "T")
	where := fmt.Sprintf("%s, %s CPUs, Linux %s, %s, %s", config.Get("cpu"), config.Get("cpus"), config.Get("kernel"), config.Get("go"), day)
	return svg(p, c, where, shown)
}

// A bar is a median with its spread.
type bar struct {
	name string
	ours bool
	record.Summary
}

// bars returns the servers of a case, the highest median first.
func bars(t *record.Table, name, unit string, scale float64) ([]bar, error) {
	var all []bar
	for _, s := range t.Servers {
		var values []float64
		for _, v := range t.Values(name, s, unit) {
			values = append(values, v*scale)
		}
		if len(values) > 0 {
			all = append(all, bar{title(s), ours(s), record.Summarize(values)})
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("there are no results %s", name)
	}
	slices.SortStableFunc(all, func(a, b bar) int { return int(math.Copysign(1, b.Median-a.Median)) })
	return all, nil
}

// drawBars draws horizontal bars with their figures, the lowest on top. A bar longer
// than limit is cut, and its figure is marked.
func drawBars(p *plot.Plot, all []bar, limit float64, figure func(float64) string) (string, error) {
	vertical(p)
	p.X.Tick.Marker = labelledTicks{}
	var shown []string
	names := make([]string, len(all))
	var labels plotter.XYLabels
	for i, b := range all {
		names[i] = b.name
		long := min(b.Median, limit)
		chart, err := plotter.NewBarChart(plotter.Values{long}, 18)
		if err != nil {
			return "", err
		}
		chart.Horizontal, chart.XMin, chart.LineStyle.Width = true, float64(i), 0
		chart.Color = peers
		if b.ours {
			chart.Color = steps
		}
		p.Add(chart)
		at, text := long, figure(b.Median)
		if b.Median > limit {
			text += ", cut"
		} else {
			spread, err := plotter.NewXErrorBars(spreads{{long, float64(i), b.Median - b.Low, min(b.High, limit) - b.Median}})
			if err != nil {
				return "", err
			}
			spread.Color, spread.Width = ink, 1.2
			p.Add(spread)
			at = max(long, min(b.High, limit))
		}
		labels.XYs = append(labels.XYs, plotter.XY{X: at, Y: float64(i)})
		labels.Labels = append(labels.Labels, text)
		shown = append(shown, fmt.Sprintf("%s %s", b.name, text))
	}
	if err := label(p, labels, vg.Point{X: 7, Y: -5}); err != nil {
		return "", err
	}
	p.NominalY(names...)
	p.Y.Width, p.Y.Tick.Width = 0, 0
	p.X.Min, p.X.Max = 0, limit*1.02
	slices.Reverse(shown)
	return strings.Join(shown, ", "), nil
}

func vertical(p *plot.Plot) {
	g := plotter.NewGrid()
	g.Horizontal.Width = 0
	g.Vertical.Color, g.Vertical.Width = grid, 1
	p.Add(g)
}

func label(p *plot.Plot, labels plotter.XYLabels, offset vg.Point) error {
	l, err := plotter.NewLabels(labels)
	if err != nil {
		return err
	}
	l.Offset = offset
	for i := range l.TextStyle {
		l.TextStyle[i].Font.Size, l.TextStyle[i].Color = 15, ink
	}
	p.Add(l)
	return nil
}

// spreads are x, y, and the distances from x to the two ends of its spread.
type spreads [][4]float64

func (s spreads) Len() int                        { return len(s) }
func (s spreads) XY(i int) (float64, float64)     { return s[i][0], s[i][1] }
func (s spreads) XError(i int) (float64, float64) { return s[i][2], s[i][3] }

func drawCPU(p *plot.Plot, t *record.Table) (string, error) {
	p.X.Label.Text = "µs, all threads; 64 bytes, 50 clients; median, quartiles"
	all, err := bars(t, "PingPong64/conns=50", "cpu-ns/msg", 1e-3)
	if err != nil {
		return "", err
	}
	return drawBars(p, all, axisEnd(all), func(x float64) string { return fmt.Sprintf("%.1f", x) })
}

func drawMemory(p *plot.Plot, t *record.Table) (string, error) {
	p.X.Label.Text = "bytes, without the kernel's; median, quartiles"
	name := ""
	for _, c := range t.Cases {
		if strings.HasPrefix(c, "IdleMemory/") {
			name = c
		}
	}
	all, err := bars(t, name, "own-B/conn", 1)
	if err != nil {
		return "", err
	}
	return drawBars(p, all, axisEnd(all), func(x float64) string { return groupThousands(math.Round(x)) })
}

// whereParts are the parts of a bar of drawWhere, from left to right.
var whereParts = []struct {
	unit, name string
	color      color.Color
}{
	{"kernel-%", "kernel", peers}, {"runtime-%", "runtime, libraries", amber}, {"own-%", "the program", steps},
}

// drawWhere divides the bars of drawCPU by the shares that perf has sampled.
func drawWhere(p *plot.Plot, t *record.Table) (string, error) {
	const where = "Where64/conns=50"
	p.X.Label.Text = "µs, all threads; 64 bytes, 50 clients"
	p.X.Tick.Marker = labelledTicks{}
	all, err := bars(t, "PingPong64/conns=50", "cpu-ns/msg", 1e-3)
	if err != nil {
		return "", err
	}
	servers := make(map[string]string)
	for _, s := range t.Servers {
		servers[title(s)] = s
	}
	all = slices.DeleteFunc(all, func(b bar) bool { return t.Summary(where, servers[b.name], "kernel-%").Rounds == 0 })
	if len(all) == 0 {
		return "", fmt.Errorf("there are no results %s", where)
	}
	vertical(p)
	names, shown := make([]string, len(all)), make([]string, len(all))
	for i, b := range all {
		names[i], shown[i] = b.name, b.name
		begin := 0.0
		for _, part := range whereParts {
			us := b.Median * t.Summary(where, servers[b.name], part.unit).Median / 100
			rectangle, err := plotter.NewPolygon(plotter.XYs{{X: begin, Y: float64(i) - 0.32}, {X: begin + us, Y: float64(i) - 0.32},
				{X: begin + us, Y: float64(i) + 0.32}, {X: begin, Y: float64(i) + 0.32}})
			if err != nil {
				return "", err
			}
			rectangle.Color, rectangle.LineStyle.Width = part.color, 0
			p.Add(rectangle)
			if i == 0 {
				p.Legend.Add(part.name, rectangle)
			}
			begin += us
			shown[i] += fmt.Sprintf(" %.1f", us)
		}
	}
	p.NominalY(names...)
	p.Y.Width, p.Y.Tick.Width = 0, 0
	p.X.Min, p.X.Max = 0, all[0].Median*1.1
	p.Legend.Top = true // beside the shortest bars
	slices.Reverse(shown)
	return "kernel, runtime and libraries, program: " + strings.Join(shown, ", "), nil
}

// axisEnd is the longest length of a bar and its spread: a little more than the
// longest median, unless that is more than twice the next one.
func axisEnd(all []bar) float64 {
	if len(all) > 1 && all[0].Median > 2*all[1].Median {
		return all[1].Median * 1.25
	}
	return all[0].Median * 1.1
}

// idleServers have a line in the chart with idle clients.
var idleServers = []struct {
	name  string
	color color.Color
	dash  []vg.Length
}{
	{"step2", red, nil}, {"goroutines", amber, []vg.Length{7, 4}}, {"step4", green, []vg.Length{3, 3}}, {"step3", steps, nil}, {"c", soft, []vg.Length{1, 3}},
}

func drawIdle(p *plot.Plot, t *record.Table) (string, error) {
	p.X.Label.Text = "idle clients; 10 others send 64 bytes at a time"
	p.Y.Label.Text = "µs of CPU, logarithmic"
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, decades{}
	p.X.Tick.Marker = thousands{}
	g := plotter.NewGrid()
	g.Vertical.Width = 0
	g.Horizontal.Color, g.Horizontal.Width = grid, 1
	p.Add(g)
	var shown []string
	low, high := math.Inf(1), 0.0
	for _, s := range idleServers {
		var points plotter.XYs
		for _, c := range t.Cases {
			n, found := strings.CutPrefix(c, "IdleCost64/idle=")
			if cost := t.Summary(c, s.name, "cpu-ns/msg"); found && cost.Rounds > 0 {
				x, err := strconv.ParseFloat(n, 64)
				if err != nil {
					return "", err
				}
				points = append(points, plotter.XY{X: x, Y: cost.Median / 1e3})
				low, high = min(low, cost.Median/1e3), max(high, cost.Median/1e3)
			}
		}
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return "", err
		}
		line.Color, line.Width, line.Dashes = s.color, 2.5, s.dash
		dots.Color, dots.Shape, dots.Radius = s.color, draw.CircleGlyph{}, 3.5
		p.Add(line, dots)
		p.Legend.Add(title(s.name), line)
		first, last := points[0], points[len(points)-1]
		shown = append(shown, fmt.Sprintf("%s from %.1f to %.1f µs", title(s.name), first.Y, last.Y))
	}
	if len(shown) == 0 {
		return "", errors.New("there are no results IdleCost64")
	}
	p.Y.Min, p.Y.Max = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high)))
	p.Legend.Left, p.Legend.Top, p.Legend.XOffs = true, true, 14
	return strings.Join(shown, ", "), nil
}

// drawLatency shows three percentiles of each server on one line.
func drawLatency(p *plot.Plot, t *record.Table) (string, error) {
	const name = "OpenLoop64/conns=50"
	p.X.Label.Text = "µs since the message was due, logarithmic"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, decades{}
	all, err := bars(t, name, "p99-ns", 1e-3)
	if err != nil {
		return "", err
	}
	servers := make(map[string]string)
	for _, s := range t.Servers {
		servers[title(s)] = s
	}
	vertical(p)
	low, high := math.Inf(1), 0.0
	names := make([]string, len(all))
	marks := []struct {
		unit, name string
		color      color.Color
		shape      draw.GlyphDrawer
	}{
		{"p50-ns", "p50", green, draw.CircleGlyph{}}, {"p99-ns", "p99", amber, draw.BoxGlyph{}}, {"p99.9-ns", "p99.9", red, draw.PyramidGlyph{}},
	}
	points := make([]plotter.XYs, len(marks))
	var shown []string
	for i, b := range all {
		names[i] = b.name
		text := b.name
		for j, m := range marks {
			v := t.Summary(name, servers[b.name], m.unit).Median / 1e3
			points[j] = append(points[j], plotter.XY{X: v, Y: float64(i)})
			low, high = min(low, v), max(high, v)
			text += fmt.Sprintf(" %.0f", v)
		}
		shown = append(shown, text)
		line, err := plotter.NewLine(plotter.XYs{points[0][i], points[len(marks)-1][i]})
		if err != nil {
			return "", err
		}
		line.Color, line.Width = soft, 1.2
		p.Add(line)
	}
	for j, m := range marks {
		dots, err := plotter.NewScatter(points[j])
		if err != nil {
			return "", err
		}
		dots.Color, dots.Shape, dots.Radius = m.color, m.shape, 5
		p.Add(dots)
		p.Legend.Add(m.name, dots)
	}
	p.NominalY(names...)
	p.Y.Width, p.Y.Tick.Width = 0, 0
	p.X.Min, p.X.Max = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high)))
	p.Legend.ThumbnailWidth, p.Legend.YOffs = 14, 4
	slices.Reverse(shown)
	return "p50, p99 and p99.9: " + strings.Join(shown, ", "), nil
}

// decades are the ticks 1, 10, 100 … of a logarithmic scale.
type decades struct{}

func (decades) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for x := math.Pow(10, math.Floor(math.Log10(low))); x <= high*1.001; x *= 10 {
		if x >= low*0.999 {
			ticks = append(ticks, plot.Tick{Value: x, Label: groupThousands(x)})
		}
	}
	return ticks
}

// labelledTicks are the major ticks, with commas in their labels.
type labelledTicks struct{}

func (labelledTicks) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for _, t := range (plot.DefaultTicks{}).Ticks(low, high) {
		if t.Label != "" {
			ticks = append(ticks, plot.Tick{Value: t.Value, Label: groupThousands(t.Value)})
		}
	}
	return ticks
}

// thousands are the ticks 0, 5,000, 10,000 …
type thousands struct{}

func (thousands) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for x := 0.0; x <= high; x += 5000 {
		ticks = append(ticks, plot.Tick{Value: x, Label: groupThousands(x)})
	}
	return ticks
}

// groupThousands writes 19000 as 19,000.
func groupThousands(x float64) string {
	text := strconv.FormatFloat(x, 'f', -1, 64)
	if strings.Contains(text, ".") {
		return text
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
