// Package deploy renders deploy/chart with the real Helm, and generates what must agree with it:
//
//	deploy/chart ── helm template ──> deploy/kustomize/base, components (without Helm's labels)
//	     └────────── values.yaml ───> the table of docs/install.md
//
// make generate writes them; the tests fail where they are not up to date.
package deploy
