package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
	"github.com/egress-tls/egress-tls-webhook/test/site"
)

// strictPrefix begins the namespaces in which mode enforce never ends: no write may be out of order
// there.
const strictPrefix = "strict-"

// team is someone who works in a namespace, one request after the other, and knows what must come
// of each.
type team struct {
	*soak
	namespace string
	random    *rand.Rand
	// mode is that of the namespace; flips says that it changes, and who answers may not know it yet.
	mode  policy.Mode
	flips bool

	rounds int
	at     site.Site // of this round
	// What there is: the ServiceEntry, the prefixes of VirtualServices by name, a DestinationRule of
	// the team's own.
	declared bool
	routes   map[string][]string
	own      bool
}

func (s *soak) createTeams(ctx context.Context) error {
	for i := range 16 {
		t := &team{soak: s, namespace: fmt.Sprintf("%s%02d", strictPrefix, i), mode: policy.Enforce}
		switch {
		case i >= 14:
			t.namespace, t.mode = fmt.Sprintf("quiet-%02d", i), []policy.Mode{policy.Warn, policy.Audit}[i-14]
		case i >= 10:
			t.namespace, t.flips = fmt.Sprintf("flips-%02d", i), true
		}
		for _, o := range (site.Site{Namespace: t.namespace}).NamespaceOf() {
			if o.GetKind() == "Namespace" && t.mode != policy.Enforce {
				o.SetLabels(map[string]string{policy.ModeLabel: string(t.mode)})
			}
			if err := s.admin.Create(ctx, o); err != nil {
				return fmt.Errorf("failed to create %s %s: %w", o.GetKind(), o.GetName(), err)
			}
		}
		s.teams = append(s.teams, t)
	}
	return nil
}

// work goes on until ctx ends, and leaves what it has stored by then.
func (t *team) work(ctx context.Context, random *rand.Rand) {
	t.random = random
	// A request under way is answered.
	calls := context.WithoutCancel(ctx)
	for {
		t.rounds++
		t.at = site.Site{Round: fmt.Sprintf("r%d", t.rounds), Namespace: t.namespace, Host: fmt.Sprintf("h%d.%s.example.com", t.rounds, t.namespace)}
		t.routes = map[string][]string{}
		for _, step := range t.steps() {
			average := float64(len(t.teams)) / t.rate
			if !pause(ctx, time.Duration(average*(0.5+random.Float64())*float64(time.Second))) {
				return
			}
			step(calls)
		}
	}
}

// steps are a host's life.
func (t *team) steps() []func(context.Context) {
	maybe := func(percent int, steps ...func(context.Context)) []func(context.Context) {
		if t.random.IntN(100) < percent {
			return steps
		}
		return nil
	}
	web := func(ctx context.Context) { t.apply(ctx, "web", "/keys", "/") }
	steps := []func(context.Context){t.createEntry}
	if t.flips {
		steps = append(maybe(60, t.flip), steps...)
		steps = append(steps, maybe(50, t.dryRunWrong)...)
		steps = append(steps, web)
		steps = append(steps, maybe(40, t.flip)...)
		steps = append(steps, func(ctx context.Context) { t.apply(ctx, "more", "/more", "/") })
		steps = append(steps, maybe(50, t.dryRunWrong)...)
		return append(steps, t.deletions()...)
	}
	if t.mode != policy.Enforce {
		steps = append(steps, t.applyWrong, web, func(ctx context.Context) { t.apply(ctx, "large", prefixes(100)...) })
		return append(steps, t.deletions()...)
	}
	steps = append(steps, maybe(50, t.dryRun)...)
	steps = append(steps, maybe(30, t.refuseNew)...)
	steps = append(steps, web)
	steps = append(steps, maybe(50, t.applyAgain)...)
	steps = append(steps, maybe(40, func(ctx context.Context) { t.apply(ctx, "web", "/keys", "/more", "/") })...)
	steps = append(steps, maybe(40, t.refuseUpdate)...)
	steps = append(steps, maybe(15, func(ctx context.Context) { t.apply(ctx, "large", prefixes(300)...) })...)
	steps = append(steps, maybe(10, t.kubectl)...)
	steps = append(steps, maybe(10, t.malformed)...)
	steps = append(steps, maybe(10, t.badAnnotation)...)
	steps = append(steps, maybe(5, t.tooLarge)...)
	steps = append(steps, maybe(20, t.bringOwn, web, t.update)...)
	steps = append(steps, maybe(40, t.update)...)
	return append(steps, t.deletions()...)
}

