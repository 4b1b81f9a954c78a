package handlers_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// The modules of the OpenID Foundation's conformance suite for the profiles
// Basic, Config, Dynamic, Form Post and RP-Initiated Logout, each as a test of
// its name that does what the module does. Clients register themselves, without
// PKCE, as those of the suite do.

// everyClaim is a user with every standard claim (OpenID Connect Core §5.1).
type everyClaim struct{}

var standardClaims = map[string][]string{
	"profile": {"name", "family_name", "given_name", "middle_name", "nickname", "preferred_username", "profile", "picture", "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at"},
	"email":   {"email", "email_verified"},
	"address": {"address"},
	"phone":   {"phone_number", "phone_number_verified"},
}

func (everyClaim) Claims(context.Context, string) (map[string]any, error) {
	out := map[string]any{
		"address": map[string]any{"formatted": "1 Rabbit Hole"}, "email_verified": true, "phone_number_verified": false, "updated_at": 1700000000,
		"email": "alice@example.com", "birthdate": "1990-01-01", "zoneinfo": "Europe/London", "locale": "en-GB",
	}
	for _, claims := range standardClaims {
		for _, name := range claims {
			if out[name] == nil {
				out[name] = "https://alice.example/" + name
			}
		}
	}
	return out, nil
}

// relyingSite is the suite's own site: what it serves, clients refer to.
type relyingSite struct {
	*httptest.Server
	mu    sync.Mutex
	pages map[string]string
}

func (s *relyingSite) serve(path, body string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages[path] = body
	return siteURL + path
}

// siteURL is what the site's certificate is for: addresses are not taken from
// clients that register themselves.
const siteURL = "https://example.com"

func newRelyingSite(t *testing.T) *relyingSite {
	t.Helper()
	s := &relyingSite{pages: map[string]string{}}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		body, ok := s.pages[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return s
}

// certified is a server as the suite tests it.
type certified struct {
	*managedEnv
	site *relyingSite
}

func newCertified(t *testing.T) *certified {
	t.Helper()
	site := newRelyingSite(t)
	pool := x509.NewCertPool()
	pool.AddCert(site.Certificate())
	return &certified{site: site, managedEnv: newManagedEnv(t, envOptions{config: func(c *handlers.Config) {
		c.Claims, c.UnsignedRequestURIs, c.SelfRegisteredLogos = everyClaim{}, true, true
		c.Outbound = &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, site.Listener.Addr().String())
			},
		}}
		c.Scopes = []handlers.Scope{{Name: "openid"}, {Name: "profile"}, {Name: "email"}, {Name: "address"}, {Name: "phone"}, {Name: "offline_access"}}
		c.Registration = handlers.RegistrationConfig{Mode: handlers.RegistrationOpen, Policy: func(_ context.Context, c *oauthreg.Client, _ handlers.RegistrationRequest) error {
			c.RequirePKCE = c.IsPublic()
			return nil
		}}
	}}, nil)}
}

// suiteParty is a relying party of the suite and a person at a browser.
type suiteParty struct {
	*certified
	t    *testing.T
	reg  oauthreg.Registration
	info *tokenAnswer // the registration's answer
	b    *browser
	mode string // response_mode
	key  *jose.JSONWebKey
}

// party registers a client. members are those of the request beyond the usual.
func (e *certified) party(t *testing.T, mode string, members map[string]any) *suiteParty {
	t.Helper()
	all := map[string]any{
		"client_name": "Conformance", "redirect_uris": []string{callback}, "grant_types": []string{"authorization_code", "refresh_token"},
		"scope": "openid profile email address phone offline_access",
	}
	maps.Copy(all, members)
	info := e.registerByHTTP(string(must(json.Marshal(all))))
	return &suiteParty{certified: e, t: t, info: info, reg: e.registration(info), b: e.browser(), mode: mode}
}

func (e *certified) keyParty(t *testing.T, members map[string]any) *suiteParty {
	t.Helper()
	key := newRSAJWK(t)
	all := map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}}}
	maps.Copy(all, members)
	p := e.party(t, "", all)
	p.key = key
	return p
}

