package converge

import (
	"bytes"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// syncing is for how long what is in Git is applied again and again, and every is how
// often, if kubectl is that fast.
const (
	syncing = time.Minute
	every   = time.Second
)

// The ways in which GitOps controllers apply: Argo CD as the first, or as the third
// with ServerSideApply=true; Flux as the third.
var gitOps = []struct {
	name string
	// args are flags of both kubectl apply and kubectl diff.
	args []string
}{
	{"client-side", nil},
	{"server-side", []string{"--server-side", "--field-manager=gitops"}},
	{"server-side by force", []string{"--server-side", "--field-manager=gitops", "--force-conflicts"}},
}

// gitSite is a site whose objects are in Git.
type gitSite struct {
	site
	git, want string
	// writes is how often each object is written, however often it is applied.
	writes map[string]int
}

// gitSites are objects such that admission changes them, and such that only the
// reconciler does: the gateway comes last, so admission knows of no target.
func gitSites(t *testing.T) []gitSite {
	t.Helper()
	admitted, reconciled, listed := newSite(t), newSite(t), newSite(t)
	return []gitSite{
		{
			admitted, admitted.entry() + admitted.gateway() + admitted.route(),
			admitted.entry() + admitted.gateway() + admitted.routed() + admitted.rule(),
			map[string]int{"web": 1, admitted.ruleKey().name: 1},
		},
		// What the reconciler writes it gives back with a second write.
		{
			reconciled, reconciled.route() + reconciled.own(withLoadBalancer) + reconciled.entry() + reconciled.gateway(),
			reconciled.entry() + reconciled.gateway() + reconciled.routed() + reconciled.injected(injectedLoadBalancer),
			map[string]int{"web": 3, "own": 3},
		},
		// A list is owned whole, and here it is the user's.
		{
			listed, listed.route() + listed.own(withOtherPort) + listed.entry() + listed.gateway(),
			listed.entry() + listed.gateway() + listed.routed() + listed.injected(injectedBesideOtherPort),
			map[string]int{"web": 3, "own": 3},
		},
	}
}

const (
	withOtherPort = `  trafficPolicy:
    loadBalancer: {simple: RANDOM}
    portLevelSettings:
    - port: {number: 8080}
      loadBalancer: {simple: ROUND_ROBIN}
`
	injectedBesideOtherPort = withOtherPort + `    - port: {number: 443}
      loadBalancer: {simple: RANDOM}
      tls: {mode: SIMPLE, sni: HOST, subjectAltNames: [HOST]}
`
)

// TestGitOps applies what is in Git every second for a minute: the plain objects, and
// what "egress-tls render" makes of them. Nobody takes back what the other has written.
func TestGitOps(t *testing.T) {
	t.Parallel()
	for _, how := range gitOps {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			sites, rendered := gitSites(t), gitSites(t)
			for i, s := range rendered {
				rendered[i].git = render(t, s.git)
				// Nothing lacks any more. The first apply of a rule that the route before it has
				// made admission create makes Git another owner of it.
				rendered[i].writes = map[string]int{s.ruleKey().name: 2}
			}
			all := slices.Concat(sites, rendered)
			git := ""
			for _, s := range all {
				git += s.git
			}

			rounds := 0
			tick := time.NewTicker(every)
			defer tick.Stop()
			for end := time.Now().Add(syncing); time.Now().Before(end); <-tick.C {
				rounds++
				kubectlApply(t, git, how.args...)
			}
			t.Logf("%d rounds", rounds)

			for _, s := range all {
				s.comes(t, s.want)
				assertWrites(t, s)
			}
			code, diff := difference(t, git, how.args...)
			assert.Zero(t, code)
			assert.Empty(t, diff)
			code, diff = difference(t, strings.Replace(sites[0].git, "prefix: /keys", "prefix: /others", 1), how.args...)
			assert.Equal(t, 1, code)
			assert.Contains(t, diff, "\n-        prefix: /keys\n+        prefix: /others\n")
			if how.args != nil {
				return
			}
			// As Argo CD compares, with ServerSideDiff=true, what it has applied client-side.
			code, diff = difference(t, git, gitOps[2].args...)
			assert.Zero(t, code)
			assert.Empty(t, diff)
			// A client that compares what it applied with what is there sees a difference all the
			// same, unless it applies what was rendered.
			plain := kubectlApply(t, sites[0].git)
			assert.Contains(t, plain, "virtualservice.networking.istio.io/web configured\n")
			assert.NotContains(t, kubectlApply(t, rendered[0].git), "configured\n")
			assertWrites(t, sites[0])
		})
	}
}

// difference is what kubectl diff says: 0 and nothing, or 1 and something.
func difference(t *testing.T, git string, args ...string) (exitCode int, diff string) {
	t.Helper()
	result := kubectl(t, git, append([]string{"diff", "-f", "-"}, args...)...)
	_, rest := result.Warnings()
	assert.Empty(t, rest)
	return result.ExitCode, result.Stdout
}

// assertWrites: each object was written once, unless the site says otherwise.
func assertWrites(t *testing.T, s gitSite) {
	t.Helper()
	want, got := map[string]int{}, map[string]int{}
	for _, o := range cluster.all(comparedKinds, s.namespace) {
		got[o.GetName()] = len(cluster.history(keyOf(o)))
		want[o.GetName()] = 1
	}
	for name, n := range s.writes {
		if _, ok := want[name]; ok {
			want[name] = n
		}
	}
	if !maps.Equal(want, got) {
		assert.Fail(t, "too many writes", "%s: want %v, got %v\n%s", s.namespace, want, got, past(s.namespace))
	}
}

// past tells who wrote what in a namespace.
func past(namespace string) string {
	var b strings.Builder
	for _, o := range cluster.all(comparedKinds, namespace) {
		for _, was := range cluster.history(keyOf(o)) {
			fmt.Fprintf(&b, "%s version %s:", keyOf(o), was.object.GetResourceVersion())
			for _, m := range was.object.GetManagedFields() {
				fmt.Fprintf(&b, " %s %s %s", m.Manager, m.Operation, m.FieldsV1.GetRawString())
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// render returns what the command line makes of the manifests.
func render(t *testing.T, manifests string) string {
	t.Helper()
	cli, err := plane.Build(t.Context(), "./cmd/egress-tls")
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), cli, "render", "-f", "-")
	cmd.Stdin = strings.NewReader(manifests)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	require.NoError(t, cmd.Run(), "%s", &stderr)
	require.NotEqual(t, manifests, out.String())
	return "---\n" + out.String()
}

// A rule that is in Git is Git's to remove: taken away, it would come back.
func TestRuleThatIsInGitStaysWithoutTheRoute(t *testing.T) {
	t.Parallel()
	for _, how := range gitOps[:2] {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			// The route comes before the rule, which admission creates.
			kubectlApply(t, render(t, s.entry()+s.gateway()+s.route()), how.args...)
			s.comes(t, s.entry(), s.gateway(), s.routed(), s.rule())
			remove(t, s.routeKey())
			stays(t, s.namespace)
			s.comes(t, s.entry(), s.gateway(), s.rule())
		})
	}
}
