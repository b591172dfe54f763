package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// notHere are the scenarios that an API server cannot play, and why.
var notHere = map[string]string{
	"headers-unknown-fields-survive": "the API server prunes what the CRD's schema does not know; TestPatchHoldsOnlyWhatIsInjectedAndUnknownFieldsSurvive posts such an object",
	"rule-unknown-fields-survive":    "as above",
}

// rulesLater are those whose rules come to what want.yaml says only when the managed
// ones are brought in line, which is not the admission's part.
var rulesLater = map[string]string{
	"sidecar-seed-as-written": "the ServiceEntry is admitted first and gets a rule, which yields to the user's own, applied last",
}

// Every scenario of test/scenarios, played by kubectl: mesh.yaml is stored by the
// exempt user, request.yaml is applied, and what want.yaml says must come of it. On
// the oldest control plane, in the versions of Istio's API before v1, in turns.
func TestScenarios(t *testing.T) {
	all, err := scenario.All("../scenarios")
	require.NoError(t, err)
	reasons := maps.Clone(notHere)
	maps.Copy(reasons, rulesLater)
	policies := map[*scenario.Scenario]string{}
	for _, s := range all {
		policies[s] = policyFor(t, s)
		delete(reasons, s.Name)
	}
	assert.Empty(t, reasons, "these are no scenarios")
	// Each policy needs a webhook of its own.
	slices.SortStableFunc(all, func(a, b *scenario.Scenario) int { return cmp.Compare(policies[a], policies[b]) })
	for i, s := range all {
		version := asWritten
		if *oldest {
			version = apiVersions[i%2]
		}
		t.Run(s.Name, func(t *testing.T) {
			if reason := notHere[s.Name]; reason != "" {
				t.Skip(reason)
			}
			// Each policy takes a webhook of its own; of what they decide, older CRDs could
			// know no field of the TLS settings.
			if s.PolicyFile != "" && s.Policy.TLS == policy.Default().TLS {
				newestOnly(t)
			}
			play(t, s, serverWith(t, policies[s]), version)
		})
	}
	clean(t)
	for namespace := range modes {
		setMode(t, server(t), policy.Default(), namespace, "")
	}
}

// modes are the mode labels that scenarios put on namespaces.
var modes = map[string]string{}

// setMode puts the label on the namespace and waits until the webhook knows.
func setMode(t *testing.T, webhook *controlplane.Webhook, pol *policy.Policy, namespace, label string) {
	t.Helper()
	if modes[namespace] == label {
		return
	}
	ns := stored(t, &corev1.Namespace{}, "", namespace)
	ns.Labels[policy.ModeLabel] = label
	if label == "" {
		delete(ns.Labels, policy.ModeLabel)
	}
	require.NoError(t, writer.Update(t.Context(), ns))
	modes[namespace] = label
	want, _ := pol.ModeFor(namespace, label)
	if want == policy.Off {
		want = "" // Then nothing is annotated.
	}
	probe := strings.Replace(review("CREATE", withSpec("{}"), "null"), `"namespace": "default"`, fmt.Sprintf(`"namespace": %q`, namespace), 1)
	eventually(t, func() bool { return post(t, webhook, validatePath, probe).AuditAnnotations["mode"] == string(want) },
		"the webhook sees that the mode of %s is %q", namespace, label)
}

// policyFor is the scenario's policy with an exemption for who sets it up.
func policyFor(t *testing.T, s *scenario.Scenario) string {
	t.Helper()
	if s.PolicyFile == "" {
		return defaultPolicy
	}
	p := *s.Policy
	p.Exemptions.Usernames = append(slices.Clone(p.Exemptions.Usernames), setupUser)
	out, err := yaml.Marshal(p)
	require.NoError(t, err)
	return string(out)
}

