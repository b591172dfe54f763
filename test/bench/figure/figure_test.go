package figure

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFigure(t *testing.T) {
	pairs := []Pair{{This: 30, Other: 10}, {This: 10, Other: 20}, {This: 40, Other: 20}, {This: 10, Other: 10}}
	for _, test := range []struct {
		compare       Compare
		values        []float64
		median, first float64
		met, missed   Goal
	}{
		{Times, []float64{0.5, 1, 2, 3}, 1.5, 0.875, Goal{AtMost: 1.5}, Goal{AtMost: 1.4}},
		{Faster, []float64{1. / 3, 0.5, 1, 2}, 0.75, 1./3 + 0.75/6, Goal{AtLeast: 0.75}, Goal{AtLeast: 0.8}},
		{Difference, []float64{-10, 0, 20, 20}, 10, -2.5, Goal{AtMost: 10}, Goal{AtMost: 9}},
		{Alone, []float64{10, 10, 30, 40}, 20, 10, Goal{AtMost: 20}, Goal{AtLeast: 21}},
	} {
		t.Run(string(test.compare), func(t *testing.T) {
			f := Figure{Compare: test.compare, Pairs: pairs, Goal: test.met}
			assert.InDeltaSlice(t, test.values, f.Values(), 1e-9)
			assert.InDelta(t, test.median, f.Median(), 1e-9)
			assert.InDelta(t, test.first, f.Quantile(0.25), 1e-9)
			assert.True(t, f.Met())
			f.Goal = test.missed
			assert.False(t, f.Met())
		})
	}
}

func TestFigureWithoutRunsMeetsNothing(t *testing.T) {
	f := Figure{Compare: Times, Goal: Goal{AtMost: 1}}
	assert.True(t, math.IsNaN(f.Median()))
	assert.False(t, f.Met())
}
