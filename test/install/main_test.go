// Package install tests the product as a platform team installs and runs it: with Helm, in a cluster
// whose API server, controllers and cert-manager are the real ones, and in which the server is no
// more than the chart's ServiceAccount may be. The commands are those of docs/.
package install

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
	"github.com/egress-tls/egress-tls-webhook/test/tools"
)

const (
	// patience is for what happens at once, but for a busy machine.
	patience = time.Minute
	tick     = 100 * time.Millisecond

	system = "egress-tls-system"
	server = "system:serviceaccount:" + system + ":egress-tls-webhook"
)

var (
	plane *controlplane.ControlPlane
	admin client.Client
	// helmDir and cliDir hold helm and egress-tls.
	helmDir, cliDir string
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) (exitCode int) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			exitCode = 1
		}
	}
	ctx := context.Background()
	var err error
	if plane, err = controlplane.Start(ctx, controlplane.Options{Cluster: true, AuditUser: server}); err != nil {
		fail(err)
		return exitCode
	}
	defer func() { fail(plane.Stop()) }()
	if err := prepare(ctx); err != nil {
		fail(err)
		return exitCode
	}
	return m.Run()
}

// prepare builds what would otherwise take its time in a test.
func prepare(ctx context.Context) (err error) {
	if helmDir, err = tools.Helm().Install(ctx, os.Stderr); err != nil {
		return err
	}
	cli, err := plane.Build(ctx, "./cmd/egress-tls")
	if err != nil {
		return err
	}
	cliDir = filepath.Dir(cli)
	if _, err := plane.Build(ctx, "./cmd/egress-tls-webhook"); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(networkingv1.AddToScheme(scheme), clientgoscheme.AddToScheme(scheme)); err != nil {
		return err
	}
	config := rest.CopyConfig(plane.Config)
	config.QPS = -1 // The API server limits by itself.
	admin, err = client.New(config, client.Options{Scheme: scheme})
	return err
}
