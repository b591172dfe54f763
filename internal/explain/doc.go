// Package explain says of one external host who reaches it and how: which proxies see
// which ServiceEntry, which DestinationRule is in force for each and why all others are
// not, the TLS that results, and the routes that lead there. It decides nothing and reads
// nothing but its arguments: mesh tells what Istio does, decision what is found and added.
//
//	Objects, Policy ──New──> Explainer ──Explain(Query)──> Host
//	                                   └─Hosts───────────> names
//
//	model.go     what is told
//	explain.go   who reaches the host
//	connect.go   how each connects: rule, TLS, what the webhook adds
//	text.go      reasons in words
//	answer.go    the answer in one sentence
//	hazard.go    what to beware of
package explain
