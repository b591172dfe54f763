package observability

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	alertsFile = "../../deploy/chart/files/alerts.yaml"
	docsFile   = "../../docs/observability.md"
)

// The series of a case have a sample every minute.
var alertCases = []struct {
	alert string
	after time.Duration // from the first sample on
	// load is in the notation of Prometheus's own tests.
	load string
	// firing are the summaries that are told.
	firing []string
}{
	{"EgressTLSWebhookDown", 3 * time.Minute, ``, []string{"No replica of egress-tls-webhook is ready."}},
	{"EgressTLSWebhookDown", 5 * time.Minute, `
		egress_tls_ready{pod="a"} 1 1 0x10
		egress_tls_ready{pod="b"} 0x20`, []string{"No replica of egress-tls-webhook is ready."}},
	{"EgressTLSWebhookDown", 5 * time.Minute, `
		egress_tls_ready{pod="a"} 0x10
		egress_tls_ready{pod="b"} 1x10`, nil},
	{"EgressTLSWebhookDown", 4 * time.Minute, `egress_tls_ready{pod="a"} 1 1 1 0x10`, nil}, // not for long

	{"EgressTLSWebhookNotReady", 15 * time.Minute, `
		egress_tls_ready{pod="a"} 0x20
		egress_tls_ready{pod="b"} 1x20`, []string{"Replica a of egress-tls-webhook is not ready."}},
	{"EgressTLSWebhookNotReady", 15 * time.Minute, `egress_tls_ready{pod="a"} 0x6 1x20`, nil},

	{
		"EgressTLSWebhookUnanswered", 15 * time.Minute, `
		apiserver_admission_webhook_rejection_count{name="validate.egress-tls.dev",error_type="calling_webhook_error",rejection_code="0"} 1+1x20`,
		[]string{"The API server gets no answer from validate.egress-tls.dev."},
	},
	{"EgressTLSWebhookUnanswered", 15 * time.Minute, `
		apiserver_admission_webhook_rejection_count{name="validate.egress-tls.dev",error_type="no_error",rejection_code="422"} 1+1x20
		apiserver_admission_webhook_rejection_count{name="other.example.com",error_type="calling_webhook_error",rejection_code="0"} 1+1x20`, nil},

	{
		"EgressTLSWebhookBypassed", 5 * time.Minute, `
		apiserver_admission_webhook_fail_open_count{name="observe.egress-tls.dev",type="validating"} 1 1 2x10`,
		[]string{"Objects were stored that observe.egress-tls.dev has not seen."},
	},
	{"EgressTLSWebhookBypassed", 5 * time.Minute, `
		apiserver_admission_webhook_fail_open_count{name="validate.egress-tls.dev",type="validating"} 3x10
		apiserver_admission_webhook_fail_open_count{name="other.example.com",type="validating"} 1+1x10`, nil},

	{
		"EgressTLSWebhookErrors", 20 * time.Minute, `
		egress_tls_admission_requests_total{phase="validate",verdict="error"} 0+1x30`,
		[]string{"egress-tls-webhook cannot decide about requests in phase validate."},
	},
	{"EgressTLSWebhookErrors", 20 * time.Minute, `
		egress_tls_admission_requests_total{phase="validate",verdict="error"} 1x30
		egress_tls_admission_requests_total{phase="validate",verdict="refused"} 0+1x30`, nil},

	{
		"EgressTLSWebhookSlow", 25 * time.Minute, `
		egress_tls_admission_duration_seconds_bucket{phase="validate",le="2"} 0+9x30
		egress_tls_admission_duration_seconds_bucket{phase="validate",le="5"} 0+10x30
		egress_tls_admission_duration_seconds_bucket{phase="validate",le="+Inf"} 0+10x30`,
		[]string{"egress-tls-webhook takes 4.7s for phase validate, at the 99th percentile."},
	},
	{
		"EgressTLSClientsTurnedAway", 20 * time.Minute, `
		egress_tls_clients_turned_away_total{pod="a",reason="other name"} 0+1x30
		egress_tls_clients_turned_away_total{pod="a",reason="no certificate"} 7x30`,
		[]string{"egress-tls-webhook turns clients away (other name)."},
	},
	{"EgressTLSClientsTurnedAway", 20 * time.Minute, `
		egress_tls_clients_turned_away_total{reason="no certificate"} 0x10 1x30`, nil}, // once

	{"EgressTLSWebhookSlow", 25 * time.Minute, `
		egress_tls_admission_duration_seconds_bucket{phase="validate",le="2"} 0+1000x30
		egress_tls_admission_duration_seconds_bucket{phase="validate",le="5"} 0+1001x30
		egress_tls_admission_duration_seconds_bucket{phase="validate",le="+Inf"} 0+1001x30`, nil},

	{
		"EgressTLSRefusalsHigh", 70 * time.Minute, `
		egress_tls_admission_requests_total{phase="validate",mode="enforce",dry_run="false",verdict="refused"} 0+3x80
		egress_tls_admission_requests_total{phase="validate",mode="enforce",dry_run="false",verdict="allowed"} 0+1x80`,
		[]string{"egress-tls-webhook refuses 75% of the objects."},
	},
	{"EgressTLSRefusalsHigh", 70 * time.Minute, `
		egress_tls_admission_requests_total{phase="validate",mode="enforce",dry_run="false",verdict="refused"} 0+1x80
		egress_tls_admission_requests_total{phase="validate",mode="enforce",dry_run="true",verdict="refused"} 0+9x80
		egress_tls_admission_requests_total{phase="validate",mode="enforce",dry_run="false",verdict="allowed"} 0+3x80`, nil},
	{"EgressTLSRefusalsHigh", 70 * time.Minute, `
		egress_tls_admission_requests_total{phase="validate",mode="enforce",dry_run="false",verdict="refused"} 3x80`, nil}, // no requests

	{
		"EgressTLSPlaintext", 15 * time.Minute, `
		egress_tls_stored_findings{pod="a",object_namespace="shop",mode="enforce",severity="error",code="TLSDisabled"} 2x20
		egress_tls_stored_findings{pod="b",object_namespace="shop",mode="enforce",severity="error",code="TLSDisabled"} 2x20`,
		[]string{"Requests of 2 objects in namespace shop leave the mesh in clear."},
	},
	{"EgressTLSPlaintext", 15 * time.Minute, `
		egress_tls_stored_findings{object_namespace="shop",mode="enforce",severity="error",code="CatchAllNotLast"} 2x20
		egress_tls_stored_findings{object_namespace="shop",mode="enforce",severity="warning",code="TLSMissing"} 2x20
		egress_tls_stored_findings{object_namespace="shop",mode="audit",severity="error",code="TLSMissing"} 2x20`, nil},

	{
		"EgressTLSNotConverged", 20 * time.Minute, `
		egress_tls_stored_objects{pod="a",object_namespace="shop",mode="enforce",if_enforced="changed"} 3x30
		egress_tls_stored_objects{pod="b",object_namespace="shop",mode="enforce",if_enforced="changed"} 3x30`,
		[]string{"3 objects in namespace shop still lack headers or TLS."},
	},
	{"EgressTLSNotConverged", 20 * time.Minute, `
		egress_tls_stored_objects{object_namespace="shop",mode="enforce",if_enforced="changed"} 0x30
		egress_tls_stored_objects{object_namespace="shop",mode="enforce",if_enforced="refused"} 3x30
		egress_tls_stored_objects{object_namespace="till",mode="warn",if_enforced="changed"} 3x30`, nil},

	{
		"EgressTLSReconcileFailing", 20 * time.Minute, `
		egress_tls_reconcile_failing{pod="a",controller="destinationrules"} 2x30
		egress_tls_reconcile_failing{pod="a",controller="virtualservices"} 1x30`,
		[]string{"2 hosts cannot be brought in line.", "1 VirtualServices cannot be brought in line."},
	},
	{"EgressTLSReconcileFailing", 20 * time.Minute, `
		egress_tls_reconcile_failing{pod="a",controller="destinationrules"} 2x10 0x30
		egress_tls_reconcile_failing{pod="a",controller="virtualservices"} 0x30`, nil},

	{"EgressTLSNoLeader", 10 * time.Minute, `
		egress_tls_leading{pod="a"} 0x20
		egress_tls_leading{pod="b"} 0x20`, []string{"No replica of egress-tls-webhook leads."}},
	{"EgressTLSNoLeader", 10 * time.Minute, `
		egress_tls_leading{pod="a"} 0x20
		egress_tls_leading{pod="b"} 1x20`, nil},
	{"EgressTLSNoLeader", 10 * time.Minute, `egress_tls_ready{pod="a"} 1x20`, nil}, // --reconcile=false

	{"EgressTLSTwoLeaders", 10 * time.Minute, `
		egress_tls_leading{pod="a"} 1x20
		egress_tls_leading{pod="b"} 1x20`, []string{"2 replicas of egress-tls-webhook lead."}},
	{"EgressTLSTwoLeaders", 10 * time.Minute, `
		egress_tls_leading{pod="a"} 0 0 0 0 0 0 1x20
		egress_tls_leading{pod="b"} 1x7 0x20`, nil}, // for a moment

	{
		"EgressTLSPoliciesDiffer", 20 * time.Minute, `
		egress_tls_policy_info{pod="a",mode="warn",hash="0123456789ab"} 1x30
		egress_tls_policy_info{pod="b",mode="warn",hash="ba9876543210"} 1x30`,
		[]string{"The replicas of egress-tls-webhook have 2 different policies."},
	},
	{"EgressTLSPoliciesDiffer", 20 * time.Minute, `
		egress_tls_policy_info{pod="a",mode="warn",hash="0123456789ab"} 1x30
		egress_tls_policy_info{pod="b",mode="warn",hash="0123456789ab"} 1x30`, nil},

	{
		"EgressTLSCertificateExpires", 20 * time.Minute, `
		egress_tls_certificate_expiry_timestamp_seconds{pod="a",certificate="serving"} 80000x30
		egress_tls_certificate_expiry_timestamp_seconds{pod="b",certificate="serving"} 800000x30`,
		[]string{"The serving certificate of egress-tls-webhook ends in 21h 53m 20s."},
	},
	{"EgressTLSCertificateExpires", 20 * time.Minute, `
		egress_tls_certificate_expiry_timestamp_seconds{certificate="serving"} 100000x30
		egress_tls_certificate_expiry_timestamp_seconds{certificate="authority"} 80000x30`, nil},

	{
		"EgressTLSAuthorityExpires", 70 * time.Minute, `
		egress_tls_certificate_expiry_timestamp_seconds{certificate="authority"} 868200x80`,
		[]string{"The authority of egress-tls-webhook ends in 10d 0h 0m 0s."},
	},
	{"EgressTLSAuthorityExpires", 70 * time.Minute, `
		egress_tls_certificate_expiry_timestamp_seconds{certificate="authority"} 2000000x80
		egress_tls_certificate_expiry_timestamp_seconds{certificate="serving"} 80000x80`, nil},

	{
		"EgressTLSUndecided", 10 * time.Minute, `egress_tls_route_matches_undecided_total 0 0 0 3x20`,
		[]string{"3 matches of routes were left undecided in a day."},
	},
	{"EgressTLSUndecided", 10 * time.Minute, `egress_tls_route_matches_undecided_total 3x20`, nil},
}

