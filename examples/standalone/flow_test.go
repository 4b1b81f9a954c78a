package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/oauth2"
)

// browser is a person at a browser without JavaScript: it keeps cookies, follows
// redirects and fills in forms, until it is sent to the client.
type browser struct {
	t      *testing.T
	http   *http.Client
	client string // the redirect URI; the browser stops there
	at     *url.URL
	page   *html.Node
}

func newBrowser(t *testing.T, redirectURI string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, client: redirectURI}
	b.http = &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), redirectURI+"?") {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return b
}

func (b *browser) load(resp *http.Response, err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	b.at, b.page = resp.Request.URL, nil
	if resp.StatusCode == http.StatusSeeOther || resp.StatusCode == http.StatusFound {
		if b.at, err = resp.Location(); err != nil {
			b.t.Fatal(err)
		}
		return
	}
	if b.page, err = html.Parse(resp.Body); err != nil {
		b.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s: %s", b.at, resp.Status)
	}
}

func (b *browser) open(target string) { b.t.Helper(); b.load(b.http.Get(target)) }

// press fills in the form that has the button of that id and presses it.
func (b *browser) press(id string, fill url.Values) {
	b.t.Helper()
	button := find(b.page, func(n *html.Node) bool { return attr(n, "id") == id })
	if button == nil {
		b.t.Fatalf("%s has no %s", b.at, id)
	}
	form := button
	for form.Data != "form" {
		form = form.Parent
	}
	values := url.Values{}
	for n := range form.Descendants() {
		if n.Data == "input" && attr(n, "type") == "hidden" {
			values.Set(attr(n, "name"), attr(n, "value"))
		}
	}
	for name, v := range fill {
		if find(form, func(n *html.Node) bool { return n.Data == "input" && attr(n, "name") == name }) == nil {
			b.t.Fatalf("the form of %s has no field %s", b.at, name)
		}
		values[name] = v
	}
	if name := attr(button, "name"); name != "" {
		values.Set(name, attr(button, "value"))
	}
	action, err := b.at.Parse(attr(form, "action"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.load(b.http.PostForm(action.String(), values))
}

// authorize opens an authorization URL, signs in where it is asked to, presses
// the button of the consent page where there is one, and returns what the client
// is sent.
func (b *browser) authorize(target, username, password, button string) url.Values {
	b.t.Helper()
	b.open(target)
	if b.page != nil && find(b.page, func(n *html.Node) bool { return attr(n, "id") == "login-submit" }) != nil {
		b.press("login-submit", url.Values{"username": {username}, "password": {password}})
	}
	if b.page != nil {
		b.press(button, nil)
	}
	if !strings.HasPrefix(b.at.String(), b.client+"?") {
		b.t.Fatalf("the browser ended at %s", b.at)
	}
	return b.at.Query()
}

func find(n *html.Node, ok func(*html.Node) bool) *html.Node {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && ok(d) {
			return d
		}
	}
	return nil
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// webShop is the client of the sample file, as golang.org/x/oauth2 wants it.
func webShop(issuer string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: "web-shop", ClientSecret: "web-shop-secret-for-development-only",
		Endpoint:    oauth2.Endpoint{AuthURL: issuer + "/oauth/authorize", TokenURL: issuer + "/oauth/token", AuthStyle: oauth2.AuthStyleInHeader},
		RedirectURL: "http://127.0.0.1:9999/callback",
		Scopes:      []string{"openid", "offline_access", "orders.read"},
	}
}

// signIn walks the code flow and returns the tokens.
func signIn(t *testing.T, issuer string) *oauth2.Token {
	t.Helper()
	cfg := webShop(issuer)
	verifier := oauth2.GenerateVerifier()
	b := newBrowser(t, cfg.RedirectURL)
	target := cfg.AuthCodeURL("some-state", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("resource", issuer+"/api"))
	answer := b.authorize(target, "alice", "alice-password", "consent-allow")
	if answer.Get("state") != "some-state" || answer.Get("iss") != issuer || answer.Get("code") == "" {
		t.Fatalf("the client is sent %v", answer)
	}
	token, err := cfg.Exchange(t.Context(), answer.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	if !token.Valid() || token.RefreshToken == "" || token.TokenType != "Bearer" || token.Extra("scope") == nil {
		t.Fatalf("got %+v", token)
	}
	return token
}

func refresh(ctx context.Context, issuer, refreshToken string) (*oauth2.Token, error) {
	return webShop(issuer).TokenSource(ctx, &oauth2.Token{RefreshToken: refreshToken}).Token()
}

// post sends a form as web-shop, and decodes a JSON answer, if there is one.
func post(t *testing.T, target string, form url.Values) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("web-shop", "web-shop-secret-for-development-only")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if len(body) > 0 {
		if err := json.Unmarshal(body, &doc); err != nil {
			t.Fatalf("%s: %s: %v in %s", target, resp.Status, err, body)
		}
	}
	return resp.StatusCode, doc
}

func active(t *testing.T, issuer, token string) bool {
	t.Helper()
	status, doc := post(t, issuer+"/oauth/introspect", url.Values{"token": {token}})
	if status != http.StatusOK {
		t.Fatalf("introspection: %d %v", status, doc)
	}
	return doc["active"] == true
}

func wantInvalidGrant(t *testing.T, err error) {
	t.Helper()
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) || refused.ErrorCode != "invalid_grant" {
		t.Errorf("got %v, want invalid_grant", err)
	}
}

