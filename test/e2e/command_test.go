package e2e

import (
	"bytes"
	"flag"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite testdata")

// command runs the server's binary, which must end by itself.
func command(t *testing.T, args ...string) (stdout, stderr string, exitCode int) {
	t.Helper()
	binary, err := plane.Build(t.Context(), "./cmd/egress-tls-webhook")
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = []string{"PATH=/nowhere"}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		require.ErrorAs(t, err, new(*exec.ExitError))
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestHelpExplainsEveryFlag(t *testing.T) {
	stdout, stderr, exitCode := command(t, "--help")
	assert.Zero(t, exitCode)
	assert.Empty(t, stderr)
	golden := filepath.Join("testdata", "help.txt")
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(stdout), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), stdout)
}

func TestUnusableFlagsEndTheServerWithAReason(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	policy := func(text string) string {
		return "--config=" + writeFile(t, "apiVersion: config.egress-tls.dev/v1alpha1\nkind: EgressTLSPolicy\n"+text)
	}
	missing := filepath.Join(t.TempDir(), "missing")
	connected := "--kubeconfig=" + plane.Kubeconfig
	loopback := []string{connected, "--webhook-bind-address=127.0.0.1:0", "--health-probe-bind-address=127.0.0.1:0", "--metrics-bind-address="}
	for _, test := range []struct {
		name string
		args []string
		want string // FILE stands for what follows "=" of the last argument
	}{
		{"unknown flag", []string{"--polcy=x"}, "unknown flag: --polcy"},
		{"argument", []string{"serve"}, `unknown command "serve" for "egress-tls-webhook"`},
		{"no duration", []string{"--drain-delay=soon"}, `invalid argument "soon" for "--drain-delay" flag: time: invalid duration "soon"`},
		{"log level", []string{"--log-level=loud"}, `--log-level: "loud" is not debug, info, warn or error`},
		{"no policy file", []string{"--config=" + missing}, "--config: open FILE: no such file or directory"},
		{"empty policy", []string{"--config=" + writeFile(t, "")}, "FILE: is empty; write at least apiVersion: config.egress-tls.dev/v1alpha1 and kind: EgressTLSPolicy"},
		{"policy of another version", []string{"--config=" + writeFile(t, "apiVersion: config.egress-tls.dev/v1\nkind: EgressTLSPolicy\n")}, `FILE:1: apiVersion: unknown value "config.egress-tls.dev/v1"; it takes: config.egress-tls.dev/v1alpha1`},
		{"policy with mistakes", []string{policy("mode: strict\ntls: {CaCertificates: x}\nmode: off\n")}, `FILE:3: mode: unknown value "strict"; it takes: enforce, warn, audit, off` + "\nFILE:4: tls.CaCertificates: unknown field, which would have no effect; did you mean caCertificates?\nFILE:5: mode: is there already, in line 3, and only one can count; remove one"},
		{"no API server", nil, "failed to find the API server (--kubeconfig outside of a cluster): unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined"},
		{"no kubeconfig", []string{"--kubeconfig=" + missing}, "failed to find the API server (--kubeconfig outside of a cluster): stat FILE: no such file or directory"},
		{"no address", []string{connected, "--webhook-bind-address="}, "the configuration is unusable: the address to serve on must not be empty"},
		{"no namespace", []string{connected, "--namespace=", "--drain-delay=-1s"}, "the configuration is unusable: the namespace that the server runs in must be known: set POD_NAMESPACE or --namespace\nthe drain delay must not be negative"},
		{"tracing without a port", []string{connected, "--tracing-sampling-ratio=2", "--tracing-endpoint=collector"}, "the configuration is unusable: the tracing endpoint \"FILE\" is no host:port, such as collector.observability:4317: address FILE: missing port in address\nthe tracing sampling ratio 2 must be from 0 to 1"},
		{"port taken", []string{connected, "--webhook-bind-address=" + taken.Addr().String()}, "failed to listen on FILE: listen tcp FILE: bind: address already in use"},
		{"client names without their authority", []string{connected, "--client-names=kube-apiserver"}, "the configuration is unusable: --client-names without --client-ca-file would let everybody in"},
		{"no authority of clients", append(loopback, "--client-ca-file="+missing), "failed to load the authority of clients: open FILE: no such file or directory"},
		{"an authority of clients that is none", append(loopback, "--client-ca-file="+writeFile(t, "none")), "failed to load the authority of clients: FILE holds no certificate in PEM"},
		{"no certificate", append(loopback, "--cert-dir="+missing), "failed to load the serving certificate of FILE: open FILE/tls.crt: no such file or directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			stdout, stderr, exitCode := command(t, test.args...)
			assert.Equal(t, 1, exitCode)
			assert.Empty(t, stdout)
			want := test.want
			if len(test.args) > 0 {
				want = fillFile(want, test.args[len(test.args)-1])
			}
			assert.Equal(t, "egress-tls-webhook: "+want+"\n", withoutLog(stderr))
		})
	}
}

// fillFile replaces FILE by the value of the flag.
func fillFile(text, arg string) string {
	_, value, _ := strings.Cut(arg, "=")
	return strings.ReplaceAll(text, "FILE", value)
}

// withoutLog drops the JSON lines of the log.
func withoutLog(stderr string) string {
	var out strings.Builder
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "{") {
			out.WriteString(line)
		}
	}
	return out.String()
}
