package handlers_test

import (
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// signedClient is a client whose request objects key signs.
func signedClient(t testing.TB, key assertionKey) oauthreg.Client {
	c := openIDClient()
	c.JWKS = jwkSet(t, key)
	return c
}

// requestClaims are those of a good request object.
func requestClaims(e *env, clientID string) (claims map[string]any, verifier string) {
	verifier = oauth2.GenerateVerifier()
	now := e.clock.Now()
	return map[string]any{
		"iss": clientID, "aud": e.issuer, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "jti": "j-1",
		"client_id": clientID, "response_type": "code", "redirect_uri": callback, "scope": "openid email", "state": "inside", "nonce": "n-1",
		"code_challenge": oauth2.S256ChallengeFromVerifier(verifier), "code_challenge_method": "S256",
	}, verifier
}

func unsigned(claims map[string]any) string {
	enc := base64.RawURLEncoding
	return enc.EncodeToString([]byte(`{"alg":"none"}`)) + "." + enc.EncodeToString(must(json.Marshal(claims))) + "."
}

func TestRequestObject(t *testing.T) {
	for _, base := range []string{"", "/auth/tenant"} {
		e := openIDEnv(t, base)
		key := newAssertionKey(t)
		reg := e.register(signedClient(t, key))
		id := reg.Client.ClientID
		claims, verifier := requestClaims(e, id)
		claims["max_age"], claims["claims"] = 3600, map[string]any{"id_token": map[string]any{"email": nil}}
		claims["resource"] = []string{e.issuer + "/api"}
		// Beside it stands what must not count.
		q := url.Values{"client_id": {id}, "request": {key.sign(t, "ES256", claims)},
			"scope": {"read"}, "state": {"outside"}, "nonce": {"n-2"}, "redirect_uri": {"https://evil.example/"}, "code_challenge": {strings.Repeat("A", 43)}, "max_age": {"0"}}
		a := e.browser().walk(e.issuer + "/oauth/authorize?" + q.Encode())
		if a.param("state") != "inside" || a.location == nil || a.location.Host != "client.example" {
			t.Fatalf("location %v\n%s", a.location, a.body)
		}
		tokens := e.redeem(reg, a.param("code"), verifier)
		tokens.wantOK(t)
		_, got := decodeJWT(t, tokens.str("id_token"))
		if got["nonce"] != "n-1" || got["email"] != "alice@example.com" || tokens.str("scope") != "openid email" {
			t.Errorf("scope %q, claims %v", tokens.str("scope"), got)
		}
		if in := e.authenticated("/oauth/introspect", reg, "token", tokens.str("access_token")); in.body["aud"] != e.issuer+"/api" {
			t.Errorf("introspection %s", in.raw)
		}
	}

	e := openIDEnv(t, "")
	key, other := newAssertionKey(t), newAssertionKey(t)
	rs := newAssertionKeyOn(t, elliptic.P384(), "ES384")
	reg := e.register(with(signedClient(t, key), func(c *oauthreg.Client) { c.JWKS = jwkSet(t, key, rs) }))
	id := reg.Client.ClientID
	now := e.clock.Now()
	send := func(object string, more ...string) *answer {
		t.Helper()
		q := url.Values{"client_id": {id}, "request": {object}, "redirect_uri": {callback}, "state": {"outside"}, "response_type": {"code"}}
		for i := 0; i < len(more); i += 2 {
			q.Set(more[i], more[i+1])
		}
		return e.browser().walk(e.issuer + "/oauth/authorize?" + q.Encode())
	}
	for _, tt := range []struct {
		name   string
		change map[string]any // nil removes
		ok     bool
	}{
		{"response_type beside it alone", map[string]any{"response_type": nil}, true},
		{"client_id beside it alone", map[string]any{"client_id": nil}, true},
		{"aud among others", map[string]any{"aud": []string{"https://x.example", e.issuer}}, true},
		{"another aud", map[string]any{"aud": "https://other.example"}, false},
		{"no aud", map[string]any{"aud": nil}, false},
		{"another iss", map[string]any{"iss": "x"}, false},
		{"no iss", map[string]any{"iss": nil}, false},
		{"another client_id", map[string]any{"client_id": "x"}, false},
		{"expired", map[string]any{"exp": now.Add(-2 * time.Minute).Unix()}, false},
		{"no exp", map[string]any{"exp": nil}, false},
		{"exp in a year", map[string]any{"exp": now.Add(8760 * time.Hour).Unix()}, false},
		{"not yet", map[string]any{"nbf": now.Add(time.Hour).Unix()}, false},
		{"a client assertion", map[string]any{"sub": id}, false},
		{"an object within", map[string]any{"request": "x"}, false},
		{"a reference within", map[string]any{"request_uri": "https://x.example"}, false},
		{"a secret within", map[string]any{"client_secret": reg.Secret}, false},
		{"a list where there is none", map[string]any{"scope": []string{"openid"}}, false},
		{"parts that are no JSON strings", map[string]any{"max_age": 10}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e.t = t
			claims, _ := requestClaims(e, id)
			for name, v := range tt.change {
				if v == nil {
					delete(claims, name)
				} else {
					claims[name] = v
				}
			}
			a := send(key.sign(t, "ES256", claims))
			if ok := a.param("code") != ""; ok != tt.ok || !ok && (a.param("error") != "invalid_request_object" || a.param("state") != "outside") {
				t.Errorf("got %v\n%s", a.location, a.body)
			}
		})
	}
	e.t = t
	claims, _ := requestClaims(e, id)
	good := key.sign(t, "ES256", claims)
	for name, object := range map[string]string{
		"unsigned": unsigned(claims), "by another key": other.sign(t, "ES256", claims), "changed": good[:len(good)-6] + "AAAAAA",
		"not a JWT": "x", "five parts": "a.b.c.d.e",
	} {
		if a := send(object); a.param("error") != "invalid_request_object" {
			t.Errorf("%s: %v", name, a.location)
		}
	}
	t.Run("errors of the request within go where it says", func(t *testing.T) {
		bad := maps.Clone(claims)
		bad["scope"] = "admin"
		if a := send(key.sign(t, "ES256", bad)); a.param("error") != "invalid_scope" || a.param("state") != "inside" {
			t.Errorf("location %v", a.location)
		}
		bad["redirect_uri"] = "https://evil.example/"
		if a := send(key.sign(t, "ES256", bad)); a.location != nil || a.status != http.StatusBadRequest {
			t.Errorf("location %v", a.location)
		}
	})
	t.Run("no way to tell where a refusal goes", func(t *testing.T) {
		if a := send("x", "redirect_uri", "https://evil.example/"); a.location != nil || a.status != http.StatusBadRequest {
			t.Errorf("location %v", a.location)
		}
	})
	t.Run("of a client without keys", func(t *testing.T) {
		plain := e.register(openIDClient())
		wantRedirectError(t, e, plain, "request_not_supported", "request", unsigned(claims))
		wantRedirectError(t, e, plain, "request_uri_not_supported", "request_uri", "https://client.example/r")
		wantRedirectError(t, e, plain, "registration_not_supported", "registration", "{}")
	})
	t.Run("of a client without request_uris", func(t *testing.T) {
		wantRedirectError(t, e, reg, "request_uri_not_supported", "request_uri", "https://client.example/r")
		wantRedirectError(t, e, reg, "invalid_request", "request_uri", "https://client.example/r", "request", good)
	})
}

