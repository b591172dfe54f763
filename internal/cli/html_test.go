package cli

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The page itself is tested in internal/report and, in a browser, in test/browser.
func TestCheckHTML(t *testing.T) {
	got := run("", "check", "-f", "testdata/ingress-author.yaml", "-o", "html", "--mode", "warn")
	assert.Equal(t, OK, got.code)
	assert.Empty(t, got.err)
	for _, part := range []string{
		`<h1>2 routes are dead</h1>`,
		`<dl class="facts"><div><dt>Time</dt><dd>NOW</dd></div><div><dt>Files</dt><dd>testdata/ingress-author.yaml</dd></div>` +
			`<div><dt>Policy</dt><dd>the defaults</dd></div><div><dt>Judged as in mode</dt><dd>warn</dd></div></dl>`,
		`id="host-samplebucket1234.s3.ap-southeast-2.amazonaws.com"`,
		`<div class="dim">testdata/ingress-author.yaml:51</div>`,
	} {
		assert.Contains(t, regexp.MustCompile(`\d+ \w+ \d+, \d\d:\d\d UTC`).ReplaceAllString(got.out, "NOW"), part)
	}
}
