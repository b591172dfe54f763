package controlplane

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/egress-tls/egress-tls-webhook/test/tools"
)

// startTimeout bounds the start of etcd and of kube-apiserver. They need 4 s on an idle machine of
// 2 cores; a build beside them makes that many times as much.
const startTimeout = 2 * time.Minute

// Assets returns the directory that holds kube-apiserver, etcd and kubectl: KUBEBUILDER_ASSETS if
// that is set, else a directory in the user's cache, into which they are built once.
func Assets(ctx context.Context, progress io.Writer) (dir string, err error) {
	set := tools.ControlPlane()
	dir = os.Getenv("KUBEBUILDER_ASSETS")
	if dir == "" {
		return set.Install(ctx, progress)
	}
	for name := range set.Binaries {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("KUBEBUILDER_ASSETS lacks %s: %w", name, err)
		}
	}
	return filepath.Abs(dir)
}

// Options are what a control plane can differ in.
type Options struct {
	// Oldest takes the oldest Kubernetes and the oldest Istio CRDs that are supported in place of
	// the newest. Of Assets it takes only etcd.
	Oldest bool
	// Progress is told about slow builds. Standard error if nil.
	Progress io.Writer
	// Audit records every write to Istio objects with its audit annotations, for AuditEvents.
	Audit bool
	// AuditUser also has AuditEvents tell every request of a user.
	AuditUser string
	// Cluster adds what makes a cluster of it, so that manifests work as they are: the controllers of
	// Deployments, of Services and of what is left behind, a node that runs Pods as processes, and a
	// network in which kube-apiserver reaches them through their Service.
	Cluster bool
	// APIServerArgs are flags for kube-apiserver, without their dashes.
	APIServerArgs map[string][]string
	// Memory is the GOMEMLIMIT of kube-apiserver and etcd, "1GiB" if empty. With tens of thousands of
	// objects that is too little: nearly all of the time would go into collecting garbage.
	Memory string
}

// ControlPlane is a running API server with its etcd.
type ControlPlane struct {
	// Config is the administrator's client configuration.
	Config *rest.Config
	// Kubeconfig is a file that says the same as Config.
	Kubeconfig string
	// KubectlPath is the kubectl binary.
	KubectlPath string
	// CRDPath is the file of the Istio CRDs, in the module istio.io/api.
	CRDPath string

	root string
	dir  string
	env  *envtest.Environment

	cluster *cluster // Nil without Options.Cluster.

	mu        sync.Mutex
	built     map[string]string // package to binary
	installed *manifests        // of the last StartWebhook
}

// Start starts etcd and kube-apiserver, installs the Istio CRDs and waits until they are served.
// Without Options.Cluster there are no controllers: a namespace that is deleted stays Terminating, and
// owner references remove nothing.
func Start(ctx context.Context, options Options) (_ *ControlPlane, err error) {
	progress := options.Progress
	if progress == nil {
		progress = os.Stderr
	}
	root, err := tools.RepoRoot()
	if err != nil {
		return nil, err
	}
	assets, err := Assets(ctx, progress)
	if err != nil {
		return nil, err
	}
	kubernetes, crdModule := assets, root
	if options.Oldest {
		set := tools.OldestControlPlane()
		if kubernetes, err = set.Install(ctx, progress); err != nil {
			return nil, err
		}
		crdModule = filepath.Join(root, "test", "tools", set.Name)
	}
	crds, err := istioCRDs(ctx, crdModule)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "egress-tls-controlplane-")
	if err != nil {
		return nil, err
	}
	cp := &ControlPlane{
		Kubeconfig:  filepath.Join(dir, "kubeconfig"),
		KubectlPath: filepath.Join(kubernetes, "kubectl"),
		CRDPath:     crds,
		root:        root,
		dir:         dir,
		built:       map[string]string{},
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("failed to start the control plane: %w", err), cp.Stop())
		}
	}()

	// Otherwise controller-runtime prints a stack after 30 s in which nobody chose a logger.
	log.SetLogger(logr.Discard())

	cp.env = &envtest.Environment{
		CRDInstallOptions:        envtest.CRDInstallOptions{Paths: []string{crds}, ErrorIfPathMissing: true},
		ControlPlaneStartTimeout: startTimeout,
	}
	plane := &cp.env.ControlPlane
	apiServer := plane.GetAPIServer()
	// Below dir, so that one directory is all there is to remove.
	apiServer.CertDir = filepath.Join(dir, "kube-apiserver")
	if err := os.Mkdir(apiServer.CertDir, 0o700); err != nil {
		return nil, err
	}
	plane.Etcd = &envtest.Etcd{DataDir: filepath.Join(dir, "etcd")}
	plane.KubectlPath = cp.KubectlPath
	if apiServer.Path, err = cp.guard(filepath.Join(kubernetes, "kube-apiserver"), options.Memory); err != nil {
		return nil, err
	}
	if plane.Etcd.Path, err = cp.guard(filepath.Join(assets, "etcd"), options.Memory); err != nil {
		return nil, err
	}
	apiServerLog, err := os.Create(cp.apiServerLog())
	if err != nil {
		return nil, err
	}
	defer apiServerLog.Close() //nolint:errcheck // The processes hold it open by themselves.
	etcdLog, err := os.Create(filepath.Join(dir, "etcd.log"))
	if err != nil {
		return nil, err
	}
	defer etcdLog.Close() //nolint:errcheck // As above.
	apiServer.Out, apiServer.Err = apiServerLog, apiServerLog
	plane.Etcd.Out, plane.Etcd.Err = etcdLog, etcdLog

	if options.Audit || options.AuditUser != "" {
		policy := filepath.Join(dir, "audit-policy.yaml")
		if err := os.WriteFile(policy, fmt.Appendf(nil, auditPolicy, options.AuditUser), 0o600); err != nil {
			return nil, err
		}
		// The log's default mode is blocking: an answered request has been written.
		apiServer.Configure().Set("audit-policy-file", policy).Set("audit-log-path", cp.auditLog())
	}
	if options.Cluster {
		if err := cp.prepareCluster(); err != nil {
			return nil, err
		}
	}
	for flag, values := range options.APIServerArgs {
		apiServer.Configure().Set(flag, values...)
	}

	if cp.Config, err = cp.env.Start(); err != nil {
		return nil, fmt.Errorf("%w\nkube-apiserver:\n%s\netcd:\n%s", err, tail(apiServerLog.Name()), tail(etcdLog.Name()))
	}
	if err := os.WriteFile(cp.Kubeconfig, cp.env.KubeConfig, 0o600); err != nil {
		return nil, err
	}
	if options.Cluster {
		if err := cp.startCluster(ctx, progress); err != nil {
			return nil, err
		}
	}
	return cp, nil
}

