package webhook

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The times of the Lease.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// leader says whether this replica is the one that removes what nothing needs any more.
// It is no lock: every removal is of the version that it was decided on. So a replica
// that cannot renew its lease stops removing, and goes on with everything else.
type leader struct {
	lock    resourcelock.Interface
	name    string
	leading atomic.Bool
	mu      sync.Mutex // of report
	report  func(leading bool)
	log     logr.Logger
}

func newLeader(cfg Config, m *metrics, log logr.Logger) (*leader, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("failed to name this replica: %w", err)
	}
	id := resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())}
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, cfg.Namespace, cfg.ServiceName, id, cfg.RESTConfig, renewDeadline)
	if err != nil {
		return nil, fmt.Errorf("failed to prepare the leader election: %w", err)
	}
	l := &leader{lock: lock, name: cfg.ServiceName, log: log}
	l.report = func(leading bool) {
		if l.leading.Swap(leading) == leading {
			return
		}
		if leading {
			m.leading.Set(1)
			log.Info("leading", "identity", id.Identity)
		} else {
			m.leading.Set(0)
			log.Info("no longer leading", "identity", id.Identity)
		}
	}
	return l, nil
}

// Start takes part in the election until ctx ends, whatever becomes of it.
func (l *leader) Start(ctx context.Context) error {
	for ctx.Err() == nil {
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: l.lock, Name: l.name,
			LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
			ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				// It runs beside the elector, so its term may be over already.
				OnStartedLeading: func(term context.Context) {
					l.mu.Lock()
					defer l.mu.Unlock()
					if term.Err() == nil {
						l.report(true)
					}
				},
				OnStoppedLeading: func() {
					l.mu.Lock()
					defer l.mu.Unlock()
					l.report(false)
				},
			},
		})
		if err != nil {
			return fmt.Errorf("failed to set up the leader election: %w", err)
		}
		elector.Run(logr.NewContext(ctx, l.log))
	}
	return nil
}
