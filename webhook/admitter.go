package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"gomodules.xyz/jsonpatch/v2"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// Admitter answers admission requests for ServiceEntries, VirtualServices and
// DestinationRules.
type Admitter struct {
	policy  *policy.Policy
	view    *view
	rules   *ruleWriter
	metrics *metrics
	// synced reports whether the informers hold the whole mesh.
	synced func() bool
	// room bounds what is decided about at one time.
	room room
	// selfTest is the UID of the readiness self-test, which is neither logged nor counted.
	selfTest types.UID
}

// phase is one of the two calls that the API server makes for a request.
type phase string

const (
	mutating   phase = "mutate"
	validating phase = "validate"
)

// request is a decoded admission request.
type request struct {
	admission.Request
	phase  phase
	object metav1.Object
	// old returns what an update replaces, nil if there is none or it cannot be read. It is read
	// when it is asked for: most updates are decided without.
	old    func() metav1.Object
	raw    map[string]any
	mode   policy.Mode
	dryRun bool
	// notes are warnings about the request itself, such as an unknown mode label.
	notes []string
}

// Mutate is the mutating phase: in mode enforce it adds to the object what it
// lacks. It never refuses what it cannot read: the API server's own schema check
// comes next and says it better, and Validate refuses what passes that.
func (a *Admitter) Mutate(ctx context.Context, req admission.Request) admission.Response {
	return a.serve(ctx, mutating, req, func(ctx context.Context, r *request) (admission.Response, answer) {
		if r.mode != policy.Enforce {
			return admission.Allowed(""), answer{verdict: verdictUnchanged}
		}
		out, err := a.decide(ctx, r, nil)
		if err != nil {
			return errored(err)
		}
		resp := admission.Allowed("")
		if len(out.Edits) == 0 {
			return resp, answer{verdict: verdictUnchanged}
		}
		ops, err := mutate.Patch(r.tree(), out.Edits)
		if err != nil {
			return errored(fmt.Errorf("%s cannot take what it lacks: %w", mesh.ObjectOf(r.object), err))
		}
		for _, op := range ops {
			resp.Patches = append(resp.Patches, jsonpatch.NewOperation(op.Op, op.Path, op.Value))
		}
		resp.Warnings = out.Changes
		return resp, answer{verdict: verdictMutated, changes: out.Changes}
	})
}

// Validate is the validating phase, the last before storage. In mode enforce it
// ensures the DestinationRules that the object needs, and refuses the object if
// they cannot be written or if it has findings that it did not have before.
func (a *Admitter) Validate(ctx context.Context, req admission.Request) admission.Response {
	return a.serve(ctx, validating, req, func(ctx context.Context, r *request) (admission.Response, answer) {
		out, err := a.decide(ctx, r, nil)
		if err != nil {
			return errored(err)
		}
		findings, err := a.ratchet(ctx, r, out)
		if err != nil {
			return errored(err)
		}
		ans := answer{verdict: verdictAllowed, findings: findings, undecided: out.Undecided}
		if r.mode != policy.Enforce {
			for i := range findings {
				findings[i].Severity = finding.Warning
			}
			for _, c := range out.Changes {
				ans.warnings = append(ans.warnings, "would change "+c)
			}
			for _, c := range out.Rules {
				ans.warnings = append(ans.warnings, fmt.Sprintf("would %s %s", c.Action, c))
			}
			resp := admission.Allowed("")
			if r.mode == policy.Warn {
				resp.Warnings = ans.allWarnings()
			}
			return resp, ans
		}
		late := lateEdits(r, out)
		ans.findings = slices.Concat(findings, late)
		if finding.HasErrors(ans.findings) {
			return refuse(r, ans)
		}
		if len(out.Rules) > 0 {
			written, findings, err := a.ensure(ctx, r, out)
			if err != nil {
				return errored(fmt.Errorf("%s needs a DestinationRule that cannot be written, so its requests would leave in clear: %w",
					mesh.ObjectOf(r.object), err))
			}
			for _, w := range written {
				if did, tell := w.verb.past(r.dryRun); tell {
					ans.warnings = append(ans.warnings, fmt.Sprintf("%s %s", did, w.change))
				}
			}
			ans.findings = slices.Concat(findings, late)
			if !r.dryRun {
				ans.rules = len(written)
			}
			if finding.HasErrors(findings) {
				return refuse(r, ans)
			}
			if !r.dryRun {
				a.awaitSeen(ctx, out.Rules, findings)
			}
		}
		resp := admission.Allowed("")
		resp.Warnings = ans.allWarnings()
		return resp, ans
	})
}

