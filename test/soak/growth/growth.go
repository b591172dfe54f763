// Package growth tells whether something that was measured again and again grows.
package growth

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Sample is one measurement, at a time since the beginning.
type Sample struct {
	At    time.Duration
	Value float64
}

// Trend is the line through measurements.
type Trend struct {
	// Begin and End are the medians of the first and the last of the blocks.
	Begin, End float64
	// Growth is by how much the line rises from beginning to end; Sure is what it rises by at
	// least, with 97.5% confidence.
	Growth, Sure float64
}

func (t Trend) String() string {
	return fmt.Sprintf("%.4g to %.4g, growth %.3g, surely %.3g", t.Begin, t.End, t.Growth, t.Sure)
}

// blocks is how many medians stand for all samples: what comes and goes within seconds is not
// counted again and again as if each sample were independent of the last.
const blocks = 24

// Of returns the trend of the samples from a time on: the median of the slopes between all pairs
// of block medians (Theil and Sen), and the slope that Kendall's statistic leaves as the least
// likely one. Neither asks how the values are distributed, and outliers move neither. It fails with
// fewer than 12 samples.
func Of(samples []Sample, from time.Duration) (Trend, error) {
	samples = slices.DeleteFunc(slices.Clone(samples), func(s Sample) bool { return s.At < from })
	n := min(blocks, len(samples)/2)
	if n < 6 {
		return Trend{}, fmt.Errorf("%d samples from %s on say nothing", len(samples), from)
	}
	var points []Sample
	for i := range n {
		block := samples[i*len(samples)/n : (i+1)*len(samples)/n]
		var at time.Duration
		var values []float64
		for _, s := range block {
			at += s.At / time.Duration(len(block))
			values = append(values, s.Value)
		}
		points = append(points, Sample{at, median(values)})
	}
	var slopes []float64 // for each nanosecond
	for i, a := range points {
		for _, b := range points[i+1:] {
			slopes = append(slopes, (b.Value-a.Value)/float64(b.At-a.At))
		}
	}
	slices.Sort(slopes)
	deviation := math.Sqrt(float64(n*(n-1)*(2*n+5)) / 18)
	least := int((float64(len(slopes)) - 1.96*deviation) / 2)
	length := float64(points[n-1].At - points[0].At)
	return Trend{
		Begin: points[0].Value, End: points[n-1].Value,
		Growth: median(slopes) * length, Sure: slopes[max(0, least)] * length,
	}, nil
}

// median sorts values.
func median(values []float64) float64 {
	slices.Sort(values)
	half := len(values) / 2
	if len(values)%2 == 1 {
		return values[half]
	}
	return (values[half-1] + values[half]) / 2
}
