package browser

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const hosts = 24 // in testdata/site.yaml

func TestReport(t *testing.T) {
	p := open(t, site(t))
	for _, part := range []struct {
		name string
		test func(*page)
	}{
		{"basics", testBasics},
		{"sorting", testSorting},
		{"filters", testFilters},
		{"details", testDetails},
		{"links", testLinks},
		{"colours", testColours},
		{"paper", testPaper},
		{"narrow", testNarrow},
		{"without JavaScript", testWithoutScript},
	} {
		t.Run(part.name, func(t *testing.T) {
			p.t = t
			p.do(chromedp.Navigate("about:blank"), chromedp.Navigate(p.url))
			part.test(p)
		})
	}
	p.t = t
}

// Whoever may write objects must not speak to those who read the report.
func TestHostileObjects(t *testing.T) {
	const evil = `\u202e"'><img src=x onerror='evil=1'><script>evil=1</script><a href=javascript:evil=1>`
	manifests, err := os.ReadFile("testdata/hostile.yaml")
	require.NoError(t, err)
	p := open(t, report(t, strings.ReplaceAll(string(manifests), "EVIL", strings.ReplaceAll(evil, `"`, `\"`))))
	p.click("#all")
	assert.True(t, eval[bool](p, `typeof evil === "undefined"`))
	for _, place := range []string{"tbody .name a", ".client dd", ".hazard", ".findings .text", ".changes li", ".namespaces .row"} {
		assert.Contains(t, strings.Join(p.texts(place), "\n"), "<script>evil=1</script>", place)
	}
	p.click("tbody .name a")
	assert.Empty(t, eval[[]string](p, `[...document.querySelectorAll("body script, img, [onerror], a:not([href^='#'])")].map((e) => e.outerHTML)`))
}

// What a screen reader needs.
func testBasics(p *page) {
	assert.Equal(p.t, "4 hosts are reached in clear, 4 routes are dead - egress-tls", eval[string](p, `document.title`))
	assert.Equal(p.t, "en", eval[string](p, `document.documentElement.lang`))
	assert.Equal(p.t, []string{"4 hosts are reached in clear, 4 routes are dead"}, p.texts("h1"))
	assert.Equal(p.t, []string{"TLS state of the hosts", "Hosts", "Findings", "What the webhook would change", "Namespaces", "Legend"}, p.texts("h2"))
	p.click("#all")
	assert.Empty(p.t, eval[[]string](p, `(() => {
		const wrong = [], ids = new Set();
		let level = 0;
		for (const e of document.querySelectorAll("body *")) {
			const tell = (what) => wrong.push(what + ": " + e.outerHTML.slice(0, 120));
			const heading = /^H(\d)$/.exec(e.tagName);
			if (heading) {
				if (heading[1] > level + 1) tell("skips a level");
				level = +heading[1];
			}
			if (e.id && ids.has(e.id)) tell("id twice");
			ids.add(e.id);
			for (const a of ["aria-controls", "aria-labelledby"])
				if (e.hasAttribute(a) && !document.getElementById(e.getAttribute(a))) tell(a + " leads nowhere");
			if (/^(A|BUTTON|INPUT|SELECT)$/.test(e.tagName) && !(e.ariaLabel || e.textContent.trim())) tell("no name");
			if (e.tagName === "svg" && e.ariaHidden !== "true") tell("image without a name");
			if (e.tagName === "TR" && e.parentElement.role !== "rowgroup") tell("no group");
			if (/^T[HD]$/.test(e.tagName) && !(/cell|header/.test(e.role) && e.parentElement.role === "row")) tell("no cell");
			if (e.tabIndex > 0) tell("tabindex");
		}
		return wrong;
	})()`))
}

// Every column sorts by click, by key the other way round, and says so.
func testSorting(p *page) {
	first := func() string { return p.texts("table.hosts tbody .name a")[0] }
	assert.Equal(p.t, "fraud.scoring.example", first(), "the worst first")
	p.click("table.hosts th:nth-child(1) button")
	assert.Equal(p.t, "*.idp.example", first())
	p.press("table.hosts th:nth-child(1) button", kb.Enter)
	assert.Equal(p.t, "warehouse.example.com", first())

	for table, columns := range map[string]int{"hosts": 6, "findings": 4, "changes": 2, "namespaces": 7} {
		heads := "table." + table + " thead th"
		state := func() []string {
			return eval[[]string](p, `[...document.querySelectorAll("`+heads+`")].map((e) => e.ariaSort ?? "")`)
		}
		rows := len(p.order(table, 0))
		for i := range columns {
			button := fmt.Sprintf("%s:nth-child(%d) button", heads, i+1)
			click := func() { p.click(button) }
			sorted := map[string][]string{}
			for _, act := range []func(){click, func() { p.press(button, kb.Enter) }, func() { p.press(button, " ") }} {
				act()
				direction := state()[i]
				want := make([]string, columns)
				want[i] = direction
				assert.Equal(p.t, want, state(), "only this column is sorted")
				sorted[direction] = p.order(table, i)
			}
			up, down := sorted["ascending"], sorted["descending"]
			require.Len(p.t, up, rows, "%s, column %d", table, i)
			assert.True(p.t, slices.IsSortedFunc(up, compare), "%s, column %d: %q", table, i, up)
			slices.Reverse(down)
			assert.Equal(p.t, up, down, "%s, column %d", table, i)
		}
	}
}

