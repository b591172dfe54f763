package decision_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

var targetHosts = []string{"api.vendor.com", "www.vendor.com"}

// A small world: some ServiceEntries, routes and rules of several teams, that may
// or may not have to do with each other.
type draft struct{ *rapid.T }

func (d draft) pick(label string, from ...string) string {
	return rapid.SampledFrom(from).Draw(d.T, label)
}

func (d draft) object(kind string, i int, namespace, spec string) scenario.Object {
	created := ""
	if year := rapid.IntRange(2020, 2024).Draw(d.T, "created"); year < 2024 {
		created = fmt.Sprintf(", creationTimestamp: '%d-01-01T00:00:00Z'", year)
	}
	version := "networking.istio.io/v1"
	if kind == "Service" {
		version = "v1"
	}
	text := fmt.Sprintf("{apiVersion: %s, kind: %s, metadata: {name: n%d, namespace: %s%s}, spec: %s}", version, kind, i, namespace, created, spec)
	out, err := scenario.Parse([]byte(text))
	require.NoError(d, err, text)
	return out[0]
}

func (d draft) world() []scenario.Object {
	var out []scenario.Object
	some := func(label string, least, most int, kind string, namespaces []string, spec func() string) {
		for range rapid.IntRange(least, most).Draw(d.T, label) {
			out = append(out, d.object(kind, len(out), d.pick("namespace", namespaces...), spec()))
		}
	}
	namespaces := []string{"a", "b", "istio-system"}
	some("entries", 1, 3, "ServiceEntry", namespaces, func() string {
		return fmt.Sprintf("{hosts: [%s], exportTo: [%s], ports: [%s]}",
			d.pick("hosts", "api.vendor.com", "api.vendor.com", "api.vendor.com, www.vendor.com", "'*.vendor.com'"), d.exportTo(),
			d.pick("ports", "{number: 443, name: a, protocol: HTTPS}", "{number: 443, name: a, protocol: HTTP}", "{number: 80, name: b, protocol: HTTP, targetPort: 443}, {number: 443, name: a, protocol: TLS}", "{number: 80, name: b, protocol: HTTP}"))
	})
	some("routes", 0, 3, "VirtualService", namespaces, func() string {
		return fmt.Sprintf("{hosts: [%s], exportTo: [%s], gateways: [%s], http: [{match: [%s], %sroute: [{destination: {host: %s, port: {number: %s}%s}}%s]%s}]}",
			d.pick("vs hosts", "x.example.com", "x.example.com", ""), d.exportTo(), d.pick("gateways", "", "", "in", "a/in", "in, mesh"),
			d.pick("match", "", "{uri: {prefix: /x}}", "{sourceNamespace: a}", "{gateways: [a/in]}"),
			d.pick("headers", "", "", "headers: {request: {set: {Host: www.vendor.com}}}, ", "rewrite: {authority: api.vendor.com}, "),
			d.pick("host", targetHosts...), d.pick("port", "443", "443", "80"), d.pick("subset", "", "", ", subset: v1"),
			d.pick("second", "", "", ", {destination: {host: www.vendor.com, port: {number: 443}}, weight: 10}"),
			d.pick("more", "", "", "}, {delegate: {name: n1}"))
	})
	some("rules", 0, 4, "DestinationRule", []string{"a", "a", "b", "istio-system"}, func() string {
		return fmt.Sprintf("{host: %s, exportTo: [%s]%s%s, subsets: [%s]}",
			d.pick("rule host", "api.vendor.com", "api.vendor.com", "'*.vendor.com'", "'*.com'", "www.vendor.com"), d.exportTo(),
			d.pick("selector", "", "", "", ", workloadSelector: {matchLabels: {app: x}}", ", workloadSelector: {matchLabels: {istio: in}}"), d.policy(", trafficPolicy: "),
			d.pick("subsets", "", "", "{name: v1"+d.policy(", trafficPolicy: ")+"}"))
	})
	some("gateways", 0, 1, "Gateway", []string{"a"}, func() string { return "{selector: {istio: in}}" })
	for i := range out {
		if out[i].Raw["kind"] == "Gateway" {
			out[i].Raw["metadata"].(map[string]any)["name"] = "in"
			out[i].Typed.SetName("in")
		}
	}
	some("services", 0, 2, "Service", namespaces, func() string { return "{selector: {istio: in}}" })
	return out
}

func (d draft) exportTo() string {
	return d.pick("exportTo", "", "", "", "'.'", "'*'", "a", "b, '.'", "istio-system", "'~'")
}