// deletions leave nothing of the host, in one of two orders. A rule of the team's own is the last
// that routes need, so it goes after them.
func (t *team) deletions() []func(context.Context) {
	routes := []func(context.Context){func(ctx context.Context) {
		for name := range t.routes {
			t.delete(ctx, t.at.Route(name, "/"))
			delete(t.routes, name)
		}
	}, func(ctx context.Context) {
		if t.own {
			t.delete(ctx, t.ownRule(""))
			t.own = false
		}
	}}
	entry := func(ctx context.Context) {
		t.delete(ctx, t.at.Entry())
		t.declared = false
	}
	if t.random.IntN(2) == 0 {
		return append([]func(context.Context){entry}, routes...)
	}
	return append(routes, entry)
}

// tryTimeout is longer than both calls of the webhook may take.
const tryTimeout = 30 * time.Second

// answer tries until there is an answer, and returns what it says. Only what was under way while a
// replica was killed may be without one.
func (t *team) answer(ctx context.Context, what string, try func(context.Context) error) (text string, warnings []string) {
	for deadline := time.Now().Add(2 * time.Minute); ; {
		begun := time.Now()
		tryCtx, cancel := context.WithTimeout(ctx, tryTimeout)
		var collected warningList
		err := try(context.WithValue(tryCtx, warningKey{}, &collected))
		cancel()
		if err == nil {
			return "", collected.all()
		}
		text := err.Error()
		switch {
		case !strings.Contains(text, "failed calling webhook"):
			return text, collected.all()
		case !t.outages.during(begun, time.Now()) || time.Now().After(deadline):
			t.problem("%s: %s failed: %s", t.namespace, what, text)
			return text, nil
		}
		t.count(repeated)
		time.Sleep(250 * time.Millisecond)
	}
}

// must is answer for what has to be answered so; "" is yes.
func (t *team) must(ctx context.Context, what, want string, try func(context.Context) error) bool {
	got, _ := t.answer(ctx, what, try)
	if got == want {
		return true
	}
	if !strings.Contains(got, "failed calling webhook") { // Else it is told.
		t.problem("%s: %s got %q, not %q", t.namespace, what, got, want)
	}
	return false
}

func (t *team) createEntry(ctx context.Context) {
	if t.must(ctx, "create ServiceEntry", "", func(ctx context.Context) error { return t.admin.Create(ctx, t.at.Entry()) }) {
		t.count(stored)
		t.declared = true
	}
}

// store writes a VirtualService, and compares what is stored of it and beside it.
func (t *team) store(ctx context.Context, what, name string, paths []string, write func(context.Context) (*unstructured.Unstructured, error)) {
	var got *unstructured.Unstructured
	if !t.must(ctx, what, "", func(ctx context.Context) (err error) {
		got, err = write(ctx)
		return err
	}) {
		return
	}
	t.count(stored)
	t.check(ctx, what, name, paths, got)
}

func (t *team) check(ctx context.Context, what, name string, paths []string, got *unstructured.Unstructured) {
	t.routes[name] = paths
	if !t.fits(name, got) {
		t.problem("%s: %s stored %v", t.namespace, what, got.Object["spec"])
	}
	if t.mode != policy.Enforce || t.flips || t.own {
		return
	}
	want, rule := t.at.Rule().Object["spec"], t.at.Rule()
	if err := t.admin.Get(ctx, client.ObjectKeyFromObject(rule), rule); err != nil {
		t.problem("%s: after %s: %v", t.namespace, what, err)
	} else if !reflect.DeepEqual(want, rule.Object["spec"]) {
		t.problem("%s: after %s the rule is %v, not %v", t.namespace, what, rule.Object["spec"], want)
	}
}

