package handlers

import (
	"net/http"
	"net/url"
	"strings"
)

// setPageHeaders sets the headers of every page for people: nothing runs, nothing
// is fetched from elsewhere, nothing frames it, nothing is kept or passed on.
//
// formTarget is where a form may lead beside this origin: a [cspSource], or
// empty. A renderer adds the hash of its style sheet with allowStyle.
//
// There is no Cross-Origin-Opener-Policy here: any value but unsafe-none, the
// weaker same-origin-allow-popups included, cuts a client that opened the page
// as a popup off from its answer. Pages that no client opens set it themselves.
func (s *Server) setPageHeaders(h http.Header, formTarget string) {
	action := "'self'"
	if formTarget != "" && strings.Trim(formTarget, cspSourceChars) == "" {
		action += " " + formTarget
	}
	h.Set("Content-Security-Policy", "default-src 'none'; "+ownStyle+"; img-src 'self' data:; form-action "+action+
		"; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Frame-Options", "DENY") // for browsers without frame-ancestors
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store")
}

const (
	ownStyle       = "style-src 'self'"
	cspSourceChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.:/* "
)

// allowStyle permits one inline style sheet, by its hash, on a page whose headers
// are set.
func allowStyle(h http.Header, source string) {
	h.Set("Content-Security-Policy", strings.Replace(h.Get("Content-Security-Policy"), ownStyle, ownStyle+" "+source, 1))
}

// cspSource is what form-action must allow so that the answer to a form can send
// the browser to redirectURI.
//
// Chromium applies form-action to every redirect that follows a form, those of
// the client included: an application whose callback goes on to its home page on
// another host, or a command line program whose loopback callback goes on to a
// page that says "you may close this window", would show nothing at all. What
// comes after the callback cannot be known here, so the scheme is what is
// allowed, and for loopback both any loopback port and https. What this leaves of
// form-action is that a form cannot be made to post to other schemes; the forms
// themselves are safe because every value in a page is escaped.
func cspSource(redirectURI string) string {
	u, err := url.Parse(redirectURI)
	if err != nil || u.Scheme == "" || strings.Trim(u.Scheme, cspSourceChars) != "" || strings.ContainsAny(u.Scheme, ":/* ") {
		return ""
	}
	switch scheme := strings.ToLower(u.Scheme); scheme {
	case "http":
		if h := u.Hostname(); h == "localhost" || h == "127.0.0.1" {
			return "http://localhost:* http://127.0.0.1:* https:"
		}
		return "http: https:" // ::1: no host source can name an IPv6 address
	case "javascript", "data", "blob", "filesystem", "about":
		return "" // never registered; never allowed either
	default:
		return scheme + ":"
	}
}
