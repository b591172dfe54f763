// Package report writes what a scan found as one HTML page that needs nothing else: no
// server, no network, and to be read not even JavaScript.
//
//	Report ── view ──> page.html, page.css, page.js ──> one file
//
// The page shows what others decided. It counts and orders, and decides nothing.
package report
