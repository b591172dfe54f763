// Package tools builds the pinned tools of test/tools/* into the user's cache directory, so that
// what is slow to build is built once for a machine and not once for a checkout.
//
// Each tool set is a Go module of its own that holds nothing but versions, and a main package where
// upstream publishes none. The directory that its binaries go to is named after everything that
// decides what they are:
//
//	<cache>/egress-tls-webhook/<set>-<versions>-<go version>-<goos>-<goarch>-<hash of the module's files>
//
// The package imports the standard library only: it runs before anything else is there.
package tools

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// RootModule is the path of the product's module.
const RootModule = "github.com/egress-tls/egress-tls-webhook"

// progressInterval is how often a running build says that it still runs.
const progressInterval = 20 * time.Second

// A Set is a module below test/tools and the binaries to build from it.
type Set struct {
	// Name is the module's directory below test/tools.
	Name string
	// Pins are the modules whose versions name the set.
	Pins []string
	// Binaries maps the name of each binary to its package.
	Binaries map[string]string
	// LDFlags returns linker flags for the versions of Pins. Optional.
	LDFlags func(versions map[string]string) []string
	// Takes says how long a first build takes, in words.
	Takes string
}

const kubernetes = "k8s.io/kubernetes"

// ControlPlane is what the API server tests run against: the newest supported Kubernetes.
func ControlPlane() Set {
	const etcd = "go.etcd.io/etcd/server/v3"
	return Set{
		Name: "controlplane",
		Pins: []string{kubernetes, etcd},
		Binaries: map[string]string{
			"kube-apiserver": kubernetes + "/cmd/kube-apiserver",
			"kubectl":        kubernetes + "/cmd/kubectl",
			"etcd":           etcd,
		},
		LDFlags: kubernetesVersion,
		Takes:   "5 to 7 minutes on 2 cores",
	}
}

// OldestControlPlane is the oldest supported Kubernetes. Its etcd is that of ControlPlane: no API
// of ours passes there.
func OldestControlPlane() Set {
	return Set{
		Name: "controlplane-oldest",
		Pins: []string{kubernetes},
		Binaries: map[string]string{
			"kube-apiserver": kubernetes + "/cmd/kube-apiserver",
			"kubectl":        kubernetes + "/cmd/kubectl",
		},
		LDFlags: kubernetesVersion,
		Takes:   "5 to 7 minutes on 2 cores",
	}
}

// ControllerManager is kube-controller-manager, of the version of ControlPlane: what makes Pods of
// a Deployment, for the tests that install the product as a cluster's users do.
func ControllerManager() Set {
	return Set{
		Name:     "controllermanager",
		Pins:     []string{kubernetes},
		Binaries: map[string]string{"kube-controller-manager": kubernetes + "/cmd/kube-controller-manager"},
		LDFlags:  kubernetesVersion,
		Takes:    "2 to 5 minutes on 2 cores",
	}
}

// CertManager is cert-manager's controllers and its CA injector, in one binary.
func CertManager() Set {
	return Set{
		Name:     "certmanager",
		Pins:     []string{"github.com/cert-manager/cert-manager"},
		Binaries: map[string]string{"cert-manager": RootModule + "/test/tools/certmanager"},
		Takes:    "2 minutes on 2 cores",
	}
}

// kubernetesVersion tells the binaries their version: an API server without it calls itself
// v0.0.0-master, and whatever looks at its version takes it for a very old one.
func kubernetesVersion(versions map[string]string) []string {
	version := versions[kubernetes]
	major, minor, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	var flags []string
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		flags = append(flags,
			"-X", pkg+".gitVersion="+version,
			"-X", pkg+".gitMajor="+major,
			"-X", pkg+".gitMinor="+minor,
			"-X", pkg+".gitTreeState=clean")
	}
	return flags
}

// Lint is what make lint and make vuln run.
func Lint() Set {
	const golangci, vuln = "github.com/golangci/golangci-lint/v2", "golang.org/x/vuln"
	return Set{
		Name: "lint",
		Pins: []string{golangci, vuln},
		Binaries: map[string]string{
			"golangci-lint": golangci + "/cmd/golangci-lint",
			"govulncheck":   vuln + "/cmd/govulncheck",
		},
		Takes: "3 to 4 minutes on 2 cores",
	}
}

// Helm renders and installs the chart.
func Helm() Set {
	const helm = "helm.sh/helm/v4"
	return Set{
		Name:     "helm",
		Pins:     []string{helm},
		Binaries: map[string]string{"helm": helm + "/cmd/helm"},
		LDFlags: func(versions map[string]string) []string {
			return []string{"-X", helm + "/internal/version.version=" + versions[helm]}
		},
		Takes: "2 to 3 minutes on 2 cores",
	}
}