// Stop stops kube-apiserver and etcd and removes what they wrote.
func (cp *ControlPlane) Stop() error {
	var err error
	if cp.cluster != nil {
		err = cp.cluster.stop()
	}
	if cp.env != nil {
		err = errors.Join(err, cp.env.Stop())
	}
	return errors.Join(err, os.RemoveAll(cp.dir))
}

// RunTests runs a package's tests with one control plane for all of them, which it hands to use
// first. For TestMain:
//
//	func TestMain(m *testing.M) {
//		os.Exit(controlplane.RunTests(m, controlplane.Options{}, func(cp *controlplane.ControlPlane) { plane = cp }))
//	}
func RunTests(m *testing.M, options Options, use func(*ControlPlane)) (exitCode int) {
	cp, err := Start(context.Background(), options)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := cp.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			exitCode = 1
		}
	}()
	use(cp)
	return m.Run()
}

// UserKubeconfig writes a kubeconfig for a user who is what RBAC makes of the name and the groups.
func (cp *ControlPlane) UserKubeconfig(name string, groups ...string) (path string, err error) {
	user, err := cp.env.AddUser(envtest.User{Name: name, Groups: groups}, &rest.Config{QPS: cp.Config.QPS, Burst: cp.Config.Burst})
	if err != nil {
		return "", err
	}
	data, err := user.KubeConfig()
	if err != nil {
		return "", err
	}
	file, err := os.CreateTemp(cp.dir, "*.kubeconfig")
	if err != nil {
		return "", err
	}
	_, err = file.Write(data)
	return file.Name(), errors.Join(err, file.Close())
}

// ServiceAccountKubeconfig writes a kubeconfig for what the API server takes for a pod of the
// ServiceAccount: a user of its name and groups.
func (cp *ControlPlane) ServiceAccountKubeconfig(namespace, name string) (path string, err error) {
	return cp.UserKubeconfig("system:serviceaccount:"+namespace+":"+name,
		"system:serviceaccounts", "system:serviceaccounts:"+namespace)
}

// Result is what a command said and how it ended.
type Result struct {
	Stdout, Stderr string
	// ExitCode is -1 if the command did not run or did not exit by itself; Stderr says why.
	ExitCode int
}

// Warnings separates the API server's warnings, ours without their mark, from what else kubectl
// printed on standard error.
func (r Result) Warnings() (warnings []string, others string) {
	for line := range strings.Lines(r.Stderr) {
		if warning, ok := strings.CutPrefix(line, "Warning: "); ok {
			warnings = append(warnings, strings.TrimPrefix(strings.TrimSuffix(warning, "\n"), "egress-tls: "))
		} else {
			others += line
		}
	}
	return warnings, others
}

// Kubectl runs kubectl as the administrator; --kubeconfig among args makes it someone else. Stdin
// is what a "-" in args reads.
func (cp *ControlPlane) Kubectl(ctx context.Context, stdin string, args ...string) Result {
	cmd := exec.CommandContext(ctx, cp.KubectlPath, args...)
	cmd.Stdin = strings.NewReader(stdin)
	// The user's own kubeconfig, kuberc and discovery cache are none of a test's business.
	cmd.Env = append(os.Environ(), "KUBECONFIG="+cp.Kubeconfig, "KUBERC=off",
		"KUBECACHEDIR="+filepath.Join(cp.dir, "kubectl-cache"),
		"GOGC=400") // As in guard.
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	result := Result{Stdout: stdout.String(), Stderr: stderr.String()}
	if err != nil {
		result.ExitCode = -1
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			result.ExitCode = exit.ExitCode()
		}
		if result.ExitCode < 0 {
			result.Stderr += err.Error() + "\n"
		}
	}
	return result
}

