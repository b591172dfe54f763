package webhook

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// readOnly is an API server with objects, that lets nobody change one of the user's. It
// notes what is deleted.
type readOnly struct {
	informers
	client.Writer
	deleted []string
}

func (s *readOnly) Get(_ context.Context, name client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	for _, o := range s.informers {
		if keyOf(o.Typed) != name || o.Raw["kind"] != mesh.DestinationRuleKind {
			continue
		}
		switch out := into.(type) {
		case *unstructured.Unstructured:
			out.Object = o.Raw
			return nil
		case *networkingv1.DestinationRule:
			raw, err := json.Marshal(o.Raw)
			if err != nil {
				return err
			}
			return json.Unmarshal(raw, out)
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{}, name.Name)
}

func (s *readOnly) Update(context.Context, client.Object, ...client.UpdateOption) error {
	return apierrors.NewForbidden(schema.GroupResource{}, "user", nil)
}

func (s *readOnly) Delete(_ context.Context, o client.Object, _ ...client.DeleteOption) error {
	s.deleted = append(s.deleted, o.GetName())
	return nil
}

func reconcilerOf(server *readOnly, grace time.Duration) *hostReconciler {
	pol := policy.Default()
	return &hostReconciler{&reconciler{
		policy: pol, view: &view{cached: server, live: server, onLive: func(string) {}, cachedOnly: true},
		rules:  &ruleWriter{writer: server, live: server, tls: pol.TLS},
		events: events.NewFakeRecorder(10), metrics: newMetrics(prometheus.NewRegistry()),
		leading: func() bool { return true }, grace: grace, now: time.Now, log: logr.Discard(),
		state: states{byKey: map[string]*state{}},
	}}
}

// A managed rule yields to a rule of the user's once that has TLS, not before.
func TestNothingIsRemovedBeforeWhatTakesItsPlaceIsWritten(t *testing.T) {
	const host = "api.vendor.com"
	objects, err := scenario.Parse([]byte(strings.ReplaceAll(`
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: v, namespace: egress}, spec: {hosts: [api.vendor.com], ports: [{number: 443, name: a, protocol: HTTP}]}}
---
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: user, namespace: egress}, spec: {host: api.vendor.com, trafficPolicy: {loadBalancer: {simple: RANDOM}}}}
---
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: NAME, namespace: egress, creationTimestamp: '2020-01-01T00:00:00Z', labels: {app.kubernetes.io/managed-by: egress-tls-webhook}},
  spec: {host: api.vendor.com, trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: {mode: SIMPLE, sni: api.vendor.com, subjectAltNames: [api.vendor.com]}}]}}}
`, "NAME", mesh.RuleName(host, nil))))
	require.NoError(t, err)
	server := &readOnly{informers: objects}
	r := reconcilerOf(server, time.Minute)
	out, _, err := r.decide(t.Context(), host, nil)
	require.NoError(t, err)
	require.Len(t, out.Changes, 1)
	require.Len(t, out.Surplus, 1)
	require.True(t, out.Surplus[0].Yields)

	result, err := r.Reconcile(t.Context(), host)
	require.NoError(t, err)
	assert.Equal(t, stuckRetry, result.RequeueAfter)
	assert.Empty(t, server.deleted)
}

// What somebody else has applied too is not marked, so nothing but the time wakes us.
func TestWhatOthersApplyIsNotLookedAtWithoutEnd(t *testing.T) {
	const host = "api.vendor.com"
	objects, err := scenario.Parse([]byte("{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: " + mesh.RuleName(host, nil) +
		", namespace: egress, labels: {app.kubernetes.io/managed-by: egress-tls-webhook}, annotations: {kubectl.kubernetes.io/last-applied-configuration: x}}, spec: {host: api.vendor.com}}"))
	require.NoError(t, err)
	result, err := reconcilerOf(&readOnly{informers: objects}, 0).Reconcile(t.Context(), host)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, result.RequeueAfter, time.Second)
}

func TestMarkOfADeletedRuleIsARace(t *testing.T) {
	server := &readOnly{}
	err := (&ruleWriter{writer: server, live: server}).markUnused(t.Context(), mutate.Surplus{Rule: ringChange().Rule}, "x")
	require.Error(t, err)
	assert.True(t, isRace(err))
	assert.False(t, stuck(err))
}