// fits reports whether a VirtualService is stored as it should be.
func (t *team) fits(name string, got *unstructured.Unstructured) bool {
	with, without := t.at.AsStored(name, t.routes[name]...).Object["spec"], t.at.Route(name, t.routes[name]...).Object["spec"]
	return (t.flips || t.mode == policy.Enforce) && reflect.DeepEqual(with, got.Object["spec"]) ||
		(t.flips || t.mode != policy.Enforce) && reflect.DeepEqual(without, got.Object["spec"])
}

func (t *team) apply(ctx context.Context, name string, paths ...string) {
	t.store(ctx, "apply VirtualService "+name, name, paths, func(ctx context.Context) (*unstructured.Unstructured, error) {
		o := t.at.Route(name, paths...)
		return o, t.admin.Patch(ctx, o, applied{}, client.FieldOwner("soak"), client.ForceOwnership)
	})
}

// applied is a server-side apply of the whole object.
type applied struct{}

func (applied) Type() types.PatchType { return types.ApplyPatchType }

func (applied) Data(o client.Object) ([]byte, error) { return json.Marshal(o) }

// applyAgain changes nothing.
func (t *team) applyAgain(ctx context.Context) {
	o := t.at.Route("web", "/keys", "/")
	if err := t.admin.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
		t.problem("%s: %v", t.namespace, err)
		return
	}
	before := o.GetResourceVersion()
	t.store(ctx, "apply VirtualService web again", "web", []string{"/keys", "/"}, func(ctx context.Context) (*unstructured.Unstructured, error) {
		o = t.at.Route("web", "/keys", "/")
		return o, t.admin.Patch(ctx, o, applied{}, client.FieldOwner("soak"), client.ForceOwnership)
	})
	if o.GetResourceVersion() != before {
		t.problem("%s: the same again changed the VirtualService from version %s to %s", t.namespace, before, o.GetResourceVersion())
	}
}

// update replaces the object as it is read, headers and all.
func (t *team) update(ctx context.Context) {
	paths := []string{"/keys", "/updated", "/"}
	t.store(ctx, "update VirtualService web", "web", paths, func(ctx context.Context) (*unstructured.Unstructured, error) {
		o := t.at.Route("web", "/")
		if err := t.admin.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return nil, err
		}
		o.Object["spec"] = t.at.Route("web", paths...).Object["spec"]
		return o, t.admin.Update(ctx, o)
	})
}

// dryRun leaves nothing behind.
func (t *team) dryRun(ctx context.Context) {
	t.count(dryRuns)
	o := t.at.Route("dry", "/keys", "/")
	if !t.must(ctx, "dry run", "", func(ctx context.Context) error {
		o = t.at.Route("dry", "/keys", "/")
		return t.admin.Create(ctx, o, client.DryRunAll)
	}) {
		return
	}
	if want := t.at.AsStored("dry", "/keys", "/").Object["spec"]; !reflect.DeepEqual(want, o.Object["spec"]) {
		t.problem("%s: the dry run answers %v, not %v", t.namespace, o.Object["spec"], want)
	}
	for _, o := range []*unstructured.Unstructured{t.at.Rule(), t.at.Route("dry", "/")} {
		if err := t.admin.Get(ctx, client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) {
			t.problem("%s: after the dry run %s: %v", t.namespace, nameOf(o), err)
		}
	}
}