func TestAlertsFireWhenTheyShould(t *testing.T) {
	groups, errs := rulefmt.ParseFile(alertsFile, false, model.UTF8Validation, newParser(), promslog.NewNopLogger())
	require.Empty(t, errs)
	shown := map[string]map[bool]bool{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			shown[r.Alert] = map[bool]bool{}
		}
	}
	for _, c := range alertCases {
		if assert.Contains(t, shown, c.alert) {
			shown[c.alert][len(c.firing) > 0] = true
		}
		t.Run(c.alert, func(t *testing.T) { assert.ElementsMatch(t, c.firing, firing(t, c.alert, c.load, c.after)) })
	}
	for alert, how := range shown {
		assert.Len(t, how, 2, "%s must be shown firing, and not", alert)
	}
}

// firing returns the summaries of an alert that fires at a time after the first sample.
func firing(t *testing.T, alert, load string, after time.Duration) (summaries []string) {
	t.Helper()
	stored := promqltest.LoadedStorage(t, "load 1m\n  "+strings.TrimSpace(load))
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	manager := rules.NewManager(&rules.ManagerOptions{
		QueryFunc:  rules.EngineQueryFunc(engine, stored),
		Appendable: stored,
		Queryable:  stored,
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
		Logger:     promslog.NewNopLogger(),
		Parser:     newParser(),
	})
	groups, errs := manager.LoadGroups(time.Minute, labels.EmptyLabels(), "", nil, false, alertsFile)
	require.Empty(t, errs)
	start := time.Unix(0, 0).UTC()
	for at := start; !at.After(start.Add(after)); at = at.Add(time.Minute) {
		for _, g := range groups {
			for _, r := range g.Rules() {
				if r.Name() != alert {
					continue
				}
				_, err := r.Eval(t.Context(), 0, at, rules.EngineQueryFunc(engine, stored), nil, 0)
				require.NoError(t, err)
			}
		}
	}
	for _, g := range groups {
		for _, r := range g.AlertingRules() {
			for _, a := range r.ActiveAlerts() {
				if a.State == rules.StateFiring {
					summaries = append(summaries, a.Annotations.Get("summary"))
				}
			}
		}
	}
	return summaries
}

func newParser() parser.Parser { return parser.NewParser(parser.Options{}) }

// Whoever is woken by an alert finds out from it what it means, and in the documentation what to do.
func TestAlertsLeadToARunbook(t *testing.T) {
	groups, errs := rulefmt.ParseFile(alertsFile, false, model.UTF8Validation, newParser(), promslog.NewNopLogger())
	require.Empty(t, errs)
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(documentation(t), -1) {
		anchors[strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")] = true
	}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			assert.Contains(t, []string{"critical", "warning", "info"}, r.Labels["severity"], r.Alert)
			assert.NotEmpty(t, r.Annotations["summary"], r.Alert)
			assert.NotEmpty(t, r.Annotations["description"], r.Alert)
			anchor := strings.ToLower(r.Alert)
			assert.Equal(t, "https://github.com/egress-tls/egress-tls-webhook/blob/main/docs/observability.md#"+anchor, r.Annotations["runbook_url"])
			assert.True(t, anchors[anchor], "docs/observability.md has no section %s", r.Alert)
		}
	}
}
