package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"image/color"
	"maps"
	"slices"
	"strconv"
	"time"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/egress-tls/egress-tls-webhook/test/observability/dashboard"
)

// The grid of the dashboard, and what lies between its panels.
const (
	columns   = 24
	column    = vg.Length(46)
	line      = vg.Length(27)
	gap       = vg.Length(3)
	titleRoom = vg.Length(22)
	textSize  = font.Length(8.5)
)

// The colours of Grafana's light theme, and of its classic palette.
var (
	page    = rgb(0xf4f5f5)
	paper   = rgb(0xffffff)
	border  = rgb(0xdcdee0)
	grid    = rgb(0xebecee)
	ink     = rgb(0x24292e)
	dim     = rgb(0x6a6f76)
	palette = []color.Color{
		rgb(0x7eb26d), rgb(0xeab839), rgb(0x6ed0e0), rgb(0xef843c), rgb(0xe24d42), rgb(0x1f78c1),
		rgb(0xba43a9), rgb(0x705da0), rgb(0x508642), rgb(0xcca300), rgb(0x447ebc), rgb(0xc15c17),
	}
	named = map[string]color.Color{
		"text": ink, "green": rgb(0x1a7f4b), "orange": rgb(0xd9730d), "red": rgb(0xc4162a), "blue": rgb(0x1f62e0),
	}
)

func rgb(hex uint32) color.Color {
	return color.NRGBA{R: uint8(hex >> 16), G: uint8(hex >> 8), B: uint8(hex), A: 255} //nolint:gosec // One byte each.
}

// drawDashboard returns the dashboard as SVG.
func drawDashboard(ctx context.Context, d *dashboard.Dashboard, db *database) ([]byte, error) {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	height := 0
	for _, p := range d.Panels {
		height = max(height, p.GridPos.Y+p.GridPos.H)
	}
	canvas := vgsvg.New(columns*column+2*gap, vg.Length(height)*line+2*gap)
	all := draw.New(canvas)
	fill(all, page)
	for _, p := range d.Panels {
		g := p.GridPos
		left, top := gap+vg.Length(g.X)*column, all.Max.Y-gap-vg.Length(g.Y)*line
		place := draw.Canvas{Canvas: all.Canvas, Rectangle: vg.Rectangle{
			Min: vg.Point{X: left + gap, Y: top - vg.Length(g.H)*line + gap},
			Max: vg.Point{X: left + vg.Length(g.W)*column - gap, Y: top - gap},
		}}
		if p.Type == "row" {
			write(place, 11, ink, draw.XLeft, vg.Point{X: place.Min.X + 2, Y: place.Center().Y}, p.Title, true)
			continue
		}
		found, err := query(ctx, db, p)
		if err != nil {
			return nil, err
		}
		if err := drawPanel(place, p, found, db.end.Sub(db.start)); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Title, err)
		}
	}
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return nil, err
	}
	// Whoever looks at it may not have the font that it was measured with.
	return bytes.ReplaceAll(out.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:'Liberation Sans',Arial,Helvetica,sans-serif")), nil
}

func drawPanel(c draw.Canvas, p dashboard.Panel, found [][]series, span time.Duration) error {
	fill(c, paper)
	frame := []vg.Point{c.Min, {X: c.Max.X, Y: c.Min.Y}, c.Max, {X: c.Min.X, Y: c.Max.Y}, c.Min}
	c.StrokeLines(draw.LineStyle{Color: border, Width: 0.7}, frame)
	write(c, 9.5, ink, draw.XLeft, vg.Point{X: c.Min.X + 8, Y: c.Max.Y - titleRoom/2 - 1}, p.Title, true)
	inner := draw.Crop(c, 8, -8, 6, -titleRoom)
	flat := slices.Concat(found...)
	switch {
	case len(flat) == 0:
		write(inner, 10, dim, draw.XCenter, inner.Center(), "No data", false)
	case p.Type == "stat":
		drawStat(inner, p, flat)
	case p.Type == "table":
		drawTable(inner, p, found)
	default:
		return drawLines(inner, p, flat, span)
	}
	return nil
}

func drawStat(c draw.Canvas, p dashboard.Panel, found []series) {
	for i, s := range found {
		shown := unit(p.FieldConfig.Defaults.Unit, s.last())
		size := font.Length(24)
		if p.Options.TextMode == "name" {
			shown, size = s.name, 12
		}
		at := vg.Point{X: c.Center().X, Y: c.Max.Y - (c.Max.Y-c.Min.Y)*(vg.Length(i)+0.5)/vg.Length(len(found))}
		write(c, size, threshold(p.FieldConfig.Defaults.Thresholds, s.last()), draw.XCenter, at, shown, true)
	}
}

