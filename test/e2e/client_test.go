package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The ways in which clients write.

func TestApplyingAgainChangesNothing(t *testing.T) {
	newestOnly(t)
	for _, how := range []struct {
		name string
		args []string
	}{
		{"client-side", []string{"apply", "-f", "-"}},
		{"server-side", []string{"apply", "--server-side", "-f", "-"}},
		{"replace", []string{"replace", "-f", "-"}},
	} {
		t.Run(how.name, func(t *testing.T) {
			s := readySite(t)
			manifests := s.entry() + s.gateway() + s.route()
			if how.name == "replace" {
				does(t, s.route(), "create", "-f", "-")
				manifests = s.route()
			}
			does(t, manifests, how.args...) // kubectl replace takes the fields over from kubectl create
			before := versions(t, s)
			for range 2 {
				does(t, manifests, how.args...)
				assert.Equal(t, before, versions(t, s))
			}
			assertHeaders(t, s, "web")
		})
	}
}

// versions returns the resourceVersions of all objects of the site.
func versions(t *testing.T, s site) map[string]string {
	t.Helper()
	out := map[string]string{}
	var routes networkingv1.VirtualServiceList
	require.NoError(t, reader.List(t.Context(), &routes, client.InNamespace(s.namespace)))
	for _, o := range routes.Items {
		out["VirtualService "+o.Name] = o.ResourceVersion
	}
	for _, o := range rulesIn(t, s.namespace) {
		out["DestinationRule "+o.Name] = o.ResourceVersion
	}
	entry := stored(t, &networkingv1.ServiceEntry{}, s.namespace, "external")
	out["ServiceEntry "+entry.Name] = entry.ResourceVersion
	require.Len(t, out, 3)
	return out
}

// What another field manager takes over is not fought for: the headers that were
// added belong to the one who applied.
func TestServerSideApplyTakesAChangeOver(t *testing.T) {
	s := readySite(t)
	does(t, s.route(), "apply", "--server-side", "-f", "-")
	warnings := does(t, s.routes("web", "/keys", "/more", "/"), "apply", "--server-side", "-f", "-")
	assert.Equal(t, []string{s.headers(0), s.headers(1)}, warnings)
	assertHeaders(t, s, "web")
}

func TestClientSideApplyKeepsTheHeadersOfEarlierRoutes(t *testing.T) {
	s := readySite(t)
	apply(t, s.route())
	apply(t, s.routes("web", "/keys", "/more", "/"))
	assertHeaders(t, s, "web")
}

func TestPatchIsMutatedAndRefusedLikeApply(t *testing.T) {
	s := readySite(t)
	apply(t, s.route())
	patch := func(op string) []string {
		return []string{"patch", "virtualservice", "web", "-n", s.namespace, "--type=json", "-p=[" + s.fill(op) + "]"}
	}
	more := `{"op": "add", "path": "/spec/http/0", "value": {"match": [{"uri": {"prefix": "/more"}}], "route": [{"destination": {"host": "HOST", "port": {"number": 443}}}]}}`
	assert.Equal(t, []string{s.headers(0)}, does(t, "", patch(more)...))
	assertHeaders(t, s, "web")

	_, reason := refused(t, "", patch(`{"op": "add", "path": "/spec/http/0", "value": {"route": [{"destination": {"host": "welcome"}}]}}`)...)
	assert.True(t, strings.HasPrefix(reason, lines("VirtualService "+s.namespace+"/web is refused:", "- CatchAllNotLast at spec.http[1]: ")), reason)

	// Taken away, they are added again.
	assert.Equal(t, []string{s.headers(0)}, does(t, "", patch(`{"op": "remove", "path": "/spec/http/0/headers"}`)...))
	assertHeaders(t, s, "web")
}

func TestGeneratedNameIsServedLikeAnyOther(t *testing.T) {
	s := readySite(t)
	manifest := strings.Replace(s.route(), "name: web", "generateName: web-", 1)
	assert.Equal(t, []string{s.headers(0), "created " + s.rule()}, does(t, manifest, "create", "-f", "-"))
	_, reason := refused(t, strings.Replace(s.wrongRoute(), "name: web", "generateName: web-", 1), "create", "-f", "-")
	first, rest, _ := strings.Cut(reason, "\n")
	assert.Regexp(t, `^VirtualService `+s.namespace+`/web-[a-z0-9]* is refused:$`, first)
	assert.Equal(t, "- "+s.deadKeys(), rest)
}

// assertHeaders: each route that leads to the host has the headers, and no other.
func assertHeaders(t *testing.T, s site, name string) {
	t.Helper()
	for _, r := range stored(t, &networkingv1.VirtualService{}, s.namespace, name).Spec.Http {
		if r.Route[0].Destination.Host == s.host {
			assert.Equal(t, map[string]string{"Host": s.host, "X-Forwarded-Proto": "https"}, r.GetHeaders().GetRequest().GetSet())
		} else {
			assert.Nil(t, r.Headers)
		}
	}
}