func newRSAJWK(t *testing.T) *jose.JSONWebKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &jose.JSONWebKey{Key: key, KeyID: rand.Text(), Algorithm: "RS256", Use: "sig"}
}

func (p *suiteParty) target(params ...string) string {
	target, _ := p.authorizeURL(p.reg.Client.ClientID, append([]string{"code_challenge", "-", "code_challenge_method", "-", "scope", "openid", "nonce", "n-1"}, params...)...)
	if p.mode != "" {
		target += "&response_mode=" + p.mode
	}
	return target
}

// answer is what the redirect URI gets.
func (p *suiteParty) answer(a *answer) url.Values {
	p.t.Helper()
	if p.mode == "form_post" && a.location == nil {
		to, form := posted(p.t, a)
		if to != callback {
			p.t.Errorf("posted to %s", to)
		}
		return form
	}
	if a.location == nil {
		p.t.Fatalf("no answer: %d\n%s", a.status, a.body)
	}
	return a.location.Query()
}

func (p *suiteParty) authorize(params ...string) url.Values {
	p.t.Helper()
	p.b.pages = nil
	got := p.answer(p.b.walk(p.target(params...)))
	if got.Get("state") != "st-"+p.reg.Client.ClientID || got.Get("iss") != p.issuer {
		p.t.Errorf("answered %v", got)
	}
	return got
}

