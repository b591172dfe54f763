// Package cluster reads what an API server holds, as kubectl would: the objects that
// decisions are made about and those that they read, raw, and the policy of the webhook
// that is installed.
//
//	kubeconfig ──Connect──> Cluster ──Objects──> raw objects, in pages
//	                                ──Policy───> the file policy.yaml
package cluster