// dryRunWrong is refused or not, as the mode is.
func (t *team) dryRunWrong(ctx context.Context) {
	t.count(dryRuns)
	got, _ := t.answer(ctx, "wrong dry run", func(ctx context.Context) error {
		return t.admin.Create(ctx, t.at.Route("dry", "/", "/keys"), client.DryRunAll)
	})
	switch got {
	case t.at.Refusal("dry"):
		t.count(refused)
	case "":
	default:
		t.problem("%s: wrong dry run got %q", t.namespace, got)
	}
}

func (t *team) refuseNew(ctx context.Context) {
	if t.must(ctx, "wrong VirtualService", t.at.Refusal("wrong"), func(ctx context.Context) error {
		return t.admin.Create(ctx, t.at.Route("wrong", "/", "/keys"))
	}) {
		t.count(refused)
	}
}

func (t *team) refuseUpdate(ctx context.Context) {
	if t.must(ctx, "wrong update", t.at.Refusal("web"), func(ctx context.Context) error {
		return t.admin.Patch(ctx, t.at.Route("web", "/", "/keys"), applied{}, client.FieldOwner("soak"), client.ForceOwnership)
	}) {
		t.count(refused)
	}
}

// applyWrong is only warned of, or not even that.
func (t *team) applyWrong(ctx context.Context) {
	o := t.at.Route("wrong", "/", "/keys")
	got, warnings := t.answer(ctx, "wrong VirtualService", func(ctx context.Context) error { return t.admin.Create(ctx, o) })
	want := ""
	if t.mode == policy.Warn {
		want = strings.Join([]string{
			"egress-tls: would change spec.http[1]: set request headers Host: " + t.at.Host + ", X-Forwarded-Proto: https",
			t.at.Fill("egress-tls: would create DestinationRule NAMESPACE/" + t.at.Rule().GetName() + " with TLS to HOST on port 443"),
			"egress-tls: " + t.at.DeadRoute(),
		}, "\n")
	}
	if said := strings.Join(warnings, "\n"); got != "" || said != want {
		t.problem("%s: wrong VirtualService got %q and the warnings %q, not %q", t.namespace, got, said, want)
		return
	}
	t.count(stored)
	t.routes["wrong"] = []string{"/", "/keys"}
}

// flip changes the mode of the namespace.
func (t *team) flip(ctx context.Context) {
	t.mode = []policy.Mode{policy.Enforce, policy.Warn, policy.Audit, policy.Off}[t.random.IntN(4)]
	t.label(ctx)
}

func (t *team) label(ctx context.Context) {
	ns := &corev1.Namespace{}
	ns.Name = t.namespace
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, policy.ModeLabel, t.mode)
	if err := t.admin.Patch(ctx, ns, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		t.problem("%s: %v", t.namespace, err)
	}
	t.count(flips)
}

// kubectl applies as people do.
func (t *team) kubectl(ctx context.Context) {
	manifest, err := json.Marshal(t.at.Route("kubectl", "/keys", "/"))
	if err != nil {
		t.problem("%v", err)
		return
	}
	t.store(ctx, "kubectl apply", "kubectl", []string{"/keys", "/"}, func(ctx context.Context) (*unstructured.Unstructured, error) {
		result := t.plane.Kubectl(ctx, string(manifest), "apply", "-f", "-")
		if result.ExitCode != 0 {
			return nil, kubectlError(result)
		}
		o := t.at.Route("kubectl", "/")
		return o, t.admin.Get(ctx, client.ObjectKeyFromObject(o), o)
	})
	t.count(kubectls)
}

func kubectlError(result controlplane.Result) error { return fmt.Errorf("kubectl: %s", result.Stderr) }

// malformed is refused by the API server, after /mutate has seen it.
func (t *team) malformed(ctx context.Context) {
	spec, why := any(1), `spec: Invalid value: "integer": spec in body must be of type object: "integer"`
	if t.random.IntN(2) == 0 {
		spec, why = map[string]any{"http": "none"}, `spec.http: Invalid value: "string": spec.http in body must be of type array: "string"`
	}
	want := `VirtualService.networking.istio.io "malformed" is invalid: [` + why +
		`, <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]`
	if t.must(ctx, "malformed VirtualService", want, func(ctx context.Context) error {
		o := t.at.Route("malformed", "/keys")
		o.Object["spec"] = spec
		return t.admin.Create(ctx, o)
	}) {
		t.count(malformed)
	}
}

