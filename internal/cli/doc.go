// Package cli is the command egress-tls: the decisions of admission, made about
// files and about what a cluster holds. It reads objects, calls decision.Decide on
// each, and prints; it decides nothing itself.
//
//	-f, --background ── manifest.Load ────┬─> objects ── mesh.NewWorld ──> World
//	--kubeconfig ────── cluster.Objects ──┘                                  │
//	--policy ────────── policy.Load ───────────────────────┐                 │
//	                                    each object ── decision.Decide ──────┘
//	                                                       │
//	                  check, scan: findings as text, json ─┤
//	      render: objects as stored, diff, files written ──┤
//	         diff-policy: under two policies, and compared ┘
//
// Exit codes: 0 no error, 1 errors found, 2 unusable input or usage.
package cli