func (d draft) policy(field string) string {
	tls := func() string {
		return d.pick("tls", "", "", ", tls: {mode: SIMPLE}", ", tls: {mode: DISABLE}", ", tls: {mode: ISTIO_MUTUAL}", ", tls: {mode: SIMPLE, credentialName: c}")
	}
	switch d.pick("policy", "none", "none", "level", "entry") {
	case "level":
		return field + "{loadBalancer: {simple: RANDOM}" + tls() + "}"
	case "entry":
		return field + "{connectionPool: {tcp: {maxConnections: 3}}" + tls() + ", portLevelSettings: [{port: {number: " + d.pick("entry port", "443", "80") + "}" + tls() + "}]}"
	}
	return ""
}

func (d draft) rules() *policy.Policy {
	pol := policy.Default()
	pol.RouteOrder = policy.IgnoreOrder
	if d.pick("always", "no", "no", "yes") == "yes" {
		pol.Originate = policy.Always
	}
	if d.pick("gatewayNamespaces", "no", "no", "yes") == "yes" {
		pol.GatewayNamespaces = []string{"b"}
	}
	return pol
}

func show(t *rapid.T, objects []scenario.Object) string {
	var text string
	for _, o := range objects {
		out, err := yaml.Marshal(o.Raw)
		require.NoError(t, err)
		text += "---\n" + string(out)
	}
	return text
}

// Whatever the world, one round of carrying out what is decided comes to a world
// in which nothing is left to be done: no admission adds, no reconciler writes. In
// it every need is met, but for those that the plan said it cannot meet and those
// that are the user's own word.
func TestDecisionsAreAFixpoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draft{t}
		pol := d.rules()
		objects := d.world()
		t.Log(show(t, objects))

		objects = admitAll(t, objects, pol, false)
		objects, unmet := reconcile(t, objects, pol, true)
		world := scenario.World(objects, pol)
		stored := scenario.Stored(objects, pol)

		for _, o := range objects {
			if !o.Decided() {
				continue
			}
			out, err := decision.Decide(world, pol, o.Typed, o.Raw)
			require.NoError(t, err)
			require.Empty(t, out.Edits, "%s: %v", mesh.ObjectOf(o.Typed), out.Changes)
			require.Empty(t, out.Rules, "%s", mesh.ObjectOf(o.Typed))
		}
		for _, host := range targetHosts {
			plan, err := mutate.Rules(world, host, pol)
			require.NoError(t, err)
			require.Empty(t, plan.Changes)
			require.Empty(t, plan.Surplus)
			var open int
			for _, n := range stored.Needs(host, pol.Originate == policy.Always) {
				if n.Lacks() {
					open++
				}
			}
			require.Len(t, unmet[host], open, "the plan knows what stays open")
		}
	})
}

// What is decided about an object does not hang on the order in which a list came.
func TestDecisionsDoNotHangOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draft{t}
		pol := d.rules()
		objects := d.world()
		shuffled := rapid.Permutation(objects).Draw(t, "order")
		for _, host := range targetHosts {
			a, err := mutate.Rules(scenario.World(objects, pol), host, pol)
			require.NoError(t, err)
			b, err := mutate.Rules(scenario.World(shuffled, pol), host, pol)
			require.NoError(t, err)
			require.Equal(t, written(t, a.Desired), written(t, b.Desired))
		}
		for _, o := range objects {
			if !o.Decided() {
				continue
			}
			a, err := decision.Decide(scenario.World(objects, pol), pol, o.Typed, o.Raw)
			require.NoError(t, err)
			b, err := decision.Decide(scenario.World(shuffled, pol), pol, o.Typed, o.Raw)
			require.NoError(t, err)
			require.Equal(t, a.Findings, b.Findings)
			require.Equal(t, a.Edits, b.Edits)
			require.Equal(t, a.Changes, b.Changes)
		}
	})
}

// Where every need is met, or switched off by the user, nothing is proposed.
func TestNothingIsProposedWhereNothingLacks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draft{t}
		pol := d.rules()
		world := scenario.World(d.world(), pol)
		for _, host := range targetHosts {
			plan, err := mutate.Rules(world, host, pol)
			require.NoError(t, err)
			if !slices.ContainsFunc(plan.Needs, mesh.Need.Lacks) {
				require.Empty(t, plan.Desired)
			}
		}
	})
}

// admitAll admits every object once more, in order, as a webhook would: each in the
// world that the ones before have left, created or, if stored, updated to the same.
func admitAll(t *rapid.T, objects []scenario.Object, pol *policy.Policy, stored bool) []scenario.Object {
	for i := range objects {
		o := objects[i]
		if !o.Decided() {
			continue
		}
		var old func() metav1.Object
		if stored {
			old = func() metav1.Object { return o.Typed }
		}
		out, err := decision.DecideUpdate(scenario.World(objects, pol), pol, old, o.Typed, o.Raw)
		require.NoError(t, err)
		_, err = mutate.Patch(o.Raw, out.Edits)
		require.NoError(t, err)
		objects[i] = reparsed(t, o.Raw)
		for _, c := range out.Rules {
			objects = carryOut(t, objects, c, pol)
		}
	}
	return objects
}

