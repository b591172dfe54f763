package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// The scenarios of test/scenarios that the story plays.
var (
	ingressWithoutHosts = variant{scenario: "ingress-seed-without-hosts"}
	ingressAsWritten    = variant{scenario: "ingress-seed-as-written"}
	ingressRightOrder   = variant{scenario: "ingress-seed-clients-known"}
	sidecar             = variant{scenario: "sidecar-seed"}
	targetPort          = variant{scenario: "sidecar-seed-target-port", namespace: "team-a", host: "us.cnn.com"}
	ownRule             = variant{scenario: "existing-rule-load-balancer", namespace: "team-b", host: "weather.cnn.com"}
	together            = variant{scenario: "order-regexes-together"}
)

// files are the manifests that the story applies.
var files = []struct {
	name    string
	variant variant
	file    string
	kinds   []string
}{
	{"ingress-mesh.yaml", ingressRightOrder, "mesh.yaml", nil},
	{"ingress-as-written.yaml", ingressWithoutHosts, "request.yaml", nil},
	{"ingress-with-hosts.yaml", ingressAsWritten, "request.yaml", nil},
	{"ingress-right-order.yaml", ingressRightOrder, "request.yaml", nil},
	{"sidecar.yaml", sidecar, "request.yaml", nil},
	{"target-port.yaml", targetPort, "request.yaml", nil},
	{"own-rule.yaml", ownRule, "mesh.yaml", []string{"DestinationRule"}},
	{"own-rule-entry.yaml", ownRule, "mesh.yaml", []string{"ServiceEntry"}},
	{"own-rule-route.yaml", ownRule, "request.yaml", nil},
	{"together.yaml", together, "request.yaml", nil},
}

// variant is a scenario, played in another namespace and for another host where these are given: the
// story has all scenarios in one mesh, and they must not meet.
type variant struct{ scenario, namespace, host string }

// seedHost is the host of the scenarios that are played for another one.
const seedHost = "edition.cnn.com"

// read returns a file of the scenario.
func (v variant) read(root, file string) (string, error) {
	data, err := os.ReadFile(filepath.Join(root, v.scenario, file))
	if err != nil || v.host == "" {
		return string(data), err
	}
	dashed := func(host string) string { return strings.ReplaceAll(host, ".", "-") }
	return strings.NewReplacer(
		seedHost, v.host,
		dashed(seedHost), dashed(v.host),
		"namespace: default\n", "namespace: "+v.namespace+"\n",
	).Replace(string(data)), nil
}

// writeFiles writes the manifests into dir.
func writeFiles(scenarios, dir string) error {
	for _, f := range files {
		text, err := f.variant.read(scenarios, f.file)
		if err != nil {
			return err
		}
		if f.kinds != nil {
			if text = only(text, f.kinds); text == "" {
				return fmt.Errorf("scenario %s: %s holds no %s", f.variant.scenario, f.file, strings.Join(f.kinds, ", "))
			}
		}
		if err := os.WriteFile(filepath.Join(dir, f.name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// only returns the documents of the given kinds.
func only(text string, kinds []string) string {
	var docs []string
	for doc := range strings.SplitSeq(text, "---\n") {
		if slices.ContainsFunc(kinds, func(kind string) bool { return strings.Contains("\n"+doc, "\nkind: "+kind+"\n") }) {
			docs = append(docs, doc)
		}
	}
	return strings.Join(docs, "---\n")
}

// want is what the scenario's want.yaml says about the objects that are stored in the end.
type want struct {
	Stored []map[string]any `json:"stored"`
	Rules  []map[string]any `json:"rules"`
}

// injectedSum is in the annotation of what was injected, a sum over the host too.
var injectedSum = regexp.MustCompile(`=[0-9a-f]{8}\b`)

// stored expects the objects of the scenario as its want.yaml has them: the request's, and the
// DestinationRules beside it.
func (p *player) stored(ctx context.Context, scenarios string, v variant) {
	text, err := v.read(scenarios, "want.yaml")
	var w want
	if err == nil {
		err = yaml.Unmarshal([]byte(text), &w)
	}
	p.check(ctx, err == nil, "the scenario %s should be readable: %v", v.scenario, err)
	for _, object := range slices.Concat(w.Stored, w.Rules) {
		kind, _ := object["kind"].(string)
		meta, _ := object["metadata"].(map[string]any)
		name, _ := meta["name"].(string)
		namespace, _ := meta["namespace"].(string)
		if v.host != "" && strings.HasPrefix(name, "egress-tls-") {
			// A generated name holds a hash of the host; in this namespace it is the only rule.
			name = strings.TrimSpace(p.quietly(ctx, "kubectl get destinationrules -o jsonpath={.items[*].metadata.name} -n "+namespace).output)
		}
		got := p.object(ctx, kind, namespace, name)
		for _, path := range [][]string{{"metadata", "labels"}, {"metadata", "annotations"}, {"spec"}} {
			is, should := encoded(at(got, path)), encoded(at(object, path))
			if v.host != "" {
				is, should = injectedSum.ReplaceAllString(is, ""), injectedSum.ReplaceAllString(should, "")
			}
			p.check(ctx, is == should, "%s %s/%s: %s should be\n    %s\n  and is\n    %s",
				kind, namespace, name, strings.Join(path, "."), should, is)
		}
	}
}

// at returns a field of an object, without what kubectl notes there for itself, nil if it is empty.
func at(object map[string]any, path []string) any {
	var value any = object
	for _, step := range path {
		node, _ := value.(map[string]any)
		value = node[step]
	}
	if node, ok := value.(map[string]any); ok {
		delete(node, "kubectl.kubernetes.io/last-applied-configuration")
		if len(node) == 0 {
			return nil
		}
	}
	return value
}

func encoded(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(data)
}
