// Package probe asks an API server, in dry runs, whether requests reach the webhook and
// get the answer that the mode of a namespace promises.
package probe

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// Options say whom to ask for what.
type Options struct {
	RESTConfig *rest.Config
	// Policy is that of the server.
	Policy *policy.Policy
	// Namespace is where the dry runs are made.
	Namespace string
	// ConfigurationName names both webhook configurations.
	ConfigurationName string
}

// outcome is how the webhook's answer shows to a client.
type outcome string

const (
	refused outcome = "is refused"
	warned  outcome = "gets a warning"
	silent  outcome = "passes in silence"
)

// A trial is an object that is sent but never stored, and what must come of it.
type trial struct {
	what, manifest string
	want           outcome
	// sign is in the refusal or the warning.
	sign string
}

func (t trial) String() string {
	if t.want == silent {
		return fmt.Sprintf("a %s %s", t.what, t.want)
	}
	return fmt.Sprintf("a %s %s (%s)", t.what, t.want, t.sign)
}

const deadRoute = `
apiVersion: networking.istio.io/v1
kind: VirtualService
spec:
  hosts: [egress-tls-probe.invalid]
  http:
    - match: [{uri: {prefix: /}}]
      route: [{destination: {host: egress-tls-probe.invalid}}]
    - match: [{uri: {prefix: /dead}}]
      route: [{destination: {host: egress-tls-probe.invalid}}]
`

const plaintext = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
spec:
  hosts: [egress-tls-probe.invalid]
  ports: [{number: 443, name: http, protocol: HTTP}]
  resolution: DNS
`

// trials are what shows that the webhook works, with this policy and mode. Its headers do not:
// it adds them to routes to a ServiceEntry that is stored.
func trials(pol *policy.Policy, mode policy.Mode) (list []trial) {
	want := func(enforced bool) outcome {
		switch {
		case mode == policy.Audit:
			return silent
		case mode == policy.Enforce && enforced:
			return refused
		}
		return warned
	}
	if pol.RouteOrder != policy.IgnoreOrder {
		list = append(list, trial{"VirtualService with a dead route", deadRoute, want(pol.RouteOrder == policy.DenyOrder), string(finding.CatchAllNotLast)})
	}
	switch pol.DestinationRules {
	case policy.CreateRules:
		list = append(list, trial{"ServiceEntry without TLS", plaintext, want(false), "would create DestinationRule"})
	case policy.RequireRules:
		list = append(list, trial{"ServiceEntry without TLS", plaintext, want(true), string(finding.TLSMissing)})
	}
	return list
}

// Run makes the dry runs and tells out what it sees. An error says what is not as promised,
// and the remedy.
func Run(ctx context.Context, o Options, out io.Writer) error {
	said := &warnings{}
	cfg := rest.CopyConfig(o.RESTConfig)
	cfg.WarningHandlerWithContext = said
	c, err := client.New(cfg, client.Options{})
	if err != nil {
		return fmt.Errorf("failed to connect to the API server: %w", err)
	}
	ns := &corev1.Namespace{}
	if err := c.Get(ctx, client.ObjectKey{Name: o.Namespace}, ns); err != nil {
		return fmt.Errorf("failed to read the mode of namespace %s: %w", o.Namespace, err)
	}
	mode, _ := o.Policy.ModeFor(ns.Name, ns.Labels[policy.ModeLabel])
	fmt.Fprintf(out, "namespace %s is in mode %s\n", o.Namespace, mode)
	list := trials(o.Policy, mode)
	switch {
	case mode == policy.Off:
		fmt.Fprintln(out, "nothing to see: the API server does not call the webhook there")
		return nil
	case len(list) == 0:
		fmt.Fprintln(out, "nothing to see: the policy ignores routeOrder and destinationRules")
		return nil
	}
	for _, t := range list {
		said.texts = nil
		err := dryRun(ctx, c, o.Namespace, t.manifest)
		if err == nil && t.want != silent && len(said.texts) == 0 {
			return unanswered(ctx, c, o.ConfigurationName, mode, t)
		}
		if err := judge(mode, t, err, said.texts); err != nil {
			return err
		}
		fmt.Fprintf(out, "ok: %s\n", t)
	}
	if mode == policy.Audit {
		fmt.Fprintln(out, "whether the webhook was asked shows in its log, its metrics and the API server's audit log only")
	}
	return nil
}

func dryRun(ctx context.Context, c client.Client, namespace, manifest string) error {
	o := &unstructured.Unstructured{}
	if err := yaml.UnmarshalStrict([]byte(manifest), &o.Object); err != nil {
		return fmt.Errorf("failed to read the object to send: %w", err)
	}
	o.SetNamespace(namespace)
	o.SetName("egress-tls-probe")
	return c.Create(ctx, o, client.DryRunAll) //nolint:wrapcheck // judge says what it means
}

// judge returns what is wrong with the API server's answer.
func judge(mode policy.Mode, t trial, err error, warnings []string) error {
	if err == nil {
		// There may be others, such as one about the namespace's label.
		signed := slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, t.sign) })
		if t.want == warned && signed || t.want == silent && len(warnings) == 0 {
			return nil
		}
		return fmt.Errorf("mode %s promises: %s, but it passes with the warnings %q; does the server have another policy (--config)?", mode, t, warnings)
	}
	entry, reason, denied := denial(err)
	switch {
	case denied && t.want == refused && strings.Contains(reason, t.sign):
		return nil
	case denied:
		return fmt.Errorf("mode %s promises: %s, but %s refuses it; does the server have another policy (--config)? %s", mode, t, entry, reason)
	case strings.Contains(err.Error(), "failed calling webhook"):
		return fmt.Errorf("%w\n%s", err, remedy(err.Error()))
	}
	return fmt.Errorf("failed to send a %s in a dry run: %w", t.what, err)
}

// denial takes a refusal apart.
func denial(err error) (entry, reason string, denied bool) {
	_, after, _ := strings.Cut(err.Error(), `admission webhook "`)
	return strings.Cut(after, `" denied the request: `)
}