// Build builds a main package of the product's module, "./cmd/egress-tls" for example, once for
// this control plane, and returns the binary.
func (cp *ControlPlane) Build(ctx context.Context, pkg string) (path string, err error) {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	if path, ok := cp.built[pkg]; ok {
		return path, nil
	}
	path = filepath.Join(cp.dir, "bin", filepath.Base(pkg))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	// Unlike those of go build, the executables of go run are in Go's build cache: linked once, not
	// by every control plane.
	cmd := exec.CommandContext(ctx, "go", "run", "-exec=cp", pkg, path)
	cmd.Dir = cp.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("failed to build %s: %w\n%s", pkg, err, out)
	}
	cp.built[pkg] = path
	return path, nil
}

// AuditEvent is the part of an audit.k8s.io/v1 Event that tests look at.
type AuditEvent struct {
	Verb       string `json:"verb"`
	RequestURI string `json:"requestURI"`
	ObjectRef  struct {
		APIGroup  string `json:"apiGroup"`
		Resource  string `json:"resource"`
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"objectRef"`
	User struct {
		Username string `json:"username"`
	} `json:"user"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	Annotations map[string]string `json:"annotations"`
}

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  verbs: [create, update, patch, delete]
  resources:
  - group: networking.istio.io
- level: Metadata
  users: [%q]
- level: None
`

func (cp *ControlPlane) auditLog() string { return filepath.Join(cp.dir, "audit.log") }

func (cp *ControlPlane) apiServerLog() string { return filepath.Join(cp.dir, "kube-apiserver.log") }

// AuditEvents returns the writes to Istio objects so far, and the requests of Options.AuditUser, oldest
// first. The control plane must run with one of the options.
func (cp *ControlPlane) AuditEvents() ([]AuditEvent, error) {
	data, err := os.ReadFile(cp.auditLog())
	if err != nil {
		return nil, err
	}
	var events []AuditEvent
	for decoder := json.NewDecoder(bytes.NewReader(data)); ; {
		var event AuditEvent
		switch err := decoder.Decode(&event); {
		case errors.Is(err, io.EOF):
			return events, nil
		case err != nil:
			return nil, fmt.Errorf("failed to read the audit log: %w", err)
		}
		events = append(events, event)
	}
}

// istioCRDs returns the CRD file of the istio.io/api version that the module in a directory requires.
func istioCRDs(ctx context.Context, module string) (path string, err error) {
	// Unlike go list -m, which names no directory for a module that is not in the module cache.
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", "istio.io/api")
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	var api struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &api); err != nil || jsonErr != nil || api.Dir == "" {
		return "", fmt.Errorf("failed to find the module istio.io/api: %s: %w", api.Error, errors.Join(err, jsonErr))
	}
	return filepath.Join(api.Dir, "kubernetes", "customresourcedefinitions.gen.yaml"), nil
}

// guardScript runs the command "$@" and, when the process $0 is gone, kills it and removes the
// directory $1: a test that is killed or runs out of time has no chance to clean up. $$ is the
// shell's id, and after exec the command's.
const guardScript = `dir=$1
shift
(
	while kill -0 "$0"; do kill -0 $$ || exit; sleep 1; done
	kill -9 $$
	rm -rf "$dir"
) </dev/null >/dev/null 2>&1 &
exec "$@"
`

// guarded returns the command line of binary under guardScript.
func (cp *ControlPlane) guarded(binary string, args ...string) []string {
	return append([]string{"/bin/sh", "-c", guardScript, strconv.Itoa(os.Getpid()), cp.dir, binary}, args...)
}

// guard writes a command that runs binary under guardScript, for envtest, which takes a path only.
// It trades memory for time, a quarter of it under load: nothing here runs for long.
func (cp *ControlPlane) guard(binary, memory string) (path string, err error) {
	var script strings.Builder
	fmt.Fprintf(&script, "#!/bin/sh\necho $$ >'%s'\nGOGC=400 GOMEMLIMIT=%s exec", cp.pidFile(filepath.Base(binary)), cmp.Or(memory, "1GiB"))
	for _, arg := range cp.guarded(binary) {
		script.WriteString(" '" + strings.ReplaceAll(arg, "'", `'\''`) + "'")
	}
	script.WriteString(" \"$@\"\n")
	path = filepath.Join(cp.dir, filepath.Base(binary)+".sh")
	return path, os.WriteFile(path, []byte(script.String()), 0o700)
}

// tail returns the last lines of a file.
func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return lastLines(string(data), 20)
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
