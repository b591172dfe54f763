// Command demo plays the product on a real API server: it starts the control plane and the webhook's
// own binary, then runs kubectl and shows each command with its output.
//
//	test/scenarios ── manifests.go ──> files ──┐
//	                                           v
//	story.go ── player.go ── sh -c "kubectl ..." ── API server ── webhook
//	               │
//	               ├─> standard output, as on a terminal
//	               └─> readme.go: the transcript in README.md
//
// What it prints is what the commands printed, unchanged. The story therefore asks for output
// without times, UIDs, ports and temporary paths. Each command is held to its exit code, its output
// and the objects that are stored afterwards; if anything differs, the demo says so at once and
// exits with 1.
package main