func whoAmI(t *testing.T, issuer, accessToken string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, issuer+"/api/whoami", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+accessToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc map[string]any
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode, doc
}

// The whole way: registered in a file, authorize with PKCE, token, refresh,
// introspect, revoke, restart, refused.
func TestFlow(t *testing.T) {
	for _, path := range []string{"", "/auth"} {
		t.Run("issuer"+path, func(t *testing.T) {
			db := filepath.Join(t.TempDir(), "test.db")
			files := []string{"-db", db, "-clients", "../../testdata/clients.json", "-users", "../../testdata/users.json"}
			s := launch(t, append(files, "-issuer", "http://127.0.0.1:0"+path)...)
			issuer := s.issuer

			first := signIn(t, issuer)
			const alice = "10000000-0000-4000-8000-000000000001"
			status, who := whoAmI(t, issuer, first.AccessToken)
			if status != http.StatusOK || who["sub"] != alice || who["client_id"] != "web-shop" || who["scope"] != "openid offline_access orders.read" {
				t.Errorf("whoami: %d %v", status, who)
			}
			if status, _ := whoAmI(t, issuer, first.AccessToken+"x"); status != http.StatusUnauthorized {
				t.Errorf("whoami with a wrong token: %d", status)
			}

			second, err := refresh(t.Context(), issuer, first.RefreshToken)
			if err != nil {
				t.Fatal(err)
			}
			if second.AccessToken == first.AccessToken || second.RefreshToken == first.RefreshToken {
				t.Error("refresh returned the same tokens")
			}
			_, doc := post(t, issuer+"/oauth/introspect", url.Values{"token": {second.AccessToken}})
			if doc["active"] != true || doc["sub"] != alice || doc["client_id"] != "web-shop" || doc["iss"] != issuer || doc["aud"] != issuer+"/api" {
				t.Errorf("introspection: %v", doc)
			}

			// The second sign-in survives the restart, the first is revoked.
			kept := signIn(t, issuer)
			if status, doc := post(t, issuer+"/oauth/revoke", url.Values{"token": {second.RefreshToken}}); status != http.StatusOK {
				t.Fatalf("revocation: %d %v", status, doc)
			}
			_, err = refresh(t.Context(), issuer, second.RefreshToken)
			wantInvalidGrant(t, err)

			if status := s.stop(); status != 0 {
				t.Fatalf("got status %d, want 0", status)
			}
			u, err := url.Parse(issuer)
			if err != nil {
				t.Fatal(err)
			}
			again := launch(t, append(files, "-issuer", issuer, "-addr", u.Host)...)
			if again.issuer != issuer {
				t.Fatalf("listening on %s, want %s", again.issuer, issuer)
			}

			_, err = refresh(t.Context(), issuer, second.RefreshToken)
			wantInvalidGrant(t, err)
			if active(t, issuer, second.AccessToken) {
				t.Error("an access token of the revoked grant is active after the restart")
			}
			if !active(t, issuer, kept.AccessToken) {
				t.Error("an access token did not survive the restart")
			}
			if _, err := refresh(t.Context(), issuer, kept.RefreshToken); err != nil {
				t.Errorf("a refresh token did not survive the restart: %v", err)
			}
		})
	}
}

