package webhook

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// Bounds of what one answer prints, in bytes. The API server cuts warnings at
// 4,096 together, without saying so.
const (
	maxRefusal  = 8 << 10
	maxWarning  = 1 << 10
	maxWarnings = 4 << 10
	// maxFindings is how many findings a refusal spells out.
	maxFindings = 10
	// maxUndecided is what a log line names of the undecided match entries.
	maxUndecided = 1 << 10
)

// verdict is the answer in one word, for logs, metrics and annotations.
type verdict string

const (
	verdictAllowed   verdict = "allowed"
	verdictMutated   verdict = "mutated"
	verdictUnchanged verdict = "unchanged"
	verdictRefused   verdict = "refused"
	verdictIgnored   verdict = "ignored"
	verdictError     verdict = "error"
)

// answer is what is said about a request beside the response.
type answer struct {
	verdict  verdict
	findings []finding.Finding
	changes  []string
	warnings []string
	// undecided are the places of match entries that the work budget left open.
	undecided []string
	rules     int
	reason    string
}

// allWarnings are the warnings of what was done, and the findings that are none
// worse.
func (a answer) allWarnings() []string {
	out := slices.Clone(a.warnings)
	for _, f := range a.findings {
		if f.Severity == finding.Warning {
			out = append(out, f.Text())
		}
	}
	return out
}

// codes returns the distinct codes found.
func (a answer) codes() []string {
	var out []string
	for _, f := range a.findings {
		out = append(out, string(f.Code))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// annotations go to the API server's audit log.
func (a answer) annotations(mode policy.Mode) map[string]string {
	if a.verdict == verdictIgnored {
		return nil
	}
	out := map[string]string{"mode": string(mode), "verdict": string(a.verdict)}
	if len(a.findings) > 0 {
		texts := make([]string, len(a.findings))
		for i, f := range a.findings {
			texts[i] = string(f.Severity) + " " + f.Text()
		}
		out["findings"] = finding.Truncate(strings.Join(texts, "\n"), maxRefusal)
	}
	if lines := slices.Concat(a.changes, a.warnings); len(lines) > 0 {
		out["changes"] = finding.Truncate(strings.Join(lines, "\n"), maxRefusal)
	}
	return out
}

// describe puts what was asked and answered into the request's span.
func (a answer) describe(ctx context.Context, r *request) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(
		attribute.String("k8s.namespace.name", r.Namespace),
		attribute.String("egress_tls.kind", r.Kind.Kind),
		attribute.String("egress_tls.name", r.Name),
		attribute.String("egress_tls.operation", string(r.Operation)),
		attribute.String("egress_tls.mode", string(r.mode)),
		attribute.Bool("egress_tls.dry_run", r.dryRun),
		attribute.String("egress_tls.request_id", string(r.UID)),
		attribute.String("egress_tls.verdict", string(a.verdict)),
		attribute.StringSlice("egress_tls.findings", a.codes()),
	)
	if a.verdict == verdictError {
		span.SetStatus(codes.Error, a.reason)
	}
}

// refuse answers no, with every reason.
func refuse(r *request, ans answer) (admission.Response, answer) {
	var b strings.Builder
	shown, more := 0, 0
	fmt.Fprintf(&b, "%s is refused:", mesh.ObjectOf(r.object))
	for _, f := range ans.findings {
		switch {
		case f.Severity != finding.Error:
		case shown < maxFindings:
			shown++
			about := ""
			if f.Object != mesh.ObjectOf(r.object) {
				about = f.Object.String() + ": "
			}
			fmt.Fprintf(&b, "\n- %s%s", about, f.Text())
		default:
			more++
		}
	}
	if more > 0 {
		fmt.Fprintf(&b, "\n- and %d more", more)
	}
	ans.verdict = verdictRefused
	ans.reason = finding.Truncate(b.String(), maxRefusal)
	resp := admission.Denied(ans.reason)
	resp.Result.Code = http.StatusUnprocessableEntity
	resp.Result.Reason = metav1.StatusReasonInvalid
	resp.Warnings = ans.allWarnings()
	return resp, ans
}

// bounded cuts warnings so that the API server passes all of them on, and marks
// them as ours.
func bounded(in []string) []string {
	var out []string
	left := maxWarnings
	for i, w := range in {
		w = finding.Truncate("egress-tls: "+finding.Printable(strings.Join(strings.Fields(w), " ")), maxWarning)
		more := "egress-tls: and " + strconv.Itoa(len(in)-i) + " more"
		if i < len(in)-1 && len(w)+len(more) > left || len(w) > left {
			return append(out, more)
		}
		left -= len(w)
		out = append(out, w)
	}
	return out
}
