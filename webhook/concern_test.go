package webhook

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
)

// informers are what the cache holds, with its indexes.
type informers []scenario.Object

func (in informers) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return apierrors.NewNotFound(schema.GroupResource{}, "")
}

func (in informers) List(_ context.Context, into client.ObjectList, opts ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(opts)
	var found []runtime.Object
	for _, object := range in {
		typed, ok := object.Typed.(client.Object)
		if !ok || !strings.HasSuffix(fmt.Sprintf("%T", into), strings.TrimPrefix(fmt.Sprintf("%T", typed), "*")+"List") ||
			o.Namespace != "" && o.Namespace != typed.GetNamespace() {
			continue
		}
		found = append(found, typed)
	}
	return meta.SetList(into, found)
}

func (in informers) byIndex(kind client.Object, index, key string) (found []any, err error) {
	for _, ix := range indexes {
		if ix.name != index || reflect.TypeOf(ix.object) != reflect.TypeOf(kind) {
			continue
		}
		for _, o := range in {
			if typed, ok := o.Typed.(client.Object); ok && slices.Contains(ix.keys(typed), key) {
				found = append(found, typed)
			}
		}
	}
	return found, nil
}

// A switch of a namespace's mode concerns what may be written there, too.
func TestNamespaceConcernsTheHostsOfItsRules(t *testing.T) {
	var text strings.Builder
	for _, o := range []string{
		"kind: ServiceEntry, metadata: {name: a, namespace: entries}, spec: {hosts: [api.vendor.com, www.vendor.com]}",
		"kind: ServiceEntry, metadata: {name: b, namespace: entries}, spec: {hosts: [other.com]}",
		"kind: VirtualService, metadata: {name: a, namespace: routes}, spec: {hosts: [x.y], gateways: [gateways/in], http: [{route: [{destination: {host: api.vendor.com}}]}]}",
		"kind: Gateway, metadata: {name: in, namespace: gateways}, spec: {selector: {istio: in}}",
		"kind: DestinationRule, metadata: {name: a, namespace: rules}, spec: {host: other.com}",
		"kind: DestinationRule, metadata: {name: a, namespace: wildcards}, spec: {host: '*.vendor.com'}",
	} {
		text.WriteString("---\n{apiVersion: networking.istio.io/v1, " + o + "}\n")
	}
	text.WriteString("---\n{apiVersion: v1, kind: Service, metadata: {name: in, namespace: pods}, spec: {selector: {istio: in}}}\n")
	objects, err := scenario.Parse([]byte(text.String()))
	require.NoError(t, err)
	pol := policy.Default()
	pol.GatewayNamespaces = []string{"listed"}
	c := concern{informers(objects), pol}
	for namespace, want := range map[string][]string{
		"entries":         {"api.vendor.com", "other.com", "www.vendor.com"},
		"routes":          {"api.vendor.com"},
		"gateways":        {"api.vendor.com"},
		"pods":            {"api.vendor.com"},
		"rules":           {"other.com"},
		"wildcards":       {"*.vendor.com", "api.vendor.com", "www.vendor.com"},
		"listed":          {"api.vendor.com", "other.com", "www.vendor.com"},
		pol.RootNamespace: {"api.vendor.com", "other.com", "www.vendor.com"},
		"nothing":         nil,
	} {
		assert.Equal(t, want, c.hosts(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}), namespace)
	}
}
