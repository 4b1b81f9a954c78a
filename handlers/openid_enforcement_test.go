package handlers_test

import (
	"context"
	"crypto/elliptic"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// openIDEnforcements are the rows of the members of OpenID Connect Registration
// and its logout specifications.
func openIDEnforcements() []enforcement {
	minute := time.Minute
	return []enforcement{
		{"PostLogoutRedirectURIs", "the browser goes to a registered one", true, func(t *testing.T, e *env) {
			b, hint := signedIn(e, e.register(logoutClient()))
			if a := b.do("GET", e.logoutURL("id_token_hint", hint, "post_logout_redirect_uri", signedOutURI), nil); a.location == nil || a.location.String() != signedOutURI {
				t.Errorf("location %v", a.location)
			}
		}},
		{"PostLogoutRedirectURIs", "and to no other", false, func(t *testing.T, e *env) {
			b, hint := signedIn(e, e.register(with(logoutClient(), func(c *oauthreg.Client) { c.PostLogoutRedirectURIs = nil })))
			for _, uri := range []string{signedOutURI, callback} {
				if a := b.do("GET", e.logoutURL("id_token_hint", hint, "post_logout_redirect_uri", uri), nil); a.location != nil {
					t.Errorf("location %v", a.location)
				}
			}
		}},
		{"IDTokenSignedResponseAlg", "nothing by an algorithm that the server has no key for", false, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.IDTokenSignedResponseAlg = "PS512" }))
			wantRedirectError(t, e, reg, "unauthorized_client", "scope", "openid")
			wantCode(t, e, reg, "scope", "read")
		}},
		{"UserinfoSignedResponseAlg", "a JWT by that algorithm", true, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.UserinfoSignedResponseAlg = "ES256" }))
			a := e.userinfo(e.tokens(reg, "scope", "openid").str("access_token"))
			if header, _ := decodeJWT(t, a.raw); header["alg"] != "ES256" {
				t.Errorf("alg is %v", header["alg"])
			}
		}},
		{"UserinfoSignedResponseAlg", "JSON for every other", false, func(t *testing.T, e *env) {
			a := e.userinfo(e.tokens(e.register(webClient()), "scope", "openid").str("access_token"))
			if a.header.Get("Content-Type") != "application/json" || a.str("sub") != "sub-alice" {
				t.Errorf("got %s", a.raw)
			}
		}},
		{"SubjectType", "a pairwise client sees a subject of its own", true, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.SubjectType = oauthreg.PairwiseSubject }))
			if sub := e.idToken(reg, "scope", "openid")["sub"]; sub == "sub-alice" || sub == "" {
				t.Errorf("sub is %v", sub)
			}
		}},
		{"SubjectType", "every other sees the user's", false, func(t *testing.T, e *env) {
			for _, kind := range []oauthreg.SubjectType{"", oauthreg.PublicSubject} {
				reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.SubjectType = kind }))
				if sub := e.idToken(reg, "scope", "openid")["sub"]; sub != "sub-alice" {
					t.Errorf("sub is %v", sub)
				}
			}
		}},
		{"SectorIdentifierURI", "clients of one sector see the same subject", true, func(t *testing.T, e *env) {
			a := e.register(pairwiseClient("https://sector.example/a", callback))
			b := e.register(pairwiseClient("https://sector.example/b", callback))
			if x, y := e.idToken(a, "scope", "openid")["sub"], e.idToken(b, "scope", "openid")["sub"]; x != y {
				t.Errorf("sub is %v and %v", x, y)
			}
		}},
		{"SectorIdentifierURI", "those of others do not, whatever their redirect URIs are", false, func(t *testing.T, e *env) {
			a := e.register(pairwiseClient("https://sector.example/a", callback))
			b := e.register(pairwiseClient("https://other.example/a", callback))
			if x, y := e.idToken(a, "scope", "openid")["sub"], e.idToken(b, "scope", "openid")["sub"]; x == y {
				t.Errorf("both see %v", x)
			}
		}},
		{"RequestObjectSigningAlg", "the registered one", true, func(t *testing.T, e *env) {
			key := newAssertionKey(t)
			reg := e.register(with(signedClient(t, key), func(c *oauthreg.Client) { c.RequestObjectSigningAlg, c.Scopes = "ES256", webClient().Scopes }))
			claims, _ := requestClaims(e, reg.Client.ClientID)
			claims["scope"] = "openid"
			wantCode(t, e, reg, "request", key.sign(t, "ES256", claims))
		}},
		{"RequestObjectSigningAlg", "another one, and none", false, func(t *testing.T, e *env) {
			key, big := newAssertionKey(t), newAssertionKeyOn(t, elliptic.P384(), "ES384")
			reg := e.register(with(signedClient(t, key), func(c *oauthreg.Client) {
				c.JWKS = jwkSet(t, key, big)
				c.RequestObjectSigningAlg = "ES256"
			}))
			claims, _ := requestClaims(e, reg.Client.ClientID)
			wantRedirectError(t, e, reg, "invalid_request_object", "request", big.sign(t, "ES384", claims))
			wantRedirectError(t, e, reg, "invalid_request_object", "request", unsigned(claims))
		}},
		{"RequestURIs", "a request object from a registered place", true, func(t *testing.T, _ *env) {
			e, key, place := envWithRequest(t)
			reg := e.register(with(signedClient(t, key.assertionKey), func(c *oauthreg.Client) { c.RequestURIs = []string{place} }))
			claims, _ := requestClaims(e, reg.Client.ClientID)
			key.object = key.sign(t, "ES256", claims)
			wantCode(t, e, reg, "request_uri", place)
		}},
		{"RequestURIs", "not from another", false, func(t *testing.T, _ *env) {
			e, key, place := envWithRequest(t)
			reg := e.register(with(signedClient(t, key.assertionKey), func(c *oauthreg.Client) { c.RequestURIs = []string{place} }))
			claims, _ := requestClaims(e, reg.Client.ClientID)
			key.object = key.sign(t, "ES256", claims)
			wantRedirectError(t, e, reg, "invalid_request_uri", "request_uri", place+"/other")
		}},
		{"DefaultMaxAge", "a sign-in that is young enough", true, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.DefaultMaxAge, c.FirstParty = &minute, true }))
			b, _ := signedIn(e, reg)
			if !b.hasSession(reg) {
				t.Error("the user has to sign in")
			}
		}},
		{"DefaultMaxAge", "one that is too old", false, func(t *testing.T, _ *env) {
			e := newEnv(t, envOptions{})
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.DefaultMaxAge, c.FirstParty = &minute, true }))
			b, _ := signedIn(e, reg)
			e.clock.add(2 * time.Minute)
			target, _ := e.authorizeURL(reg.Client.ClientID, "scope", "openid", "prompt", "none")
			if a := b.walk(target); a.param("error") != "login_required" {
				t.Errorf("location %v", a.location)
			}
		}},
		{"RequireAuthTime", "the ID token has auth_time", true, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.RequireAuthTime = true }))
			if e.idToken(reg, "scope", "openid")["auth_time"] == nil {
				t.Error("auth_time is missing")
			}
		}},
		{"RequireAuthTime", "nothing for a sign-in whose time nobody knows", false, func(t *testing.T, _ *env) {
			e, host := hostEnv(t)
			host.login = &oauthreg.Login{Subject: "sub-alice", SessionID: "s"}
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.RequireAuthTime = true }))
			wantRedirectError(t, e, reg, "login_required")
		}},
		{"DefaultACRValues", "are what the sign-in is asked for", true, func(t *testing.T, _ *env) {
			e, host := hostEnv(t)
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.DefaultACRValues = []string{"urn:mfa"} }))
			host.begin = func(req handlers.SignInRequest) *oauthreg.Login {
				return &oauthreg.Login{Subject: "sub-alice", AuthTime: e.clock.Now(), ACR: req.ACRValues[0]}
			}
			if acr := e.idToken(reg, "scope", "openid")["acr"]; acr != "urn:mfa" {
				t.Errorf("acr is %v", acr)
			}
		}},
		{"DefaultACRValues", "not when the request has its own", false, func(t *testing.T, _ *env) {
			e, host := hostEnv(t)
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.DefaultACRValues = []string{"urn:mfa"} }))
			host.begin = func(req handlers.SignInRequest) *oauthreg.Login {
				return &oauthreg.Login{Subject: "sub-alice", AuthTime: e.clock.Now(), ACR: req.ACRValues[0]}
			}
			if acr := e.idToken(reg, "scope", "openid", "acr_values", "urn:pwd")["acr"]; acr != "urn:pwd" {
				t.Errorf("acr is %v", acr)
			}
		}},
		{"BackchannelLogoutURI", "is told of the end of a session", true, func(t *testing.T, _ *env) {
			if got := toldBackchannel(t, true); len(got) != 1 {
				t.Errorf("told %d times", len(got))
			}
		}},
		{"BackchannelLogoutURI", "nobody is told who did not register one", false, func(t *testing.T, _ *env) {
			if got := toldBackchannel(t, false); len(got) != 0 {
				t.Errorf("told %d times", len(got))
			}
		}},
		{"FrontchannelLogoutURI", "is loaded at the end of a session", true, func(t *testing.T, e *env) {
			b, hint := signedIn(e, e.register(with(logoutClient(), func(c *oauthreg.Client) { c.FrontchannelLogoutURI = "https://client.example/front" })))
			if a := b.do("GET", e.logoutURL("id_token_hint", hint), nil); frame(t, a) != "https://client.example/front" {
				t.Errorf("got %s", a.body)
			}
		}},
		{"FrontchannelLogoutURI", "nothing is loaded without", false, func(t *testing.T, e *env) {
			b, hint := signedIn(e, e.register(logoutClient()))
			if a := b.do("GET", e.logoutURL("id_token_hint", hint), nil); frame(t, a) != "" {
				t.Errorf("got %s", a.body)
			}
		}},
		{"FrontchannelLogoutSessionRequired", "adds iss and sid", true, func(t *testing.T, e *env) {
			b, hint := signedIn(e, e.register(with(logoutClient(), func(c *oauthreg.Client) {
				c.FrontchannelLogoutURI, c.FrontchannelLogoutSessionRequired = "https://client.example/front", true
			})))
			_, id := decodeJWT(t, hint)
			if got := frame(t, b.do("GET", e.logoutURL("id_token_hint", hint), nil)); !hasQuery(got, "iss", e.issuer) || !hasQuery(got, "sid", id["sid"].(string)) {
				t.Errorf("loads %s", got)
			}
		}},
		{"FrontchannelLogoutSessionRequired", "without it the URI is as registered", false, func(t *testing.T, e *env) {
			b, hint := signedIn(e, e.register(with(logoutClient(), func(c *oauthreg.Client) { c.FrontchannelLogoutURI = "https://client.example/front?a=1" })))
			if got := frame(t, b.do("GET", e.logoutURL("id_token_hint", hint), nil)); got != "https://client.example/front?a=1" {
				t.Errorf("loads %s", got)
			}
		}},
	}
}

