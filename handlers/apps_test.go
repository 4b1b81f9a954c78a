package handlers_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// allow walks through sign-in and consent and returns the client's tokens.
func (b *browser) allow(reg oauthreg.Registration, params ...string) *tokenAnswer {
	b.e.t.Helper()
	target, verifier := b.e.authorizeURL(reg.Client.ClientID, params...)
	a := b.walk(target)
	if a.param("code") == "" {
		b.e.t.Fatalf("no code: %d %v", a.status, a.location)
	}
	return b.e.redeem(reg, a.param("code"), verifier)
}

func (e *env) consents(subject string) int {
	e.t.Helper()
	_, n, err := e.store.ListConsents(e.t.Context(), oauthreg.GrantFilter{Subject: subject}, 0, 10)
	if err != nil {
		e.t.Fatal(err)
	}
	return n
}

func TestAccountNeedsSignIn(t *testing.T) {
	bothMounts(t, func(t *testing.T, e *env) {
		b := e.browser()
		a := b.do(http.MethodGet, e.issuer+"/account", nil)
		if a.location == nil || a.location.Path != e.opts.base+"/login" {
			t.Fatalf("got %d to %v, want the sign-in page", a.status, a.location)
		}
		end := b.walk(a.location.String())
		if end.status != http.StatusOK || !strings.Contains(end.body, "<bdi>alice</bdi>") {
			t.Errorf("got %d, want alice's account page", end.status)
		}
		if end.header.Get("Cross-Origin-Opener-Policy") != "same-origin" || end.header.Get("Cache-Control") != "no-store" {
			t.Error("the account page can be reached by who opened it, or is kept")
		}
		for _, path := range []string{"/account/revoke", "/account/sessions/end", "/account/sign-out"} {
			if a := e.browser().do(http.MethodPost, e.issuer+path, url.Values{"consent": {"x"}}); a.status != http.StatusSeeOther || a.location.String() != e.issuer+"/account" {
				t.Errorf("%s: got %d to %v, want 303 to the account page", path, a.status, a.location)
			}
		}
	})
}

func TestAccessIsTakenBack(t *testing.T) {
	bothMounts(t, func(t *testing.T, e *env) {
		c := webClient()
		c.Name = "Mail <b>App</b>"
		reg := e.register(c)
		b := e.browser()
		tokens := b.allow(reg, "scope", "read offline_access")
		page := b.do(http.MethodGet, e.issuer+"/account", nil)
		for _, want := range []string{"Mail &lt;b&gt;App&lt;/b&gt;", "read", "Keep access while you are away", "Allowed on "} {
			if !strings.Contains(page.body, want) {
				t.Errorf("the account page has no %s", want)
			}
		}
		form := hiddenFields(t, page, e.opts.base+"/account/revoke", 0)
		a := b.do(http.MethodPost, e.issuer+"/account/revoke", form)
		if a.status != http.StatusSeeOther || a.location.String() != e.issuer+"/account" {
			t.Fatalf("got %d to %v", a.status, a.location)
		}
		if e.consents("sub-alice") != 0 {
			t.Error("the consent is still there")
		}
		e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantError(t, http.StatusBadRequest, "invalid_grant")
		if page = b.do(http.MethodGet, e.issuer+"/account", nil); !strings.Contains(page.body, "No app has access") {
			t.Error("the page still lists the app")
		}
		if a := b.do(http.MethodPost, e.issuer+"/account/revoke", form); a.status != http.StatusSeeOther {
			t.Errorf("once more: got %d, want 303", a.status)
		}
	})
}

// What is not the user's own cannot be taken back, and nothing is taken back by
// leaving the id out.
func TestOnlyOneOwnConsentIsRevoked(t *testing.T) {
	e := newEnv(t, envOptions{})
	reg, reg2 := e.register(webClient()), e.register(webClient())
	alice, bob := e.browser(), e.browser()
	bob.username, bob.password = "bob", "builder"
	alice.allow(reg)
	alice.allow(reg2)
	bob.allow(reg)
	alicePage := alice.do(http.MethodGet, e.issuer+"/account", nil)
	bobPage := bob.do(http.MethodGet, e.issuer+"/account", nil)
	own := func() url.Values { return hiddenFields(t, alicePage, e.opts.base+"/account/revoke", 0) }
	bobs := hiddenFields(t, bobPage, e.opts.base+"/account/revoke", 0)

	tests := []struct {
		name    string
		form    url.Values
		headers []string
		status  int
	}{
		{"bob's consent", fieldsWith(own(), "consent", bobs.Get("consent")), nil, http.StatusSeeOther},
		{"no id", fieldsWith(own(), "consent", ""), nil, http.StatusBadRequest},
		{"unknown id", fieldsWith(own(), "consent", "00000000-0000-0000-0000-000000000000"), nil, http.StatusSeeOther},
		{"not an id", fieldsWith(own(), "consent", "' OR 1=1 --"), nil, http.StatusSeeOther},
		{"bob's token", fieldsWith(own(), "csrf_token", bobs.Get("csrf_token")), nil, http.StatusForbidden},
		{"no token", fieldsWith(own(), "csrf_token", ""), nil, http.StatusForbidden},
		{"cross-site", own(), []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		{"another origin", own(), []string{"Origin", "https://evil.example"}, http.StatusForbidden},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if a := alice.sent(e.issuer+"/account/revoke", tt.form, tt.headers...); a.status != tt.status {
				t.Errorf("got %d, want %d", a.status, tt.status)
			}
			if e.consents("sub-alice") != 2 || e.consents("sub-bob") != 1 {
				t.Errorf("alice has %d consents and bob %d, want 2 and 1", e.consents("sub-alice"), e.consents("sub-bob"))
			}
		})
	}
	if a := alice.do(http.MethodPost, e.issuer+"/account/revoke", own()); a.status != http.StatusSeeOther || e.consents("sub-alice") != 1 {
		t.Errorf("her own: got %d, %d left, want 1", a.status, e.consents("sub-alice"))
	}
}

func TestSessionsAreEnded(t *testing.T) {
	bothMounts(t, func(t *testing.T, e *env) {
		here, there, bob := e.browser(), e.browser(), e.browser()
		bob.username, bob.password = "bob", "builder"
		for _, b := range []*browser{here, there, bob} {
			b.signIn()
		}
		signedIn := func(b *browser) bool { return b.do(http.MethodGet, e.issuer+"/account", nil).status == http.StatusOK }
		page := here.do(http.MethodGet, e.issuer+"/account", nil)
		if n := strings.Count(page.body, ">This browser<"); n != 1 {
			t.Errorf("%d sessions are called this browser, want 1", n)
		}
		end := e.opts.base + "/account/sessions/end"
		form := hiddenFields(t, page, end, 0)

		sessions, err := e.store.ListLoginSessions(t.Context(), "sub-bob")
		if err != nil || len(sessions) != 1 {
			t.Fatal(sessions, err)
		}
		other := fieldsWith(hiddenFields(t, page, end, 0), "session", sessions[0].SessionID)
		if a := here.do(http.MethodPost, e.issuer+"/account/sessions/end", other); a.status != http.StatusSeeOther || !signedIn(bob) {
			t.Errorf("got %d; bob signed in: %v, want that alice cannot end it", a.status, signedIn(bob))
		}
		if a := here.sent(e.issuer+"/account/sessions/end", form, "Sec-Fetch-Site", "cross-site"); a.status != http.StatusForbidden || !signedIn(there) {
			t.Errorf("cross-site: got %d, want 403", a.status)
		}
		if a := here.do(http.MethodPost, e.issuer+"/account/sessions/end", form); a.status != http.StatusSeeOther || signedIn(there) {
			t.Errorf("got %d; the other browser is still signed in: %v", a.status, signedIn(there))
		}
		if !signedIn(here) {
			t.Error("this browser was signed out as well")
		}

		out := hiddenFields(t, here.do(http.MethodGet, e.issuer+"/account", nil), e.opts.base+"/account/sign-out", 0)
		cookie := here.sessionCookie()
		a := here.do(http.MethodPost, e.issuer+"/account/sign-out", out)
		if a.status != http.StatusSeeOther || a.location.String() != e.issuer+"/account/signed-out" {
			t.Fatalf("sign-out: got %d to %v", a.status, a.location)
		}
		if done := here.do(http.MethodGet, a.location.String(), nil); done.status != http.StatusOK || !strings.Contains(done.body, "You are signed out") {
			t.Errorf("got %d after signing out", done.status)
		}
		if here.sessionCookie() != "" || signedIn(here) {
			t.Error("still signed in after signing out")
		}
		u, _ := url.Parse(e.issuer + "/")
		here.client.Jar.SetCookies(u, []*http.Cookie{{Name: e.cookieName("session"), Value: cookie, Path: "/"}})
		if signedIn(here) {
			t.Error("the cookie still works after signing out")
		}
	})
}

