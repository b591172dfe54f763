package main

import (
	"bytes"
	"image/color"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/egress-tls/egress-tls-webhook/test/bench/figure"
)

const (
	plotWidth  = 8 * vg.Inch
	plotHeight = 3.6 * vg.Inch
	rowHeight  = 0.3 * vg.Inch
)

var (
	good = color.RGBA{R: 0x1a, G: 0x7f, B: 0x37, A: 0xff}
	bad  = color.RGBA{R: 0xcf, G: 0x22, B: 0x2e, A: 0xff}
	dim  = color.RGBA{R: 0x8c, G: 0x95, B: 0x9f, A: 0xff}
	// lines are told apart by those who see no colours too: by their dashes.
	lines = []draw.LineStyle{
		{Color: color.RGBA{R: 0x09, G: 0x69, B: 0xda, A: 0xff}, Width: vg.Points(1.8)},
		{Color: color.RGBA{R: 0xbc, G: 0x4c, A: 0xff}, Width: vg.Points(1.8), Dashes: []vg.Length{vg.Points(6), vg.Points(3)}},
		{Color: color.RGBA{R: 0x82, G: 0x50, B: 0xdf, A: 0xff}, Width: vg.Points(1.8), Dashes: []vg.Length{vg.Points(2), vg.Points(2)}},
		{Color: color.RGBA{R: 0x1a, G: 0x7f, B: 0x37, A: 0xff}, Width: vg.Points(1.8), Dashes: []vg.Length{vg.Points(8), vg.Points(2), vg.Points(2), vg.Points(2)}},
	}
)

func newPlot(title string) *plot.Plot {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.Title.Text = title
	p.Title.Padding = vg.Points(8)
	p.Add(plotter.NewGrid())
	return p
}

func svg(p *plot.Plot, height vg.Length) ([]byte, error) {
	canvas := vgsvg.New(plotWidth, height)
	c := draw.New(canvas)
	p.Draw(draw.Crop(c, vg.Points(8), -vg.Points(16), vg.Points(8), -vg.Points(8)))
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// drawPlot draws lines.
func drawPlot(p figure.Plot) ([]byte, error) {
	out := newPlot(p.Title)
	out.X.Label.Text, out.Y.Label.Text = p.X, p.Y
	if p.LogX {
		out.X.Scale, out.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	if p.LogY {
		out.Y.Scale, out.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	if len(p.Names) > 0 {
		var ticks plot.ConstantTicks
		for name, x := range p.Names {
			ticks = append(ticks, plot.Tick{Value: x, Label: name})
		}
		slices.SortFunc(ticks, func(a, b plot.Tick) int { return int(math.Copysign(1, a.Value-b.Value)) })
		out.X.Tick.Marker = ticks
	}
	out.Legend.Top = true
	for i, s := range p.Series {
		points := make(plotter.XYs, len(s.Points))
		for j, at := range s.Points {
			points[j] = plotter.XY{X: at.X, Y: at.Y}
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return nil, err
		}
		line.LineStyle = lines[i%len(lines)]
		out.Add(line)
		out.Legend.Add(s.Name, line)
	}
	if !p.LogY {
		out.Y.Min = math.Min(out.Y.Min, 0)
		out.Y.Max *= 1.15 // Room for the legend.
	}
	return svg(out, plotHeight)
}

// drawGoals draws how far each figure is from its goal, in multiples: right of 1 it is met.
func drawGoals(figures []figure.Figure) ([]byte, error) {
	p := newPlot("Distance to the goal: right of 1 it is met")
	p.X.Label.Text = "times better than the goal; the bar is the middle half of the runs"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.TickerFunc(nearOne)
	p.X.Min, p.X.Max = 0.5, 2
	var names []string
	for i, f := range figures {
		y := float64(len(figures) - 1 - i)
		names = append([]string{f.ID}, names...)
		at := func(quantile float64) float64 {
			v := f.Quantile(quantile)
			if f.Goal.AtMost > 0 {
				v = f.Goal.AtMost / max(v, f.Goal.AtMost/100)
			} else {
				v /= f.Goal.AtLeast
			}
			return v
		}
		style := draw.GlyphStyle{Color: good, Radius: vg.Points(4), Shape: draw.CircleGlyph{}}
		if !f.Met() {
			style.Color, style.Shape = bad, draw.PyramidGlyph{}
		}
		low, median, high := min(at(0.25), at(0.75)), at(0.5), max(at(0.25), at(0.75))
		bar, err := plotter.NewLine(plotter.XYs{{X: low, Y: y}, {X: high, Y: y}})
		if err != nil {
			return nil, err
		}
		bar.Color, bar.Width = style.Color, vg.Points(2)
		dot, err := plotter.NewScatter(plotter.XYs{{X: median, Y: y}})
		if err != nil {
			return nil, err
		}
		dot.GlyphStyle = style
		p.Add(bar, dot)
	}
	p.NominalY(names...)
	p.Y.Min, p.Y.Max = -0.7, float64(len(figures))-0.3
	one, err := plotter.NewLine(plotter.XYs{{X: 1, Y: p.Y.Min}, {X: 1, Y: p.Y.Max}})
	if err != nil {
		return nil, err
	}
	one.Color, one.Width = dim, vg.Points(1.5)
	p.Add(one)
	return svg(p, vg.Length(len(figures))*rowHeight+1.1*vg.Inch)
}

// nearOne are ticks that a ratio is read by.
func nearOne(low, high float64) []plot.Tick {
	var out []plot.Tick
	for _, v := range []float64{0.1, 0.2, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50, 100} {
		if v >= low && v <= high {
			out = append(out, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'g', -1, 64)})
		}
	}
	return out
}
