package webhook

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFreshListReadsAfterEachCall(t *testing.T) {
	var stored atomic.Int64
	f := &freshList[int64]{timeout: time.Minute, read: func(context.Context) ([]int64, error) {
		return []int64{stored.Load()}, nil
	}}
	for want := range int64(100) {
		stored.Store(want)
		got, err := f.get(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []int64{want}, got, "what was stored before the call is in the result")
	}
}

func TestFreshListSharesOneReadAmongAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int64
		release := make(chan struct{})
		f := &freshList[int64]{timeout: time.Hour, read: func(context.Context) ([]int64, error) {
			n := reads.Add(1)
			if n == 1 {
				<-release
			}
			return []int64{n}, nil
		}}
		var wg sync.WaitGroup
		get := func(want int64) {
			wg.Go(func() {
				if got, err := f.get(t.Context()); assert.NoError(t, err) {
					assert.Equal(t, []int64{want}, got)
				}
			})
			synctest.Wait()
		}
		get(1)
		// These come while the first read is under way, which may have missed what they must see.
		for range 50 {
			get(2)
		}
		close(release)
		wg.Wait()
		assert.Equal(t, int64(2), reads.Load())
	})
}

func TestFreshListGivesUpWithItsCaller(t *testing.T) {
	f := &freshList[int]{timeout: time.Minute, read: func(ctx context.Context) ([]int, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	cause := errors.New("no time left")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, err := f.get(ctx)
	assert.ErrorIs(t, err, cause)
}