// Install returns the directory that holds the set's binaries and builds them first if they are
// not there. It tells progress beforehand what takes long, and nothing if nothing does. Of several
// processes at once one builds and the others wait for it.
func (s Set) Install(ctx context.Context, progress io.Writer) (string, error) {
	root, err := RepoRoot()
	if err != nil {
		return "", err
	}
	module := filepath.Join(root, "test", "tools", s.Name)
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	versions, key, err := s.key(ctx, module)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, key)
	if s.complete(dir) {
		return dir, nil
	}

	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, filepath.Join(cache, s.Name+".lock"), func() {
		fmt.Fprintf(progress, "Another process builds the tools in %s, waiting for it.\n", dir)
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	if s.complete(dir) {
		return dir, nil
	}

	temp, err := os.MkdirTemp(cache, key+".tmp-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(temp) }()
	if err := s.build(ctx, module, temp, versions, progress); err != nil {
		return "", err
	}
	// An incomplete directory under the final name: someone deleted a binary from it.
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.Rename(temp, dir); err != nil {
		return "", err
	}
	return dir, nil
}

// key returns the versions of the set's pins and the name of its directory. It reads go.mod
// itself, since the go command would want the whole module graph for that, from the network.
func (s Set) key(ctx context.Context, module string) (map[string]string, string, error) {
	goMod, err := os.ReadFile(filepath.Join(module, "go.mod"))
	if err != nil {
		return nil, "", err
	}
	sources, err := filepath.Glob(filepath.Join(module, "*.go"))
	if err != nil {
		return nil, "", err
	}
	files := bytes.NewBuffer(bytes.Clone(goMod))
	for _, file := range append([]string{filepath.Join(module, "go.sum")}, sources...) {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, "", err
		}
		files.Write(data)
	}
	versions := map[string]string{}
	parts := []string{s.Name}
	for _, pin := range s.Pins {
		match := regexp.MustCompile(`(?m)^\s*(?:require )?` + regexp.QuoteMeta(pin) + ` (v\S+)`).FindSubmatch(goMod)
		if match == nil {
			return nil, "", fmt.Errorf("%s/go.mod does not require %s", module, pin)
		}
		versions[pin] = string(match[1])
		parts = append(parts, versions[pin])
	}

	env, err := goCommand(ctx, module, "env", "GOVERSION", "GOOS", "GOARCH")
	if err != nil {
		return nil, "", err
	}
	// A GOVERSION of an unreleased Go holds spaces.
	for line := range strings.Lines(env) {
		parts = append(parts, strings.ReplaceAll(strings.TrimSpace(line), " ", "_"))
	}
	hash := sha256.Sum256(files.Bytes())
	parts = append(parts, fmt.Sprintf("%x", hash[:4]))
	return versions, strings.Join(parts, "-"), nil
}

func (s Set) complete(dir string) bool {
	for name := range s.Binaries {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

func (s Set) build(ctx context.Context, module, dir string, versions map[string]string, progress io.Writer) error {
	pins := make([]string, 0, len(s.Pins))
	for _, pin := range s.Pins {
		pins = append(pins, pin+" "+versions[pin])
	}
	fmt.Fprintf(progress, "Building %s from source, once for this machine: %s.\n", strings.Join(pins, " and "), s.Takes)

	ldflags := []string{"-s", "-w"}
	if s.LDFlags != nil {
		ldflags = append(ldflags, s.LDFlags(versions)...)
	}
	args := []string{"build", "-mod=readonly", "-trimpath", "-ldflags=" + strings.Join(ldflags, " "), "-o", dir + string(filepath.Separator)}
	for _, pkg := range s.Binaries {
		args = append(args, pkg)
	}

	start := time.Now()
	done := make(chan error, 1)
	go func() {
		_, err := goCommand(ctx, module, args...)
		done <- err
	}()
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			fmt.Fprintf(progress, "  still building, %s so far\n", time.Since(start).Round(time.Second))
		case err := <-done:
			if err != nil {
				return fmt.Errorf("failed to build the tools of %s: %w", module, err)
			}
			fmt.Fprintf(progress, "Built in %s.\n", time.Since(start).Round(time.Second))
			return s.rename(dir)
		}
	}
}

// rename gives the binaries that go build named after their package the names of the set.
func (s Set) rename(dir string) error {
	for name, pkg := range s.Binaries {
		built := regexp.MustCompile(`/v[0-9]+$`).ReplaceAllString(pkg, "")
		built = built[strings.LastIndexByte(built, '/')+1:]
		if built == name {
			continue
		}
		if err := os.Rename(filepath.Join(dir, built), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// CacheDir returns the directory that the tools are built into.
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "egress-tls-webhook"), nil
}

// RepoRoot returns the directory of the product's go.mod, which is the working directory or one
// above it.
func RepoRoot() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && regexp.MustCompile(`(?m)^module `+regexp.QuoteMeta(RootModule)+`$`).Match(data) {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("%s is not inside a checkout of %s", wd, RootModule)
		}
		dir = parent
	}
}

// goCommand runs the go command in dir and returns its output. An error holds what it said.
func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	// A workspace of the user's must not pull other versions into the tools.
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, stderr.String())
	}
	return stdout.String(), nil
}

// lock takes the file lock at path. It calls waiting once if another process holds it.
func lock(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			// Closing the file, also by dying, gives the lock back.
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = file.Close()
			return nil, fmt.Errorf("failed to lock %s: %w", path, err)
		}
		if first {
			waiting()
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}
