package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// reconciler starts a webhook that reconciles, for this test alone, and waits until it
// leads.
func reconciler(t *testing.T, options controlplane.WebhookOptions) *controlplane.Webhook {
	t.Helper()
	stopServer(t)
	options.Args = append(options.Args, "--config="+writeFile(t, defaultPolicy), "--grace-period=100ms")
	webhook := start(t, options)
	webhook.LogOnFailure(t)
	t.Cleanup(func() { noError(t, webhook.Stop(), "stop the webhook, which gives up its Lease") })
	eventually(t, func() bool { return strings.Contains(metrics(t, webhook), "\negress_tls_leading 1\n") }, "it leads")
	return webhook
}

// A host that cannot be brought in line is seen, keeps no other waiting, and is tried
// again.
func TestHostThatCannotConvergeIsToldAndTriedAgain(t *testing.T) {
	clean(t) // Others may not converge either.
	webhook := reconciler(t, controlplane.WebhookOptions{})
	stuck, other := newSite(t), newSite(t)
	apply(t, stuck.foreignRule(), asSetup)
	for _, s := range []site{stuck, other} {
		apply(t, s.entry()+s.gateway()+s.route(), asSetup)
	}
	eventually(t, func() bool { return len(rulesIn(t, other.namespace)) == 1 }, "the other host has its rule")
	eventually(t, func() bool { return strings.Contains(events(t, stuck), "NotConverged") }, "the failure is told")
	assert.Contains(t, events(t, stuck), "Warning NotConverged VirtualService/web "+stuck.foreignReason()+"\n")
	eventually(t, func() bool {
		return strings.Contains(metrics(t, webhook), `egress_tls_reconcile_failing{controller="destinationrules"} 1`)
	}, "the failure is counted")
	assert.NotContains(t, events(t, other), "NotConverged")

	does(t, "", "delete", "destinationrule", stuck.ruleName(), "-n", stuck.namespace)
	eventually(t, func() bool {
		rule := &networkingv1.DestinationRule{}
		err := reader.Get(context.WithoutCancel(t.Context()), client.ObjectKey{Namespace: stuck.namespace, Name: stuck.ruleName()}, rule)
		return err == nil && rule.Spec.Host == stuck.host
	}, "it is tried again")
	eventually(t, func() bool {
		return strings.Contains(metrics(t, webhook), `egress_tls_reconcile_failing{controller="destinationrules"} 0`)
	}, "nothing fails any more")
	// Events are written behind what they tell.
	eventually(t, func() bool {
		return strings.Contains(events(t, stuck), "Normal DestinationRuleCreated VirtualService/web created "+stuck.rule()+"\n")
	}, "the new rule is told")
}

// events are those of the site's namespace, a line each: type, reason, object and note.
func events(t *testing.T, s site) string {
	t.Helper()
	var list corev1.EventList
	noError(t, reader.List(context.WithoutCancel(t.Context()), &list, client.InNamespace(s.namespace)), "list events")
	var lines strings.Builder
	for _, e := range list.Items {
		fmt.Fprintf(&lines, "%s %s %s/%s %s\n", e.Type, e.Reason, e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Message)
	}
	return lines.String()
}