func threshold(t dashboard.Thresholds, value float64) color.Color {
	out := ink
	for _, s := range t.Steps {
		if s.Value == nil || value >= *s.Value {
			out = named[s.Color]
		}
	}
	return out
}

// drawTable draws what merge and organize make of the queries: a line for each set of labels, with
// a column for each query.
func drawTable(c draw.Canvas, p dashboard.Panel, found [][]series) {
	rows := map[string][]string{}
	organize := p.Transformations[len(p.Transformations)-1].Options
	headers := slices.SortedFunc(maps.Keys(organize.IndexByName), func(a, b string) int {
		return cmp.Compare(organize.IndexByName[a], organize.IndexByName[b])
	})
	for q, list := range found {
		for _, s := range list {
			key := fmt.Sprint(s.labels)
			if rows[key] == nil {
				rows[key] = make([]string, len(headers))
			}
			for i, h := range headers {
				if v, ok := s.labels[h]; ok {
					rows[key][i] = v
				}
				if h == "Value #"+p.Targets[q].RefID {
					rows[key][i] = strconv.FormatFloat(s.last(), 'f', -1, 64)
				}
			}
		}
	}
	width, height := (c.Max.X-c.Min.X)/vg.Length(len(headers)), vg.Length(19)
	at := func(row, col int) vg.Point {
		return vg.Point{X: c.Min.X + vg.Length(col)*width + 4, Y: c.Max.Y - vg.Length(row)*height - height/2}
	}
	for i, h := range headers {
		write(c, textSize, dim, draw.XLeft, at(0, i), cmp.Or(organize.RenameByName[h], h), true)
	}
	last := len(headers) - 1
	sorted := slices.SortedFunc(maps.Values(rows), func(a, b []string) int {
		return cmp.Or(cmp.Compare(number(b[last]), number(a[last])), slices.Compare(a, b))
	})
	for r, cells := range sorted {
		y := at(r+1, 0).Y + height/2
		c.StrokeLine2(draw.LineStyle{Color: grid, Width: 0.7}, c.Min.X, y, c.Max.X, y)
		for i, cell := range cells {
			paint := ink
			for _, o := range p.FieldConfig.Overrides {
				if o.Matcher.Options == organize.RenameByName[headers[i]] {
					paint = named[map[bool]string{true: "green", false: "red"}[number(cell) == 0]]
				}
			}
			write(c, 9, paint, draw.XLeft, at(r+1, i), cell, false)
		}
	}
}

func number(cell string) float64 {
	n, _ := strconv.ParseFloat(cell, 64)
	return n
}

func drawLines(c draw.Canvas, p dashboard.Panel, found []series, span time.Duration) error {
	below := drawLegend(c, found)
	chart := plot.New()
	chart.BackgroundColor = color.Transparent
	for _, axis := range []*plot.Axis{&chart.X, &chart.Y} {
		axis.Tick.Label.Font.Size, axis.Tick.Label.Color = textSize-1, dim
		axis.Tick.Length, axis.Width, axis.Padding = 0, 0, 4
	}
	chart.X.Min, chart.X.Max, chart.Y.Min = 0, span.Seconds(), 0
	lines := plotter.NewGrid()
	lines.Vertical.Color, lines.Horizontal.Color = nil, grid
	chart.Add(lines)

	defaults := p.FieldConfig.Defaults
	stacked := defaults.Custom.Stacking.Mode == "normal"
	base := map[float64]float64{}
	for i, s := range found {
		paint := palette[i%len(palette)]
		top, bottom := plotter.XYs{}, plotter.XYs{}
		for _, pt := range s.points {
			from := 0.0
			if stacked {
				from = base[pt.at]
				base[pt.at] += pt.value
			}
			top, bottom = append(top, plotter.XY{X: pt.at, Y: from + pt.value}), append(bottom, plotter.XY{X: pt.at, Y: from})
		}
		if stacked {
			slices.Reverse(bottom)
			area, err := plotter.NewPolygon(slices.Concat(top, bottom))
			if err != nil {
				return err
			}
			area.Width = 0
			area.Color = translucent(paint, defaults.Custom.FillOpacity)
			chart.Add(area)
		}
		curve, err := plotter.NewLine(top)
		if err != nil {
			return err
		}
		curve.Color, curve.Width = paint, vg.Length(defaults.Custom.LineWidth)
		chart.Add(curve)
	}
	if chart.Y.Max <= chart.Y.Min {
		chart.Y.Max = 1
	}
	chart.Y.Max *= 1.1 // Room for the uppermost tick.
	chart.Y.Tick.Marker = ticks{func(v float64) string { return unit(defaults.Unit, v) }}
	chart.X.Tick.Marker = ticks{func(v float64) string { return fmt.Sprintf("%d:%02d", int(v)/60, int(v)%60) }}
	chart.Draw(draw.Crop(c, 0, -4, below, 0))
	return nil
}

