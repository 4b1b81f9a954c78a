package handlers

import (
	"net/http"
	"strings"
	"testing"
)

func TestPageHeaders(t *testing.T) {
	s := pageServer(t, "https://as.example")
	h := http.Header{}
	s.setPageHeaders(h, "https:")
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self' https:; frame-ancestors 'none'; base-uri 'none'",
		"X-Frame-Options":         "DENY",
		"Referrer-Policy":         "no-referrer",
		"X-Content-Type-Options":  "nosniff",
		"Cache-Control":           "no-store",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if h.Get("Cross-Origin-Opener-Policy") != "" {
		t.Error("Cross-Origin-Opener-Policy cuts off clients that open the page as a popup")
	}
}

func TestPageHeadersTakeNoDirectiveFromTarget(t *testing.T) {
	s := pageServer(t, "https://as.example")
	for _, target := range []string{"https:; script-src *", "https:, default-src *", "https:\r\nX: y", "'unsafe-inline'", "a:\x00"} {
		h := http.Header{}
		s.setPageHeaders(h, target)
		if got := h.Get("Content-Security-Policy"); !strings.Contains(got, "form-action 'self';") {
			t.Errorf("target %q got into %q", target, got)
		}
	}
}

func TestCSPSource(t *testing.T) {
	tests := []struct{ uri, want string }{
		{"https://client.example/cb", "https:"},
		{"HTTPS://client.example:8443/cb?x=;script-src", "https:"},
		{"http://127.0.0.1:4444/cb", "http://localhost:* http://127.0.0.1:* https:"},
		{"http://localhost/cb", "http://localhost:* http://127.0.0.1:* https:"},
		{"http://[::1]:4444/cb", "http: https:"},
		{"com.example.app:/cb", "com.example.app:"},
		{"com.example.app://cb", "com.example.app:"},
		{"cursor://anysphere/cb", "cursor:"},
		{"javascript:alert(1)", ""},
		{"data:text/html,x", ""},
		{"/cb", ""},
		{"", ""},
		{"%zz", ""},
	}
	for _, tt := range tests {
		if got := cspSource(tt.uri); got != tt.want {
			t.Errorf("cspSource(%q): got %q, want %q", tt.uri, got, tt.want)
		}
	}
}

// Whatever a redirect URI is, it adds sources to form-action and nothing else.
func FuzzCSPSource(f *testing.F) {
	for _, uri := range []string{"https://a.example/cb", "http://[::1]/", "a;b:/c", "a b:", "x:'unsafe-inline'"} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		source := cspSource(uri)
		if strings.ContainsAny(source, ";,'\"\r\n\t*") && source != "http://localhost:* http://127.0.0.1:* https:" {
			t.Errorf("cspSource(%q) = %q", uri, source)
		}
	})
}

func TestAllowStyle(t *testing.T) {
	h := http.Header{}
	pageServer(t, "https://as.example").setPageHeaders(h, "")
	allowStyle(h, "'sha256-x'")
	if got := h.Get("Content-Security-Policy"); !strings.Contains(got, "; style-src 'self' 'sha256-x'; ") {
		t.Errorf("got %q", got)
	}
}
