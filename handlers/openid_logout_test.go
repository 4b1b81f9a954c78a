package handlers_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/net/html"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

const signedOutURI = "https://client.example/bye?x=1"

func logoutClient() oauthreg.Client {
	c := openIDClient()
	c.FirstParty = true
	c.PostLogoutRedirectURIs = []string{signedOutURI}
	return c
}

// signedIn is a browser with a session, and the ID token of a client it came from.
func signedIn(e *env, reg oauthreg.Registration) (*browser, string) {
	e.t.Helper()
	b := e.browser()
	target, verifier := e.authorizeURL(reg.Client.ClientID, "scope", "openid")
	a := b.walk(target)
	return b, e.redeem(reg, a.param("code"), verifier).str("id_token")
}

func (e *env) logoutURL(params ...string) string {
	q := url.Values{}
	for i := 0; i < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	return e.issuer + "/oauth/logout?" + q.Encode()
}

// hasSession asks without any page whether the browser is signed in.
func (b *browser) hasSession(reg oauthreg.Registration) bool {
	b.e.t.Helper()
	target, _ := b.e.authorizeURL(reg.Client.ClientID, "scope", "openid", "prompt", "none")
	return b.walk(target).param("code") != ""
}

// confirm presses the one button of a page.
func (b *browser) confirm(a *answer) *answer {
	b.e.t.Helper()
	page, err := html.Parse(strings.NewReader(a.body))
	if err != nil {
		b.e.t.Fatal(err)
	}
	form, action := url.Values{}, ""
	for n := range page.Descendants() {
		switch n.Data {
		case "form":
			action = attr(n, "action")
		case "input":
			form.Set(attr(n, "name"), attr(n, "value"))
		}
	}
	if action == "" {
		b.e.t.Fatalf("no form: %d %v %s", a.status, a.location, a.body)
	}
	origin := strings.TrimSuffix(b.e.issuer, b.e.opts.base)
	return b.do(http.MethodPost, origin+action, form)
}