func pairwiseClient(sector string, redirects ...string) oauthreg.Client {
	return with(webClient(), func(c *oauthreg.Client) {
		c.SubjectType, c.SectorIdentifierURI, c.RedirectURIs = oauthreg.PairwiseSubject, sector, redirects
	})
}

// servedKey is a key and the request object that a place serves.
type servedKey struct {
	assertionKey
	object string
}

func envWithRequest(t *testing.T) (e *env, key *servedKey, place string) {
	key = &servedKey{assertionKey: newAssertionKey(t)}
	rp := newRelyingParty(t)
	rp.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(key.object)) })
	return openIDEnv(t, "", rp.outbound), key, rp.URL + "/r"
}

// toldBackchannel is what a client's server gets when a session ends.
func toldBackchannel(t *testing.T, registered bool) []string {
	rp := newRelyingParty(t)
	e := openIDEnv(t, "", rp.outbound)
	b, hint := signedIn(e, e.register(with(logoutClient(), func(c *oauthreg.Client) {
		if registered {
			c.BackchannelLogoutURI = rp.URL
		}
	})))
	b.do("GET", e.logoutURL("id_token_hint", hint), nil)
	if _, err := e.server.DeliverLogouts(context.Background()); err != nil {
		t.Fatal(err)
	}
	return rp.received()
}

// frame is the first page that a page loads in a frame.
func frame(t *testing.T, a *answer) string {
	t.Helper()
	page, err := html.Parse(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	for n := range page.Descendants() {
		if n.Data == "iframe" {
			return attr(n, "src")
		}
	}
	return ""
}

func hasQuery(uri, name, value string) bool {
	u, err := url.Parse(uri)
	return err == nil && u.Query().Get(name) == value
}