// play plays the scenario with all Istio objects in the given version.
func play(t *testing.T, s *scenario.Scenario, webhook *controlplane.Webhook, version apiVersion) {
	t.Helper()
	clean(t)
	waitCached(t, webhook)
	setModes(t, s, webhook)
	store(t, s, version)
	waitCached(t, webhook)

	assertForetold(t, s)
	request, err := os.ReadFile(s.RequestFile)
	require.NoError(t, err)
	result := kubectl(t, version.of(string(request)), "apply", "-f", "-")
	warnings, rest := result.Warnings()
	if s.Want.Refused {
		assert.Equal(t, 1, result.ExitCode)
		assertRefusal(t, s, rest)
		assert.Empty(t, rulesBeside(t, s), "a refused request writes no rule")
		assertScanned(t, s)
		return
	}
	require.Zero(t, result.ExitCode, result.Stderr)
	assert.Empty(t, rest)
	assertWarnings(t, s, warnings)
	for _, want := range s.Want.Stored {
		assert.Equal(t, text(t, want), text(t, storedLike(t, want)))
	}
	if rulesLater[s.Name] == "" {
		assert.Equal(t, text(t, byName(s.Want.Rules)), text(t, rulesBeside(t, s)))
		assertScanned(t, s)
	}
}

// modeOf is the mode of the first object of the request.
func modeOf(s *scenario.Scenario) policy.Mode {
	namespace := s.Request[0].Typed.GetNamespace()
	mode, _ := s.Policy.ModeFor(namespace, modes[namespace])
	return mode
}

// setModes creates the namespaces of the scenario and labels them as it says.
func setModes(t *testing.T, s *scenario.Scenario, webhook *controlplane.Webhook) {
	t.Helper()
	labels := map[string]string{}
	for _, o := range slices.Concat(s.Mesh, s.Request) {
		if o.Raw["kind"] == "Namespace" {
			labels[o.Typed.GetName()] = o.Typed.GetLabels()[policy.ModeLabel]
		} else if _, ok := labels[o.Typed.GetNamespace()]; !ok {
			labels[o.Typed.GetNamespace()] = ""
		}
	}
	for _, r := range s.Want.Rules {
		o := unstructured.Unstructured{Object: r}
		if _, ok := labels[o.GetNamespace()]; !ok {
			labels[o.GetNamespace()] = ""
		}
	}
	for namespace, label := range labels {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		require.NoError(t, client.IgnoreAlreadyExists(writer.Create(t.Context(), ns)))
		setMode(t, webhook, s.Policy, namespace, label)
	}
}

// assertRefusal: an object of the request is refused for all its errors; the text
// is the whole one where the request is one object.
func assertRefusal(t *testing.T, s *scenario.Scenario, rest string) {
	t.Helper()
	_, got, denied := strings.Cut(rest, `admission webhook "validate.egress-tls.dev" denied the request: `)
	require.True(t, denied, rest)
	object := finding.Object{Kind: s.Request[0].Raw["kind"].(string), Namespace: s.Request[0].Typed.GetNamespace(), Name: s.Request[0].Typed.GetName()}
	want := []string{object.String() + " is refused:"}
	for _, f := range s.Want.Findings {
		if f.Severity != finding.Error {
			continue
		}
		line := "- "
		if f.Object != (scenario.FindingObject{Kind: object.Kind, Namespace: object.Namespace, Name: object.Name}) {
			line += fmt.Sprintf("%s %s/%s: ", f.Object.Kind, f.Object.Namespace, f.Object.Name)
		}
		want = append(want, line+textOf(f))
	}
	if len(s.Request) == 1 {
		assert.Equal(t, lines(want...), strings.TrimSuffix(got, "\n"))
		return
	}
	for _, line := range want[1:] {
		assert.Contains(t, rest, strings.TrimPrefix(line, "- "))
	}
}