// serve does what both phases have in common: it decodes, decides the mode, and
// logs, counts and annotates the answer.
func (a *Admitter) serve(ctx context.Context, ph phase, req admission.Request,
	handle func(context.Context, *request) (admission.Response, answer),
) admission.Response {
	start := time.Now()
	log := logr.FromContextOrDiscard(ctx)
	var resp admission.Response
	var ans answer
	r := newRequest(ph, req)
	leave, err := a.room.enter(ctx, req)
	if err == nil {
		defer leave()
		err = a.read(ctx, r)
	}
	switch {
	case err != nil:
		resp, ans = errored(err)
	case r.object == nil || r.mode == policy.Off:
		resp, ans = admission.Allowed(""), answer{verdict: verdictIgnored}
	default:
		resp, ans = handle(ctx, r)
	}
	if ans.verdict == verdictError && (r.mode == policy.Warn || r.mode == policy.Audit) {
		// Neither mode refuses, whatever fails.
		resp = admission.Allowed("")
		if r.mode == policy.Warn {
			resp.Warnings = []string{ans.reason}
		}
	}
	resp.Warnings = slices.Concat(r.notes, resp.Warnings)
	resp.Warnings = bounded(resp.Warnings)
	resp.AuditAnnotations = ans.annotations(r.mode)
	took := time.Since(start)
	if req.UID == a.selfTest {
		return resp
	}
	ans.describe(ctx, r)
	a.metrics.observe(ph, req, r.mode, r.dryRun, ans, took)
	if n := len(ans.undecided); n > 0 {
		log.V(1).Info("route order undecided", "kind", req.Kind.Kind, "namespace", req.Namespace, "name", req.Name,
			"matches", n, "paths", finding.Truncate(strings.Join(ans.undecided, " "), maxUndecided))
	}
	if ans.verdict != verdictIgnored {
		log.Info("decided", "phase", ph, "kind", req.Kind.Kind, "namespace", req.Namespace, "name", req.Name,
			"operation", req.Operation, "mode", r.mode, "dryRun", r.dryRun, "verdict", ans.verdict,
			"findings", ans.codes(), "changes", len(ans.changes), "rules", ans.rules, "seconds", took.Seconds(), "reason", ans.reason)
	}
	return resp
}

// newRequest returns the request before it is read.
func newRequest(ph phase, req admission.Request) *request {
	r := &request{Request: req, phase: ph, dryRun: req.DryRun != nil && *req.DryRun, mode: policy.Off}
	r.old = sync.OnceValue(r.readOld)
	return r
}

