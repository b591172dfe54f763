// Package mesh says what Istio objects mean to the proxies of a mesh: which
// proxies execute a VirtualService, which service they see behind a host, whether
// that service's port speaks TLS, and which DestinationRule they apply to it.
//
// It decides nothing about what should be changed; mutate and validate do. It
// reads nothing but its arguments: no client, no clock, no environment. The same
// World serves admission (filled from the informers), the CLI (filled from
// files) and the tests.
//
//	Objects ──NewWorld──> World ──Clients──────────> Client (namespace, gateway or sidecar)
//	                            ──Service──────────> Service (ServiceEntries merged as Istio does)
//	                            ──Targets──────────> Target (host, port, subset, client)
//	                            ──EffectiveRules───> Effective (the rule that wins)
//	                                                 └─TLS(port, subset)──> TLS
//
// Every rule follows istiod; the doc comments name the functions in the module
// istio.io/istio that they were read from.
package mesh
