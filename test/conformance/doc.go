// Package conformance holds what the product claims about Istio against istiod's own code. What
// each test proves is in docs/conformance.md.
//
//	play_test.go            a scenario, with us and without
//	scenario_test.go        what istiod makes of it (observe_test.go: of its proxies)
//	order_scenario_test.go  where its dead routes' requests land
//	traffic_test.go         its requests over real sockets
//	valid_test.go           Istio's own validation and analyzers
//	rule_*test.go           random rules, and what is decided about them
//	explain_test.go         what is explained of hosts, against what the proxies are told
//	order_*test.go          random routes in one VirtualService, shadow_*test.go in several
//	waypoint_test.go        the one case in which a waypoint differs from a sidecar
//	worlds_test.go          random worlds by seed, shrink_test.go the smallest that fails
//
//	istiod/                 istiod: objects to clusters, listeners and routes
//	envoy/                  Envoy: what it does with these
//	upstream/               servers that tell what they got
package conformance