func TestRequestURI(t *testing.T) {
	var object atomic.Value
	var fetches atomic.Int32
	object.Store("")
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetches.Add(1)
		switch r.URL.Path {
		case "/gone":
			http.NotFound(w, r)
		case "/moved":
			http.Redirect(w, r, "/r", http.StatusFound)
		case "/big":
			_, _ = w.Write(make([]byte, 70<<10))
		default:
			_, _ = w.Write([]byte(object.Load().(string)))
		}
	}))
	t.Cleanup(web.Close)
	pool := x509.NewCertPool()
	pool.AddCert(web.Certificate())
	e := openIDEnv(t, "", func(c *handlers.Config) {
		c.Outbound = handlers.NewOutbound(handlers.OutboundConfig{Private: true, CAs: pool})
	})
	key := newAssertionKey(t)
	reg := e.register(with(signedClient(t, key), func(c *oauthreg.Client) {
		c.RequestURIs = []string{web.URL + "/r", web.URL + "/gone", web.URL + "/moved", web.URL + "/big", web.URL + "/pinned#abc"}
	}))
	id := reg.Client.ClientID
	ask := func(uri string) *answer {
		q := url.Values{"client_id": {id}, "request_uri": {uri}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {"openid"}}
		return e.browser().walk(e.issuer + "/oauth/authorize?" + q.Encode())
	}
	claims, verifier := requestClaims(e, id)
	delete(claims, "exp") // the client can take it away
	object.Store(key.sign(t, "ES256", claims))
	a := ask(web.URL + "/r")
	e.redeem(reg, a.param("code"), verifier).wantOK(t)

	// A fragment that is the digest of what is there makes a second look needless.
	sum := sha256.Sum256([]byte(object.Load().(string)))
	pinned := web.URL + "/r#" + base64.RawURLEncoding.EncodeToString(sum[:])
	before := fetches.Load()
	for range 3 {
		if a := ask(pinned); a.param("code") == "" {
			t.Fatalf("location %v", a.location)
		}
	}
	if n := fetches.Load() - before; n != 1 {
		t.Errorf("fetched %d times", n)
	}
	if a := ask(web.URL + "/pinned#abc"); a.param("code") == "" {
		t.Errorf("location %v", a.location)
	}
	for _, uri := range []string{
		web.URL + "/other", web.URL + "/r?x=1", web.URL + "/R", web.URL + "/pinned#other", "https://169.254.169.254/", "file:///etc/passwd",
		web.URL + "/gone", web.URL + "/moved", web.URL + "/big", web.URL + "/r#" + strings.Repeat("x", 512),
	} {
		if a := ask(uri); a.param("error") != "invalid_request_uri" {
			t.Errorf("%s: %v", uri, a.location)
		}
	}
	for name, bad := range map[string]string{"unsigned": unsigned(claims), "by another key": newAssertionKey(t).sign(t, "ES256", claims)} {
		object.Store(bad)
		if a := ask(web.URL + "/r"); a.param("error") != "invalid_request_object" {
			t.Errorf("%s: %v", name, a.location)
		}
	}

	t.Run("an address that is not public", func(t *testing.T) {
		guarded := openIDEnv(t, "")
		local := guarded.register(with(signedClient(t, key), func(c *oauthreg.Client) { c.RequestURIs = []string{web.URL + "/r"} }))
		before := fetches.Load()
		wantRedirectError(t, guarded, local, "invalid_request_uri", "request_uri", web.URL+"/r")
		if fetches.Load() != before {
			t.Error("it was fetched")
		}
	})
}

