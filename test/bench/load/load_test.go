package load_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/bench/load"
)

// A server that stops is charged with the requests that come while it does.
func TestRequestsCountFromWhenTheyAreDue(t *testing.T) {
	t.Parallel()
	stops := sync.OnceFunc(func() { time.Sleep(200 * time.Millisecond) })
	result, err := load.Open(t.Context(), load.Arrivals{Rate: 1000, Duration: 100 * time.Millisecond}, 1, func(context.Context, uint64) error {
		stops()
		return nil
	})
	require.NoError(t, err)
	assert.EqualValues(t, 99, result.Latency.TotalCount())
	assert.Greater(t, result.Millis(0), 100.0, "the last one is due when the first is still under way for 100 ms")
}

func TestArrivalsComeAtTheirRateAndAreTheSameForASeed(t *testing.T) {
	t.Parallel()
	times := func(seed uint64) []time.Duration {
		return load.Arrivals{Rate: 1000, Duration: 100 * time.Second, Poisson: true, Seed: seed}.Times()
	}
	first, again, other := times(1), times(1), times(2)
	assert.InDelta(t, 100_000, len(first), 1000)
	assert.Equal(t, first, again)
	assert.NotEqual(t, first, other)
}
