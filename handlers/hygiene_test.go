package handlers_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// RFC 9700 §4.12: a redirect after POST is 303, so that no form is repeated.
func TestRedirectsAfterPost(t *testing.T) {
	e := newEnv(t, envOptions{})
	reg := e.register(webClient())
	target, _ := e.authorizeURL(reg.Client.ClientID)
	b := e.browser()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	a := b.do(http.MethodPost, e.issuer+"/oauth/authorize", u.Query())
	posts := 1
	for at := e.issuer; a.location == nil || strings.HasPrefix(a.location.String(), e.issuer); {
		if a.location != nil {
			at = a.location.String()
			a = b.do(http.MethodGet, at, nil)
			continue
		}
		action, form, ok := b.fill(at, a)
		if !ok {
			t.Fatalf("got %d\n%s", a.status, a.body)
		}
		a = b.do(http.MethodPost, action.String(), form)
		posts++
		if a.status != http.StatusSeeOther {
			t.Errorf("POST %s: got %d, want 303", action.Path, a.status)
		}
	}
	if posts != 3 || a.param("code") == "" {
		t.Errorf("%d posts, location %v", posts, a.location)
	}
}

// RFC 6749 §3.1: a parameter without a value counts as absent, and one that
// nobody knows is ignored.
func TestEmptyAndUnknownParameters(t *testing.T) {
	e := newEnv(t, envOptions{})
	reg := e.register(webClient())
	a := e.tokens(reg, "scope", "", "prompt", "", "unknown", "x", "max_age", "")
	if a.str("scope") != "openid profile read write" {
		t.Errorf("scope is %q, want the client's without offline_access", a.str("scope"))
	}
	e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", a.str("refresh_token"), "scope", "", "unknown", "x").wantOK(t)
}

// RFC 6749 §4.1.2: state is what the client sent, whatever is in it.
func stateIsEchoed(t *testing.T, e *env) {
	reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.FirstParty = true }))
	b := e.browser()
	for _, state := range []string{"x", "a b+c&d=e#f%20", "ü☃", "\r\nSet-Cookie: x=y", "\x00\x01\x1f\x7f", strings.Repeat("s", 4096), `"><svg onload=alert(1)>`} {
		target, _ := e.authorizeURL(reg.Client.ClientID, "state", state)
		a := b.walk(target)
		if a.param("state") != state || len(a.location.Query()["state"]) != 1 || a.header.Get("Set-Cookie") == "x=y" {
			t.Errorf("state %q came back as %q", state, a.param("state"))
		}
	}
	target, _ := e.authorizeURL(reg.Client.ClientID, "state", "-")
	if a := b.walk(target); a.location.Query().Has("state") {
		t.Errorf("state was made up: %v", a.location)
	}
}

