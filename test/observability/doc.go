// Package observability tests what operators see: the metrics and traces of the real binary behind a
// real API server, the alerts in Prometheus's own rule engine, and that the documentation, the alerts
// and the dashboard speak of nothing else. The package picture draws the dashboard for the
// documentation.
package observability
