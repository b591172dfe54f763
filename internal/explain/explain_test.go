package explain_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/explain"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
)

func inputOf(pol *policy.Policy, objects ...[]scenario.Object) explain.Input {
	in := explain.Input{Policy: pol, Mode: func(string) policy.Mode { return policy.Enforce }}
	for _, list := range objects {
		for _, o := range list {
			in.Objects.Add(o.Typed)
		}
	}
	return in
}

// What is explained of every scenario, before the webhook and after, is what the decisions
// are made of: each need is a connection, in clear if it is not satisfied.
func TestExplainKnowsEveryNeed(t *testing.T) {
	t.Parallel()
	all, err := scenario.All("../../test/scenarios")
	require.NoError(t, err)
	needs := 0
	for _, s := range all {
		after, err := s.Converge(append(append([]scenario.Object{}, s.Mesh...), s.Request...))
		require.NoError(t, err, s.Name)
		for _, in := range []explain.Input{inputOf(s.Policy, s.Mesh, s.Request), inputOf(s.Policy, after)} {
			e := explain.New(in)
			w := mesh.NewWorld(in.Objects, mesh.Options{RootNamespace: s.Policy.RootNamespace, GatewayNamespaces: s.Policy.GatewayNamespaces})
			for _, host := range e.Hosts() {
				got, err := e.Explain(explain.Query{Host: host})
				require.NoError(t, err, s.Name)
				for _, n := range w.Needs(host, false) {
					needs++
					conn := connectionOf(got, n)
					if conn == nil && len(n.Sources) == 0 && callsTaken(got, n) {
						continue // What might be called directly is not.
					}
					if !assert.NotNil(t, conn, "%s: %s for %+v", s.Name, host, n.Client) {
						continue
					}
					assert.Equal(t, n.Satisfied(), conn.TLS != nil || n.TLS.Level == mesh.LevelNoSubset, "%s: %s for %+v", s.Name, host, n.Client)
					if n.Rule != nil {
						assert.Equal(t, n.Rule.Namespace(), conn.Rule.Namespace, s.Name)
					}
				}
			}
		}
	}
	assert.Greater(t, needs, 300)
}

func connectionOf(h explain.Host, n mesh.Need) *explain.Connection {
	kind := explain.Sidecar
	if n.Client.Gateway {
		kind = explain.Gateway
	}
	var selector map[string]string
	if n.Rule != nil {
		selector = n.Rule.Selector
	}
	for _, c := range h.Clients {
		if c.Kind != kind || c.Namespace != n.Client.Namespace || fmt.Sprint(c.Labels) != fmt.Sprint(n.Client.Labels) || c.Guessed == n.Client.Known {
			continue
		}
		for _, p := range c.Ports {
			for i, conn := range p.Connections {
				if p.Number == n.Port.GetNumber() && conn.Subset == n.Subset && fmt.Sprint(conn.Workloads) == fmt.Sprint(selector) {
					return &p.Connections[i]
				}
			}
		}
	}
	return nil
}

func callsTaken(h explain.Host, n mesh.Need) bool {
	for _, c := range h.Clients {
		for _, p := range c.Ports {
			if c.Kind == explain.Sidecar && c.Namespace == n.Client.Namespace && p.Number == n.Port.GetNumber() && p.CallsTakenBy != nil {
				return true
			}
		}
	}
	return false
}

// To explain what is there changes nothing of it, and comes to the same twice.
func TestExplainIsDeterministic(t *testing.T) {
	t.Parallel()
	all, err := scenario.All("../../test/scenarios")
	require.NoError(t, err)
	for _, s := range all {
		before := fmt.Sprint(raws(s))
		first, second := explain.New(inputOf(s.Policy, s.Mesh, s.Request)), explain.New(inputOf(s.Policy, s.Request, s.Mesh))
		for _, host := range first.Hosts() {
			a, err := first.Explain(explain.Query{Host: host})
			require.NoError(t, err)
			b, err := second.Explain(explain.Query{Host: host})
			require.NoError(t, err)
			assert.Equal(t, a, b, s.Name)
		}
		assert.Equal(t, before, fmt.Sprint(raws(s)), s.Name)
	}
}

func raws(s *scenario.Scenario) []metav1.Object {
	var out []metav1.Object
	for _, o := range append(append([]scenario.Object{}, s.Mesh...), s.Request...) {
		out = append(out, o.Typed)
	}
	return out
}
