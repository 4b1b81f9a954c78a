package handlers

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestCheckPost(t *testing.T) {
	s := pageServer(t, "https://As.example:443/auth")
	const browser, purpose = "browser-1", "consent 1"
	good := s.csrfToken(browser, purpose)

	tests := []struct {
		name    string
		site    string // Sec-Fetch-Site
		origin  []string
		browser string
		purpose string
		token   string
		ok      bool
	}{
		{"a program that sends no headers", "", nil, browser, purpose, good, true},
		{"our page", "same-origin", []string{"https://as.example"}, browser, purpose, good, true},
		{"our page, which sends no referrer", "same-origin", []string{"null"}, browser, purpose, good, true},
		{"an older browser", "", []string{"https://as.example"}, browser, purpose, good, true},
		{"reloaded by the user", "none", nil, browser, purpose, good, true},

		{"cross-site", "cross-site", []string{"https://evil.example"}, browser, purpose, good, false},
		{"cross-site without origin", "cross-site", nil, browser, purpose, good, false},
		{"cross-site that claims our origin", "cross-site", []string{"https://as.example"}, browser, purpose, good, false},
		{"a neighboring subdomain", "same-site", []string{"https://x.as.example"}, browser, purpose, good, false},
		{"an unknown relation", "same-planet", nil, browser, purpose, good, false},
		{"another origin in an older browser", "", []string{"https://evil.example"}, browser, purpose, good, false},
		{"our host on http", "", []string{"http://as.example"}, browser, purpose, good, false},
		{"our host on another port", "", []string{"https://as.example:8443"}, browser, purpose, good, false},
		{"an origin that starts like ours", "", []string{"https://as.example.evil.example"}, browser, purpose, good, false},
		{"a sandboxed frame", "cross-site", []string{"null"}, browser, purpose, good, false},
		{"null without a witness", "", []string{"null"}, browser, purpose, good, false},
		{"two origins", "", []string{"https://as.example", "https://evil.example"}, browser, purpose, good, false},

		{"no token", "same-origin", nil, browser, purpose, "", false},
		{"another browser", "same-origin", nil, "browser-2", purpose, good, false},
		{"no browser", "same-origin", nil, "", purpose, s.csrfToken("", purpose), false},
		{"another purpose", "same-origin", nil, browser, "consent 2", good, false},
		{"parts moved", "same-origin", nil, browser + "c", "onsent 1", good, false},
		{"altered", "same-origin", nil, browser, purpose, map[bool]string{true: "B", false: "A"}[good[0] == 'A'] + good[1:], false},
		{"cut", "same-origin", nil, browser, purpose, good[:len(good)-4], false},
		{"not base64", "same-origin", nil, browser, purpose, good[:10] + "!" + good[11:], false},
		{"another server's", "same-origin", nil, browser, purpose, pageServer(t, "https://as.example", "x").csrfToken(browser, purpose), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			if tt.site != "" {
				r.Header.Set("Sec-Fetch-Site", tt.site)
			}
			for _, o := range tt.origin {
				r.Header.Add("Origin", o)
			}
			err := s.checkPost(r, tt.browser, tt.purpose, tt.token)
			if tt.ok {
				if err != nil {
					t.Errorf("got %v, want no error", err)
				}
				return
			}
			var refused *Error
			if !errors.As(err, &refused) || refused.Status != http.StatusForbidden || refused.Code != "access_denied" {
				t.Errorf("got %v, want 403 access_denied", err)
			}
		})
	}
}

func TestCSRFTokenSurvivesKeyRotation(t *testing.T) {
	const issuer = "https://as.example"
	token := pageServer(t, issuer, "a").csrfToken("b", "p")
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	if err := pageServer(t, issuer, "b", "a").checkPost(r, "b", "p", token); err != nil {
		t.Errorf("with the old key second: %v", err)
	}
	if err := pageServer(t, issuer, "b").checkPost(r, "b", "p", token); err == nil {
		t.Error("the token outlives its key")
	}
}

// Equal tokens in compressed pages could be read off their length.
func TestCSRFTokensDiffer(t *testing.T) {
	s := pageServer(t, "https://as.example")
	first, second := s.csrfToken("b", "p"), s.csrfToken("b", "p")
	if first == second {
		t.Error("two tokens are alike")
	}
}
