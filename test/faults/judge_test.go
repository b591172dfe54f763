package faults

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
	"github.com/egress-tls/egress-tls-webhook/test/site"
)

// violations replays what was stored, and returns what should never have been.
func violations(versions []controlplane.Version, sites []site.Site) []string {
	var found []string
	order := site.NewOrder(sites...)
	for _, v := range versions {
		found = append(found, order.See(v)...)
	}
	return found
}

func TestJudgeFindsEveryViolation(t *testing.T) {
	s := site.Site{Round: "r0", Namespace: "shop-00", Host: "h0.r0.example.com"}
	elsewhere := s.Rule()
	elsewhere.SetNamespace("shop-01")
	plaintext := s.Rule()
	unstructured.RemoveNestedField(plaintext.Object, "spec", "trafficPolicy")
	deleted := func(o *unstructured.Unstructured) *unstructured.Unstructured {
		return s.Object(`{apiVersion: v1, kind: ` + o.GetKind() + `, metadata: {name: ` + o.GetName() + `, namespace: NAMESPACE, deletionTimestamp: "2000-01-01T00:00:00Z"}}`)
	}
	entry, rule, route, inner := s.Entry(), s.Rule(), s.AsStored("web", "/keys", "/"), s.AsStored("web", "/")
	resource := map[string]string{"ServiceEntry": "serviceentries", "VirtualService": "virtualservices", "DestinationRule": "destinationrules"}
	for _, test := range []struct {
		name   string
		writes []*unstructured.Unstructured
		want   []string
	}{
		{"rule before route", []*unstructured.Unstructured{rule, route}, nil},
		{"route before rule", []*unstructured.Unstructured{route, rule}, []string{"1 virtualservices shop-00/web: the route to HOST has no rule"}},
		{"route changed before rule", []*unstructured.Unstructured{inner, route, rule}, []string{"2 virtualservices shop-00/web: the route to HOST has no rule"}},
		{"rule in another namespace", []*unstructured.Unstructured{elsewhere, route}, []string{"2 virtualservices shop-00/web: the route to HOST has no rule"}},
		{"rule without TLS", []*unstructured.Unstructured{plaintext, route}, []string{"2 virtualservices shop-00/web: the route to HOST has no rule"}},
		{"rule deleted", []*unstructured.Unstructured{rule, route, deleted(rule), rule}, []string{"3 destinationrules shop-00/RULE: leaves HOST without TLS"}},
		{"rule changed", []*unstructured.Unstructured{rule, route, plaintext, rule}, []string{"3 destinationrules shop-00/RULE: leaves HOST without TLS"}},
		{"rule deleted after route", []*unstructured.Unstructured{rule, route, deleted(route), deleted(rule)}, nil},
		{"rule deleted after route was changed", []*unstructured.Unstructured{rule, route, inner, deleted(rule)}, nil},
		{"no headers", []*unstructured.Unstructured{rule, s.Route("web", "/keys", "/")}, []string{`2 virtualservices shop-00/web: the route to HOST has the headers "" and ""`}},
		{"no more declared", []*unstructured.Unstructured{rule, route, deleted(entry), deleted(rule)}, nil},
		{"declared again", []*unstructured.Unstructured{rule, route, deleted(entry), deleted(rule), entry, rule}, []string{"5 serviceentries shop-00/HOST: declares HOST, which has a route and no rule"}},
		{"dead route", []*unstructured.Unstructured{rule, s.AsStored("web", "/", "/keys")}, []string{"2 virtualservices shop-00/web: the route to HOST is dead"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var versions []controlplane.Version
			for i, o := range test.writes {
				v := controlplane.Version{Revision: int64(i + 1), Resource: resource[o.GetKind()], Namespace: o.GetNamespace(), Name: o.GetName()}
				if o.GetDeletionTimestamp() == nil {
					v.Object = o
				}
				versions = append(versions, v)
			}
			var want []string
			for _, w := range test.want {
				want = append(want, strings.NewReplacer("RULE", rule.GetName(), "HOST", s.Host).Replace(w))
			}
			assert.Equal(t, want, violations(versions, []site.Site{s}))
		})
	}
}

func TestWhatIsMissingIsNoticed(t *testing.T) {
	l := newLoad(newSites(t, 1))
	s := l.sites[0]
	l.right(s, "web", "/keys", "/")
	_, wrong := l.compare(t)
	assert.Equal(t, []string{"VirtualService " + s.Namespace + "/web is missing", s.Host + " has 0 DestinationRules"}, wrong)
}
