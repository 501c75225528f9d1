package main

import (
	"bytes"
	"fmt"
	"html"
	"image/color"
	"regexp"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// palette gives each colour a class and its dark variant.
var palette = []struct {
	light color.RGBA
	class string
	dark  string
}{
	{ink, "i", "#e9ebef"}, {soft, "u", "#a9b0bc"}, {grid, "g", "#363c47"}, {steps, "k", "#6ea3e6"},
	{peers, "o", "#7d7599"}, {green, "p", "#66b679"}, {amber, "a", "#e2ac40"}, {red, "r", "#e8837a"},
}

var (
	header = regexp.MustCompile(`(?s)^.*?<svg.*?>`)
	styled = regexp.MustCompile(`style="([^"]*)"`)
	fonts  = regexp.MustCompile(`font-(family|variant|weight|style):[^;"]*;?`)
	digits = regexp.MustCompile(`(\.\d\d)\d+`)
)

// svg draws a plot in the style of the documentation's other pictures: with a title,
// scalable, in light and dark colours.
func svg(p *plot.Plot, c chart, where, shown string) ([]byte, error) {
	const margin, foot = 18, 24
	canvas := vgsvg.New(width, c.height)
	area := draw.Crop(draw.New(canvas), margin, -margin, margin+foot, -margin)
	p.Draw(area)
	style := draw.TextStyle{Color: soft, Font: p.X.Label.TextStyle.Font, Handler: p.X.Label.TextStyle.Handler}
	style.Font.Size = 13
	all := draw.New(canvas)
	all.FillText(style, vg.Point{X: margin, Y: margin}, where)
	var raw bytes.Buffer
	if _, err := canvas.WriteTo(&raw); err != nil {
		return nil, err
	}
	return []byte(applyTheme(raw.String(), c, where, shown)), nil
}

// applyTheme replaces the header, and replaces the colours with classes.
func applyTheme(raw string, c chart, where, shown string) string {
	var light, dark strings.Builder
	for _, p := range palette {
		fmt.Fprintf(&light, ".f%s{fill:%s}.s%s{stroke:%s}\n", p.class, hex(p.light), p.class, hex(p.light))
		fmt.Fprintf(&dark, ".f%s{fill:%s}.s%s{stroke:%s}\n", p.class, p.dark, p.class, p.dark)
	}
	head := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %g" role="img" font-family="'Liberation Sans',Arial,Helvetica,sans-serif">
<title>%s</title>
<desc>%s. %s.</desc>
<style>
.bg{fill:#fcfbf7;stroke:#dedad0}
%s@media (prefers-color-scheme:dark){
.bg{fill:#15181e;stroke:#30353f}
%s}
</style>
<rect class="bg" x="1" y="1" width="%d" height="%g" rx="16"/>`, width, c.height.Points(),
		html.EscapeString(c.title), html.EscapeString(shown), html.EscapeString(where), &light, &dark, width-2, c.height.Points()-2)
	body := header.ReplaceAllLiteralString(raw, "")
	body = styled.ReplaceAllStringFunc(body, func(attribute string) string {
		text := fonts.ReplaceAllString(styled.FindStringSubmatch(attribute)[1], "")
		var classes []string
		for _, p := range palette {
			for _, kind := range []string{"fill", "stroke"} {
				if with := kind + ":" + hex(p.light); strings.Contains(strings.ToLower(text), with) {
					at := strings.Index(strings.ToLower(text), with)
					text = text[:at] + text[at+len(with):]
					classes = append(classes, kind[:1]+p.class)
				}
			}
		}
		text = strings.Trim(strings.ReplaceAll(text, ";;", ";"), "; \n")
		out := ""
		if len(classes) > 0 {
			out = fmt.Sprintf(`class="%s"`, strings.Join(classes, " "))
		}
		if text != "" {
			out += fmt.Sprintf(` style="%s"`, text)
		}
		return strings.TrimSpace(out)
	})
	return head + digits.ReplaceAllString(addTextLengths(body), "$1")
}

var texts = regexp.MustCompile(`(style="font-size:([\d.]+)px")>([^<]*)</text>`)

// addTextLengths adds the length to each text: the plot was laid out with the metrics
// of a font that the reader may not have.
func addTextLengths(body string) string {
	return texts.ReplaceAllStringFunc(body, func(found string) string {
		m := texts.FindStringSubmatch(found)
		size, _ := strconv.ParseFloat(m[2], 64) // the pattern matches only numbers
		style := draw.TextStyle{Font: font.From(plot.DefaultFont, vg.Length(size)), Handler: plot.DefaultTextHandler}
		long := style.Width(html.UnescapeString(m[3])).Points()
		return fmt.Sprintf(`%s textLength="%.1f" lengthAdjust="spacingAndGlyphs">%s</text>`, m[1], long, m[3])
	})
}

func hex(c color.RGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }
