// Package cli is the command egress-tls: the decisions of admission, made about
// files. It reads manifests, calls decision.Decide on each object, and prints; it
// decides nothing itself.
//
//	-f, --background ── manifest.Load ──> objects ── mesh.NewWorld ──> World
//	--policy ────────── policy.Load ───────────────────────┐            │
//	                                 each -f object ── decision.Decide ─┘
//	                                                       │
//	                        check: findings as text, json ─┤
//	                        render: objects as stored ─────┤
//	         diff-policy: under two policies, and compared ┘
//
// Exit codes: 0 no error, 1 errors found, 2 unusable input or usage.
package cli
