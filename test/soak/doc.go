// Command soak runs the product for half an hour under a steady load of every kind, good and bad,
// and judges all the time:
//
//	teams ──── kube-apiserver ─── Front ── replica that stays ── its metrics ── growth?
//	(apply,         │                 ├─── replica that is replaced, now and then killed
//	dry run,      etcd                └─── another                         │
//	delete,         │                         ^                            └── their logs: what was answered?
//	kubectl)     site.Order                   │
//	           rule before route?     hostile clients, and a good one that must be answered
//
// In the end, when the load has stopped and every grace period is over, all that is stored is held
// against what the teams know should be, and against the pure decisions.
package main