// reconcile brings the rules of every host in line, as far as it goes before any grace
// period is over, or all the way; and returns what stays open.
func reconcile(t *rapid.T, objects []scenario.Object, pol *policy.Policy, over bool) ([]scenario.Object, map[string][]mesh.Need) {
	unmet := map[string][]mesh.Need{}
	for _, host := range targetHosts {
		plan, err := mutate.Rules(scenario.World(objects, pol), host, pol)
		require.NoError(t, err)
		for _, c := range plan.Changes {
			objects = carryOut(t, objects, c, pol)
		}
		for _, s := range plan.Surplus {
			switch {
			case !over && !s.Yields:
				continue
			case s.Want != nil:
				objects = carryOutFor(t, objects, *s.Want, pol, nil)
				continue
			}
			objects = slices.DeleteFunc(objects, func(o scenario.Object) bool { return isRule(o, s.Rule) })
		}
		unmet[host] = plan.Unmet
	}
	return objects, unmet
}

func carryOut(t *rapid.T, objects []scenario.Object, c mutate.RuleChange, pol *policy.Policy) []scenario.Object {
	return carryOutFor(t, objects, c, pol, mutate.KeepAll)
}

func isRule(o scenario.Object, rule *networkingv1.DestinationRule) bool {
	_, ok := o.Typed.(*networkingv1.DestinationRule)
	return ok && o.Typed.GetNamespace() == rule.Namespace && o.Typed.GetName() == rule.Name
}

func carryOutFor(t *rapid.T, objects []scenario.Object, c mutate.RuleChange, pol *policy.Policy, keep func(string) bool) []scenario.Object {
	at := slices.IndexFunc(objects, func(o scenario.Object) bool { return isRule(o, c.Rule) })
	if c.Action == mutate.Create {
		tree, err := mutate.MarshalRule(c.Rule)
		require.NoError(t, err)
		if at < 0 {
			return append(objects, reparsed(t, tree))
		}
		objects[at] = reparsed(t, tree)
		return objects
	}
	require.GreaterOrEqual(t, at, 0)
	edits, err := mutate.InjectEdits(objects[at].Raw, c.Injections, pol.TLS, keep)
	require.NoError(t, err)
	_, err = mutate.Patch(objects[at].Raw, edits)
	require.NoError(t, err)
	objects[at] = reparsed(t, objects[at].Raw)
	return objects
}

func reparsed(t *rapid.T, raw map[string]any) scenario.Object {
	text, err := json.Marshal(raw)
	require.NoError(t, err)
	out, err := scenario.Parse(text)
	require.NoError(t, err)
	return out[0]
}

func written(t *rapid.T, changes []mutate.RuleChange) []string {
	var out []string
	for _, c := range changes {
		text, err := json.Marshal(c.Rule)
		require.NoError(t, err)
		out = append(out, string(c.Action)+" "+string(text))
	}
	return out
}

// What an admission makes sure of stays until its object is stored, whatever the
// reconciler and other admissions do that do not know of it yet.
func TestNothingIsTakenFromAnAdmissionUnderWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draft{t}
		pol := d.rules()
		objects := d.world()
		var routes []int
		for i, o := range objects {
			if o.Raw["kind"] == "VirtualService" {
				routes = append(routes, i)
			}
		}
		if len(routes) == 0 {
			return
		}
		at := rapid.SampledFrom(routes).Draw(t, "under way")
		route := objects[at]
		objects, _ = reconcile(t, admitAll(t, slices.Delete(slices.Clone(objects), at, at+1), pol, false), pol, true)
		t.Log(show(t, objects), show(t, []scenario.Object{route}))
		out, err := decision.Decide(scenario.World(append(slices.Clone(objects), route), pol), pol, route.Typed, route.Raw)
		require.NoError(t, err)
		for _, c := range out.Rules {
			objects = carryOut(t, objects, c, pol)
		}
		open := func() []string {
			var texts []string
			w := scenario.Stored(append(slices.Clone(objects), route), pol)
			for _, host := range targetHosts {
				for _, n := range w.Needs(host, false) {
					if n.Lacks() && slices.ContainsFunc(n.Sources, func(s mesh.Source) bool { return s.VirtualService == route.Typed }) {
						texts = append(texts, fmt.Sprintf("%s:%d/%s %s %v", host, n.Port.GetNumber(), n.Subset, n.Client.Namespace, n.Client.Gateway))
					}
				}
			}
			return texts
		}
		before := open()
		t.Log("after admission", show(t, objects))
		for round := range 2 {
			if rapid.Bool().Draw(t, "reconciler") {
				objects, _ = reconcile(t, objects, pol, false)
			} else {
				objects = admitAll(t, objects, pol, true)
			}
			t.Log("after round", round, show(t, objects))
			require.Subset(t, before, open())
		}
	})
}