// drawLegend draws names below a chart and returns the room that they take.
func drawLegend(c draw.Canvas, found []series) vg.Length {
	type entry struct {
		at   vg.Point
		name string
	}
	const rowHeight = vg.Length(12)
	var entries []entry
	x, row := c.Min.X, 0
	for _, s := range found {
		width := style(textSize-1, ink, draw.XLeft, false).Width(s.name) + 26
		if x+width > c.Max.X && x > c.Min.X {
			x, row = c.Min.X, row+1
		}
		entries = append(entries, entry{vg.Point{X: x, Y: vg.Length(row)}, s.name})
		x += width
	}
	height := vg.Length(row+1) * rowHeight
	for i, e := range entries {
		y := c.Min.Y + height - (e.at.Y+0.5)*rowHeight
		c.StrokeLine2(draw.LineStyle{Color: palette[i%len(palette)], Width: 3}, e.at.X, y, e.at.X+11, y)
		write(c, textSize-1, ink, draw.XLeft, vg.Point{X: e.at.X + 15, Y: y}, e.name, false)
	}
	return height + 4
}

// ticks are gonum's, with the labels of the panel's unit.
type ticks struct{ label func(float64) string }

// Ticks implements plot.Ticker.
func (t ticks) Ticks(low, high float64) []plot.Tick {
	var out []plot.Tick
	for _, k := range (plot.DefaultTicks{}).Ticks(low, high) {
		if k.Label != "" {
			out = append(out, plot.Tick{Value: k.Value, Label: t.label(k.Value)})
		}
	}
	return out
}

// unit writes a value as Grafana would, for the units that the dashboard uses.
func unit(name string, v float64) string {
	short := func(v float64) string {
		if v >= 1000 {
			return strconv.FormatFloat(v/1000, 'g', 3, 64) + " K"
		}
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	switch name {
	case "s":
		switch {
		case v == 0:
			return "0 s"
		case v < 1:
			return short(v*1000) + " ms"
		case v < 120:
			return short(v) + " s"
		case v < 2*24*3600:
			return short(v/3600) + " hours"
		case v < 60*24*3600:
			return short(v/(24*3600)) + " days"
		}
		return short(v/(7*24*3600)) + " weeks"
	case "bytes":
		return strconv.FormatFloat(v/(1<<20), 'f', 0, 64) + " MiB"
	case "reqps":
		return short(v) + " req/s"
	case "wps":
		return short(v) + " wr/s"
	case "cps":
		return short(v) + " c/s"
	}
	return short(v)
}

func translucent(c color.Color, percent int) color.Color {
	r, g, b, _ := c.RGBA()
	return color.NRGBA{R: uint8(r >> 8), G: uint8(g >> 8), B: uint8(b >> 8), A: uint8(percent * 255 / 100)} //nolint:gosec // One byte each.
}

func fill(c draw.Canvas, paint color.Color) {
	c.FillPolygon(paint, []vg.Point{c.Min, {X: c.Max.X, Y: c.Min.Y}, c.Max, {X: c.Min.X, Y: c.Max.Y}})
}

func style(size font.Length, paint color.Color, align text.XAlignment, bold bool) text.Style {
	f := plot.DefaultFont
	f.Size = size
	if bold {
		f.Weight = xfont.WeightBold
	}
	return text.Style{Color: paint, Font: f, XAlign: align, YAlign: draw.YCenter, Handler: plot.DefaultTextHandler}
}

func write(c draw.Canvas, size font.Length, paint color.Color, align text.XAlignment, at vg.Point, words string, bold bool) {
	c.FillText(style(size, paint, align, bold), at, words)
}
