package conformance

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/egress-tls/egress-tls-webhook/internal/cli"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

const scenarios = "../scenarios"

// played is a scenario, and the objects that are in the mesh when its request is applied without us
// and with us. With us a request that is refused changes nothing.
type played struct {
	*scenario.Scenario
	without, with []scenario.Object
	// stored are those of with that were stored by us: the request's, and the rules.
	stored []scenario.Object
}

// play renders the request as its author would, with the CLI.
func play(t *testing.T, s *scenario.Scenario) *played {
	t.Helper()
	p := &played{Scenario: s, without: users(t, apply(s.Mesh, s.Request))}
	p.with = s.Mesh
	if !s.Want.Refused {
		p.stored = render(t, s)
		p.with = apply(s.Mesh, p.stored)
	}
	var err error
	p.with, err = s.Converge(p.with)
	require.NoError(t, err)
	return p
}

// users returns what of the objects is not ours: no managed rules, and no TLS that was injected.
func users(t *testing.T, objects []scenario.Object) []scenario.Object {
	t.Helper()
	var out []scenario.Object
	for _, o := range objects {
		if rule, ok := o.Typed.(*networkingv1.DestinationRule); ok {
			if mesh.IsManaged(rule) {
				continue
			}
			bare, err := mutate.Bare(rule)
			require.NoError(t, err)
			o.Typed = bare
		}
		out = append(out, o)
	}
	return out
}

// render returns the objects that the CLI prints for a scenario, none if it refuses.
func render(t *testing.T, s *scenario.Scenario) []scenario.Object {
	t.Helper()
	args := []string{"render", "-o", "json", "-f", s.RequestFile}
	if s.MeshFile != "" {
		args = append(args, "--background", s.MeshFile)
	}
	if s.PolicyFile != "" {
		args = append(args, "--policy", s.PolicyFile)
	}
	var stdout, stderr bytes.Buffer
	code := cli.Run(args, cli.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr}, "test")
	if code == cli.Found {
		require.Empty(t, stdout.String())
		return nil
	}
	require.Equal(t, cli.OK, code, stderr.String())
	var list struct{ Items []json.RawMessage }
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &list))
	var out []scenario.Object
	for _, item := range list.Items {
		objects, err := scenario.Parse(item)
		require.NoError(t, err)
		out = append(out, objects...)
	}
	return out
}

// apply returns the objects of a mesh after others were applied. What is updated keeps its age.
func apply(before, applied []scenario.Object) []scenario.Object {
	after := slices.Clone(before)
	for _, o := range applied {
		i := slices.IndexFunc(after, o.SameName)
		if i < 0 {
			after = append(after, o)
			continue
		}
		aged := unstructured.Unstructured{Object: o.Raw}
		aged = *aged.DeepCopy()
		aged.SetCreationTimestamp(after[i].Typed.GetCreationTimestamp())
		o.Raw = aged.Object
		o.Typed.SetCreationTimestamp(after[i].Typed.GetCreationTimestamp())
		after[i] = o
	}
	return after
}

func typed(objects []scenario.Object) []metav1.Object {
	out := make([]metav1.Object, len(objects))
	for i, o := range objects {
		out[i] = o.Typed
	}
	return out
}

// neighbours are what the scenarios mention, and what every mesh has: a service on port 80, so that
// sidecars listen there.
const neighbours = `
apiVersion: v1
kind: Service
metadata:
  name: welcome
spec:
  selector:
    app: welcome
  ports:
  - name: http
    port: 8080
---
apiVersion: v1
kind: Service
metadata:
  name: any
  namespace: ` + elsewhere + `
spec:
  selector:
    app: any
  ports:
  - name: http
    port: 80
`

// elsewhere is a namespace that no scenario names.
const elsewhere = "elsewhere"

// withNeighbours adds what objects do not hold.
func withNeighbours(t *testing.T, objects []scenario.Object) []scenario.Object {
	t.Helper()
	all, err := scenario.Parse([]byte(neighbours))
	require.NoError(t, err)
	return apply(all, objects)
}
