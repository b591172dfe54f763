// Package validate decides what must not be admitted, and says why: routes of a
// VirtualService that no request can reach. It reads nothing but its arguments.
//
//	VirtualService ── flatten ── units ── core.decide ── verdicts ── findings
//	                     ^         │          ^                        ^
//	delegates ── merge ──┘         └─── arrange (the same core) ─────────┘
//
//	routeorder.go           the findings: one a dead route, bounded
//	routeorder_flatten.go   spec.http to units, one a match entry and gateway
//	routeorder_delegate.go  a delegate's routes within the root's match
//	routeorder_judge.go     from units to routes
//	routeorder_message.go   what a finding says
//	routeorder_text.go      how values, conditions and routes are written
//	shadow.go               routes that another VirtualService kills
//	shadow_message.go       what their findings say
//	match.go                one unit's conditions, and when one implies another
//	match_language.go       sets of strings: exact, prefix, regex
//	match_regex.go          a regex as a union of exacts and prefixes
//	match_request.go        an example request
//	order.go                the decision; the only file that knows how it is made
//	order_trie.go           its index by uri
//	order_working.go        the order in which every route is live
//
// A unit is dead, live or unknown; only dead becomes a finding, and dead is only
// said with a proof. What is assumed of requests: a path starts with "/" and is
// matched without query and fragment; header values and paths are text without
// line breaks; method, scheme, authority and path are always there.
package validate
