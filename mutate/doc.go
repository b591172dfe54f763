// Package mutate decides what must be added so that plaintext HTTP never leaves
// towards a TLS port: request headers on routes (Headers), and DestinationRules
// that are created or get TLS injected (Rules). It decides and describes; it
// writes nothing.
//
//	mesh.World ──Headers(VirtualService)──> []Edit ──Patch(raw object)──> JSON patch
//	           ──Rules(host)──────────────> []RuleChange: Create a whole object,
//	                                        or Inject(raw object) ──> []Edit
//
// Patches are computed on the raw object and hold nothing but what is added, so
// that fields which these types do not know survive. Doing it twice is the same
// as once.
package mutate
