package converge

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Objects that were stored before any webhook was installed.

var (
	older    = site{"older", "older.example.com"}
	olderOwn = site{"older-own", "older-own.example.com"}
)

// bystanders is a namespace of objects that look like the others and are nobody's
// business. run compares their versions in the end.
const bystanders = "bystanders"

func storeOlderObjects(ctx context.Context) error {
	aside := site{bystanders, "aside.example.com"}
	plain := strings.NewReplacer("number: 443, name: https, protocol: HTTPS", "number: 80, name: http, protocol: HTTP",
		"number: 443", "number: 80", "name: external", "name: plain", "name: web", "name: plain", "HOST", "plain."+aside.host)
	for _, namespace := range []string{"istio-system", older.namespace, olderOwn.namespace, bystanders} {
		if err := createNamespace(ctx, namespace); err != nil {
			return err
		}
	}
	manifests := []string{
		older.route(), older.gateway(), older.entry(),
		olderOwn.route(), olderOwn.own(withLoadBalancer), olderOwn.gateway(), olderOwn.entry(),
		aside.entry(), aside.gateway(), aside.routed(), aside.own(withTLS),
		plain.Replace(strings.ReplaceAll(aside.entry(), aside.host, "HOST")),
		plain.Replace(strings.ReplaceAll(aside.route(), aside.host, "HOST")),
		// A rule that is in force for no target.
		strings.NewReplacer("name: own", "name: nowhere", aside.host, "nowhere.example.com").Replace(aside.own(withLoadBalancer)),
	}
	all, err := parse(strings.Join(manifests, ""))
	if err != nil {
		return err
	}
	for _, o := range all {
		if err := users.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), user); err != nil {
			return err
		}
	}
	for next := cluster.next(); slices.ContainsFunc(all, func(o *unstructured.Unstructured) bool { return !cluster.has(o) }); next = cluster.next() {
		<-next
	}
	return nil
}

func TestObjectsOlderThanTheInstallation(t *testing.T) {
	t.Parallel()
	s := older
	logOnFailure(t, s.namespace)
	s.comes(t, s.entry(), s.gateway(), s.routed(), s.rule())
	tells(t, s.routeKey(), s.addedHeaders(), s.createdRule())
	stays(t, s.namespace)
	remove(t, s.routeKey())
	s.comes(t, s.entry(), s.gateway())
	stays(t, s.namespace)
}

func TestOwnRuleOlderThanTheInstallation(t *testing.T) {
	t.Parallel()
	s := olderOwn
	logOnFailure(t, s.namespace)
	s.comes(t, s.entry(), s.gateway(), s.routed(), s.injected(injectedLoadBalancer))
	tells(t, s.routeKey(), s.addedHeaders())
	tells(t, s.ownKey(), s.injectedTLS())
	stays(t, s.namespace)
	assert.Nil(t, cluster.history(s.ruleKey()), "there was never another rule")
	remove(t, s.routeKey())
	s.comes(t, s.entry(), s.gateway(), s.own(withLoadBalancer))
	tells(t, s.ownKey(), s.injectedTLS(), s.tookBackTLS())
	stays(t, s.namespace)
}
