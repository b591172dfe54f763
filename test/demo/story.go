package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// What the story shows of stored objects: nothing that differs between two runs.
const (
	specOf   = ` -o yaml | sed -n '/^spec:/,$p'`
	getRules = `kubectl get destinationrules -A -o custom-columns='NAMESPACE:.metadata.namespace,NAME:.metadata.name,` +
		`MANAGED-BY:.metadata.labels.app\.kubernetes\.io/managed-by'`
	getVersions = `kubectl get serviceentries,gateways,virtualservices,destinationrules -A` +
		` -o custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name,VERSION:.metadata.resourceVersion`
)

// What is said more than once. The generated names depend on the host only.
const (
	s3Host      = "samplebucket1234.s3.ap-southeast-2.amazonaws.com"
	s3Rule      = "istio-system/egress-tls-samplebucket1234-s3-ap-southeast-2-amazonaws-com-a5f187688c879bb0"
	s3Headers   = "set request headers Host: " + s3Host + ", X-Forwarded-Proto: https\n"
	sidecarRule = "default/egress-tls-edition-cnn-com-3198e25ac27f46c8"
	teamARule   = "team-a/egress-tls-us-cnn-com-12ccb94af0ee8367"
)

// story is what is played, told with the player p. scenarios is the scenarios' directory.
type story struct {
	*player
	scenarios string
}

// tell plays all of it, in the order in which it is numbered.
func (s story) tell(ctx context.Context) {
	fmt.Fprintln(s.out, "# A Kubernetes API server with Istio's CRDs, and egress-tls-webhook before it.")
	for _, part := range []func(context.Context){
		s.mesh, s.asWritten, s.dryRun, s.rightOrder, s.sidecar, s.targetPort, s.ownRule, s.together, s.again, s.commandLine,
	} {
		part(ctx)
	}
	if ctx.Err() == nil && len(s.failures) == 0 {
		fmt.Fprintf(s.out, "\n# %d commands, %d expectations, all held.\n", s.commands, s.checks)
	}
}

func (s story) mesh(ctx context.Context) {
	s.chapter("The ingress example: the mesh",
		"An ingress gateway, and a ServiceEntry for an S3 bucket that speaks HTTPS. No DestinationRule.")
	s.run(ctx, "kubectl create namespace istio-system").prints(ctx, "namespace/istio-system created")
	s.run(ctx, "kubectl apply -f ingress-mesh.yaml").exits(ctx, 0).says(ctx,
		"Warning: egress-tls: WaitsForRoute at spec.ports[0]: port 443 has protocol HTTPS",
		"serviceentry.networking.istio.io/s3 created\n",
		"gateway.networking.istio.io/example-gateway created\n",
		"service/istio-ingressgateway created\n")
}

func (s story) asWritten(ctx context.Context) {
	s.chapter(`The routes as their author wrote them, "/" first: refused`)
	s.run(ctx, "cat ingress-as-written.yaml").exits(ctx, 0).says(ctx, "prefix: /\n", "prefix: /oauth/discovery/keys\n")
	s.run(ctx, "kubectl apply -f ingress-as-written.yaml").exits(ctx, 1).says(ctx, refusal()...)

	s.chapter("The same with the hosts that the author left out: refused, too")
	s.run(ctx, "diff ingress-as-written.yaml ingress-with-hosts.yaml").exits(ctx, 1).says(ctx, "5a6,7\n>   hosts:\n>   - example.com\n")
	s.run(ctx, "kubectl apply -f ingress-with-hosts.yaml").exits(ctx, 1).says(ctx, refusal()...)
	s.run(ctx, "kubectl get virtualservices -A").prints(ctx, "No resources found")
}

