package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/egress-tls/egress-tls-webhook/test/tools"
)

// kubernetesControllers are those that an installation needs: for its Pods, for what a Pod's
// ServiceAccount and Service need, and to remove what an owner leaves; and for the Jobs of docs/recipes.md.
var kubernetesControllers = []string{
	"deployment-controller", "replicaset-controller", "endpointslice-controller", "serviceaccount-controller",
	"root-ca-certificate-publisher-controller", "garbage-collector-controller", "namespace-controller", "disruption-controller",
	"job-controller",
}

// cluster is what makes a cluster of a control plane: controllers, a node and a network.
type cluster struct {
	network     *network
	controllers *Process
	node        *node
}

// prepareCluster sets the flags of kube-apiserver that unmodified manifests need, and listens where
// kube-apiserver then connects to.
func (cp *ControlPlane) prepareCluster() (err error) {
	socket := filepath.Join(cp.dir, "network")
	config := filepath.Join(cp.dir, "egress-selector.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, egressSelector, socket), 0o600); err != nil {
		return err
	}
	cp.env.ControlPlane.GetAPIServer().Configure().
		Set("egress-selector-config-file", config).
		// envtest switches ServiceAccount off, which puts the token into Pods.
		Disable("disable-admission-plugins")
	cp.cluster = &cluster{}
	cp.cluster.network, err = newNetwork(socket)
	return err
}

// startCluster starts the controllers and the node.
func (cp *ControlPlane) startCluster(ctx context.Context, progress io.Writer) error {
	c := cp.cluster
	assets, err := tools.ControllerManager().Install(ctx, progress)
	if err != nil {
		return err
	}
	ca := filepath.Join(cp.dir, "ca.crt")
	if err := os.WriteFile(ca, cp.Config.CAData, 0o600); err != nil {
		return err
	}
	c.controllers, err = cp.Run(filepath.Join(assets, "kube-controller-manager"),
		"--kubeconfig="+cp.Kubeconfig, "--root-ca-file="+ca, "--leader-elect=false", "--secure-port=0",
		"--controllers="+strings.Join(kubernetesControllers, ","))
	if err != nil {
		return err
	}
	if c.node, err = startNode(ctx, cp); err != nil {
		return err
	}
	c.network.client, c.network.process = c.node.client, c.node.process
	go c.network.serve(context.WithoutCancel(ctx))
	return nil
}

func (c *cluster) stop() error {
	var err error
	if c.node != nil {
		c.node.stop()
	}
	if c.controllers != nil {
		err = c.controllers.Stop()
	}
	if c.network != nil {
		err = errors.Join(err, c.network.listener.Close())
	}
	return err
}

// Pods returns the Pods of a namespace, oldest first. The control plane must run with Options.Cluster.
func (cp *ControlPlane) Pods(namespace string) []*Pod { return cp.cluster.node.podsOf(namespace) }

// Process is a program that runs beside the control plane.
type Process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // Once exited is closed.
	log    string
}

// Run starts a program that ends at the latest with this process.
func (cp *ControlPlane) Run(binary string, args ...string) (*Process, error) {
	p := &Process{exited: make(chan struct{}), log: filepath.Join(cp.dir, filepath.Base(binary)+".log")}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // The process holds it open by itself.
	command := cp.guarded(binary, args...)
	p.cmd = exec.Command(command[0], command[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// Ctrl-C at the terminal goes to this process, which stops the program in its own order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("failed to start %s: %w", binary, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// Log is the end of what the program has written.
func (p *Process) Log() string { return tail(p.log) }

// Stop kills the program, and returns an error if it has exited by itself.
func (p *Process) Stop() error {
	select {
	case <-p.exited:
		return fmt.Errorf("%s exited: %w\n%s", filepath.Base(p.log), p.err, p.Log())
	default:
	}
	err := p.cmd.Process.Kill()
	<-p.exited
	return err
}