func (t *team) badAnnotation(ctx context.Context) {
	want := t.at.Fill(`admission webhook "validate.egress-tls.dev" denied the request: ServiceEntry NAMESPACE/annotated is refused:
- InvalidAnnotation at metadata.annotations[egress-tls.dev/originate]: "sometimes" is not never, always, or a comma list of port numbers; it would be ignored. Write for example "443,8443".`)
	if t.must(ctx, "wrong annotation", want, func(ctx context.Context) error {
		o := t.at.Entry()
		o.SetName("annotated")
		o.SetAnnotations(map[string]string{"egress-tls.dev/originate": "sometimes"})
		return t.admin.Create(ctx, o)
	}) {
		t.count(refused)
	}
}

// tooLarge is more than is looked at.
func (t *team) tooLarge(ctx context.Context) {
	o := t.at.Route("too-large", "/")
	destinations := make([]any, 0, 2001)
	for i := range 2001 {
		destinations = append(destinations, map[string]any{"destination": map[string]any{"host": fmt.Sprintf("h%d.example.org", i)}})
	}
	_ = unstructured.SetNestedSlice(o.Object, []any{map[string]any{"route": destinations}}, "spec", "http")
	want := t.at.Fill(`admission webhook "validate.egress-tls.dev" denied the request: VirtualService NAMESPACE/too-large routes HTTP to 2001 hosts, so it cannot be checked for plaintext; at most 2000 are looked at. Split it`)
	if t.must(ctx, "too large VirtualService", want, func(ctx context.Context) error { return t.admin.Create(ctx, o.DeepCopy()) }) {
		t.count(unreadable)
	}
}

// ownRule is a DestinationRule that the team writes itself.
func (t *team) ownRule(injected string) *unstructured.Unstructured {
	return t.at.Object(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: own-` + t.at.Round + `, namespace: NAMESPACE}
spec:
  host: HOST
  exportTo: ["."]
  trafficPolicy:
    loadBalancer: {simple: RANDOM}
` + injected)
}

const injectedTLS = `
    portLevelSettings:
    - port: {number: 443}
      loadBalancer: {simple: RANDOM}
      tls: {mode: SIMPLE, sni: HOST, subjectAltNames: [HOST]}
`

// bringOwn writes a rule without TLS, which gets it, and the managed one yields.
func (t *team) bringOwn(ctx context.Context) {
	o := t.ownRule("")
	if !t.must(ctx, "own DestinationRule", "", func(ctx context.Context) error {
		o = t.ownRule("")
		return t.admin.Create(ctx, o)
	}) {
		return
	}
	t.count(stored)
	t.own = true
	if want := t.ownRule(injectedTLS).Object["spec"]; !reflect.DeepEqual(want, o.Object["spec"]) {
		t.problem("%s: the own rule is stored as %v, not %v", t.namespace, o.Object["spec"], want)
	}
}

func (t *team) delete(ctx context.Context, o *unstructured.Unstructured) {
	if err := t.admin.Delete(ctx, o); err != nil {
		t.problem("%s: failed to delete %s: %v", t.namespace, nameOf(o), err)
		return
	}
	t.count(deleted)
}

// warningCollector gives the API server's warnings to whoever asks in the context.
type warningCollector struct{}

type warningKey struct{}

type warningList struct {
	mu    sync.Mutex
	texts []string
}

func (w *warningList) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.texts
}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (warningCollector) HandleWarningHeaderWithContext(ctx context.Context, code int, _, text string) {
	if list, ok := ctx.Value(warningKey{}).(*warningList); ok && code == 299 {
		list.mu.Lock()
		defer list.mu.Unlock()
		list.texts = append(list.texts, text)
	}
}
