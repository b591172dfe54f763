package browser

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// page is a report that is open in a browser.
type page struct {
	t   *testing.T
	tab context.Context
	url string

	mu       sync.Mutex
	requests []string
	said     []string // on the console
}

// open opens a page. What it asks of the network and says on the console is an error.
func open(t *testing.T, html string) *page {
	t.Helper()
	path, err := Find()
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "report.html")
	require.NoError(t, os.WriteFile(file, []byte(html), 0o600))
	tab, stop := Start(t.Context(), path)
	p := &page{t: t, tab: tab, url: "file://" + file}
	require.NoError(t, chromedp.Listen(tab, p.listen))
	messages := chromedp.Console(tab)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for m, err := range messages {
			if err != nil {
				return
			}
			p.mu.Lock()
			p.said = append(p.said, m.Text)
			p.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		stop()
		<-read
		assert.Empty(t, p.said, "on the console")
		for _, url := range p.requests {
			assert.Equal(t, p.url, strings.SplitN(url, "#", 2)[0], "the page asks for nothing but itself")
		}
	})
	p.do(func(ctx context.Context, tab *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, tab, network.Enable, network.EnableParams{})
		return chromedp.Void{}, err
	})
	p.do(chromedp.EmulateViewport(1280, 900), chromedp.Navigate(p.url))
	return p
}

func (p *page) listen(event any) {
	if e, ok := event.(*network.EventRequestWillBeSent); ok {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.requests = append(p.requests, e.Request.URL)
	}
}

func (p *page) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	require.NoError(p.t, chromedp.Do(p.tab, steps...))
}

func (p *page) click(selector string) { p.t.Helper(); p.do(chromedp.Click(chromedp.CSS(selector))) }

func (p *page) press(selector, keys string) {
	p.t.Helper()
	p.do(chromedp.Focus(chromedp.CSS(selector)), chromedp.KeyEvent(keys))
}

// eval returns the value of a JavaScript expression.
func eval[T any](p *page, expression string) T {
	p.t.Helper()
	got, err := chromedp.Run(p.tab, chromedp.Evaluate[T](expression))
	require.NoError(p.t, err, expression)
	return got
}

// eventually waits for what the browser tells the page in its own time.
func (p *page) eventually(condition string) {
	p.t.Helper()
	_, err := chromedp.Run(p.tab, chromedp.Poll[bool](condition))
	require.NoError(p.t, err, condition)
}

// texts returns the text of all elements of a selector that can be seen.
func (p *page) texts(selector string) []string {
	p.t.Helper()
	return eval[[]string](p, `[...document.querySelectorAll("`+selector+`")].filter((e) => e.checkVisibility()).map((e) => e.textContent.trim())`)
}