func TestLogout(t *testing.T) {
	for _, base := range []string{"", "/auth/tenant"} {
		e := openIDEnv(t, base)
		reg, other := e.register(logoutClient()), e.register(logoutClient())
		foreign := ""
		_, foreign = signedIn(e, other)

		t.Run("with an ID token it is done"+base, func(t *testing.T) {
			e.t = t
			b, hint := signedIn(e, reg)
			a := b.do("GET", e.logoutURL("id_token_hint", hint, "post_logout_redirect_uri", signedOutURI, "state", "s&1"), nil)
			if a.location == nil || a.location.String() != signedOutURI+"&state=s%261" {
				t.Errorf("location %v\n%s", a.location, a.body)
			}
			if b.hasSession(reg) {
				t.Error("the session lives")
			}
			// Once more, with nobody signed in: the browser gets where it wants to.
			if a := b.do("GET", e.logoutURL("id_token_hint", hint, "post_logout_redirect_uri", signedOutURI), nil); a.location == nil || a.location.String() != signedOutURI {
				t.Errorf("location %v", a.location)
			}
		})
		t.Run("without a place to go to"+base, func(t *testing.T) {
			e.t = t
			b, hint := signedIn(e, reg)
			a := b.do("GET", e.logoutURL("id_token_hint", hint), nil)
			if a.status != 200 || a.location != nil || !strings.Contains(a.body, "signed out") || b.hasSession(reg) {
				t.Errorf("status %d, location %v, %s", a.status, a.location, a.body)
			}
		})
		t.Run("by POST"+base, func(t *testing.T) {
			e.t = t
			b, hint := signedIn(e, reg)
			form := url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {signedOutURI}, "client_id": {reg.Client.ClientID}}
			a := b.do("POST", e.issuer+"/oauth/logout", form)
			if a.status != http.StatusSeeOther || a.location.String() != signedOutURI || b.hasSession(reg) {
				t.Errorf("status %d, location %v", a.status, a.location)
			}
		})
		t.Run("an expired ID token"+base, func(t *testing.T) {
			e.t = t
			b, hint := signedIn(e, reg)
			e.clock.add(2 * time.Hour)
			if a := b.do("GET", e.logoutURL("id_token_hint", hint, "post_logout_redirect_uri", signedOutURI), nil); a.location == nil || a.location.String() != signedOutURI {
				t.Errorf("location %v", a.location)
			}
		})

		// Everything else is asked about, and goes nowhere.
		_, good := signedIn(e, reg)
		for name, params := range map[string][]string{
			"nothing":                    {},
			"client_id alone":            {"client_id", reg.Client.ClientID, "post_logout_redirect_uri", signedOutURI},
			"a redirect alone":           {"post_logout_redirect_uri", signedOutURI, "state", "s"},
			"state alone":                {"state", "s"},
			"a changed hint":             {"id_token_hint", good[:len(good)-6] + "AAAAAA", "post_logout_redirect_uri", signedOutURI},
			"no hint at all":             {"id_token_hint", "x", "post_logout_redirect_uri", signedOutURI},
			"another client's hint":      {"id_token_hint", foreign, "client_id", reg.Client.ClientID, "post_logout_redirect_uri", signedOutURI},
			"an unknown client":          {"id_token_hint", good, "client_id", "nobody", "post_logout_redirect_uri", signedOutURI},
			"a URI that is not known":    {"id_token_hint", good, "post_logout_redirect_uri", "https://evil.example/"},
			"a URI with another query":   {"id_token_hint", good, "post_logout_redirect_uri", signedOutURI + "&y=2"},
			"a redirect URI of the code": {"id_token_hint", good, "post_logout_redirect_uri", callback},
			"script as a URI":            {"id_token_hint", good, "post_logout_redirect_uri", "javascript:alert(1)"},
		} {
			t.Run(name+base, func(t *testing.T) {
				e.t = t
				b, _ := signedIn(e, reg)
				a := b.do("GET", e.logoutURL(params...), nil)
				if a.status != 200 || a.location != nil || !strings.Contains(a.body, "csrf_token") || strings.Contains(a.body, "evil.example") {
					t.Fatalf("status %d, location %v: %s", a.status, a.location, a.body)
				}
				if !b.hasSession(reg) {
					t.Fatal("the session ended without a question")
				}
				a = b.confirm(a)
				if a.status != 200 || a.location != nil || !strings.Contains(a.body, "signed out") {
					t.Errorf("status %d, location %v: %s", a.status, a.location, a.body)
				}
				if b.hasSession(reg) {
					t.Error("the session lives")
				}
			})
		}
		e.t = t
	}

	e := openIDEnv(t, "")
	reg := e.register(logoutClient())
	t.Run("the ID token of somebody else is asked about", func(t *testing.T) {
		_, hint := signedIn(e, reg)
		bob := e.browser()
		bob.username, bob.password = "bob", "builder"
		target, _ := e.authorizeURL(reg.Client.ClientID, "scope", "openid")
		bob.walk(target)
		a := bob.do("GET", e.logoutURL("id_token_hint", hint, "post_logout_redirect_uri", signedOutURI), nil)
		if a.location != nil || !bob.hasSession(reg) {
			t.Fatalf("location %v", a.location)
		}
		if a = bob.confirm(a); a.location == nil || a.location.String() != signedOutURI || bob.hasSession(reg) {
			t.Errorf("location %v", a.location)
		}
	})
	t.Run("the question cannot be answered for somebody", func(t *testing.T) {
		b, _ := signedIn(e, reg)
		mallory := e.browser()
		a := mallory.do("GET", e.logoutURL(), nil) // signed out: no question
		if strings.Contains(a.body, "csrf_token") {
			t.Fatal("nobody is signed in")
		}
		question := b.do("GET", e.logoutURL(), nil)
		if a := mallory.confirm(question); a.status != http.StatusForbidden {
			t.Errorf("another browser: %d", a.status)
		}
		if a := b.do("POST", e.issuer+"/oauth/logout", url.Values{"csrf_token": {"x"}, "logout": {"y"}}); a.status != http.StatusForbidden {
			t.Errorf("a made-up token: %d", a.status)
		}
		if !b.hasSession(reg) {
			t.Error("the session ended")
		}
	})
	t.Run("a POST from the client's page", func(t *testing.T) {
		b, hint := signedIn(e, reg)
		req := must(http.NewRequest("POST", e.issuer+"/oauth/logout", strings.NewReader(url.Values{"id_token_hint": {hint}}.Encode())))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", "https://client.example")
		resp := must((&http.Client{Transport: b.client.Transport, CheckRedirect: b.client.CheckRedirect}).Do(req)) // SameSite: no cookies
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusSeeOther {
			t.Fatalf("status %d", resp.StatusCode)
		}
		if b.walk(must(resp.Location()).String()); b.hasSession(reg) {
			t.Error("the session lives")
		}
	})
}

// relyingParty takes logout tokens.
type relyingParty struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	tokens []string
}

