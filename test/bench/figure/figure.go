// Package figure holds what a benchmark finds out: comparisons of two sides that ran one
// right after the other on the same machine, several times, so that what else the machine
// did met both.
package figure

import (
	"fmt"
	"math"
	"slices"
)

// Pair is one run of both sides, in the same unit. A figure that is against nothing has no
// Other.
type Pair struct {
	This  float64 `json:"this"`
	Other float64 `json:"other,omitempty"`
}

// Compare is how the two sides of a Pair become one value.
type Compare string

const (
	// Times is this side in multiples of the other.
	Times Compare = "times"
	// Faster is the other side in multiples of this.
	Faster Compare = "faster"
	// Difference is this side less the other, in Unit.
	Difference Compare = "difference"
	// Alone is this side, in Unit.
	Alone Compare = "alone"
)

// Goal is what the median has to keep to.
type Goal struct {
	AtLeast float64 `json:"atLeast,omitempty"`
	AtMost  float64 `json:"atMost,omitempty"`
}

func (g Goal) String() string {
	switch {
	case g.AtLeast > 0:
		return fmt.Sprintf("at least %v", g.AtLeast)
	case g.AtMost > 0:
		return fmt.Sprintf("at most %v", g.AtMost)
	}
	return ""
}

// Figure is one comparison.
type Figure struct {
	// ID is stable from run to run.
	ID string `json:"id"`
	// Group is the heading below which it is reported.
	Group string `json:"group"`
	// What was measured, against what, for people.
	What    string `json:"what"`
	Against string `json:"against,omitempty"`
	// Unit is that of the sides: "ns", "ms", "bytes", "requests/s", "allocations".
	Unit    string  `json:"unit"`
	Compare Compare `json:"compare"`
	// Goal is empty where there is none.
	Goal  Goal   `json:"goal,omitzero"`
	Pairs []Pair `json:"pairs"`
}

// Values returns the value of each pair, sorted.
func (f Figure) Values() []float64 {
	var out []float64
	for _, p := range f.Pairs {
		switch f.Compare {
		case Times:
			out = append(out, p.This/p.Other)
		case Faster:
			out = append(out, p.Other/p.This)
		case Difference:
			out = append(out, p.This-p.Other)
		case Alone:
			out = append(out, p.This)
		}
	}
	slices.Sort(out)
	return out
}

// Quantile returns the value below which the share q of all values lies, NaN if there are
// none.
func (f Figure) Quantile(q float64) float64 {
	values := f.Values()
	if len(values) == 0 {
		return math.NaN()
	}
	at := q * float64(len(values)-1)
	below, above := values[int(math.Floor(at))], values[int(math.Ceil(at))]
	return below + (above-below)*(at-math.Floor(at))
}

// Median is the figure in one number.
func (f Figure) Median() float64 { return f.Quantile(0.5) }

// Met reports whether the median keeps to the goal.
func (f Figure) Met() bool {
	m := f.Median()
	return !math.IsNaN(m) && (f.Goal.AtLeast == 0 || m >= f.Goal.AtLeast) && (f.Goal.AtMost == 0 || m <= f.Goal.AtMost)
}

// Plot is a picture of how something grows, or is distributed. Its values are ratios too.
type Plot struct {
	ID     string   `json:"id"`
	Group  string   `json:"group"`
	Title  string   `json:"title"`
	X      string   `json:"x"`
	Y      string   `json:"y"`
	LogX   bool     `json:"logX,omitempty"`
	LogY   bool     `json:"logY,omitempty"`
	Series []Series `json:"series"`
	// Names, if there are any, are told at the x values in place of numbers.
	Names map[string]float64 `json:"names,omitempty"`
}

// Series is one line of a plot.
type Series struct {
	Name   string  `json:"name"`
	Points []Point `json:"points"`
}

// Point is one point of a line.
type Point struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}
