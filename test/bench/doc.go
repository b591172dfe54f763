// Command bench measures the product against goals and writes one report: Markdown with
// plots, and JSON.
//
//	stages ──> figure.Figure, figure.Plot ──> report.md, report.json, *.svg, goals on standard output
//	  │
//	  ├─ decision   Go benchmarks, also beside Istio's own validation
//	  ├─ admission  requests over TLS beside a webhook that decodes and allows; in a large cluster
//	  │             beside a small one (admission-size)
//	  ├─ apply      kubectl through the API server, with and without the webhook
//	  └─ cluster    memory, start and reconciliation with tens of thousands of objects
//
// Every figure compares two sides that ran one right after the other, in turns. So the
// report says how this product stands to something else on the same machine, never how
// fast the machine is. Nothing here fails because something is slow.
package main