// exchange is a token request with the client's registered authentication.
func (p *suiteParty) exchange(pairs ...string) *tokenAnswer {
	p.t.Helper()
	if p.key == nil {
		return p.tokenRequest(p.reg, pairs...)
	}
	now, id := p.clock.Now(), p.reg.Client.ClientID
	assertion := assertionKey{*p.key}.sign(p.t, "RS256", map[string]any{"iss": id, "sub": id, "aud": p.issuer, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()})
	return p.post("/oauth/token", "", "", append(pairs, "client_id", id, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", assertion)...)
}

func (p *suiteParty) redeemed(code string, more ...string) *tokenAnswer {
	p.t.Helper()
	a := p.exchange(append([]string{"grant_type", "authorization_code", "code", code, "redirect_uri", callback}, more...)...)
	if a.status != http.StatusOK || a.str("id_token") == "" || a.header.Get("Cache-Control") != "no-store" {
		p.t.Fatalf("token: %d %s", a.status, a.raw)
	}
	return a
}

// flow is a whole flow, whose ID token go-oidc verifies.
func (p *suiteParty) flow(params ...string) (tokens *tokenAnswer, claims map[string]any) {
	p.t.Helper()
	got := p.authorize(params...)
	if got.Get("code") == "" {
		p.t.Fatalf("answered %v", got)
	}
	tokens = p.redeemed(got.Get("code"))
	return tokens, p.verified(tokens.str("id_token"))
}

func (p *suiteParty) verified(raw string) (claims map[string]any) {
	p.t.Helper()
	ctx := oidc.ClientContext(p.t.Context(), p.http.Client())
	id, err := must(oidc.NewProvider(ctx, p.issuer)).Verifier(&oidc.Config{ClientID: p.reg.Client.ClientID, Now: p.clock.Now}).Verify(ctx, raw)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := id.Claims(&claims); err != nil {
		p.t.Fatal(err)
	}
	return claims
}

// asked is how often the person saw the sign-in page.
func (p *suiteParty) asked() int {
	n := 0
	for _, path := range p.b.pages {
		if strings.HasSuffix(path, "/login") {
			n++
		}
	}
	return n
}

func (p *suiteParty) want(ok bool, format string, args ...any) {
	p.t.Helper()
	if !ok {
		p.t.Errorf(format, args...)
	}
}

// has reports which of names a claims set lacks or has too many of.
func scopeClaims(scopes ...string) []string {
	out := []string{"sub"}
	for _, s := range scopes {
		out = append(out, standardClaims[s]...)
	}
	slices.Sort(out)
	return out
}

func TestConformanceBasic(t *testing.T) {
	for _, mode := range []string{"", "form_post"} {
		e := newCertified(t)
		scope := func(scopes ...string) func(*suiteParty) {
			return func(p *suiteParty) {
				tokens, _ := p.flow("scope", "openid "+strings.Join(scopes, " "))
				info := p.userinfo(tokens.str("access_token"))
				p.want(slices.Equal(slices.Sorted(maps.Keys(info.body)), scopeClaims(scopes...)), "userinfo %s", info.raw)
			}
		}
		succeeds := func(params ...string) func(*suiteParty) {
			return func(p *suiteParty) { p.flow(params...) }
		}
		userinfo := func(send func(p *suiteParty, token string) *tokenAnswer) func(*suiteParty) {
			return func(p *suiteParty) {
				tokens, claims := p.flow()
				a := send(p, tokens.str("access_token"))
				p.want(a.status == 200 && a.str("sub") == claims["sub"], "userinfo %d %s", a.status, a.raw)
			}
		}
		form := func(p *suiteParty, method string, body url.Values, bearer string) *tokenAnswer {
			req := must(http.NewRequest(method, p.issuer+"/oauth/userinfo", strings.NewReader(body.Encode())))
			if len(body) > 0 {
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			if bearer != "" {
				req.Header.Set("Authorization", "Bearer "+bearer)
			}
			return p.send(req)
		}
		reuse := func(wait time.Duration, revokes bool) func(*suiteParty) {
			return func(p *suiteParty) {
				code := p.authorize().Get("code")
				tokens := p.redeemed(code)
				p.clock.add(wait)
				again := p.exchange("grant_type", "authorization_code", "code", code, "redirect_uri", callback)
				again.wantError(p.t, 400, "invalid_grant")
				if info := p.userinfo(tokens.str("access_token")); (info.status == 401) != revokes {
					p.t.Errorf("userinfo after the reuse: %d", info.status)
				}
			}
		}
		modules := map[string]func(*suiteParty){
			"oidcc-server": func(p *suiteParty) {
				tokens, claims := p.flow()
				for _, name := range []string{"iss", "sub", "aud", "exp", "iat", "nonce", "auth_time"} {
					p.want(claims[name] != nil, "no %s", name)
				}
				p.want(tokens.str("token_type") == "bearer" || tokens.str("token_type") == "Bearer", "token_type %q", tokens.str("token_type"))
			},
			"oidcc-response-type-missing": func(p *suiteParty) {
				a := p.b.walk(p.target("response_type", "-"))
				p.want(a.location == nil || a.param("error") == "invalid_request" || p.mode != "", "%d %v", a.status, a.location)
				p.want(a.location == nil || a.param("code") == "", "a code")
			},
			"oidcc-idtoken-signature": func(p *suiteParty) {
				tokens, _ := p.flow()
				header, _ := decodeJWT(p.t, tokens.str("id_token"))
				p.want(header["alg"] == "RS256" && header["kid"] != nil, "header %v", header)
			},
			"oidcc-userinfo-get":         userinfo(func(p *suiteParty, token string) *tokenAnswer { return p.userinfo(token) }),
			"oidcc-userinfo-post-header": userinfo(func(p *suiteParty, token string) *tokenAnswer { return form(p, "POST", nil, token) }),
			"oidcc-userinfo-post-body": userinfo(func(p *suiteParty, token string) *tokenAnswer {
				return form(p, "POST", url.Values{"access_token": {token}}, "")
			}),
			"oidcc-ensure-request-without-nonce-succeeds-for-code-flow": func(p *suiteParty) {
				_, claims := p.flow("nonce", "-")
				p.want(claims["nonce"] == nil, "nonce %v", claims["nonce"])
			},
			"oidcc-scope-profile": scope("profile"), "oidcc-scope-email": scope("email"), "oidcc-scope-address": scope("address"),
			"oidcc-scope-phone": scope("phone"), "oidcc-scope-all": scope("profile", "email", "address", "phone"),
			"oidcc-alternate-happy-flow": succeeds("scope", "openid email", "display", "page"),
			"oidcc-ensure-other-scope-order-succeeds": func(p *suiteParty) {
				tokens, _ := p.flow("scope", "email openid")
				p.want(p.userinfo(tokens.str("access_token")).str("email") != "", "no email")
			},
			"oidcc-display-page": succeeds("display", "page"), "oidcc-display-popup": succeeds("display", "popup"),
			"oidcc-prompt-login": func(p *suiteParty) {
				_, first := p.flow()
				p.clock.add(2 * time.Second)
				_, second := p.flow("prompt", "login")
				p.want(p.asked() == 1 && second["auth_time"].(float64) > first["auth_time"].(float64), "asked %d times, auth_time %v, %v", p.asked(), first["auth_time"], second["auth_time"])
			},
			"oidcc-prompt-none-not-logged-in": func(p *suiteParty) {
				p.want(p.authorize("prompt", "none").Get("error") == "login_required", "no login_required")
				p.want(p.asked() == 0, "a page")
			},
			"oidcc-prompt-none-logged-in": func(p *suiteParty) {
				_, first := p.flow()
				_, second := p.flow("prompt", "none")
				p.want(len(p.b.pages) == 0 && first["sub"] == second["sub"] && first["auth_time"] == second["auth_time"], "%v, then %v", first, second)
			},
			"oidcc-max-age-1": func(p *suiteParty) {
				_, first := p.flow()
				p.clock.add(2 * time.Second)
				_, second := p.flow("max_age", "1")
				p.want(p.asked() == 1 && second["auth_time"].(float64) > first["auth_time"].(float64), "asked %d times, auth_time %v, %v", p.asked(), first["auth_time"], second["auth_time"])
			},
			"oidcc-max-age-10000": func(p *suiteParty) {
				_, first := p.flow()
				_, second := p.flow("max_age", "10000")
				p.want(p.asked() == 0 && second["auth_time"] == first["auth_time"], "asked %d times", p.asked())
			},
			"oidcc-ensure-request-with-unknown-parameter-succeeds": succeeds("extra", "foobar"),
			"oidcc-id-token-hint": func(p *suiteParty) {
				tokens, first := p.flow()
				_, second := p.flow("prompt", "none", "id_token_hint", tokens.str("id_token"))
				p.want(first["sub"] == second["sub"], "%v, then %v", first, second)
			},
			"oidcc-login-hint":                              succeeds("login_hint", "alice@example.com"),
			"oidcc-ui-locales":                              succeeds("ui_locales", "se"),
			"oidcc-claims-locales":                          succeeds("claims_locales", "se", "scope", "openid profile"),
			"oidcc-ensure-request-with-acr-values-succeeds": succeeds("acr_values", "1 2"),
			"oidcc-codereuse":                               reuse(0, false),
			"oidcc-codereuse-30seconds":                     reuse(30*time.Second, true),
			"oidcc-ensure-registered-redirect-uri": func(p *suiteParty) {
				a := p.b.walk(p.target("redirect_uri", "https://elsewhere.example/cb"))
				p.want(a.status == 400 && a.location == nil, "%d %v", a.status, a.location)
			},
			"oidcc-ensure-post-request-succeeds": func(p *suiteParty) {
				u := must(url.Parse(p.target()))
				p.b.signIn()
				a := p.b.do("POST", p.issuer+"/oauth/authorize", u.Query())
				for a.location != nil && strings.HasPrefix(a.location.String(), p.issuer) {
					a = p.b.walk(a.location.String())
				}
				p.redeemed(p.answer(a).Get("code"))
			},
			"oidcc-server-client-secret-post": func(p *suiteParty) {
				p = p.party(p.t, p.mode, map[string]any{"token_endpoint_auth_method": "client_secret_post"})
				p.flow()
			},
			// Skipped by the suite, since the metadata has no "none".
			"oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported": func(p *suiteParty) {
				got := p.authorize("request", unsigned(map[string]any{"iss": p.reg.Client.ClientID, "aud": p.issuer, "nonce": "other"}))
				p.want(got.Get("code") == "" && got.Get("error") != "", "answered %v", got)
			},
			"oidcc-ensure-request-object-with-redirect-uri": func(p *suiteParty) {
				a := p.b.walk(p.target("redirect_uri", "https://elsewhere.example/cb", "request", unsigned(map[string]any{"redirect_uri": callback})))
				p.want(a.param("code") == "" && (a.location == nil || strings.HasPrefix(a.location.String(), callback)), "%d %v", a.status, a.location)
			},
			"oidcc-claims-essential": func(p *suiteParty) {
				tokens, _ := p.flow("claims", `{"userinfo":{"name":{"essential":true}}}`)
				p.want(p.userinfo(tokens.str("access_token")).str("name") != "", "no name")
			},
			"oidcc-refresh-token": func(p *suiteParty) {
				tokens, first := p.flow("scope", "openid offline_access", "prompt", "consent")
				fresh := p.exchange("grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token"))
				second := p.verified(fresh.str("id_token"))
				for _, name := range []string{"iss", "sub", "aud", "auth_time"} {
					p.want(fmt.Sprint(first[name]) == fmt.Sprint(second[name]), "%s was %v, is %v", name, first[name], second[name])
				}
				other := p.party(p.t, p.mode, nil)
				other.exchange("grant_type", "refresh_token", "refresh_token", fresh.str("refresh_token")).wantError(p.t, 400, "invalid_grant")
			},
			"oidcc-ensure-request-with-valid-pkce-succeeds": func(p *suiteParty) {
				verifier := oauth2.GenerateVerifier()
				code := p.authorize("code_challenge", oauth2.S256ChallengeFromVerifier(verifier), "code_challenge_method", "S256").Get("code")
				p.redeemed(code, "code_verifier", verifier)
			},
		}
		for name, run := range modules {
			t.Run(strings.TrimSuffix(mode+"/"+name, "/"), func(t *testing.T) { run(e.party(t, mode, nil)) })
		}
	}
}

func TestConformanceConfigAndDynamic(t *testing.T) {
	e := newCertified(t)
	metadata := e.send(mustRequest(t, e.issuer+"/.well-known/openid-configuration")).body
	for name, run := range map[string]func(t *testing.T){
		"oidcc-discovery-endpoint-verification": func(t *testing.T) {
			if metadata["issuer"] != e.issuer {
				t.Errorf("issuer %v", metadata["issuer"])
			}
			for _, name := range []string{"authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri", "registration_endpoint", "end_session_endpoint"} {
				if uri, _ := metadata[name].(string); !strings.HasPrefix(uri, e.issuer+"/") {
					t.Errorf("%s is %q", name, uri)
				}
			}
			for name, value := range map[string]string{
				"response_types_supported": "code", "subject_types_supported": "public", "id_token_signing_alg_values_supported": "RS256",
				"scopes_supported": "openid", "request_object_signing_alg_values_supported": "RS256", "response_modes_supported": "form_post",
			} {
				if l, _ := metadata[name].([]any); !slices.Contains(l, any(value)) {
					t.Errorf("%s: %v has no %s", name, l, value)
				}
			}
			for _, name := range []string{"claims_parameter_supported", "request_parameter_supported", "request_uri_parameter_supported"} {
				if metadata[name] != true {
					t.Errorf("%s is %v", name, metadata[name])
				}
			}
			if l, _ := metadata["claims_supported"].([]any); len(l) == 0 {
				t.Error("no claims_supported")
			}
		},
		"oidcc-server": func(t *testing.T) { e.keyParty(t, nil).flow() },
		"oidcc-idtoken-rs256": func(t *testing.T) {
			p := e.keyParty(t, map[string]any{"id_token_signed_response_alg": "RS256"})
			tokens, _ := p.flow()
			if header, _ := decodeJWT(t, tokens.str("id_token")); header["alg"] != "RS256" {
				t.Errorf("header %v", header)
			}
		},
		// Skipped by the suite: ID tokens are always signed.
		"oidcc-idtoken-unsigned": func(t *testing.T) {
			a := e.sendJSON("POST", "/oauth/register", "", `{"redirect_uris":["`+callback+`"],"id_token_signed_response_alg":"none"}`)
			a.wantError(t, 400, "invalid_client_metadata")
		},
		"oidcc-userinfo-rs256": func(t *testing.T) {
			p := e.keyParty(t, map[string]any{"userinfo_signed_response_alg": "RS256"})
			tokens, claims := p.flow()
			a := p.userinfo(tokens.str("access_token"))
			if got := p.verifiedUserinfo(a.raw); got["sub"] != claims["sub"] || got["iss"] != e.issuer || got["aud"] != p.reg.Client.ClientID {
				t.Errorf("userinfo %v", got)
			}
		},
		"oidcc-ensure-redirect-uri-in-authorization-request": func(t *testing.T) {
			// OAuth lets a client with one redirect URI leave it out; OpenID Connect
			// asks for it. Nothing goes anywhere but to a registered one.
			p := e.keyParty(t, map[string]any{"redirect_uris": []string{callback, callback + "2"}})
			if a := p.b.walk(p.target("redirect_uri", "-")); a.location != nil || a.status != 400 {
				t.Errorf("%d %v", a.status, a.location)
			}
		},
		"oidcc-redirect-uri-query-OK": func(t *testing.T) {
			p := e.keyParty(t, map[string]any{"redirect_uris": []string{callback + "?foo=bar"}})
			got := p.answer(p.b.walk(p.target("redirect_uri", callback+"?foo=bar")))
			if got.Get("foo") != "bar" || got.Get("code") == "" {
				t.Errorf("answered %v", got)
			}
		},
		"oidcc-redirect-uri-query-mismatch": func(t *testing.T) {
			p := e.keyParty(t, map[string]any{"redirect_uris": []string{callback + "?foo=bar"}})
			for _, uri := range []string{callback + "?foo=baz", callback + "?bar=foo", callback} {
				if a := p.b.walk(p.target("redirect_uri", uri)); a.location != nil || a.status != 400 {
					t.Errorf("%s: %d %v", uri, a.status, a.location)
				}
			}
		},
		"oidcc-redirect-uri-query-added": func(t *testing.T) {
			p := e.keyParty(t, nil)
			if a := p.b.walk(p.target("redirect_uri", callback+"?foo=bar")); a.location != nil || a.status != 400 {
				t.Errorf("%d %v", a.status, a.location)
			}
		},
		"oidcc-redirect-uri-regfrag": func(t *testing.T) {
			e.sendJSON("POST", "/oauth/register", "", `{"redirect_uris":["`+callback+`#foobar"]}`).wantError(t, 400, "invalid_redirect_uri")
		},
		"oidcc-registration-logo-uri": func(t *testing.T) {
			p := e.keyParty(t, map[string]any{"logo_uri": e.site.serve("/logo", onePixel)})
			for _, page := range p.b.way(p.target()) {
				p.want(e.logoOn(page).raw == onePixel, "no logo on\n%s", page.body)
			}
		},
		"oidcc-registration-policy-uri": func(t *testing.T) { e.linked(t, "policy_uri") },
		"oidcc-registration-tos-uri":    func(t *testing.T) { e.linked(t, "tos_uri") },
		"oidcc-registration-jwks-uri": func(t *testing.T) {
			key := newRSAJWK(t)
			uri := e.site.serve("/jwks-uri", mustJSON(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}}))
			p := e.party(t, "", map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": uri})
			p.key = key
			p.flow()
		},
		"oidcc-registration-sector-uri": func(t *testing.T) {
			uri := e.site.serve("/sector", `["`+callback+`"]`)
			p := e.keyParty(t, map[string]any{"sector_identifier_uri": uri, "subject_type": "pairwise"})
			if _, claims := p.flow(); claims["sub"] == "sub-alice" {
				t.Error("sub is not pairwise")
			}
		},
		"oidcc-registration-sector-bad": func(t *testing.T) {
			uri := e.site.serve("/sector-bad", `["https://elsewhere.example/cb"]`)
			e.sendJSON("POST", "/oauth/register", "", `{"redirect_uris":["`+callback+`"],"subject_type":"pairwise","sector_identifier_uri":"`+uri+`"}`).
				wantError(t, 400, "invalid_client_metadata")
		},
		"oidcc-server-rotate-keys": func(t *testing.T) {
			p := e.keyParty(t, nil)
			first, _ := p.flow()
			before := e.publishedKids()
			e.call("POST", "/signing_keys", `{"alg":"RS256"}`).wantStatus(t, 201)
			if after := e.publishedKids(); len(after) != len(before)+1 {
				t.Errorf("published %v, then %v", before, after)
			}
			second, _ := p.flow()
			was, _ := decodeJWT(t, first.str("id_token"))
			is, _ := decodeJWT(t, second.str("id_token"))
			if was["kid"] == is["kid"] {
				t.Error("the same key signs")
			}
			p.verified(first.str("id_token"))
		},
		"oidcc-refresh-token-rp-key-rotation": func(t *testing.T) {
			key := newRSAJWK(t)
			uri := e.site.serve("/rotating", mustJSON(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}}))
			p := e.party(t, "", map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": uri})
			p.key = key
			tokens, _ := p.flow("scope", "openid offline_access")
			p.key = newRSAJWK(t)
			e.site.serve("/rotating", mustJSON(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{p.key.Public()}}))
			e.clock.add(time.Minute) // how soon keys are fetched again for a kid nobody knows is bounded
			if a := p.exchange("grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")); a.status != 200 {
				t.Errorf("with the new key: %d %s", a.status, a.raw)
			}
		},
		"oidcc-request-uri-unsigned": func(t *testing.T) {
			uri := siteURL + "/unsigned"
			p := e.keyParty(t, map[string]any{"request_uris": []string{uri}})
			claims := map[string]any{"client_id": p.reg.Client.ClientID, "response_type": "code", "redirect_uri": callback, "scope": "openid", "state": "st-" + p.reg.Client.ClientID, "nonce": "inside"}
			e.site.serve("/unsigned", unsigned(claims))
			if _, got := p.flow("request_uri", uri); got["nonce"] != "inside" {
				t.Errorf("nonce %v", got["nonce"])
			}
			// Not in the URL, not of another client, not where a signature is registered.
			if got := p.authorize("request", unsigned(claims)); got.Get("error") != "invalid_request_object" {
				t.Errorf("by value: %v", got)
			}
			claims["client_id"] = "somebody else"
			e.site.serve("/unsigned", unsigned(claims))
			if got := p.authorize("request_uri", uri); got.Get("error") != "invalid_request_object" {
				t.Errorf("of another client: %v", got)
			}
			p = e.keyParty(t, map[string]any{"request_uris": []string{uri}, "request_object_signing_alg": "RS256"})
			claims["client_id"] = p.reg.Client.ClientID
			e.site.serve("/unsigned", unsigned(claims))
			if got := p.authorize("request_uri", uri); got.Get("error") != "invalid_request_object" {
				t.Errorf("where RS256 is registered: %v", got)
			}
		},
		"oidcc-request-uri-signed-rs256": func(t *testing.T) {
			uri := siteURL + "/signed"
			p := e.keyParty(t, map[string]any{"request_uris": []string{uri}, "request_object_signing_alg": "RS256"})
			id := p.reg.Client.ClientID
			e.site.serve("/signed", assertionKey{*p.key}.sign(t, "RS256", map[string]any{
				"iss": id, "aud": e.issuer, "client_id": id, "response_type": "code", "redirect_uri": callback, "scope": "openid", "state": "st-" + id, "nonce": "inside",
			}))
			if _, got := p.flow("request_uri", uri); got["nonce"] != "inside" {
				t.Errorf("nonce %v", got["nonce"])
			}
		},
		"oidcc-refresh-token": func(t *testing.T) {
			p := e.keyParty(t, nil)
			tokens, _ := p.flow("scope", "openid offline_access")
			if a := p.exchange("grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")); a.status != 200 {
				t.Errorf("%d %s", a.status, a.raw)
			}
		},
		"oidcc-ensure-client-assertion-with-iss-aud-succeeds": func(t *testing.T) { e.keyParty(t, nil).flow() }, // whose aud is the issuer
	} {
		t.Run(name, func(t *testing.T) {
			e.t = t
			run(t)
		})
	}
}

