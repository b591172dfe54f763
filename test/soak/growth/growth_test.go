package growth

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// series is half an hour, a sample every five seconds.
func series(value func(minute float64) float64) []Sample {
	var out []Sample
	for at := time.Duration(0); at < 30*time.Minute; at += 5 * time.Second {
		out = append(out, Sample{at, value(at.Minutes())})
	}
	return out
}

func TestOnlyGrowthIsFound(t *testing.T) {
	noise := rand.New(rand.NewPCG(1, 2))
	const mb = 1 << 20
	for _, test := range []struct {
		name  string
		value func(minute float64) float64
		grows bool // by more than a megabyte
	}{
		{"constant", func(float64) float64 { return 30 * mb }, false},
		{"noise", func(float64) float64 { return 30*mb + 4*mb*noise.NormFloat64() }, false},
		{"sawtooth", func(m float64) float64 { return 30*mb + 3*mb*math.Mod(m, 1.3) }, false},
		{"grows to begin with", func(m float64) float64 { return 30*mb + 5*mb*min(m, 5) }, false},
		{"one peak", func(m float64) float64 { return 30*mb + 500*mb*math.Trunc(1/(1+math.Abs(m-28))) }, false},
		{"shrinks", func(m float64) float64 { return 30*mb - mb*m/2 }, false},
		{"slow leak", func(m float64) float64 { return 30*mb + mb*m/10 }, true},
		{"slow leak under noise", func(m float64) float64 { return 30*mb + mb*m/3 + 3*mb*noise.NormFloat64() }, true},
		{"slow leak under a sawtooth", func(m float64) float64 { return 30*mb + mb*m/3 + 3*mb*math.Mod(m, 1.3) }, true},
		{"steps", func(m float64) float64 { return 30*mb + 2*mb*math.Trunc(m/7) }, true},
	} {
		trend, err := Of(series(test.value), 5*time.Minute)
		require.NoError(t, err)
		assert.Equal(t, test.grows, trend.Sure > mb, "%s: %s", test.name, trend)
	}
}

func TestTrendIsTold(t *testing.T) {
	trend, err := Of(series(func(m float64) float64 { return 10 + m }), 6*time.Minute)
	require.NoError(t, err)
	assert.Equal(t, "16.46 to 39.46, growth 23, surely 23", trend.String())
}

func TestTooFewSamplesAreNoTrend(t *testing.T) {
	_, err := Of(series(func(float64) float64 { return 1 }), 29*time.Minute+5*time.Second)
	assert.EqualError(t, err, "11 samples from 29m5s on say nothing")
}
