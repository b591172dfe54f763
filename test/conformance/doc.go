// Package conformance holds what the product claims about Istio against istiod's own code.
package conformance