// read decodes the request. Its object stays nil when there is nothing to decide about it:
// another operation, an exempt user, or an object under deletion.
func (a *Admitter) read(ctx context.Context, r *request) error {
	req := r.Request
	if req.UID == "" {
		return statusError{http.StatusBadRequest, "the AdmissionReview holds no request with a uid"}
	}
	if !a.synced() {
		return statusError{http.StatusServiceUnavailable, "the webhook has not yet seen the whole mesh; try again in a moment"}
	}
	if req.Operation != admissionv1.Create && req.Operation != admissionv1.Update {
		return nil
	}
	if req.SubResource != "" || slices.Contains(a.policy.Exemptions.Usernames, req.UserInfo.Username) {
		return nil
	}
	label, err := a.modeLabel(ctx, req.Namespace)
	if err != nil {
		return err
	}
	mode, known := a.policy.ModeFor(req.Namespace, label)
	if !known {
		r.notes = append(r.notes, fmt.Sprintf("namespace %s has the label %s=%q, which is no mode; %s applies",
			req.Namespace, policy.ModeLabel, label, mode))
	}
	if mode == policy.Off {
		return nil
	}
	r.mode = mode
	if r.object, err = decode(req, req.Object.Raw); err != nil {
		if r.phase == mutating {
			r.object = nil
			return nil
		}
		if req.Operation == admissionv1.Update && r.old() == nil {
			r.notes = append(r.notes, err.Error())
			return nil // It was so before.
		}
		return statusError{http.StatusUnprocessableEntity, err.Error()}
	}
	if r.object.GetDeletionTimestamp() != nil {
		if old := r.old(); old != nil && sameSpec(old, r.object) {
			// On its way out; nothing may keep it. A finalizer may, for as long as it likes, and
			// Istio executes it so long: another spec is judged.
			r.object = nil
		}
	}
	return nil
}

func (r *request) readOld() metav1.Object {
	if r.Operation != admissionv1.Update {
		return nil
	}
	old, err := decode(r.Request, r.OldObject.Raw)
	if err != nil {
		return nil // What cannot be read had no findings.
	}
	return old
}

// decode reads an object of one of the kinds that are decided about.
func decode(req admission.Request, raw []byte) (metav1.Object, error) {
	var o client.Object
	switch {
	case req.Kind.Group != networkingv1.SchemeGroupVersion.Group:
	case req.Kind.Kind == mesh.ServiceEntryKind:
		o = &networkingv1.ServiceEntry{}
	case req.Kind.Kind == mesh.VirtualServiceKind:
		o = &networkingv1.VirtualService{}
	case req.Kind.Kind == mesh.DestinationRuleKind:
		o = &networkingv1.DestinationRule{}
	}
	if o == nil {
		return nil, fmt.Errorf("no decision is made about %s %s; the webhook configuration should not send it",
			req.Kind.Kind, schemaOf(req))
	}
	where := fmt.Sprintf("%s %s/%s", req.Kind.Kind, req.Namespace, req.Name)
	if len(raw) > maxValues { // Each takes a byte at least.
		if n := values(raw); n > maxValues {
			return nil, fmt.Errorf("%s has %d values, so it cannot be checked for plaintext; at most %d are read. Split it", where, n, maxValues)
		}
	}
	if len(raw) == 0 {
		return nil, fmt.Errorf("%s: the request holds no object", where)
	}
	if err := unmarshal(raw, o); err != nil {
		return nil, fmt.Errorf("%s cannot be read, so it cannot be checked for plaintext: %w", where, err)
	}
	if o.GetNamespace() == "" {
		o.SetNamespace(req.Namespace)
	}
	if err := decision.Bounded(o); err != nil {
		return nil, fmt.Errorf("%s %w", where, err)
	}
	return o, nil
}

func schemaOf(req admission.Request) string {
	return strings.Trim(req.Kind.Group+"/"+req.Kind.Version, "/")
}

// before is the request that would have stored what an update replaces, nil if there is none.
func (r *request) before() *request {
	object := r.old()
	if object == nil {
		return nil
	}
	old := &request{Request: r.Request, object: object, mode: r.mode}
	old.Object = r.OldObject
	return old
}

// tree returns the raw object, decoded once.
func (r *request) tree() map[string]any {
	if r.raw == nil {
		// It was decoded into its type before, so it is a JSON object.
		_ = json.Unmarshal(r.Object.Raw, &r.raw)
	}
	return r.raw
}