// refusal is what must be said about the author's order.
func refusal() []string {
	texts := []string{`admission webhook "validate.egress-tls.dev" denied the request: VirtualService default/s3 is refused:` + "\n"}
	for i, path := range []string{"/.well-known/openid-configuration", "/oauth/discovery/keys"} {
		texts = append(texts,
			fmt.Sprintf("- CatchAllNotLast at spec.http[%d]: Istio silently drops every route after a catch-all: "+
				`spec.http[0].match[0] (uri prefix "/") takes every request, so spec.http[%d] (uri prefix %q, to %s:443) can never match.`,
				i+1, i+1, path, s3Host),
			fmt.Sprintf("For example, GET %s goes to welcome:8080 instead of %s:443.", path, s3Host))
	}
	return append(texts, `The order that works: spec.http[1] (uri prefix "/.well-known/openid-configuration"), `+
		`spec.http[2] (uri prefix "/oauth/discovery/keys"), spec.http[0] (uri prefix "/").`)
}

func (s story) dryRun(ctx context.Context) {
	s.chapter("The right order, without headers and DestinationRule, as a dry run",
		"The answer is the one that the real request gets, and nothing is written.")
	s.run(ctx, "cat ingress-right-order.yaml").exits(ctx, 0).says(ctx, "prefix: /oauth/discovery/keys\n")
	s.run(ctx, "kubectl apply --dry-run=server -f ingress-right-order.yaml").prints(ctx,
		"Warning: egress-tls: spec.http[0]: "+s3Headers+
			"Warning: egress-tls: spec.http[1]: "+s3Headers+
			"Warning: egress-tls: would create DestinationRule "+s3Rule+" with TLS to "+s3Host+" on port 443",
		"virtualservice.networking.istio.io/s3 created (server dry run)")
	// The warnings once more would only be in the way.
	s.run(ctx, "kubectl apply --dry-run=server -f ingress-right-order.yaml"+
		` -o yaml 2>/dev/null | sed -n '/^spec:/,$p' > dry-run.yaml`).prints(ctx)
	s.run(ctx, "kubectl get virtualservices,destinationrules -A").prints(ctx, "No resources found")
	s.run(ctx, "kubectl apply --dry-run=server -f ingress-with-hosts.yaml 2>&1 | head -n 1").exits(ctx, 0).says(ctx, refusal()[0])
}

func (s story) rightOrder(ctx context.Context) {
	s.chapter("The right order, without headers and DestinationRule: admitted, and what lacks is added")
	s.run(ctx, "kubectl apply -f ingress-right-order.yaml").prints(ctx,
		"Warning: egress-tls: spec.http[0]: "+s3Headers+
			"Warning: egress-tls: spec.http[1]: "+s3Headers+
			"Warning: egress-tls: created DestinationRule "+s3Rule+" with TLS to "+s3Host+" on port 443",
		"virtualservice.networking.istio.io/s3 created")
	s.run(ctx, "kubectl get virtualservice s3"+specOf).exits(ctx, 0).says(ctx,
		"        set:\n          Host: "+s3Host+"\n          X-Forwarded-Proto: https\n")
	s.run(ctx, "kubectl get virtualservice s3"+specOf+" | diff dry-run.yaml - && echo as in the dry run").prints(ctx, "as in the dry run")
	s.run(ctx, "kubectl get destinationrules -n istio-system -o name").prints(ctx,
		"destinationrule.networking.istio.io/"+filepath.Base(s3Rule))
	s.run(ctx, "kubectl get destinationrule -n istio-system "+filepath.Base(s3Rule)+specOf).prints(ctx,
		"spec:",
		"  exportTo:",
		"  - .",
		"  host: "+s3Host,
		"  trafficPolicy:",
		"    portLevelSettings:",
		"    - port:",
		"        number: 443",
		"      tls:",
		"        mode: SIMPLE",
		"        sni: "+s3Host,
		"        subjectAltNames:",
		"        - "+s3Host)
	s.stored(ctx, s.scenarios, ingressRightOrder)
}

