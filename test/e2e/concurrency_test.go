package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

const clients = 20

// atOnce runs kubectl for all inputs at the same time.
func atOnce(t *testing.T, inputs []string, args ...string) []controlplane.Result {
	t.Helper()
	results := make([]controlplane.Result, len(inputs))
	var all sync.WaitGroup
	for i, in := range inputs {
		all.Go(func() { results[i] = plane.Kubectl(t.Context(), in, args...) })
	}
	all.Wait()
	return results
}

func TestClientsThatApplyOneObjectAtOnce(t *testing.T) {
	s := readySite(t)
	inputs := make([]string, clients)
	for i := range inputs {
		inputs[i] = s.route()
	}
	created := 0
	for _, r := range atOnce(t, inputs, "apply", "-f", "-") {
		_, rest := r.Warnings()
		if strings.Contains(r.Stdout, "virtualservice.networking.istio.io/web created") {
			created++
			continue
		}
		// Each kubectl found no object; the first to create it wins.
		if r.ExitCode != 0 {
			assert.Equal(t, "Error from server (AlreadyExists): error when creating \"STDIN\": virtualservices.networking.istio.io \"web\" already exists\n", rest)
		}
	}
	assert.Equal(t, 1, created)
	assert.Len(t, rulesIn(t, s.namespace), 1)
}

func TestRoutesForOneHostAppliedAtOnceShareOneRule(t *testing.T) {
	s := readySite(t)
	inputs := make([]string, clients)
	for i := range inputs {
		inputs[i] = s.routes(fmt.Sprintf("web-%d", i), "/keys", "/")
	}
	created := 0
	for _, r := range atOnce(t, inputs, "apply", "-f", "-") {
		warnings, rest := r.Warnings()
		assert.Zero(t, r.ExitCode, rest)
		assert.Equal(t, s.headers(0), warnings[0])
		switch {
		case len(warnings) == 1:
		case assert.Equal(t, []string{"created " + s.rule()}, warnings[1:]):
			created++
		}
	}
	assert.Equal(t, 1, created)
	rules := rulesIn(t, s.namespace)
	if assert.Len(t, rules, 1) {
		assert.EqualValues(t, 1, rules[0].Generation, "written once")
	}
}

// Each admission knows only its own port: the routes to the other one are not stored yet.
func TestRoutesForTwoPortsAppliedAtOnceKeepBoth(t *testing.T) {
	webhook := server(t)
	s := newSite(t)
	apply(t, strings.Replace(s.entry(), "protocol: HTTPS}", "protocol: HTTPS}, {number: 8443, name: more, protocol: HTTPS}", 1)+s.gateway(), asSetup)
	waitCached(t, webhook)
	inputs := make([]string, clients)
	for i := range inputs {
		inputs[i] = s.routes(fmt.Sprintf("web-%d", i), "/keys", "/")
		if i%2 == 1 {
			inputs[i] = strings.Replace(inputs[i], "number: 443", "number: 8443", 1)
		}
	}
	for _, r := range atOnce(t, inputs, "apply", "-f", "-") {
		assert.Zero(t, r.ExitCode, r.Stderr)
	}
	rules := rulesIn(t, s.namespace)
	if assert.Len(t, rules, 1) {
		var ports []uint32
		for _, e := range rules[0].Spec.TrafficPolicy.PortLevelSettings {
			ports = append(ports, e.Port.Number)
		}
		assert.Equal(t, []uint32{443, 8443}, ports)
	}
}
