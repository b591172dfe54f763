// Package policyreport makes of what a scan found the objects in which dashboards look
// for it: one PolicyReport (wgpolicyk8s.io) or Report (openreports.io) a namespace. Both
// have the fields that are used here.
package policyreport

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

const (
	// Name is that of each report.
	Name = "egress-tls"
	// ManagedByLabel with the value Name marks a report as ours.
	ManagedByLabel = "app.kubernetes.io/managed-by"

	category = "Egress TLS"
)

// Policies of results that are no findings.
const (
	Addition = "WouldAdd"
	Surplus  = "NotNeeded"
	rest     = "Rest"
)

// maxBytes bounds the results of one report: etcd takes objects of 1.5 MiB.
const maxBytes = 1 << 20

// Report is the report of one namespace.
type Report struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Scope             *corev1.ObjectReference `json:"scope,omitempty"`
	Summary           Summary                 `json:"summary"`
	Results           []Result                `json:"results,omitempty"`
}

// Summary counts results; Pass counts objects without any.
type Summary struct {
	Pass  int `json:"pass"`
	Fail  int `json:"fail"`
	Warn  int `json:"warn"`
	Error int `json:"error"`
	Skip  int `json:"skip"`
}

// Result is one thing that was found.
type Result struct {
	Source     string                   `json:"source"`
	Policy     string                   `json:"policy"`
	Rule       string                   `json:"rule,omitempty"`
	Category   string                   `json:"category"`
	Severity   string                   `json:"severity"`
	Result     string                   `json:"result"`
	Scored     bool                     `json:"scored,omitempty"`
	Timestamp  metav1.Timestamp         `json:"timestamp"`
	Resources  []corev1.ObjectReference `json:"resources,omitempty"`
	Message    string                   `json:"message"`
	Properties map[string]string        `json:"properties,omitempty"`
}

// New returns an empty report of a namespace.
func New(namespace string) *Report {
	return &Report{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: Name, Labels: map[string]string{ManagedByLabel: Name}},
		Scope:      &corev1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: namespace},
	}
}

// Pass counts an object about which nothing was found.
func (r *Report) Pass() { r.Summary.Pass++ }

// Found adds a finding about the object with the given UID.
func (r *Report) Found(f finding.Finding, uid types.UID) {
	result := Result{
		Policy: string(f.Code), Rule: f.Path, Severity: "medium", Result: "warn",
		Message: f.Message, Properties: map[string]string{},
	}
	if f.Severity == finding.Error {
		result.Severity, result.Result, result.Scored = "high", "fail", true
	}
	for name, value := range map[string]string{"remedy": f.Remedy, "coveredBy": strings.Join(f.CoveredBy, ", "), "host": f.Host} {
		if value != "" {
			result.Properties[name] = text(value)
		}
	}
	r.add(result, f.Object, uid)
}

// Warn adds what is no finding.
func (r *Report) Warn(policy, message string, about finding.Object, uid types.UID) {
	r.add(Result{Policy: policy, Severity: "low", Result: "warn", Message: message}, about, uid)
}

func (r *Report) add(result Result, about finding.Object, uid types.UID) {
	result.Source, result.Category, result.Message = Name, category, text(result.Message)
	result.Resources = []corev1.ObjectReference{{
		APIVersion: about.APIVersion, Kind: about.Kind, Namespace: about.Namespace, Name: about.Name, UID: uid,
	}}
	if result.Result == "fail" {
		r.Summary.Fail++
	} else {
		r.Summary.Warn++
	}
	r.Results = append(r.Results, result)
}

// text is what a report says: objects' names and values are in it.
func text(s string) string { return finding.Truncate(finding.Printable(s), finding.MaxText) }

// Bound leaves out the last results if all are too large for one object, and says how many
// in one of their place. The summary counts them all.
func (r *Report) Bound() error {
	size := 0
	for i, result := range r.Results {
		raw, err := json.Marshal(result)
		if err != nil {
			return fmt.Errorf("failed to encode the report of namespace %s: %w", r.Namespace, err)
		}
		if size += len(raw); size > maxBytes {
			left := len(r.Results) - i
			r.Summary.Skip = 1
			r.Results = append(r.Results[:i:i], Result{
				Source: Name, Policy: rest, Category: category, Severity: "info", Result: "skip",
				Message: fmt.Sprintf("%d more results do not fit into one object; `egress-tls scan -n %s` prints them all.", left, r.Namespace),
			})
			return nil
		}
	}
	return nil
}

// Replaces returns the report in the place of old, which may be nil: what was found before
// keeps its time, so that it is the time since when it is so. same says that nothing else
// is new either.
func (r *Report) Replaces(old *Report, now metav1.Timestamp) (out *Report, same bool) {
	made := *r
	made.Results = make([]Result, len(r.Results))
	since := map[string]metav1.Timestamp{}
	if old != nil {
		for _, result := range old.Results {
			since[result.key()] = result.Timestamp
		}
		made.ObjectMeta = *old.DeepCopy()
	}
	for i, result := range r.Results {
		result.Timestamp = now
		if at, known := since[result.key()]; known {
			result.Timestamp = at
		}
		made.Results[i] = result
	}
	if old == nil {
		return &made, false
	}
	return &made, reflect.DeepEqual(old.Scope, made.Scope) && old.Summary == made.Summary &&
		(len(old.Results)+len(made.Results) == 0 || reflect.DeepEqual(old.Results, made.Results))
}

// key tells results apart, whenever they were found.
func (r Result) key() string {
	r.Timestamp = metav1.Timestamp{}
	raw, _ := json.Marshal(r) // It has nothing that cannot be encoded.
	return string(raw)
}
