// Package validate decides what must not be admitted, and says why: routes of a
// VirtualService that no request can reach. It reads nothing but its arguments.
//
//	VirtualService ── flatten ── units ── core.decide ── verdicts ── findings
//	                     ^         │         │   ^                     ^
//	delegates ── merge ──┘         │       search│                     │
//	                               └─── arrange (the same core) ───────┘
//
//	routeorder.go           the findings: one a dead route, bounded
//	routeorder_literal.go   the shortcut where each match has a path of its own
//	routeorder_flatten.go   spec.http to units, one a match entry and gateway
//	routeorder_delegate.go  a delegate's routes within the root's match
//	routeorder_judge.go     from units to routes
//	routeorder_message.go   what a finding says
//	routeorder_text.go      how values, conditions and routes are written
//	shadow.go               routes that another VirtualService kills
//	shadow_member.go        what Istio emits of each VirtualService, and where
//	shadow_list.go          the list that it makes of several
//	shadow_message.go       what their findings say
//	verdicts.go             the answer for each match entry, with its witness
//	order.go                the decision about one unit behind earlier ones
//	order_index.go          their index, by uri and by one more condition
//	order_working.go        the order in which every route is live
//	search.go               the exact search for a request that nobody takes
//	dimension.go            one dimension of a request, and a value for it
//	request.go              requests as answers
//	match.go                one unit's conditions, and when one implies another
//	language.go             sets of strings: exact, prefix, regex
//	language_regex.go       a regex as a union of exacts and prefixes
//	language_automaton.go   a regex as an automaton
//	language_find.go        a string in some languages and outside of others
//	work.go                 the budget
//
// A unit is dead, live or unknown; only dead becomes a finding, and dead is only
// said with a proof. What is assumed of requests: a path starts with "/" and is
// matched without query and fragment; paths and values are valid UTF-8 without
// line breaks, a query value also without "&" and "#"; method and scheme are not
// empty; and these, the authority and the path are always there.
package validate
