package handlers_test

import (
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/net/html"

	"github.com/oauthreg/oauthreg/handlers"
)

// sheetOn is the URL of the style sheet that a page links to; empty when it has none.
func (e *env) sheetOn(a *answer) string {
	e.t.Helper()
	page, err := html.Parse(strings.NewReader(a.body))
	if err != nil {
		e.t.Fatal(err)
	}
	for n := range page.Descendants() {
		if n.Data == "link" && attr(n, "rel") == "stylesheet" {
			return strings.TrimSuffix(e.issuer, e.opts.base) + attr(n, "href")
		}
	}
	return ""
}

// wrapped is a host's own renderer, as far as the server can see.
type wrapped struct{ handlers.Renderer }

// Pages link to their style sheet, which browsers may keep as long as it is the
// same; where nobody serves it, it stands in the page, allowed by its hash.
func TestPageStyleSheet(t *testing.T) {
	renderer := func(files fs.FS) handlers.Renderer {
		r, err := handlers.NewRenderer(files)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	ownSheet := fstest.MapFS{"pages.css": {Data: []byte("body{color:red}")}}
	ownLayout := fstest.MapFS{"layout.html": {Data: []byte(`<!doctype html><html><head><title>{{template "title" .}}</title><style>{{.Style}}</style></head><body>{{template "content" .}}</body></html>`)}}
	for name, c := range map[string]struct {
		renderer handlers.Renderer
		linked   bool
		css      string // in the sheet
	}{
		"built in":               {nil, true, "@media"},
		"the host's style sheet": {renderer(ownSheet), true, "color:red"},
		"the host's layout":      {renderer(ownLayout), false, "@media"},
		"the host's renderer":    {wrapped{renderer(ownSheet)}, false, "color:red"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, envOptions{config: func(cfg *handlers.Config) { cfg.Renderer = c.renderer }})
			target, _ := e.authorizeURL(e.register(webClient()).Client.ClientID)
			page := e.browser().do(http.MethodGet, target, nil)
			policy := page.header.Get("Content-Security-Policy")
			sheet := e.sheetOn(page)
			if !c.linked {
				if sheet != "" || !strings.Contains(page.body, c.css) || !strings.Contains(policy, "style-src 'self' 'sha256-") {
					t.Errorf("got a link to %q, %s with %s; want the style sheet in the page, and allowed", sheet, policy, page.body)
				}
				return
			}
			if sheet == "" || strings.Contains(page.body, "<style") || !strings.Contains(policy, "style-src 'self';") {
				t.Fatalf("got a link to %q, %s with %s; want a link and no other styles", sheet, policy, page.body)
			}
			a := e.send(mustRequest(t, sheet))
			if a.status != http.StatusOK || !strings.Contains(a.raw, c.css) || a.header.Get("Content-Type") != "text/css; charset=utf-8" ||
				a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
				t.Errorf("got %d %v with %d bytes", a.status, a.header, len(a.raw))
			}
			// Asked for by a page of another version, it is not kept for that one.
			path, _, _ := strings.Cut(sheet, "?")
			other := e.send(mustRequest(t, path+"?v=0"))
			if other.status != http.StatusOK || other.raw != a.raw || other.header.Get("Cache-Control") != "no-cache" {
				t.Errorf("another version: got %d %q", other.status, other.header.Get("Cache-Control"))
			}
			if same := e.send(mustRequest(t, path, "If-None-Match", a.header.Get("ETag"))); same.status != http.StatusNotModified || same.raw != "" {
				t.Errorf("If-None-Match: got %d", same.status)
			}
		})
	}
}
