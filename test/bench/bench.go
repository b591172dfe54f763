package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/test/bench/figure"
)

// bench is what the stages share.
type bench struct {
	// quick asks for the shortest run that goes through all of the code: its numbers say nothing.
	quick    bool
	progress io.Writer
	// root is the repository's directory; dir one for what is built and written on the way.
	root, dir string
}

// stage measures one side of the product, from nothing: it starts what it needs, and stops it.
type stage struct {
	name string
	run  func(context.Context, *bench) ([]figure.Figure, []figure.Plot, error)
}

// stages are in the order of the report.
var stages = []stage{
	{"decision", decisionStage},
	{"admission", admissionStage},
	{"admission-size", sizeStage},
	{"apply", applyStage},
	{"cluster", clusterStage},
}

// say reports progress.
func (b *bench) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.progress, "%s "+format+"\n", append([]any{time.Now().Format("15:04:05")}, args...)...)
}

// runs is how often a comparison is made.
func (b *bench) runs(n int) int {
	if b.quick {
		return 1
	}
	return n
}

// chartEnv is the environment that deploy/ gives the webhook, for the Go runtime above all.
func (b *bench) chartEnv() ([]string, error) {
	path := filepath.Join(b.root, "deploy", "kustomize", "base", "install.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for doc := range bytes.SplitSeq(data, []byte("\n---\n")) {
		var d appsv1.Deployment
		if err := yaml.Unmarshal(doc, &d); err != nil || d.Kind != "Deployment" {
			continue
		}
		var out []string
		for _, e := range d.Spec.Template.Spec.Containers[0].Env {
			if e.ValueFrom == nil {
				out = append(out, e.Name+"="+e.Value)
			}
		}
		return out, nil
	}
	return nil, fmt.Errorf("%s has no Deployment", path)
}