// assertWarnings: every change, rule and finding is warned of, and nothing else.
// Where the request is several objects, want.yaml judges each with all others
// there already; kubectl applies them one by one, so only the changes are sure.
func assertWarnings(t *testing.T, s *scenario.Scenario, got []string) {
	t.Helper()
	want := slices.Clone(s.Want.Changes)
	switch mode := modeOf(s); {
	case mode == policy.Audit || mode == policy.Off:
		assert.Empty(t, got)
		return
	case mode == policy.Warn:
		// want.yaml does not tell what would be.
		got = slices.DeleteFunc(slices.Clone(got), func(w string) bool { return strings.HasPrefix(w, "would ") })
	case len(s.Request) > 1:
		assert.Subset(t, got, want)
		return
	}
	for _, r := range s.Want.Rules {
		o := unstructured.Unstructured{Object: r}
		did := "injected TLS in"
		if o.GetLabels()[mesh.ManagedByLabel] == mesh.ManagedBy {
			did = "created"
			if slices.ContainsFunc(s.Mesh, func(m scenario.Object) bool {
				return m.Raw["kind"] == mesh.DestinationRuleKind && m.Typed.GetNamespace() == o.GetNamespace() && m.Typed.GetName() == o.GetName()
			}) {
				did = "restored"
			}
		}
		want = append(want, fmt.Sprintf("%s DestinationRule %s/%s", did, o.GetNamespace(), o.GetName()))
	}
	for _, f := range s.Want.Findings {
		want = append(want, textOf(f))
	}
	got = slices.Clone(got)
	for i, w := range got {
		got[i] = ruleTarget.ReplaceAllString(w, "$1$2$3")
	}
	assert.Equal(t, want, got)
}

// ruleTarget is the host and the ports in the warning about a rule, which are in the
// rule too.
var ruleTarget = regexp.MustCompile(`^((?:created|restored) DestinationRule \S+) with TLS to .*$|^(injected TLS) to .*( in DestinationRule \S+)$`)

func textOf(f scenario.Finding) string {
	return finding.Finding{Code: f.Code, Path: f.Path, Message: f.Message, Remedy: f.Remedy}.Text()
}

// store creates mesh.yaml as its timestamps say: an API server sets them itself,
// to the second. Of two objects of one second Istio takes the first by name for the
// older, so only those whose names say otherwise must wait.
func store(t *testing.T, s *scenario.Scenario, version apiVersion) {
	t.Helper()
	objects := slices.DeleteFunc(slices.Clone(s.Mesh), func(o scenario.Object) bool { return o.Raw["kind"] == "Namespace" })
	slices.SortStableFunc(objects, func(a, b scenario.Object) int { return cmp.Or(age(a).Compare(age(b)), compareNames(a, b)) })
	var thisSecond []scenario.Object
	follow := func(o scenario.Object) {
		if slices.ContainsFunc(thisSecond, func(before scenario.Object) bool {
			return before.Raw["kind"] == o.Raw["kind"] && compareNames(before, o) > 0
		}) {
			nextSecond()
			thisSecond = nil
		}
	}
	for _, o := range objects {
		follow(o)
		thisSecond = append(thisSecond, o)
		raw := (&unstructured.Unstructured{Object: o.Raw}).DeepCopy()
		raw.SetAPIVersion(version.of(raw.GetAPIVersion()))
		owner := setupUser
		if raw.GetLabels()[mesh.ManagedByLabel] == mesh.ManagedBy {
			owner = mesh.ManagedBy // Of what others have applied nothing is removed.
		}
		require.NoError(t, writer.Create(t.Context(), raw, client.FieldOwner(owner)))
	}
	// The request comes last.
	for _, o := range s.Request {
		follow(o)
	}
}

func compareNames(a, b scenario.Object) int {
	return cmp.Or(cmp.Compare(a.Typed.GetName(), b.Typed.GetName()), cmp.Compare(a.Typed.GetNamespace(), b.Typed.GetNamespace()))
}