// compare is alphabetical, but for numbers in front.
func compare(a, b string) int {
	x, errX := strconv.Atoi(strings.SplitN(a, " ", 2)[0])
	y, errY := strconv.Atoi(strings.SplitN(b, " ", 2)[0])
	if errX == nil && errY == nil && x != y {
		return cmp.Compare(x, y)
	}
	return cmp.Compare(strings.ToLower(a), strings.ToLower(b))
}

// order returns what the rows of a table are sorted by.
func (p *page) order(table string, column int) []string {
	p.t.Helper()
	return eval[[]string](p, fmt.Sprintf(`[...document.querySelector("table.%s").tBodies].map((b) => b.rows[0].cells[%d]).map((c) => c.dataset.sort ?? c.textContent.trim())`, table, column))
}

func testFilters(p *page) {
	shown := func() []string { return p.texts("section > .title > [role=status]") }
	all := []string{"24 hosts", "15 findings", "4 objects", "7 namespaces"}
	assert.Equal(p.t, all, shown())

	p.do(chromedp.KeyEvent("/"))
	assert.Equal(p.t, "search", eval[string](p, `document.activeElement.id`))
	p.do(chromedp.KeyEvent(kb.Escape), chromedp.KeyEvent("Bucket EXAMPLE"))
	assert.Equal(p.t, []string{"1 of 24 shown", "2 of 15 shown", "1 of 4 shown", "0 of 7 shown"}, shown())
	assert.Equal(p.t, []string{"assets-bucket.storage.example.net"}, p.texts("table.hosts tbody .name a"))
	p.do(chromedp.KeyEvent(kb.Escape))
	assert.Equal(p.t, all, shown())

	choose := func(control, value string) {
		p.t.Helper()
		p.do(chromedp.SetValue(chromedp.CSS("#"+control), value), chromedp.Evaluate[chromedp.Void](`document.getElementById("`+control+`").dispatchEvent(new Event("input"))`))
	}
	assert.Equal(p.t, []string{"All namespaces", "analytics", "identity", "istio-system", "legacy", "payments", "platform", "shop"},
		eval[[]string](p, `[...document.getElementById("namespace").options].map((o) => o.text)`))
	choose("namespace", "payments")
	assert.Equal(p.t, []string{"4 of 24 shown", "1 of 15 shown", "2 of 4 shown", "1 of 7 shown"}, shown())
	choose("severity", "error")
	assert.Equal(p.t, []string{"2 of 24 shown", "1 of 15 shown", "0 of 4 shown", "1 of 7 shown"}, shown())
	assert.Equal(p.t, []string{"fraud.scoring.example", "ledger.partner.example"}, p.texts("table.hosts tbody .name a"))
	choose("namespace", "")
	choose("severity", "error warning")
	assert.Len(p.t, p.texts("table.findings tbody"), 15)
}

