package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// An object that was stored in violation, before the webhook came, must stay
// usable.
func TestUpdateIsNotRefusedForWhatTheObjectHadBefore(t *testing.T) {
	s := readySite(t)
	apply(t, s.wrongRoute(), asSetup)

	warnings := does(t, "", "annotate", "virtualservice", "web", "-n", s.namespace, "note=first")
	assert.Equal(t, []string{s.headers(1), "created " + s.rule(), s.deadKeys()}, warnings, "a change of the metadata")
	warnings = does(t, "", "patch", "virtualservice", "web", "-n", s.namespace, "--type=json",
		`-p=[{"op": "add", "path": "/spec/http/0/timeout", "value": "3s"}]`)
	assert.Equal(t, []string{s.deadKeys()}, warnings, "a change of another field")
}

func TestUpdateIsRefusedForWhatItMakesWorse(t *testing.T) {
	s := readySite(t)
	apply(t, s.routes("web", "/", "/keys"), asSetup)
	warnings, reason := refused(t, s.routes("web", "/", "/keys", "/api"), "apply", "-f", "-", asSetup, "--as=somebody", "--as-group=system:masters")
	api := s.fill(`CatchAllNotLast at spec.http[2]: Istio silently drops every route after a catch-all: spec.http[0].match[0] (uri prefix "/") takes every request, so spec.http[2] (uri prefix "/api", to HOST:443) can never match. For example, GET /api goes to welcome:8080 instead of HOST:443. Put spec.http[1], spec.http[2] before spec.http[0]. The order that works: spec.http[1] (uri prefix "/keys"), spec.http[2] (uri prefix "/api"), spec.http[0] (uri prefix "/").`)
	assert.Equal(t, lines("VirtualService "+s.namespace+"/web is refused:", "- "+api), reason)
	assert.Len(t, warnings, 3, "both routes get headers, and the old finding stays a warning")
}

func TestMetadataOnlyChangeIsNeverRefused(t *testing.T) {
	s := readySite(t)
	apply(t, s.route(), asSetup)
	// What stands in the way of the rule came before the rule.
	apply(t, s.foreignRule(), asSetup)
	waitCached(t, server(t))

	warnings := does(t, "", "label", "virtualservice", "web", "-n", s.namespace, "team=blue")
	assert.Equal(t, []string{s.headers(0), "TLSMissing: plaintext HTTP to " + s.host + " leaves the mesh in clear: it needs a DestinationRule that cannot be written: " + s.foreignReason() + "."}, warnings)
	assert.Equal(t, "blue", stored(t, &networkingv1.VirtualService{}, s.namespace, "web").Labels["team"])
}

// A namespace must be able to go, whatever it holds: what is deleted is not judged.
func TestObjectUnderDeletionIsLeftAlone(t *testing.T) {
	s := readySite(t)
	apply(t, s.wrongRoute(), asSetup)
	does(t, "", "patch", "virtualservice", "web", "-n", s.namespace, "--type=merge", `-p={"metadata": {"finalizers": ["example.com/slow"]}}`, asSetup)
	does(t, "", "delete", "virtualservice", "web", "-n", s.namespace, "--wait=false")
	assert.Empty(t, does(t, "", "patch", "virtualservice", "web", "-n", s.namespace, "--type=merge", `-p={"metadata": {"finalizers": null}}`))
	assert.Empty(t, rulesIn(t, s.namespace))
	gone := kubectl(t, "", "get", "virtualservice", "web", "-n", s.namespace)
	assert.Equal(t, "Error from server (NotFound): virtualservices.networking.istio.io \"web\" not found\n", gone.Stderr)
}