// age is when the object is said to be created; those that do not say come last.
func age(o scenario.Object) time.Time {
	if at := o.Typed.GetCreationTimestamp(); !at.IsZero() {
		return at.Time
	}
	return time.Unix(1<<40, 0)
}

// nextSecond waits until what is created next has a later creationTimestamp.
func nextSecond() {
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second + 10*time.Millisecond)))
}

// clean deletes all that scenarios are made of, except namespaces: nobody would
// finish their deletion here.
func clean(t *testing.T) {
	t.Helper()
	var kinds sync.WaitGroup
	for _, list := range []client.ObjectList{
		&networkingv1.VirtualServiceList{}, &networkingv1.DestinationRuleList{}, &networkingv1.ServiceEntryList{},
		&networkingv1.GatewayList{}, &corev1.ServiceList{},
	} {
		kinds.Go(func() {
			noError(t, reader.List(t.Context(), list), "list what to delete")
			noError(t, meta.EachListItem(list, func(o runtime.Object) error {
				if object := o.(client.Object); object.GetName() != "kubernetes" {
					// A reconciler may have been faster.
					return client.IgnoreNotFound(writer.Delete(context.WithoutCancel(t.Context()), object))
				}
				return nil
			}), "delete")
		})
	}
	kinds.Wait()
}

// storedLike reads the object that want names, as want.yaml shows it.
func storedLike(t *testing.T, want map[string]any) map[string]any {
	t.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": want["apiVersion"], "kind": want["kind"]}}
	named := unstructured.Unstructured{Object: want}
	require.NoError(t, reader.Get(t.Context(), client.ObjectKeyFromObject(&named), o))
	return shown(*o)
}

// shown leaves out what the API server and kubectl set.
func shown(o unstructured.Unstructured) map[string]any {
	annotations := o.GetAnnotations()
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	if len(annotations) == 0 {
		annotations = nil
	}
	o.SetAnnotations(annotations)
	return scenario.Shown(o.Object)
}

// rulesBeside are the DestinationRules that are neither of the request nor as they
// were stored with the mesh, sorted.
func rulesBeside(t *testing.T, s *scenario.Scenario) []map[string]any {
	t.Helper()
	before := map[string]string{}
	for _, o := range append(slices.Clone(s.Mesh), s.Request...) {
		if o.Raw["kind"] == mesh.DestinationRuleKind {
			key := o.Typed.GetNamespace() + "/" + o.Typed.GetName()
			raw := unstructured.Unstructured{Object: maps.Clone(o.Raw)}
			raw.SetAPIVersion(mesh.APIVersion)
			before[key] = text(t, shown(raw))
		}
	}
	var list unstructured.UnstructuredList
	list.SetAPIVersion(mesh.APIVersion)
	list.SetKind(mesh.DestinationRuleKind + "List")
	require.NoError(t, reader.List(t.Context(), &list))
	var out []map[string]any
	for _, o := range list.Items {
		ofRequest := slices.ContainsFunc(s.Request, func(r scenario.Object) bool {
			return r.Raw["kind"] == mesh.DestinationRuleKind && r.Typed.GetNamespace() == o.GetNamespace() && r.Typed.GetName() == o.GetName()
		})
		if rule := shown(o); !ofRequest && before[o.GetNamespace()+"/"+o.GetName()] != text(t, rule) {
			out = append(out, rule)
		}
	}
	return byName(out)
}

func byName(rules []map[string]any) []map[string]any {
	key := func(r map[string]any) string {
		o := unstructured.Unstructured{Object: r}
		return o.GetNamespace() + "/" + o.GetName()
	}
	out := slices.Clone(rules)
	slices.SortFunc(out, func(a, b map[string]any) int { return cmp.Compare(key(a), key(b)) })
	return out
}

func text(t *testing.T, o any) string {
	t.Helper()
	out, err := yaml.Marshal(o)
	require.NoError(t, err)
	return string(out)
}
