package handlers

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"html/template"
	"net/http"
	"strings"
	"time"
)

// pageStyle is the style sheet of a renderer's pages.
type pageStyle struct {
	css     template.CSS
	source  string // what a Content-Security-Policy allows it by when it stands in a page
	version string // changes with css
}

func newPageStyle(css string) *pageStyle {
	sum := sha256.Sum256([]byte(css))
	return &pageStyle{
		css:     template.CSS(css),
		source:  "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'",
		version: hex.EncodeToString(sum[:8]),
	}
}

// stylePath is where a server has the style sheet of its pages. Browsers keep it, so
// that a page is a few kilobytes.
const stylePath = "/oauth/pages.css"

// styleRoute serves the style sheet if the pages are the built-in ones, whole or in
// part.
func (s *Server) styleRoute(method ...string) {
	t, ok := s.pages.(*templateRenderer)
	if !ok {
		return
	}
	s.sheet = t.style
	s.sheetURL = s.base + stylePath + "?v=" + t.style.version
	s.plain(stylePath, "style", s.serveStyle, method...)
}

// sheetOf is where the server that answers the request has a style sheet; empty if
// it has another one, or there is no such server.
func (i *requestInfo) sheetOf(style *pageStyle) string {
	if i.server == nil || i.server.sheet != style {
		return ""
	}
	return i.server.sheetURL
}

// serveStyle serves GET /oauth/pages.css. Under the name that pages link to, it
// never changes.
func (s *Server) serveStyle(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Content-Type", "text/css; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("ETag", `"`+s.sheet.version+`"`)
	h.Set("Cache-Control", "no-cache")
	if r.URL.RawQuery == "v="+s.sheet.version { // not what another version's page asks for during a rollout
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(s.sheet.css)))
	return nil
}