// linked checks that the consent page links to what was registered.
func (e *certified) linked(t *testing.T, member string) {
	t.Helper()
	p := e.keyParty(t, map[string]any{member: "https://client.example/" + member})
	p.b.signIn()
	a := p.b.do("GET", p.target(), nil)
	page := p.b.do("GET", a.location.String(), nil)
	p.want(strings.Contains(page.body, `href="https://client.example/`+member+`"`), "the page has no link:\n%s", page.body)
}

// verifiedUserinfo are the claims of a signed userinfo answer.
func (p *suiteParty) verifiedUserinfo(raw string) map[string]any {
	p.t.Helper()
	payload := must(oidc.NewRemoteKeySet(oidc.ClientContext(p.t.Context(), p.http.Client()), p.issuer+"/oauth/jwks").VerifySignature(p.t.Context(), raw))
	var out map[string]any
	if err := json.Unmarshal(payload, &out); err != nil {
		p.t.Fatal(err)
	}
	return out
}

func TestConformanceLogout(t *testing.T) {
	e := newCertified(t)
	const back = "https://client.example/signed-out"
	for name, tt := range map[string]struct {
		params    func(hint string) []string
		redirects string // "" means a page of ours that asks first
	}{
		"oidcc-rp-initiated-logout": {func(hint string) []string {
			return []string{"id_token_hint", hint, "post_logout_redirect_uri", back, "state", "s1"}
		}, back + "?state=s1"},
		"oidcc-rp-initiated-logout-no-state": {func(hint string) []string {
			return []string{"id_token_hint", hint, "post_logout_redirect_uri", back}
		}, back},
		"oidcc-rp-initiated-logout-no-post-logout-redirect-uri": {func(hint string) []string {
			return []string{"id_token_hint", hint, "state", "s1"}
		}, "signed out"},
		"oidcc-rp-initiated-logout-bad-post-logout-redirect-uri": {func(hint string) []string {
			return []string{"id_token_hint", hint, "post_logout_redirect_uri", "https://elsewhere.example/", "state", "s1"}
		}, ""},
		"oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri": {func(hint string) []string {
			return []string{"id_token_hint", hint, "post_logout_redirect_uri", back + "?foo=bar", "state", "s1"}
		}, ""},
		"oidcc-rp-initiated-logout-modified-id-token-hint": {func(hint string) []string {
			parts := strings.Split(hint, ".")
			return []string{"id_token_hint", parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])), "post_logout_redirect_uri", back}
		}, ""},
		"oidcc-rp-initiated-logout-bad-id-token-hint": {func(string) []string {
			return []string{"id_token_hint", "e30.e30.e30", "post_logout_redirect_uri", back}
		}, ""},
		"oidcc-rp-initiated-logout-no-id-token-hint": {func(string) []string {
			return []string{"post_logout_redirect_uri", back, "state", "s1"}
		}, ""},
		"oidcc-rp-initiated-logout-no-params":  {func(string) []string { return nil }, ""},
		"oidcc-rp-initiated-logout-only-state": {func(string) []string { return []string{"state", "s1"} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e.t = t
			p := e.party(t, "", map[string]any{"post_logout_redirect_uris": []string{back}})
			tokens, _ := p.flow()
			a := p.b.do("GET", e.logoutURL(tt.params(tokens.str("id_token"))...), nil)
			switch tt.redirects {
			case "":
				p.want(a.status == 200 && a.location == nil && p.authorize("prompt", "none").Get("code") != "", "%d %v: signed out without a question", a.status, a.location)
				a = p.b.confirm(a)
				p.want(a.status == 200 && a.location == nil, "confirmed: %d %v", a.status, a.location)
			case "signed out":
				p.want(a.status == 200 && strings.Contains(a.body, "You are signed out"), "%d", a.status)
			default:
				p.want(a.location != nil && a.location.String() == tt.redirects, "%d %v", a.status, a.location)
			}
			p.want(p.authorize("prompt", "none").Get("error") == "login_required", "still signed in")
		})
	}
	e.t = t
	t.Run("oidcc-rp-initiated-logout-discovery-endpoint-verification", func(t *testing.T) {
		if got := e.send(mustRequest(t, e.issuer+"/.well-known/openid-configuration")).str("end_session_endpoint"); got != e.issuer+"/oauth/logout" {
			t.Errorf("end_session_endpoint %q", got)
		}
	})
}