func testDetails(p *page) {
	const host = `tbody[id=\"host-ledger.partner.example\"]`
	state := func() []string {
		return []string{eval[string](p, `document.querySelector("`+host+` .expand").ariaExpanded`), fmt.Sprint(len(p.texts(host + " .detail")))}
	}
	closed, opened := []string{"false", "0"}, []string{"true", "1"}
	button := strings.ReplaceAll(host, `\`, "") + " .expand"
	assert.Equal(p.t, closed, state())
	p.click(button)
	assert.Equal(p.t, opened, state())
	assert.Contains(p.t, p.texts(host + " .detail")[0], "DestinationRule payments/ledger switches TLS off (mode DISABLE)")
	p.press(button, kb.Enter)
	assert.Equal(p.t, closed, state())
	p.click(strings.ReplaceAll(host, `\`, "") + " td:nth-child(4)")
	assert.Equal(p.t, opened, state(), "the whole row opens it")
	p.click("#all")
	assert.Len(p.t, p.texts(".detail"), hosts)
	assert.Equal(p.t, []string{"No details"}, p.texts("#all"))
	p.click("#all")
	assert.Empty(p.t, p.texts(".detail"))
	assert.Equal(p.t, []string{"All details"}, p.texts("#all"))
}

// A link to a host opens it, whatever is filtered.
func testLinks(p *page) {
	p.do(chromedp.SendKeys(chromedp.CSS("#search"), "nothing like it"))
	assert.Empty(p.t, p.texts("table.hosts tbody"))
	p.do(chromedp.Evaluate[chromedp.Void](`void (location.hash = "#host-*.idp.example")`))
	p.eventually(`document.querySelectorAll(".opened").length === 1`)
	assert.Len(p.t, p.texts("table.hosts tbody"), hosts)
	assert.Equal(p.t, "host-*.idp.example", eval[string](p, `document.querySelector(".opened").id`))

	p.do(chromedp.Navigate("about:blank"), chromedp.Navigate(p.url+"#host-%2a.idp.example"))
	assert.Equal(p.t, []string{"host-*.idp.example"}, eval[[]string](p, `[...document.querySelectorAll(".opened")].map((e) => e.id)`))
	p.do(chromedp.Navigate("about:blank"), chromedp.Navigate(p.url+"#%"))
	assert.Empty(p.t, p.texts(".opened"))
}

// Light and dark follow the system, and the button, and text can be read in both.
func testColours(p *page) {
	ground := func() string { return eval[string](p, `getComputedStyle(document.body).backgroundColor`) }
	const light, dark = "rgb(245, 246, 248)", "rgb(13, 17, 22)"
	p.click("#all")
	for _, scheme := range []string{"light", "dark"} {
		p.do(Media("", scheme))
		assert.Equal(p.t, map[string]string{"light": light, "dark": dark}[scheme], ground())
		assert.Empty(p.t, eval[[]string](p, unreadable), scheme)
	}
	p.eventually(`document.getElementById("theme").textContent === "Light"`)
	p.click("#theme")
	assert.Equal(p.t, light, ground(), "the button wins over the system")
	p.do(chromedp.Reload())
	assert.Equal(p.t, light, ground(), "and is remembered")
	p.click("#theme")
	assert.Equal(p.t, dark, ground())
	p.do(Media("", "light"))
	assert.Equal(p.t, dark, ground())
	p.do(chromedp.Evaluate[chromedp.Void](`localStorage.clear()`))
}

// unreadable lists text with less contrast than WCAG 2 asks for at level AA, 4.5:1.
const unreadable = `(() => {
	const canvas = document.createElement("canvas").getContext("2d");
	const rgba = (css) => css.match(/[\d.]+/g).map(Number);
	const luminance = (css) => {
		const [r, g, b] = rgba(css).slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const ground = (e) => {
		const css = getComputedStyle(e).backgroundColor;
		return rgba(css)[3] === 0 ? ground(e.parentElement) : css;
	};
	const out = new Set();
	for (const e of document.querySelectorAll("body, body *")) {
		if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility() || e.tagName === "OPTION") continue;
		const [dark, bright] = [luminance(getComputedStyle(e).color), luminance(ground(e))].sort((a, b) => a - b);
		const ratio = (bright + 0.05) / (dark + 0.05);
		if (ratio < 4.5) out.add(e.className + " " + e.tagName + " " + ratio.toFixed(2) + " " + e.textContent.slice(0, 40));
	}
	return [...out];
})()`

// On paper there is nothing to press, and every detail.
func testPaper(p *page) {
	p.do(Media("print", "dark"))
	assert.Empty(p.t, p.texts("input, select, .expand, .button, .link, nav"))
	assert.Len(p.t, p.texts(".detail"), hosts)
	assert.Equal(p.t, "rgb(27, 33, 41)", eval[string](p, `getComputedStyle(document.body).color`), "ink, also for those who like it dark")
	pdf, err := chromedp.Run(p.tab, chromedp.PrintToPDF())
	require.NoError(p.t, err)
	assert.Equal(p.t, "%PDF", string(pdf[:4]))
	p.do(Media("", "light"))
}

// Nothing is cut off on a telephone.
func testNarrow(p *page) {
	p.click("#all")
	p.do(chromedp.EmulateViewport(360, 640))
	assert.Equal(p.t, 360, eval[int](p, `document.documentElement.scrollWidth`))
	assert.Empty(p.t, eval[[]string](p, `[...document.querySelectorAll("body *")].filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > 360).map((e) => e.outerHTML.slice(0, 120))`))
	p.do(chromedp.EmulateViewport(1280, 900))
}

// All can be read, and nothing is there that does nothing.
func testWithoutScript(p *page) {
	p.do(func(ctx context.Context, tab *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return chromedp.Void{}, err
	}, chromedp.Navigate(p.url))
	assert.Len(p.t, p.texts(".detail"), hosts)
	assert.Empty(p.t, p.texts("input, select, .expand, .button, .link"))
	assert.Len(p.t, p.texts("nav a"), 5)
}