// hostSignIn is a host that knows one user by a cookie of its own.
type hostSignIn struct{}

func (hostSignIn) Login(r *http.Request) (*oauthreg.Login, error) {
	if c, err := r.Cookie("host"); err != nil || c.Value != "alice" {
		return nil, nil
	}
	return &oauthreg.Login{Subject: "sub-alice", SessionID: "host-session"}, nil
}

func (hostSignIn) Begin(w http.ResponseWriter, _ *http.Request, req handlers.SignInRequest) {
	http.SetCookie(w, &http.Cookie{Name: "host", Value: "alice", Path: "/"})
	w.Header().Set("Location", req.ReturnTo)
	w.WriteHeader(http.StatusFound)
}

// With a host's own sign-in the page lists and takes back apps; sessions are the
// host's.
func TestAccountWithAHostsSignIn(t *testing.T) {
	e := newEnv(t, envOptions{config: func(c *handlers.Config) { c.Users, c.SignIn = nil, hostSignIn{} }})
	reg := e.register(webClient())
	b := e.browser()
	b.allow(reg)
	page := b.do(http.MethodGet, e.issuer+"/account", nil)
	if page.status != http.StatusOK || !strings.Contains(page.body, "Test client") || strings.Contains(page.body, "sign-out") || strings.Contains(page.body, "sessions-heading") {
		t.Errorf("got %d, want the apps without sessions", page.status)
	}
	if a := b.do(http.MethodPost, e.issuer+"/account/revoke", hiddenFields(t, page, e.opts.base+"/account/revoke", 0)); a.status != http.StatusSeeOther || e.consents("sub-alice") != 0 {
		t.Errorf("got %d, want the consent gone", a.status)
	}
	for _, path := range []string{"/login", "/account/sign-out", "/account/sessions/end"} {
		if a := b.do(http.MethodPost, e.issuer+path, url.Values{}); a.status != http.StatusNotFound {
			t.Errorf("%s: got %d, want 404", path, a.status)
		}
	}
}

// A client that is gone can still be taken back, and does not break the page.
func TestAccountWithoutTheClient(t *testing.T) {
	e := newEnv(t, envOptions{})
	b := e.browser()
	b.allow(e.register(webClient()))
	reg := e.register(webClient())
	b.allow(reg)
	if err := e.reg.Delete(t.Context(), oauthreg.ByID(reg.Client.ID)); err != nil {
		t.Fatal(err)
	}
	if a := b.do(http.MethodGet, e.issuer+"/account", nil); a.status != http.StatusOK || !strings.Contains(a.body, "Test client") {
		t.Errorf("got %d, want the page with the app that is left", a.status)
	}
}