func (a *Admitter) decide(ctx context.Context, r *request, freshRules map[string]struct{}) (_ decision.Outcome, err error) {
	ctx, span := startSpan(ctx, "decide")
	defer func() { endSpan(span, err) }()
	pol := *a.policy
	if r.phase == mutating {
		pol.RouteOrder = policy.IgnoreOrder // it adds nothing to the object
	}
	w, err := a.view.world(ctx, &pol, r.object, freshRules)
	if err != nil {
		return decision.Outcome{}, err
	}
	var raw map[string]any
	if _, ok := r.object.(*networkingv1.DestinationRule); ok {
		raw = r.tree()
	}
	out, err := decision.DecideUpdate(w, &pol, r.old, r.object, raw)
	if err != nil {
		return out, fmt.Errorf("failed to decide about %s: %w", mesh.ObjectOf(r.object), err)
	}
	modes := map[string]policy.Mode{}
	for _, ns := range out.RuleNamespaces() {
		label, err := a.modeLabel(ctx, ns)
		if err != nil {
			return out, err
		}
		modes[ns], _ = a.policy.ModeFor(ns, label)
	}
	return out.Permit(r.object, func(ns string) policy.Mode { return modes[ns] }), nil
}

// modeLabel returns the mode label of a namespace, "" where there is none.
func (a *Admitter) modeLabel(ctx context.Context, namespace string) (string, error) {
	labels, err := a.view.namespaceLabels(ctx, namespace)
	if err != nil {
		return "", fmt.Errorf("failed to read the mode of namespace %s: %w", namespace, err)
	}
	return labels[policy.ModeLabel], nil
}

// ratchet lowers the errors that the stored object has already, and all errors
// of an update that does not touch the spec.
func (a *Admitter) ratchet(ctx context.Context, r *request, out decision.Outcome) ([]finding.Finding, error) {
	if !finding.HasErrors(out.Findings) {
		return out.Findings, nil
	}
	before := r.before()
	if before == nil {
		return out.Findings, nil
	}
	if sameSpec(before.object, r.object) {
		findings := slices.Clone(out.Findings)
		for i := range findings {
			findings[i].Severity = finding.Warning
		}
		return findings, nil
	}
	was, err := a.decide(ctx, before, nil)
	if err != nil {
		return nil, err
	}
	return finding.Ratchet(was.Findings, out.Findings), nil
}

func sameSpec(a, b metav1.Object) bool {
	spec := func(o metav1.Object) any {
		var raw struct {
			Spec any `json:"spec"`
		}
		data, err := json.Marshal(o)
		if err != nil || json.Unmarshal(data, &raw) != nil {
			return o
		}
		return raw.Spec
	}
	return equality.Semantic.DeepEqual(spec(a), spec(b)) &&
		a.GetAnnotations()[mesh.OriginateAnnotation] == b.GetAnnotations()[mesh.OriginateAnnotation]
}

// lateEdits judges what an object still lacks in the validating phase: another
// mutating webhook took it away, or the mesh changed in between. Without its
// headers a request may fail; without TLS it leaves in clear.
func lateEdits(r *request, out decision.Outcome) []finding.Finding {
	if len(out.Edits) == 0 {
		return nil
	}
	f := finding.Finding{
		Code:     finding.HeadersMissing,
		Severity: finding.Warning,
		Object:   mesh.ObjectOf(r.object),
		Message:  "the mesh changed, or another webhook changed the object, after it was mutated; it still lacks: " + strings.Join(out.Changes, "; ") + ".",
		Remedy:   "Apply it again.",
	}
	if _, ok := r.object.(*networkingv1.DestinationRule); ok {
		f.Code, f.Severity = finding.TLSMissing, finding.Error
	}
	return []finding.Finding{f}
}

// statusError is an error with the HTTP status that it is answered with.
type statusError struct {
	code int32
	text string
}

func (e statusError) Error() string { return e.text }

func errored(err error) (admission.Response, answer) {
	code := int32(http.StatusInternalServerError)
	if s, ok := errors.AsType[statusError](err); ok {
		code = s.code
	}
	var lines []string // of errors that are joined
	for line := range strings.SplitSeq(err.Error(), "\n") {
		lines = append(lines, finding.Printable(line))
	}
	text := finding.Truncate(strings.Join(lines, "\n"), maxRefusal)
	return admission.Errored(code, errors.New(text)), answer{verdict: verdictError, reason: text}
}