// A decision is bound to the browser, the user and the request, counts once, and
// is made by a form of ours only.
func consentIsBound(t *testing.T, e *env) {
	consentForm := func(b *browser, reg oauthreg.Registration) (*url.URL, url.Values) {
		t.Helper()
		target, _ := e.authorizeURL(reg.Client.ClientID)
		a := b.do(http.MethodGet, target, nil)
		for a.location != nil || !strings.Contains(a.body, "consent-allow") {
			if a.location != nil {
				target = a.location.String()
				a = b.do(http.MethodGet, target, nil)
				continue
			}
			action, form, ok := b.fill(target, a)
			if !ok {
				t.Fatalf("no form: %d %s", a.status, a.body)
			}
			target = action.String()
			a = b.do(http.MethodPost, target, form)
		}
		action, form, _ := b.fill(target, a)
		return action, form
	}
	refused := func(name string, a *answer) {
		t.Helper()
		if a.param("code") != "" || a.status == http.StatusOK || a.status >= 500 {
			t.Errorf("%s: got %d, location %v", name, a.status, a.location)
		}
	}

	reg := e.register(webClient())
	alice, mallory := e.browser(), e.browser()
	action, form := consentForm(alice, reg)
	mallory.username, mallory.password = "bob", "builder"
	consentForm(mallory, e.register(webClient())) // signs in, and has a browser cookie

	before := e.rows(t)
	refused("another browser", mallory.do(http.MethodPost, action.String(), form))
	// Nor can the pending request be looked at or taken over from there.
	handle := url.QueryEscape(form.Get("consent_token"))
	for _, path := range []string{"/consent?consent_token=" + handle, "/consent?account=other&consent_token=" + handle, "/oauth/authorize/resume?interaction=" + handle} {
		for name, b := range map[string]*browser{"another browser": mallory, "a browser without cookies": e.browser()} {
			if a := b.do(http.MethodGet, e.issuer+path, nil); a.status != http.StatusBadRequest || a.location != nil || strings.Contains(a.body, "Test client") {
				t.Errorf("%s in %s: got %d, location %v", path, name, a.status, a.location)
			}
		}
	}
	refused("no browser", e.browser().do(http.MethodPost, action.String(), form))
	noToken := url.Values{"consent_token": form["consent_token"], "decision": {"allow"}}
	if a := alice.do(http.MethodPost, action.String(), noToken); a.status != http.StatusForbidden {
		t.Errorf("without csrf_token: got %d, want 403", a.status)
	}
	other, otherForm := consentForm(alice, e.register(webClient()))
	_ = other
	mixed := url.Values{"consent_token": form["consent_token"], "csrf_token": otherForm["csrf_token"], "decision": {"allow"}}
	if a := alice.do(http.MethodPost, action.String(), mixed); a.status != http.StatusForbidden {
		t.Errorf("csrf_token of another request: got %d, want 403", a.status)
	}
	if grants, n, err := e.store.ListGrants(context.Background(), oauthreg.GrantFilter{ClientID: reg.Client.ID}, 0, 10); err != nil || n != 0 {
		t.Errorf("grants %v, err %v, before: %s", grants, err, before)
	}

	if a := alice.do(http.MethodPost, action.String(), form); a.param("code") == "" {
		t.Fatalf("the rightful decision: got %d %s", a.status, a.body)
	}
	if a := alice.do(http.MethodPost, action.String(), form); a.status != http.StatusConflict || a.param("code") != "" {
		t.Errorf("the decision once more: got %d, location %v, want 409", a.status, a.location)
	}

	// What the client may do is read again when the decision comes.
	narrowed := e.register(webClient())
	action, form = consentForm(alice, narrowed)
	if _, err := e.reg.Update(context.Background(), oauthreg.ByID(narrowed.Client.ID), oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error {
		c.RedirectURIs = []string{"https://elsewhere.example/cb"}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	refused("a redirect URI taken away meanwhile", alice.do(http.MethodPost, action.String(), form))
	suspended := e.register(webClient())
	action, form = consentForm(alice, suspended)
	if _, err := e.reg.Suspend(context.Background(), oauthreg.ByID(suspended.Client.ID)); err != nil {
		t.Fatal(err)
	}
	refused("a client suspended meanwhile", alice.do(http.MethodPost, action.String(), form))
}

// RFC 6749 §5.1: what a token response is made of.
func TestTokenResponse(t *testing.T) {
	e := newEnv(t, envOptions{})
	reg := e.register(machineClient())
	before := e.clock.Now()
	a := e.tokenRequest(reg, "grant_type", "client_credentials")
	if a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "no-store" || a.str("token_type") != "Bearer" || a.str("scope") != "read write" {
		t.Errorf("headers %v, body %s", a.header, a.raw)
	}
	info := e.authenticated("/oauth/introspect", reg, "token", a.str("access_token"))
	promised := before.Add(time.Duration(a.body["expires_in"].(float64)) * time.Second)
	if exp := time.Unix(int64(info.body["exp"].(float64)), 0); exp.Before(promised.Truncate(time.Second)) {
		t.Errorf("promised until %v, ends at %v", promised, exp)
	}
}

// Unknown, suspended and wrong secret get the same answer, byte for byte.
func failuresLookAlike(t *testing.T, e *env) {
	good, suspended := e.register(machineClient()), e.register(machineClient())
	if _, err := e.reg.Suspend(context.Background(), oauthreg.ByID(suspended.Client.ID)); err != nil {
		t.Fatal(err)
	}
	look := func(id, secret string) string {
		a := e.post("/oauth/token", id, secret, "grant_type", "client_credentials")
		a.header.Del("Date")
		a.header.Del("X-Request-Id") // random
		h := new(strings.Builder)
		if err := a.header.Write(h); err != nil {
			t.Fatal(err)
		}
		return http.StatusText(a.status) + h.String() + a.raw
	}
	want := look(good.Client.ClientID, "wrong")
	for name, got := range map[string]string{
		"unknown":                    look("3f2b8a36-4f2b-4b47-9d0e-0d2b7b1f0a11", "wrong"),
		"unknown, not a UUID":        look("nobody", "wrong"),
		"suspended, right secret":    look(suspended.Client.ClientID, suspended.Secret),
		"suspended, wrong secret":    look(suspended.Client.ClientID, "wrong"),
		"a secret of another client": look(good.Client.ClientID, suspended.Secret),
	} {
		if got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
}

// Failed authentications are counted per client and address: 60 at once, then
// 429 with Retry-After, and success is not counted.
func TestGuessingIsLimited(t *testing.T) {
	e := newEnv(t, envOptions{config: func(c *handlers.Config) { c.Limits = nil }})
	reg, other := e.register(machineClient()), e.register(machineClient())
	for range 80 {
		e.tokenRequest(reg, "grant_type", "client_credentials").wantOK(t)
	}
	limited := false
	for i := range 70 {
		a := e.post("/oauth/token", reg.Client.ClientID, "wrong", "grant_type", "client_credentials")
		if a.status == http.StatusTooManyRequests {
			if i < 60 || a.header.Get("Retry-After") == "" {
				t.Errorf("try %d: Retry-After %q", i, a.header.Get("Retry-After"))
			}
			limited = true
			break
		}
		a.wantError(t, 401, "invalid_client")
	}
	if !limited {
		t.Error("guessing has no end")
	}
	e.tokenRequest(other, "grant_type", "client_credentials").wantOK(t)
	e.clock.add(4 * time.Second)
	e.tokenRequest(reg, "grant_type", "client_credentials").wantOK(t)
}

// Metadata is made of configuration alone.
func metadataIgnoresHost(t *testing.T, e *env) {
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		var want string
		for _, host := range []string{"", "evil.example"} {
			req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, e.issuer+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if host != "" {
				req.Host = host
				req.Header.Set("X-Forwarded-Host", host)
				req.Header.Set("X-Forwarded-Proto", "https")
				req.Header.Set("Forwarded", "host="+host)
			}
			a := e.send(req)
			if want == "" {
				want = a.raw
			}
			if a.raw != want || a.str("issuer") != e.issuer || strings.Contains(a.raw, "evil") {
				t.Errorf("%s as %q: %s", path, host, a.raw)
			}
		}
	}
}

// A configuration that cannot be honored is refused, everything wrong at once.
func TestConfigIsChecked(t *testing.T) {
	_, err := handlers.New(handlers.Config{Issuer: "http://auth.example.com/?x#y", Secrets: [][]byte{{1}}, Resources: []string{"relative"},
		Lifetimes: oauthreg.Lifetimes{AuthorizationCode: time.Hour}})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"Issuer", "Registry", "Store", "Keys", "Secrets[0]", "SignIn", "Resources", "Lifetimes.AuthorizationCode"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in: %v", want, err)
		}
	}
	for issuer, ok := range map[string]bool{
		"https://auth.example.com": true, "https://auth.example.com/t1": true, "http://127.0.0.1:9096": true, "http://localhost/a/b": true, "http://[::1]:1": true,
		"http://auth.example.com": false, "https://auth.example.com/": false, "https://auth.example.com?q": false, "https://u@auth.example.com": false,
		"auth.example.com": false, "https://auth.example.com/a/../b": false, "https://auth.example.com/%61": false, "ftp://auth.example.com": false, "": false,
	} {
		_, err := handlers.New(handlers.Config{Issuer: issuer})
		if got := err == nil || !strings.Contains(err.Error(), "Issuer"); got != ok {
			t.Errorf("issuer %q: got %v, want %v (%v)", issuer, got, ok, err)
		}
	}
}