func (s story) sidecar(ctx context.Context) {
	s.chapter("The sidecar example: plaintext to port 80 goes to port 443",
		"Applications send http://edition.cnn.com, and their sidecars originate TLS.")
	s.run(ctx, "cat sidecar.yaml").exits(ctx, 0).says(ctx, "kind: ServiceEntry\n", "kind: VirtualService\n")
	s.run(ctx, "kubectl apply -f sidecar.yaml").prints(ctx,
		"Warning: egress-tls: created DestinationRule "+sidecarRule+" with TLS to edition.cnn.com on port 443",
		"serviceentry.networking.istio.io/cnn created",
		"Warning: egress-tls: spec.http[0]: set request headers Host: edition.cnn.com, X-Forwarded-Proto: https",
		"virtualservice.networking.istio.io/rewrite-port-for-edition-cnn-com created")
	s.run(ctx, "kubectl get destinationrule "+filepath.Base(sidecarRule)+specOf).prints(ctx,
		"spec:",
		"  host: edition.cnn.com",
		"  trafficPolicy:",
		"    portLevelSettings:",
		"    - port:",
		"        number: 443",
		"      tls:",
		"        mode: SIMPLE",
		"        sni: edition.cnn.com",
		"        subjectAltNames:",
		"        - edition.cnn.com")
	s.stored(ctx, s.scenarios, sidecar)
}

func (s story) targetPort(ctx context.Context) {
	s.chapter("The same with targetPort: 443, which needs no VirtualService")
	s.run(ctx, "kubectl create namespace team-a").prints(ctx, "namespace/team-a created")
	s.run(ctx, "cat target-port.yaml").exits(ctx, 0).says(ctx, "targetPort: 443\n")
	s.run(ctx, "kubectl apply -n team-a -f target-port.yaml").prints(ctx,
		"Warning: egress-tls: created DestinationRule "+teamARule+" with TLS to us.cnn.com on port 80",
		"serviceentry.networking.istio.io/cnn created")
	s.run(ctx, "kubectl get destinationrule -n team-a "+filepath.Base(teamARule)+specOf).prints(ctx,
		"spec:",
		"  host: us.cnn.com",
		"  trafficPolicy:",
		"    portLevelSettings:",
		"    - port:",
		"        number: 80",
		"      tls:",
		"        mode: SIMPLE",
		"        sni: us.cnn.com",
		"        subjectAltNames:",
		"        - us.cnn.com")
	s.stored(ctx, s.scenarios, targetPort)
}

func (s story) ownRule(ctx context.Context) {
	s.chapter("A DestinationRule that is there already, with a load balancer and no TLS",
		"A second rule beside it would be ignored by Istio, so TLS is injected; the new port entry",
		"would inherit nothing, so it carries the load balancer along.")
	s.run(ctx, "kubectl create namespace team-b").prints(ctx, "namespace/team-b created")
	s.run(ctx, "cat own-rule.yaml").exits(ctx, 0).says(ctx, "loadBalancer:\n")
	s.run(ctx, "kubectl apply -n team-b -f own-rule.yaml").prints(ctx,
		"destinationrule.networking.istio.io/cnn created")
	s.run(ctx, "kubectl apply -n team-b -f own-rule-entry.yaml -f own-rule-route.yaml").exits(ctx, 0).says(ctx,
		"DestinationRule team-b/cnn",
		"serviceentry.networking.istio.io/cnn created\n",
		"virtualservice.networking.istio.io/rewrite-port-for-weather-cnn-com created\n")
	s.run(ctx, "kubectl get destinationrule -n team-b cnn"+specOf).prints(ctx,
		"spec:",
		"  host: weather.cnn.com",
		"  trafficPolicy:",
		"    loadBalancer:",
		"      simple: ROUND_ROBIN",
		"    portLevelSettings:",
		"    - loadBalancer:",
		"        simple: ROUND_ROBIN",
		"      port:",
		"        number: 443",
		"      tls:",
		"        mode: SIMPLE",
		"        sni: weather.cnn.com",
		"        subjectAltNames:",
		"        - weather.cnn.com")
	s.stored(ctx, s.scenarios, ownRule)
	s.run(ctx, getRules).exits(ctx, 0).says(ctx, "cnn ", "<none>\n")
}

