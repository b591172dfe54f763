// Package browser looks at the HTML report with a real browser, as people do.
//
//	testdata/site.yaml ── egress-tls ── report.html ── headless Chromium
//
// Without a browser its tests are skipped; with CI=true in the environment they fail.
package browser