// Pairwise subjects, in every message that a client gets (OpenID Connect Core §8).
func TestPairwiseSubject(t *testing.T) {
	e := openIDEnv(t, "")
	pairwise := func(c oauthreg.Client, sector string) oauthreg.Client {
		c.SubjectType, c.SectorIdentifierURI = oauthreg.PairwiseSubject, sector
		return c
	}
	a := e.register(with(pairwise(openIDClient(), ""), func(c *oauthreg.Client) { c.AccessTokenFormat = oauthreg.JWT }))
	sameHost := e.register(pairwise(openIDClient(), ""))
	elsewhere := e.register(pairwise(openIDClient(), "https://sector.example/uris"))
	plain := e.register(openIDClient())
	rs := e.register(with(machineClient(), func(c *oauthreg.Client) { c.ResourceServer = []string{e.issuer + "/api"} }))

	tokens := e.tokens(a, "scope", "openid email", "resource", e.issuer+"/api")
	_, id := decodeJWT(t, tokens.str("id_token"))
	sub, _ := id["sub"].(string)
	if sub == "" || sub == "sub-alice" || id["sub"] == e.idToken(elsewhere, "scope", "openid")["sub"] {
		t.Fatalf("sub is %q", sub)
	}
	_, access := decodeJWT(t, tokens.str("access_token"))
	refreshed := e.tokenRequest(a, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token"))
	_, again := decodeJWT(t, refreshed.str("id_token"))
	for name, got := range map[string]any{
		"userinfo":                         e.userinfo(tokens.str("access_token")).body["sub"],
		"the JWT":                          access["sub"],
		"introspection":                    e.authenticated("/oauth/introspect", a, "token", tokens.str("access_token")).body["sub"],
		"introspection of a refresh token": e.authenticated("/oauth/introspect", a, "token", refreshed.str("refresh_token")).body["sub"],
		"introspection by the resource":    e.authenticated("/oauth/introspect", rs, "token", refreshed.str("access_token")).body["sub"],
		"after refresh":                    again["sub"],
		"another client of the sector":     e.idToken(sameHost, "scope", "openid")["sub"],
	} {
		if got != sub {
			t.Errorf("%s: sub is %v, want %s", name, got, sub)
		}
	}
	if e.userinfo(tokens.str("access_token")).str("email") == "" {
		t.Error("the host was not asked by its own name for the user")
	}
	if got := e.idToken(plain, "scope", "openid")["sub"]; got != "sub-alice" {
		t.Errorf("a public client got %v", got)
	}

	// A hint names the user as the client knows them.
	b := e.browser()
	target, verifier := e.authorizeURL(a.Client.ClientID, "scope", "openid")
	hint := e.redeem(a, b.walk(target).param("code"), verifier).str("id_token")
	target, _ = e.authorizeURL(a.Client.ClientID, "scope", "openid", "id_token_hint", hint, "prompt", "none")
	if x := b.walk(target); x.param("code") == "" {
		t.Errorf("location %v", x.location)
	}
	target, _ = e.authorizeURL(a.Client.ClientID, "scope", "openid", "claims", `{"id_token":{"sub":{"value":"`+sub+`"}}}`, "prompt", "none")
	if x := b.walk(target); x.param("code") == "" {
		t.Errorf("location %v", x.location)
	}
}

func TestSignedUserinfo(t *testing.T) {
	e := openIDEnv(t, "/tenant")
	reg := e.register(with(openIDClient(), func(c *oauthreg.Client) { c.UserinfoSignedResponseAlg = "ES256" }))
	tokens := e.tokens(reg, "scope", "openid email")
	a := e.userinfo(tokens.str("access_token"))
	header, claims := decodeJWT(t, a.raw)
	if a.header.Get("Content-Type") != "application/jwt" || header["alg"] != "ES256" || claims["iss"] != e.issuer ||
		claims["aud"] != reg.Client.ClientID || claims["email"] != "alice@example.com" || claims["sub"] != "sub-alice" {
		t.Errorf("%s: %v %v", a.header.Get("Content-Type"), header, claims)
	}
	// It is no ID token.
	wantRedirectError(t, e, reg, "invalid_request", "scope", "openid", "id_token_hint", a.raw)
}
