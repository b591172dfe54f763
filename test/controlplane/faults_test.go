package controlplane_test

import (
	"context"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

func TestAPIServerComesBackWithWhatWasStored(t *testing.T) {
	history := record(t)
	created := plane.Kubectl(t.Context(), serviceEntry("survives"), "create", "-f", "-")
	require.Zero(t, created.ExitCode, created.Stderr)

	require.NoError(t, plane.KillAPIServer())
	assert.False(t, listens(plane.Config.Host))
	away := plane.Kubectl(t.Context(), "", "get", "serviceentry", "survives", "-o", "name")
	assert.Equal(t, 1, away.ExitCode)
	assert.Contains(t, away.Stderr, "was refused")

	require.NoError(t, plane.StartAPIServer())
	back := plane.Kubectl(t.Context(), "", "get", "serviceentry", "survives", "-o", "name")
	assert.Equal(t, controlplane.Result{Stdout: "serviceentry.networking.istio.io/survives\n"}, back)
	deleted := plane.Kubectl(t.Context(), "", "delete", "serviceentry", "survives")
	require.Zero(t, deleted.ExitCode, deleted.Stderr)
	assert.Eventually(t, func() bool { return len(versions(t, history)) == 2 }, patience, tick, "the recording goes on")
}

func TestSlowEtcdKeepsWritesWaiting(t *testing.T) {
	end, err := plane.SlowEtcd(time.Hour, time.Hour)
	require.NoError(t, err)
	defer func() { assert.NoError(t, end()) }()
	waits, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	assert.Equal(t, -1, plane.Kubectl(waits, serviceEntry("slow"), "create", "-f", "-").ExitCode, "kubectl is killed")
	require.NoError(t, end())
	// The first may have come through since.
	applied := plane.Kubectl(t.Context(), serviceEntry("slow"), "apply", "--server-side", "--force-conflicts", "-f", "-")
	assert.Equal(t, controlplane.Result{Stdout: "serviceentry.networking.istio.io/slow serverside-applied\n"}, applied)

	// In short turns it is slow, not away.
	end, err = plane.SlowEtcd(100*time.Millisecond, 20*time.Millisecond)
	require.NoError(t, err)
	for range 3 {
		assert.Zero(t, plane.Kubectl(t.Context(), serviceEntry("slow"), "replace", "-f", "-").ExitCode)
	}
	assert.NoError(t, end())
}

func TestHistoryHoldsEveryVersionInOrder(t *testing.T) {
	history := record(t)
	var want []string
	run := func(object string, args ...string) {
		t.Helper()
		result := plane.Kubectl(t.Context(), object, append(args, "-o", "jsonpath={.metadata.resourceVersion} {.kind} {.spec.hosts[0]}")...)
		require.Zero(t, result.ExitCode, result.Stderr)
		want = append(want, result.Stdout)
	}
	run(serviceEntry("recorded"), "create", "-f", "-")
	run(`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: recorded, namespace: default}, spec: {hosts: [a.example]}}`, "create", "-f", "-")
	run("", "patch", "serviceentry", "recorded", "--type=merge", `-p={"spec": {"hosts": ["b.example"]}}`)
	deleted := plane.Kubectl(t.Context(), "", "delete", "virtualservice", "recorded")
	require.Zero(t, deleted.ExitCode, deleted.Stderr)

	require.Eventually(t, func() bool { return len(versions(t, history)) == 4 }, patience, tick)
	history.Stop()
	all := versions(t, history)
	var got []string
	for _, v := range all[:3] {
		assert.Equal(t, "default/recorded", v.Namespace+"/"+v.Name)
		hosts := v.Object.Object["spec"].(map[string]any)["hosts"].([]any)
		got = append(got, strconv.FormatInt(v.Revision, 10)+" "+v.Object.GetKind()+" "+hosts[0].(string))
	}
	assert.Equal(t, want, got)
	assert.Equal(t, "virtualservices default/recorded", all[3].Resource+" "+all[3].Namespace+"/"+all[3].Name)
	assert.Nil(t, all[3].Object, "deleted")
	assert.Greater(t, all[3].Revision, all[2].Revision)
}

func TestWebhookIsRestartedBehindItsFront(t *testing.T) {
	front, err := controlplane.NewFront()
	require.NoError(t, err)
	defer func() { assert.NoError(t, front.Close()) }()
	first := startFake(t, front, "one")
	assert.Positive(t, front.Connections(first.Address()))
	require.NoError(t, first.Kill())
	refused := plane.Kubectl(t.Context(), serviceEntry("restarted"), "create", "--dry-run=server", "-f", "-")
	assert.Contains(t, refused.Stderr, "failed calling webhook")
	assert.Zero(t, front.Connections(first.Address()))

	second, err := first.Restart(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, second.Kill()) })
	assert.NotEqual(t, first.Address(), second.Address())
	created := plane.Kubectl(t.Context(), serviceEntry("restarted"), "create", "--dry-run=server", "-f", "-")
	assert.Equal(t, "Warning: /mutate by one\nWarning: /validate by one\n", created.Stderr)
	assert.Positive(t, front.Connections(second.Address()))
}

func TestWebhookThatLeadsIsKnown(t *testing.T) {
	webhook := startFake(t, nil, "leads")
	assert.Eventually(t, webhook.Leading, patience, tick)
	require.NoError(t, webhook.Signal(syscall.SIGUSR1))
	assert.Eventually(t, func() bool { return !webhook.Leading() }, patience, tick)
}

func record(t *testing.T) *controlplane.History {
	t.Helper()
	history, err := plane.Record(t.Context(), "networking.istio.io")
	require.NoError(t, err)
	t.Cleanup(history.Stop)
	return history
}

func versions(t *testing.T, history *controlplane.History) []controlplane.Version {
	t.Helper()
	all, err := history.Versions()
	require.NoError(t, err)
	return all
}