// unanswered tells why an answer may have no trace of the webhook.
func unanswered(ctx context.Context, c client.Client, configuration string, mode policy.Mode, t trial) error {
	passed := fmt.Sprintf("mode %s promises: %s, but it passes without a trace of the webhook", mode, t)
	err := c.Get(ctx, client.ObjectKey{Name: configuration}, &admissionregistrationv1.ValidatingWebhookConfiguration{})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("%s: there is no ValidatingWebhookConfiguration %s; install it again", passed, configuration)
	}
	entry := "validate"
	if mode != policy.Enforce {
		entry = "observe"
	}
	return fmt.Errorf("%s: either the entry %s.egress-tls.dev of the ValidatingWebhookConfiguration %s does not take this namespace or user, "+
		"or the server has another policy, or the call failed and its failurePolicy is Ignore: look at the Pods and their logs", passed, entry, configuration)
}

// remedy says what to do about a call that failed.
func remedy(text string) string {
	const unreachable = "The API server cannot reach the Pods: let it through to their port 9443, in firewalls between control plane and nodes too."
	for _, r := range []struct{ sign, remedy string }{
		{"answers only known clients", "The server does not accept the API server's client certificate: see webhooks.clientVerification in the chart."},
		{"x509:", "The API server does not trust the server's certificate: look into the server's log whether it can write the caBundle of the webhook configurations; with cert-manager, whether its cainjector runs and the Certificate is ready."},
		{"no endpoints available", "No replica is ready: look at the Pods and their logs."},
		{`" not found`, "The Service is missing: install it again."},
		{"connection refused", "Nothing listens where the webhook should: look at the Pods and their logs."},
		{"deadline exceeded", unreachable},
		{"i/o timeout", unreachable},
	} {
		if strings.Contains(text, r.sign) {
			return r.remedy
		}
	}
	return "Look at the Pods and their logs."
}

// warnings keeps the webhook's warnings of one request.
type warnings struct{ texts []string }

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	if ours, ok := strings.CutPrefix(text, "egress-tls: "); ok {
		w.texts = append(w.texts, ours)
	}
}
