// Package webhook is the shell around the pure decisions: it decodes admission
// requests, takes the part of the mesh that matters for them from the informers,
// calls internal/decision, and responds; before it says yes in mode enforce, the
// DestinationRules that the object needs exist.
//
//	API server ──POST /mutate────> Admitter.Mutate ───> JSON patch, warnings
//	           ──POST /validate──> Admitter.Validate ─┬─> ensure rules ──> API server
//	                                                  └─> yes, or no with every reason
//	informers ──index.go──> view.go ──mesh.World──> decision.Decide
//	API server ──fresh.go──> view.go   (what the informers may not have seen yet)
//
// What admission did not see, or could not know, the reconciler brings in line, with the
// same decisions: reconcile_rules.go host by host, reconcile_headers.go VirtualService by
// VirtualService, woken by what concern.go says that a change concerns. Every replica
// writes; only the leader (leader.go) removes. write.go writes for both.
//
//	informers ──concern.go──> host ──view.go──> decision.Converge ──write.go──> API server
//	                      └─> VirtualService ─> decision.HeaderEdits ─┘
//
// What enforce would do to what is stored is judged by stored.go, for the metrics alone:
// metrics.go counts what happens, state.go tells what is. tracing.go sends spans.
//
// run.go starts it all: the manager, the serving certificate (certificate.go),
// the servers with their limits (server.go), readiness (ready.go) and the rest.
package webhook
