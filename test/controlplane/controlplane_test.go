package controlplane_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

var plane *controlplane.ControlPlane

func TestMain(m *testing.M) {
	if os.Getenv(fakeWebhookEnv) != "" {
		fakeWebhook()
	}
	os.Exit(controlplane.RunTests(m, controlplane.Options{Audit: true}, func(cp *controlplane.ControlPlane) { plane = cp }))
}

func TestIstioObjectsAreServed(t *testing.T) {
	crds := plane.Kubectl(t.Context(), "", "get", "crds", "-o",
		`jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Established")].status}{"\n"}{end}`)
	require.Zero(t, crds.ExitCode, crds.Stderr)
	for _, name := range []string{"serviceentries", "virtualservices", "destinationrules", "gateways"} {
		assert.Contains(t, crds.Stdout, name+".networking.istio.io True\n")
	}

	created := plane.Kubectl(t.Context(), serviceEntry("served"), "create", "-f", "-")
	assert.Equal(t, controlplane.Result{Stdout: "serviceentry.networking.istio.io/served created\n"}, created)
	got := plane.Kubectl(t.Context(), "", "get", "serviceentry", "served", "-o", "jsonpath={.spec.hosts}")
	assert.Equal(t, controlplane.Result{Stdout: `["served.example.com"]`}, got)
}

func TestAPIServerIsOfTheVersionItWasBuiltFrom(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") != "" {
		t.Skip("KUBEBUILDER_ASSETS: the assets are someone else's")
	}
	// The directory is controlplane-<version>-...
	want := strings.Split(filepath.Base(filepath.Dir(plane.KubectlPath)), "-")[1]
	version := plane.Kubectl(t.Context(), "", "version")
	require.Zero(t, version.ExitCode, version.Stderr)
	assert.Equal(t, 2, strings.Count(version.Stdout, " Version: "+want+"\n"), version.Stdout)
}

func TestKubectlReportsHowItEnded(t *testing.T) {
	missing := plane.Kubectl(t.Context(), "", "get", "serviceentry", "missing")
	assert.Equal(t, controlplane.Result{
		Stderr:   "Error from server (NotFound): serviceentries.networking.istio.io \"missing\" not found\n",
		ExitCode: 1,
	}, missing)
}

func TestServiceAccountHasOnlyTheRightsThatRBACGives(t *testing.T) {
	kubeconfig, err := plane.ServiceAccountKubeconfig("default", "nobody")
	require.NoError(t, err)
	refused := plane.Kubectl(t.Context(), serviceEntry("forbidden"), "create", "-f", "-", "--kubeconfig="+kubeconfig)
	assert.Equal(t, 1, refused.ExitCode)
	assert.Contains(t, refused.Stderr, `User "system:serviceaccount:default:nobody" cannot create resource "serviceentries"`)

	bound := plane.Kubectl(t.Context(), "", "create", "clusterrolebinding", "somebody",
		"--clusterrole=cluster-admin", "--serviceaccount=default:somebody")
	require.Zero(t, bound.ExitCode, bound.Stderr)
	kubeconfig, err = plane.ServiceAccountKubeconfig("default", "somebody")
	require.NoError(t, err)
	allowed := plane.Kubectl(t.Context(), serviceEntry("allowed"), "create", "-f", "-", "--kubeconfig="+kubeconfig)
	assert.Zero(t, allowed.ExitCode, allowed.Stderr)
}

func TestAuditEventsHoldTheWrites(t *testing.T) {
	created := plane.Kubectl(t.Context(), serviceEntry("audited"), "create", "-f", "-")
	require.Zero(t, created.ExitCode, created.Stderr)
	events, err := plane.AuditEvents()
	require.NoError(t, err)
	for _, event := range events {
		if event.ObjectRef.Name == "audited" {
			assert.Equal(t, "create", event.Verb)
			assert.Equal(t, 201, event.ResponseStatus.Code)
			assert.Equal(t, "admin", event.User.Username)
			return
		}
	}
	t.Errorf("no event for the ServiceEntry: %v", events)
}

// A test that is killed cannot stop its control plane; what it started must end without it.
func TestControlPlaneDiesWithItsProcess(t *testing.T) {
	if os.Getenv("CONTROLPLANE_TEST_HOLD") != "" {
		fmt.Println(plane.Config.Host)
		select {}
	}
	if testing.Short() {
		t.Skip("starts a second control plane")
	}
	child := exec.Command(os.Args[0], "-test.run=^TestControlPlaneDiesWithItsProcess$")
	child.Env = append(os.Environ(), "CONTROLPLANE_TEST_HOLD=1", "TMPDIR="+t.TempDir())
	stdout, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	host := readLine(t, stdout)
	require.True(t, listens(host), host)

	require.NoError(t, child.Process.Kill())
	_ = child.Wait()
	assert.Eventually(t, func() bool { return !listens(host) }, patience, tick)
}

func serviceEntry(name string) string {
	return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: ` + name + `
  namespace: default
spec:
  hosts: [` + name + `.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
`
}

func TestWarningsAreToldApart(t *testing.T) {
	warnings, others := controlplane.Result{Stderr: "Warning: egress-tls: ours\nWarning: theirs\nError from server\n"}.Warnings()
	assert.Equal(t, []string{"ours", "theirs"}, warnings)
	assert.Equal(t, "Error from server\n", others)
}

func TestNameTellsTheTestAndIsAnotherOneEveryTime(t *testing.T) {
	first, second := controlplane.Name(t), controlplane.Name(t)
	assert.Regexp(t, `^nametellsthetestandisanotheroneeverytime-[0-9]+$`, first)
	assert.NotEqual(t, first, second)
	t.Run("that is too long for the name of a namespace", func(t *testing.T) {
		assert.Regexp(t, `^nametellsthetestandisanotheron-[0-9a-f]{8}-[0-9]+$`, controlplane.Name(t))
	})
}