func (s story) together(ctx context.Context) {
	s.chapter("Routes that look alive: one regex within another, and two matches that leave nothing between them",
		"Nobody sees it by looking. Each is proved dead, and shown with a request that goes elsewhere.")
	s.run(ctx, "cat together.yaml").exits(ctx, 0).says(ctx, "regex: /v[12]/(cart|checkout)\n", "regex: /media(/[^/]+)?/?\n")
	s.run(ctx, "kubectl apply -f together.yaml").exits(ctx, 1).says(ctx,
		"- UnreachableRoute at spec.http[1]: ", "For example, GET /v1/cart goes to shop instead of cart.",
		"- UnreachableRoute at spec.http[3]: ",
		`spec.http[2].match[0] (uri exact "/media") and spec.http[2].match[1] (uri regex "/media/.*") take all its requests first.`,
		"For example, GET /media goes to media instead of thumbnails.", "The order that works: spec.http[1] ")
}

func (s story) again(ctx context.Context) {
	s.chapter("Everything once more: no object changes",
		"kubectl says \"configured\" where its patch was not empty: it sends a list that differs from the",
		"stored one whole. What is stored stays the same, down to the resourceVersion.")
	s.run(ctx, getVersions+" > before.txt").prints(ctx)
	s.run(ctx, "kubectl apply -f ingress-mesh.yaml -f ingress-right-order.yaml -f sidecar.yaml").exits(ctx, 0)
	s.run(ctx, "kubectl apply -n team-a -f target-port.yaml").prints(ctx, "serviceentry.networking.istio.io/cnn unchanged")
	s.run(ctx, "kubectl apply -n team-b -f own-rule.yaml -f own-rule-entry.yaml -f own-rule-route.yaml").exits(ctx, 0)
	s.run(ctx, getVersions+" > after.txt").prints(ctx)
	s.run(ctx, "diff before.txt after.txt && echo no difference").prints(ctx, "no difference")

	const objects = 12
	before, err := os.ReadFile(filepath.Join(s.dir, "before.txt"))
	s.check(ctx, err == nil && bytes.Count(before, []byte("\n")) == 1+objects,
		"there should be %d objects with their resourceVersions:\n%s", objects, indented(string(before)))
}

func (s story) commandLine(ctx context.Context) {
	s.chapter("The same answers from files, before anything is applied",
		"egress-tls needs no cluster. What render prints, the webhook has nothing to add to.")
	s.run(ctx, "egress-tls check -f ingress-with-hosts.yaml --background ingress-mesh.yaml").exits(ctx, 1).says(ctx,
		"error[CatchAllNotLast]", "GET /oauth/discovery/keys goes to welcome:8080", "2 errors, 0 warnings in 1 object")
	s.run(ctx, "egress-tls render -f ingress-with-hosts.yaml --background ingress-mesh.yaml --fix-order > rendered.yaml").exits(ctx, 0)
	s.run(ctx, "diff ingress-with-hosts.yaml rendered.yaml").exits(ctx, 1).says(ctx, "> kind: DestinationRule\n")
	s.run(ctx, "kubectl apply -f rendered.yaml 2>&1 | grep egress-tls: || echo nothing to add").prints(ctx, "nothing to add")

	s.chapter("What the cluster holds: who reaches a host, and what is wrong")
	// The webhook is no Service here, so its policy cannot be read, which is said.
	s.run(ctx, "egress-tls explain "+s3Host+" 2>/dev/null").exits(ctx, 0).says(ctx,
		"TLS to port 443 from the gateway istio=ingressgateway in namespace istio-system", "mode SIMPLE, SNI "+s3Host)
	s.run(ctx, "egress-tls scan 2>/dev/null").exits(ctx, 0).says(ctx, "0 errors, 0 warnings in 11 objects of 4 namespaces.")
}