func newRelyingParty(t *testing.T) *relyingParty {
	rp := &relyingParty{status: http.StatusOK}
	rp.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rp.mu.Lock()
		defer rp.mu.Unlock()
		if err := r.ParseForm(); err == nil && r.Method == http.MethodPost && r.URL.RawQuery == "" {
			rp.tokens = append(rp.tokens, r.PostForm.Get("logout_token"))
		}
		w.WriteHeader(rp.status)
		_, _ = io.WriteString(w, "ok")
	}))
	t.Cleanup(rp.Close)
	return rp
}

func (rp *relyingParty) answer(status int) {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	rp.status = status
}

func (rp *relyingParty) received() []string {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	got := rp.tokens
	rp.tokens = nil
	return got
}

func (rp *relyingParty) outbound(c *handlers.Config) {
	pool := x509.NewCertPool()
	pool.AddCert(rp.Certificate())
	c.Outbound = handlers.NewOutbound(handlers.OutboundConfig{Private: true, CAs: pool})
}

func TestBackchannelLogout(t *testing.T) {
	ctx := context.Background()
	rp := newRelyingParty(t)
	e := openIDEnv(t, "/tenant", rp.outbound)
	told := func(c *oauthreg.Client) { c.BackchannelLogoutURI = rp.URL + "/backchannel" }
	reg := e.register(with(logoutClient(), told))
	pairwise := e.register(with(logoutClient(), func(c *oauthreg.Client) { told(c); c.SubjectType = oauthreg.PairwiseSubject }))
	silent := e.register(logoutClient())
	never := e.register(with(logoutClient(), told))
	deliver := func(want int) {
		t.Helper()
		if n, err := e.server.DeliverLogouts(ctx); err != nil || n != want {
			t.Fatalf("told %d clients, err %v, want %d", n, err, want)
		}
	}

	b, hint := signedIn(e, reg)
	_, id := decodeJWT(t, hint)
	var pairwiseSub any
	for _, c := range []oauthreg.Registration{pairwise, silent} {
		target, verifier := e.authorizeURL(c.Client.ClientID, "scope", "openid")
		_, claims := decodeJWT(t, e.redeem(c, b.walk(target).param("code"), verifier).str("id_token"))
		if claims["sid"] != id["sid"] {
			t.Errorf("sid %v and %v in one session", claims["sid"], id["sid"])
		}
		if c.Client.ID == pairwise.Client.ID {
			pairwiseSub = claims["sub"]
		}
	}
	target, _ := e.authorizeURL(never.Client.ClientID, "scope", "read") // no OpenID Connect
	b.walk(target)

	// Proving oneself anew does not end the session, nor change its id.
	target, verifier := e.authorizeURL(reg.Client.ClientID, "scope", "openid", "prompt", "login")
	if _, again := decodeJWT(t, e.redeem(reg, b.walk(target).param("code"), verifier).str("id_token")); again["sid"] != id["sid"] {
		t.Errorf("sid became %v", again["sid"])
	}
	deliver(0)

	b.do("GET", e.logoutURL("id_token_hint", hint), nil)
	deliver(2)
	provider := must(oidc.NewProvider(oidc.ClientContext(ctx, e.http.Client()), e.issuer))
	seen := map[any]bool{}
	for _, token := range rp.received() {
		header, claims := decodeJWT(t, token)
		client, sub := reg, any("sub-alice")
		if claims["aud"] == pairwise.Client.ClientID {
			client, sub = pairwise, pairwiseSub
		}
		events, _ := claims["events"].(map[string]any)
		if header["typ"] != "logout+jwt" || claims["sid"] != id["sid"] || claims["sub"] != sub || claims["nonce"] != nil || claims["jti"] == "" ||
			events["http://schemas.openid.net/event/backchannel-logout"] == nil {
			t.Errorf("header %v, claims %v", header, claims)
		}
		verify := provider.Verifier(&oidc.Config{ClientID: client.Client.ClientID, Now: e.clock.Now})
		if _, err := verify.Verify(oidc.ClientContext(ctx, e.http.Client()), token); err != nil {
			t.Error(err)
		}
		seen[claims["aud"]] = true
		// It is no ID token.
		if a := b.do("GET", e.logoutURL("id_token_hint", token, "post_logout_redirect_uri", signedOutURI), nil); a.location != nil {
			t.Errorf("a logout token passes for an ID token: %v", a.location)
		}
	}
	if !seen[reg.Client.ClientID] || !seen[pairwise.Client.ClientID] || len(seen) != 2 {
		t.Errorf("told %v", seen)
	}
	deliver(0)

	t.Run("from the account page, too", func(t *testing.T) {
		b, _ := signedIn(e, reg)
		a := b.do("GET", e.issuer+"/account", nil)
		form := url.Values{"csrf_token": {field(t, a.body, "csrf_token")}}
		if a := b.do("POST", e.issuer+"/account/sign-out", form); a.status != http.StatusSeeOther {
			t.Fatalf("status %d", a.status)
		}
		deliver(1)
		rp.received()
	})
	t.Run("one of two accounts is signed out in the chooser", func(t *testing.T) {
		b, _ := signedIn(e, reg)
		b.addAccount("bob", "builder")
		deliver(0) // both are signed in
		if a := b.account("alice", "sign_out", e.issuer+"/login?account=choose"); a.status != http.StatusSeeOther {
			t.Fatalf("status %d", a.status)
		}
		deliver(1)
		if _, claims := decodeJWT(t, rp.received()[0]); claims["sub"] != "sub-alice" {
			t.Errorf("told of %v", claims["sub"])
		}
	})
	t.Run("a client that fails is tried again, after a restart as well", func(t *testing.T) {
		b, hint := signedIn(e, reg)
		rp.answer(http.StatusServiceUnavailable)
		b.do("GET", e.logoutURL("id_token_hint", hint), nil)
		deliver(0)
		first := rp.received()
		deliver(0) // not due yet
		if len(rp.received()) != 0 || len(first) != 1 {
			t.Errorf("%d tries at first", len(first))
		}
		e.clock.add(16 * time.Second)
		deliver(0)
		rp.received()
		again := newEnv(t, envOptions{base: "/tenant", file: e.file, clock: e.clock, config: rp.outbound})
		rp.answer(http.StatusOK)
		e.clock.add(31 * time.Second)
		if n, err := again.server.DeliverLogouts(ctx); err != nil || n != 1 {
			t.Fatalf("told %d, err %v", n, err)
		}
		_, a := decodeJWT(t, first[0])
		_, z := decodeJWT(t, rp.received()[0])
		if a["jti"] != z["jti"] || z["exp"].(float64) < float64(e.clock.Now().Unix()) {
			t.Errorf("first %v, last %v", a, z)
		}
	})
	t.Run("a client that refuses, and one that is gone, are not", func(t *testing.T) {
		b, hint := signedIn(e, reg)
		rp.answer(http.StatusBadRequest)
		b.do("GET", e.logoutURL("id_token_hint", hint), nil)
		deliver(0)
		b, hint = signedIn(e, never)
		b.do("GET", e.logoutURL("id_token_hint", hint), nil)
		if err := e.reg.Delete(ctx, oauthreg.ByID(never.Client.ID)); err != nil {
			t.Fatal(err)
		}
		rp.answer(http.StatusOK)
		e.clock.add(25 * time.Hour)
		rp.received()
		deliver(0)
		if got := rp.received(); len(got) != 0 {
			t.Errorf("told %d times", len(got))
		}
	})
	t.Run("given up after a day", func(t *testing.T) {
		b, hint := signedIn(e, reg)
		rp.answer(http.StatusInternalServerError)
		b.do("GET", e.logoutURL("id_token_hint", hint), nil)
		tries := 0
		for range 80 {
			deliver(0)
			tries += len(rp.received())
			e.clock.add(time.Hour)
		}
		if tries < 10 || tries > 40 {
			t.Errorf("%d tries", tries)
		}
		rp.answer(http.StatusOK)
	})
	t.Run("many deliverers tell a client once", func(t *testing.T) {
		b, hint := signedIn(e, reg)
		b.do("GET", e.logoutURL("id_token_hint", hint), nil)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := e.server.DeliverLogouts(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := rp.received(); len(got) != 1 {
			t.Errorf("told %d times", len(got))
		}
	})
	t.Run("the loop wakes when a session ends", func(t *testing.T) {
		loop, stop := context.WithCancel(ctx)
		done := make(chan error)
		go func() { done <- e.server.RunLogouts(loop, time.Hour) }()
		b, hint := signedIn(e, reg)
		b.do("GET", e.logoutURL("id_token_hint", hint), nil)
		for deadline := time.Now().Add(10 * time.Second); len(rp.received()) == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nobody was told")
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A host that ends sessions by itself says so.
func TestEndSessionOfHost(t *testing.T) {
	rp := newRelyingParty(t)
	e, host := hostEnv(t, rp.outbound)
	host.login = &oauthreg.Login{Subject: "sub-alice", SessionID: "host-1", AuthTime: e.clock.Now()}
	reg := e.register(with(logoutClient(), func(c *oauthreg.Client) { c.BackchannelLogoutURI = rp.URL + "/b" }))
	e.tokens(reg, "scope", "openid")
	for range 2 {
		if err := e.server.EndSession(context.Background(), "host-1"); err != nil {
			t.Fatal(err)
		}
	}
	n, err := e.server.DeliverLogouts(context.Background())
	if _, claims := decodeJWT(t, rp.received()[0]); n != 1 || err != nil || claims["sid"] != "host-1" {
		t.Errorf("told %d, err %v: %v", n, err, claims)
	}
}

// A session that could not be ended is still there, cookie and all, and nobody is
// told.
func TestLogoutFails(t *testing.T) {
	rp := newRelyingParty(t)
	broken := &brokenSignOut{}
	e, host := hostEnv(t, rp.outbound, func(c *handlers.Config) {})
	host.login = &oauthreg.Login{Subject: "sub-alice", SessionID: "host-1", AuthTime: e.clock.Now()}
	broken.steppingHost = host
	e = newEnv(t, envOptions{file: e.file, config: func(c *handlers.Config) { c.SignIn, c.Users = broken, nil; rp.outbound(c) }})
	reg := e.register(with(logoutClient(), func(c *oauthreg.Client) { c.BackchannelLogoutURI = rp.URL + "/b" }))
	hint := e.tokens(reg, "scope", "openid").str("id_token")
	a := e.browser().do("GET", e.logoutURL("id_token_hint", hint), nil)
	if a.status != http.StatusServiceUnavailable || a.header.Get("Set-Cookie") != "" {
		t.Errorf("status %d, Set-Cookie %q", a.status, a.header.Get("Set-Cookie"))
	}
	if n, err := e.server.DeliverLogouts(context.Background()); n != 0 || err != nil {
		t.Errorf("told %d, err %v", n, err)
	}
}

type brokenSignOut struct{ *steppingHost }

func (brokenSignOut) SignOut(w http.ResponseWriter, _ *http.Request) error {
	http.SetCookie(w, &http.Cookie{Name: "host", Value: "", MaxAge: -1})
	return errors.New("the host is down")
}

// field is the value of a hidden field.
func field(t *testing.T, body, name string) string {
	t.Helper()
	page, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for n := range page.Descendants() {
		if n.Data == "input" && attr(n, "name") == name {
			return attr(n, "value")
		}
	}
	t.Fatalf("no field %s in %s", name, body)
	return ""
}

func TestFrontchannelLogout(t *testing.T) {
	e := openIDEnv(t, "/tenant")
	reg := e.register(logoutClient())
	plain := e.register(with(logoutClient(), func(c *oauthreg.Client) { c.FrontchannelLogoutURI = "https://one.example/out?a=1" }))
	full := e.register(with(logoutClient(), func(c *oauthreg.Client) {
		c.FrontchannelLogoutURI, c.FrontchannelLogoutSessionRequired = "https://two.example:8443/out", true
	}))
	b, hint := signedIn(e, reg)
	for _, c := range []oauthreg.Registration{plain, full} {
		target, _ := e.authorizeURL(c.Client.ClientID, "scope", "openid")
		b.walk(target)
	}
	_, id := decodeJWT(t, hint)
	a := b.do("GET", e.logoutURL("id_token_hint", hint, "post_logout_redirect_uri", signedOutURI), nil)
	page, err := html.Parse(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	frames, next := map[string]bool{}, ""
	for n := range page.Descendants() {
		switch n.Data {
		case "iframe":
			frames[attr(n, "src")] = true
		case "a":
			next = attr(n, "href")
		}
	}
	want := "https://two.example:8443/out?iss=" + url.QueryEscape(e.issuer) + "&sid=" + url.QueryEscape(id["sid"].(string))
	if len(frames) != 2 || !frames["https://one.example/out?a=1"] || !frames[want] {
		t.Errorf("frames %v, want %s among them", frames, want)
	}
	csp := a.header.Get("Content-Security-Policy")
	_, sources, _ := strings.Cut(csp, "frame-src ")
	if got := strings.Fields(sources); len(got) != 2 || !strings.Contains(sources, "https://one.example") || !strings.Contains(sources, "https://two.example:8443") {
		t.Errorf("policy %s", csp)
	}
	if next != signedOutURI || a.header.Get("Refresh") != "3;url="+signedOutURI {
		t.Errorf("goes on to %q, Refresh %q", next, a.header.Get("Refresh"))
	}
	if b.hasSession(reg) {
		t.Error("the session lives")
	}
	// Who did not take part is not loaded.
	b, hint = signedIn(e, reg)
	if a := b.do("GET", e.logoutURL("id_token_hint", hint, "post_logout_redirect_uri", signedOutURI), nil); a.location == nil {
		t.Errorf("got a page: %s", a.body)
	}
}