func TestFlowDenied(t *testing.T) {
	s := launch(t, "-clients", "../../testdata/clients.json", "-users", "../../testdata/users.json")
	cfg := webShop(s.issuer)
	target := cfg.AuthCodeURL("some-state", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))
	answer := newBrowser(t, cfg.RedirectURL).authorize(target, "alice", "alice-password", "consent-deny")
	if answer.Get("error") != "access_denied" || answer.Get("state") != "some-state" || answer.Has("code") {
		t.Errorf("the client is sent %v", answer)
	}
}

// What the client is not registered for is refused at once, at the client.
func TestFlowRefused(t *testing.T) {
	s := launch(t, "-clients", "../../testdata/clients.json", "-users", "../../testdata/users.json")
	pkce := oauth2.S256ChallengeOption(oauth2.GenerateVerifier())
	tests := []struct {
		name, want string
		target     func(*oauth2.Config) string
	}{
		{"scope", "invalid_scope", func(c *oauth2.Config) string {
			c.Scopes = []string{"openid", "orders.delete"}
			return c.AuthCodeURL("s", pkce)
		}},
		{"no PKCE", "invalid_request", func(c *oauth2.Config) string { return c.AuthCodeURL("s") }},
		{"resource", "invalid_target", func(c *oauth2.Config) string {
			return c.AuthCodeURL("s", pkce, oauth2.SetAuthURLParam("resource", "https://other.example"))
		}},
		{"response type", "unsupported_response_type", func(c *oauth2.Config) string {
			return c.AuthCodeURL("s", pkce, oauth2.SetAuthURLParam("response_type", "token"))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := webShop(s.issuer)
			b := newBrowser(t, cfg.RedirectURL)
			b.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			b.open(tt.target(cfg))
			got := b.at.Query()
			if fragment, err := url.ParseQuery(b.at.Fragment); err == nil && len(fragment) > 0 {
				got = fragment
			}
			if got.Get("error") != tt.want || !strings.HasPrefix(b.at.String(), cfg.RedirectURL) {
				t.Errorf("the browser is sent to %s, want error=%s at the client", b.at, tt.want)
			}
		})
	}
}

// The demo client and user of a server without files make a flow.
func TestDemoFlow(t *testing.T) {
	s := launch(t)
	var target string
	for line := range strings.Lines(s.out.String()) {
		if strings.HasPrefix(line, "  "+s.issuer+"/oauth/authorize?") {
			target = strings.TrimSpace(line)
		}
	}
	_, password, _ := strings.Cut(s.line("demo user"), " password ")
	_, secret, _ := strings.Cut(s.line("demo client"), " secret ")
	_, rest, _ := strings.Cut(s.out.String(), "code_verifier=")
	verifier, _, _ := strings.Cut(rest, " ")

	answer := newBrowser(t, demoRedirectURI).authorize(target, demoUsername, password, "consent-allow")
	cfg := &oauth2.Config{
		ClientID: demoClientID, ClientSecret: secret, RedirectURL: demoRedirectURI,
		Endpoint: oauth2.Endpoint{TokenURL: s.issuer + "/oauth/token", AuthStyle: oauth2.AuthStyleInHeader},
	}
	token, err := cfg.Exchange(t.Context(), answer.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	status, who := whoAmI(t, s.issuer, token.AccessToken)
	if status != http.StatusOK || who["sub"] != defaultUser || who["client_id"] != demoClientID {
		t.Errorf("whoami: %d %v", status, who)
	}
}
