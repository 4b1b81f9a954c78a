package handlers_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// testClaims knows alice, with values of types that a host may well have.
type testClaims struct{}

func (testClaims) Claims(_ context.Context, subject string) (map[string]any, error) {
	if subject != "sub-alice" {
		return nil, oauthreg.ErrNotFound
	}
	return map[string]any{
		"name": "Alice", "name#de": "Alice auf Deutsch", "name#fr-CA": "Alice en français", "given_name": "", "nickname": 7,
		"updated_at": time.Unix(1700000000, 0), "birthdate": "1990-01-01",
		"email": "alice@example.com", "email_verified": "true",
		"phone_number": "+1 555 0100", "phone_number_verified": true,
		"address": map[string]any{"formatted": "1 Rabbit Hole", "country": "GB"},
		"team":    []string{"hearts"}, "shoe_size": 37,
		"iss": "https://evil.example", "sub": "somebody else", "acr": "9", "sid": "x",
	}, nil
}

// openIDEnv is a server with claims, whose issuer has path base.
func openIDEnv(t testing.TB, base string, change ...func(*handlers.Config)) *env {
	t.Helper()
	return newEnv(t, envOptions{base: base, config: func(c *handlers.Config) {
		c.Claims = testClaims{}
		c.Scopes = []handlers.Scope{
			{Name: "openid"}, {Name: "profile"}, {Name: "email"}, {Name: "address"}, {Name: "phone"}, {Name: "offline_access"},
			{Name: "read"}, {Name: "team", Claims: []string{"team", "acr"}},
		}
		for _, f := range change {
			f(c)
		}
	}})
}

// openIDClient is a client that may ask for every claim.
func openIDClient() oauthreg.Client {
	c := webClient()
	c.Scopes = []string{"openid", "profile", "email", "address", "phone", "offline_access", "read", "team"}
	return c
}

// userinfo asks with the token in the header.
func (e *env) userinfo(token string) *tokenAnswer {
	e.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, e.issuer+"/oauth/userinfo", nil)
	if err != nil {
		e.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return e.send(req)
}

// idToken walks the code flow and returns the claims of the ID token.
func (e *env) idToken(reg oauthreg.Registration, params ...string) map[string]any {
	e.t.Helper()
	_, claims := decodeJWT(e.t, e.tokens(reg, params...).str("id_token"))
	return claims
}

func (e *env) get(target string) (*http.Response, string) {
	e.t.Helper()
	resp, err := e.http.Client().Get(target)
	if err != nil {
		e.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return resp, string(b)
}

// A relying party made of go-oidc and x/oauth2, unchanged.
func TestGoOIDC(t *testing.T) {
	for _, base := range []string{"", "/auth/tenant"} {
		e := openIDEnv(t, base)
		ctx := context.WithValue(context.Background(), oauth2.HTTPClient, e.http.Client())
		provider, err := oidc.NewProvider(ctx, e.issuer)
		if err != nil {
			t.Fatal(err)
		}
		reg := e.register(openIDClient())
		conf := oauth2.Config{
			ClientID: reg.Client.ClientID, ClientSecret: reg.Secret, RedirectURL: callback,
			Endpoint: provider.Endpoint(), Scopes: []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess},
		}
		verifier := oauth2.GenerateVerifier()
		a := e.browser().walk(conf.AuthCodeURL("st", oidc.Nonce("n-0S6"), oauth2.S256ChallengeOption(verifier)))
		token, err := conf.Exchange(ctx, a.param("code"), oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatal(err)
		}
		check := provider.Verifier(&oidc.Config{ClientID: reg.Client.ClientID})
		raw, _ := token.Extra("id_token").(string)
		id, err := check.Verify(ctx, raw)
		if err != nil {
			t.Fatal(err)
		}
		if id.Nonce != "n-0S6" || id.Subject != "sub-alice" || id.VerifyAccessToken(token.AccessToken) != nil {
			t.Errorf("ID token %+v", id)
		}
		var first map[string]any
		if err := id.Claims(&first); err != nil || first["auth_time"] == nil || first["sid"] == nil || first["name"] != nil {
			t.Errorf("claims %v, err %v: no claim of the user was asked for", first, err)
		}
		info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
		if err != nil {
			t.Fatal(err)
		}
		if info.Subject != "sub-alice" || info.Email != "alice@example.com" || !info.EmailVerified {
			t.Errorf("userinfo %+v", info)
		}

		token.Expiry = time.Now().Add(-time.Minute)
		fresh, err := conf.TokenSource(ctx, token).Token()
		if err != nil {
			t.Fatal(err)
		}
		raw, _ = fresh.Extra("id_token").(string)
		if id, err = check.Verify(ctx, raw); err != nil {
			t.Fatal(err)
		}
		var second map[string]any
		if err := id.Claims(&second); err != nil {
			t.Fatal(err)
		}
		for _, same := range []string{"iss", "sub", "aud", "azp", "auth_time", "sid"} {
			if x, _ := json.Marshal(first[same]); string(x) != string(must(json.Marshal(second[same]))) {
				t.Errorf("%s was %v, after refresh %v", same, first[same], second[same])
			}
		}
		if second["nonce"] != nil || id.VerifyAccessToken(fresh.AccessToken) != nil {
			t.Errorf("after refresh: %v", second)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestDiscovery(t *testing.T) {
	for _, base := range []string{"", "/auth/tenant"} {
		t.Run("issuer "+base, func(t *testing.T) {
			e := openIDEnv(t, base, func(c *handlers.Config) { c.ACRValues = []string{"urn:mfa"} })
			origin := strings.TrimSuffix(e.issuer, base)
			var first string
			for _, path := range []string{
				base + "/.well-known/openid-configuration", base + "/.well-known/oauth-authorization-server",
				"/.well-known/openid-configuration" + base, "/.well-known/oauth-authorization-server" + base,
			} {
				resp, body := e.get(origin + path)
				if resp.StatusCode != http.StatusOK || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
					t.Fatalf("%s: %d", path, resp.StatusCode)
				}
				if first == "" {
					first = body
				}
				if body != first {
					t.Errorf("%s is another document", path)
				}
			}
			if base != "" {
				if resp, _ := e.get(origin + "/.well-known/openid-configuration"); resp.StatusCode != http.StatusNotFound {
					t.Errorf("the bare path answers %d", resp.StatusCode)
				}
			}
			var doc map[string]any
			if err := json.Unmarshal([]byte(first), &doc); err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]any{
				"issuer": e.issuer, "userinfo_endpoint": e.issuer + "/oauth/userinfo", "end_session_endpoint": e.issuer + "/oauth/logout",
				"request_parameter_supported": true, "request_uri_parameter_supported": true, "claims_parameter_supported": true,
				"backchannel_logout_supported": true, "frontchannel_logout_session_supported": true,
				"registration_endpoint": nil,
			} {
				if doc[name] != want {
					t.Errorf("%s is %v, want %v", name, doc[name], want)
				}
			}
			has := func(name string, want ...string) {
				t.Helper()
				list, _ := doc[name].([]any)
				for _, w := range want {
					if !slices.Contains(list, any(w)) {
						t.Errorf("%s is %v, want %s in it", name, list, w)
					}
				}
			}
			has("scopes_supported", "openid", "profile", "email", "address", "phone", "offline_access")
			has("claims_supported", "sub", "name", "email_verified", "address", "team", "acr")
			has("id_token_signing_alg_values_supported", "RS256", "ES256")
			has("subject_types_supported", "public", "pairwise")
			has("response_modes_supported", "query", "form_post")
			has("prompt_values_supported", "none", "login", "consent", "select_account")
			has("acr_values_supported", "urn:mfa")
			has("ui_locales_supported", "en", "de")
			if list := doc["response_types_supported"].([]any); len(list) != 1 || list[0] != "code" {
				t.Errorf("response_types_supported is %v", list)
			}
			// Every URL in it is one that answers.
			for name, v := range doc {
				u, ok := v.(string)
				if !ok || name == "issuer" || !strings.HasSuffix(name, "endpoint") && name != "jwks_uri" {
					continue
				}
				if resp, _ := e.get(u); resp.StatusCode == http.StatusNotFound {
					t.Errorf("%s answers 404", name)
				}
			}
		})
	}

	t.Run("a host that cannot end sessions offers no logout", func(t *testing.T) {
		e := openIDEnv(t, "", func(c *handlers.Config) { c.SignIn = struct{ handlers.SignIn }{&steppingHost{}} })
		_, body := e.get(e.issuer + "/.well-known/openid-configuration")
		if strings.Contains(body, "logout") || strings.Contains(body, "end_session") {
			t.Errorf("got %s", body)
		}
		if resp, _ := e.get(e.issuer + "/oauth/logout"); resp.StatusCode != http.StatusNotFound {
			t.Errorf("logout answers %d", resp.StatusCode)
		}
	})
}

func TestUserinfo(t *testing.T) {
	for _, base := range []string{"", "/auth/tenant"} {
		e := openIDEnv(t, base)
		reg := e.register(openIDClient())
		tokens := e.tokens(reg, "scope", "openid profile email address phone team")
		a := e.userinfo(tokens.str("access_token"))
		var got map[string]any
		if err := json.Unmarshal([]byte(a.raw), &got); err != nil {
			t.Fatal(err)
		}
		want := `{"address":{"country":"GB","formatted":"1 Rabbit Hole"},"birthdate":"1990-01-01","email":"alice@example.com","email_verified":true,` +
			`"name":"Alice","phone_number":"+1 555 0100","phone_number_verified":true,"sub":"sub-alice","team":["hearts"],"updated_at":1700000000}`
		if string(must(json.Marshal(got))) != want || a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("got %s\nwant %s", a.raw, want)
		}

		for scope, names := range map[string]string{
			"openid": "sub", "openid profile": "birthdate name sub updated_at", "openid email": "email email_verified sub",
			"openid address": "address sub", "openid phone": "phone_number phone_number_verified sub", "read openid": "sub",
		} {
			a := e.userinfo(e.tokens(reg, "scope", scope).str("access_token"))
			var have []string
			for name := range a.body {
				have = append(have, name)
			}
			slices.Sort(have)
			if strings.Join(have, " ") != names {
				t.Errorf("scope %s: got %v, want %s", scope, have, names)
			}
		}
	}

	e := openIDEnv(t, "")
	reg := e.register(openIDClient())
	good := e.tokens(reg, "scope", "openid")
	token := good.str("access_token")
	machine := e.register(machineClient())
	request := func(method, query, contentType, body string, header ...string) *tokenAnswer {
		req := must(http.NewRequestWithContext(context.Background(), method, e.issuer+"/oauth/userinfo"+query, strings.NewReader(body)))
		if contentType != "" {
			req.Header.Set("Content-Type", contentType)
		}
		for _, h := range header {
			req.Header.Add("Authorization", h)
		}
		return e.send(req)
	}
	const formType = "application/x-www-form-urlencoded"
	inBody := url.Values{"access_token": {token}}.Encode()
	for _, tt := range []struct {
		name   string
		answer *tokenAnswer
		status int
		code   string
	}{
		{"GET with header", request("GET", "", "", "", "Bearer "+token), 200, ""},
		{"the scheme in another case", request("GET", "", "", "", "bearer "+token), 200, ""},
		{"POST with header", request("POST", "", "", "", "Bearer "+token), 200, ""},
		{"POST with header and form", request("POST", "", formType, "x=1", "Bearer "+token), 200, ""},
		{"POST with body", request("POST", "", formType, inBody), 200, ""},
		{"no token", request("GET", "", "", ""), 401, "invalid_token"},
		{"Basic", request("GET", "", "", "", "Basic eDp5"), 401, "invalid_token"},
		{"in the query", request("GET", "?access_token="+url.QueryEscape(token), "", ""), 400, "invalid_request"},
		{"two ways", request("POST", "", formType, inBody, "Bearer "+token), 400, "invalid_request"},
		{"two headers", request("GET", "", "", "", "Bearer "+token, "Bearer "+token), 400, "invalid_request"},
		{"twice in the body", request("POST", "", formType, inBody+"&"+inBody), 400, "invalid_request"},
		{"PUT", request("PUT", "", "", "", "Bearer "+token), 405, "invalid_request"},
		{"made up", e.userinfo("oat_x"), 401, "invalid_token"},
		{"truncated", e.userinfo(token[:len(token)-1]), 401, "invalid_token"},
		{"the ID token", e.userinfo(good.str("id_token")), 401, "invalid_token"},
		{"the refresh token", e.userinfo(good.str("refresh_token")), 401, "invalid_token"},
		{"without the scope openid", e.userinfo(e.tokens(reg, "scope", "read").str("access_token")), 403, "insufficient_scope"},
		{"of a client for itself", e.userinfo(e.tokenRequest(machine, "grant_type", "client_credentials").str("access_token")), 403, "insufficient_scope"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.answer.status != tt.status || tt.answer.str("error") != tt.code {
				t.Errorf("got %d %s, want %d %s", tt.answer.status, tt.answer.raw, tt.status, tt.code)
			}
			challenge := tt.answer.header.Get("WWW-Authenticate")
			switch {
			case tt.status == 200 || tt.status == 405:
			case tt.name == "no token" || tt.name == "Basic":
				if !strings.HasPrefix(challenge, "Bearer realm=") || strings.Contains(challenge, "error") {
					t.Errorf("challenge %q", challenge)
				}
			case tt.name == "twice in the body":
			case !strings.Contains(challenge, `error="`+tt.code+`"`):
				t.Errorf("challenge %q", challenge)
			}
		})
	}
	t.Run("revoked, expired, and of a user who is gone", func(t *testing.T) {
		e.authenticated("/oauth/revoke", reg, "token", token)
		e.userinfo(token).wantError(t, 401, "invalid_token")
		token := e.tokens(reg, "scope", "openid").str("access_token")
		e.clock.add(61 * time.Minute)
		e.userinfo(token).wantError(t, 401, "invalid_token")
		b := e.browser()
		b.username, b.password = "bob", "builder"
		target, verifier := e.authorizeURL(reg.Client.ClientID, "scope", "openid profile")
		bob := e.redeem(reg, b.walk(target).param("code"), verifier)
		e.userinfo(bob.str("access_token")).wantError(t, 401, "invalid_token")
	})
}

// The claims parameter (OpenID Connect Core §5.5).
func TestClaimsParameter(t *testing.T) {
	e := openIDEnv(t, "")
	reg := e.register(openIDClient())
	narrow := e.register(with(openIDClient(), func(c *oauthreg.Client) { c.Scopes = []string{"openid", "read"} }))
	for _, tt := range []struct {
		name     string
		claims   string
		locales  string
		idToken  string // names of the user's claims
		userinfo string
	}{
		{"in the ID token", `{"id_token":{"email":{"essential":true},"auth_time":{"essential":true}}}`, "", "email", ""},
		{"in userinfo", `{"userinfo":{"email":null,"name":null}}`, "", "", "email name"},
		{"in both", `{"id_token":{"name":null},"userinfo":{"team":null}}`, "", "name", "team"},
		{"of no scope", `{"userinfo":{"shoe_size":null},"id_token":{"iss":null,"secret":{"essential":true}}}`, "", "", ""},
		{"the right value", `{"userinfo":{"email":{"value":"alice@example.com"}}}`, "", "", "email"},
		{"another value", `{"userinfo":{"email":{"value":"eve@example.com"}}}`, "", "", ""},
		{"one of the values", `{"id_token":{"email_verified":{"values":[false,true]}}}`, "", "email_verified", ""},
		{"in a language", `{"userinfo":{"name":null}}`, "de en", "", "name name#de"},
		{"in a region of a language", `{"userinfo":{"name":null}}`, "fr", "", "name name#fr-CA"},
		{"by its tagged name", `{"userinfo":{"name#de":null}}`, "", "", "name#de"},
		{"unknown members", `{"other":{"x":1},"userinfo":{"email":{"mood":"good"}}}`, "", "", "email"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e.t = t
			params := []string{"scope", "openid", "claims", tt.claims}
			if tt.locales != "" {
				params = append(params, "claims_locales", tt.locales)
			}
			tokens := e.tokens(reg, params...)
			_, id := decodeJWT(t, tokens.str("id_token"))
			if got := userClaims(id); got != tt.idToken {
				t.Errorf("ID token has %q, want %q", got, tt.idToken)
			}
			if got := userClaims(e.userinfo(tokens.str("access_token")).body); got != tt.userinfo {
				t.Errorf("userinfo has %q, want %q", got, tt.userinfo)
			}
			// They are not scopes of the token, and stay over a refresh.
			if tokens.str("scope") != "openid" {
				t.Errorf("scope is %q", tokens.str("scope"))
			}
			again := e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token"))
			if _, id := decodeJWT(t, again.str("id_token")); userClaims(id) != tt.idToken {
				t.Errorf("after refresh: %v", id)
			}
		})
	}
	e.t = t
	t.Run("of a scope that the client may not ask for", func(t *testing.T) {
		tokens := e.tokens(narrow, "scope", "openid", "claims", `{"userinfo":{"email":{"essential":true}},"id_token":{"email":null}}`)
		if a := e.userinfo(tokens.str("access_token")); userClaims(a.body) != "" {
			t.Errorf("got %s", a.raw)
		}
	})
	t.Run("the user is asked for what it reaches into", func(t *testing.T) {
		b := e.browser()
		fresh := e.register(openIDClient())
		for _, step := range []struct {
			claims string
			pages  int // sign-in and consents so far
		}{{"", 2}, {"", 2}, {`{"userinfo":{"email":null}}`, 3}, {`{"id_token":{"email":null}}`, 3}} {
			params := []string{"scope", "openid"}
			if step.claims != "" {
				params = append(params, "claims", step.claims)
			}
			target, _ := e.authorizeURL(fresh.Client.ClientID, params...)
			if a := b.walk(target); a.param("code") == "" || len(b.pages) != step.pages {
				t.Errorf("claims %s: pages %v, location %v", step.claims, b.pages, a.location)
			}
		}
	})
	t.Run("malformed", func(t *testing.T) {
		many := map[string]any{}
		for i := range 101 {
			many[strings.Repeat("x", i+1)] = nil
		}
		for _, claims := range []string{"x", "[]", `"a"`, `{"userinfo":1}`, `{"id_token":{"email":1}}`, string(must(json.Marshal(map[string]any{"userinfo": many})))} {
			wantRedirectError(t, e, reg, "invalid_request", "scope", "openid", "claims", claims)
		}
	})
}

// userClaims are the names of claims that come from the host.
func userClaims(claims map[string]any) string {
	var out []string
	for name := range claims {
		switch name {
		case "iss", "sub", "aud", "azp", "iat", "exp", "at_hash", "c_hash", "auth_time", "nonce", "acr", "amr", "sid":
		default:
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// steppingHost is a host with a session of its own. begin is what its sign-in does.
type steppingHost struct {
	mu    sync.Mutex
	login *oauthreg.Login
	begin func(req handlers.SignInRequest) *oauthreg.Login
	asked []handlers.SignInRequest
}

func (h *steppingHost) Login(*http.Request) (*oauthreg.Login, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.login, nil
}

func (h *steppingHost) Begin(w http.ResponseWriter, r *http.Request, req handlers.SignInRequest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, req)
	if h.begin != nil {
		h.login = h.begin(req)
	}
	http.Redirect(w, r, req.ReturnTo, http.StatusFound)
}

func (h *steppingHost) SignOut(http.ResponseWriter, *http.Request) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.login = nil
	return nil
}

// requests are the sign-ins asked for since the last call.
func (h *steppingHost) requests() []handlers.SignInRequest {
	h.mu.Lock()
	defer h.mu.Unlock()
	asked := h.asked
	h.asked = nil
	return asked
}

// hostEnv is a server whose host signs people in.
func hostEnv(t testing.TB, change ...func(*handlers.Config)) (*env, *steppingHost) {
	host := &steppingHost{}
	return openIDEnv(t, "", append(change, func(c *handlers.Config) { c.SignIn, c.Users = host, nil })...), host
}

// What the request asks of the sign-in reaches the host, and what comes of it the
// client (OpenID Connect Core §3.1.2.1, §3.1.2.3, §5.5.1.1).
func TestSignInRequirements(t *testing.T) {
	const acrClaim = `{"id_token":{"acr":{"essential":true,"values":["urn:mfa"]}}}`
	alice := func(e *env, acr string, ago time.Duration) *oauthreg.Login {
		return &oauthreg.Login{Subject: "sub-alice", SessionID: "s-1", AuthTime: e.clock.Now().Add(-ago), ACR: acr, AMR: []string{"pwd", "otp"}}
	}
	for _, tt := range []struct {
		name   string
		client func(*oauthreg.Client)
		params []string
		acr    string // at first
		ago    time.Duration
		nobody bool
		begin  func(e *env, req handlers.SignInRequest) *oauthreg.Login
		signIn int // times
		want   string
		check  func(t *testing.T, reqs []handlers.SignInRequest, claims map[string]any)
	}{
		{name: "nothing asked", want: "code"},
		{name: "nobody there", nobody: true, signIn: 1, want: "code"},
		{name: "max_age that is met", params: []string{"max_age", "600"}, ago: time.Minute, want: "code",
			check: func(t *testing.T, _ []handlers.SignInRequest, claims map[string]any) {
				if claims["auth_time"] == nil || claims["amr"] == nil {
					t.Errorf("claims %v", claims)
				}
			}},
		{name: "max_age that is not", params: []string{"max_age", "30"}, ago: time.Minute, signIn: 1, want: "code",
			check: func(t *testing.T, reqs []handlers.SignInRequest, _ map[string]any) {
				if reqs[0].NotBefore.IsZero() {
					t.Error("no fresh sign-in was asked for")
				}
			}},
		{name: "max_age=0", params: []string{"max_age", "0"}, signIn: 1, want: "code"},
		{name: "max_age with prompt=none", params: []string{"max_age", "30", "prompt", "none"}, ago: time.Minute, want: "login_required"},
		{name: "malformed max_age", params: []string{"max_age", "-5"}, want: "invalid_request"},
		{name: "prompt=login", params: []string{"prompt", "login"}, signIn: 1, want: "code"},
		{name: "prompt=select_account", params: []string{"prompt", "select_account"}, signIn: 1, want: "code",
			check: func(t *testing.T, reqs []handlers.SignInRequest, _ map[string]any) {
				if !reqs[0].SelectAccount {
					t.Error("no choice of accounts was asked for")
				}
			}},
		{name: "prompt=login and select_account", params: []string{"prompt", "login select_account"}, signIn: 1, want: "code",
			check: func(t *testing.T, reqs []handlers.SignInRequest, _ map[string]any) {
				if !reqs[0].SelectAccount || reqs[0].NotBefore.IsZero() {
					t.Errorf("got %+v", reqs[0])
				}
			}},
		{name: "prompt=none with another", params: []string{"prompt", "none login"}, want: "invalid_request"},
		{name: "unknown prompt", params: []string{"prompt", "dance"}, want: "invalid_request"},
		{name: "prompt=none and nobody there", nobody: true, params: []string{"prompt", "none"}, want: "login_required"},

		{name: "default_max_age", client: func(c *oauthreg.Client) { d := 30 * time.Second; c.DefaultMaxAge = &d }, ago: time.Minute, signIn: 1, want: "code"},
		{name: "max_age comes before default_max_age", client: func(c *oauthreg.Client) { d := 30 * time.Second; c.DefaultMaxAge = &d },
			params: []string{"max_age", "600"}, ago: time.Minute, want: "code"},
		{name: "require_auth_time with a host that does not know it", client: func(c *oauthreg.Client) { c.RequireAuthTime = true },
			begin: func(*env, handlers.SignInRequest) *oauthreg.Login {
				return &oauthreg.Login{Subject: "sub-alice", SessionID: "s"}
			},
			nobody: true, signIn: 1, want: "login_required"},

		{name: "acr_values: a step up", params: []string{"acr_values", "urn:mfa"}, acr: "urn:pwd", signIn: 1, want: "code",
			check: func(t *testing.T, reqs []handlers.SignInRequest, claims map[string]any) {
				if claims["acr"] != "urn:mfa" || !slices.Equal(reqs[0].ACRValues, []string{"urn:mfa"}) {
					t.Errorf("asked %+v, claims %v", reqs, claims)
				}
			}},
		{name: "acr_values are a wish", params: []string{"acr_values", "urn:mfa"}, acr: "urn:pwd", signIn: 1, want: "code",
			begin: func(e *env, _ handlers.SignInRequest) *oauthreg.Login { return alice(e, "urn:pwd", 0) }},
		{name: "acr_values with prompt=none", params: []string{"acr_values", "urn:mfa", "prompt", "none"}, acr: "urn:pwd", want: "code"},
		{name: "acr_values that are met", params: []string{"acr_values", "urn:x urn:mfa"}, acr: "urn:mfa", want: "code"},
		{name: "acr_values that do not exist", params: []string{"acr_values", "urn:x"}, want: "code"},
		{name: "default_acr_values", client: func(c *oauthreg.Client) { c.DefaultACRValues = []string{"urn:mfa"} }, acr: "urn:pwd", signIn: 1, want: "code"},
		{name: "essential acr: a step up", params: []string{"claims", acrClaim}, acr: "urn:pwd", signIn: 1, want: "code"},
		{name: "essential acr that is met", params: []string{"claims", acrClaim}, acr: "urn:mfa", want: "code"},
		{name: "essential acr that is refused", params: []string{"claims", acrClaim}, acr: "urn:pwd", signIn: 1, want: "unmet_authentication_requirements",
			begin: func(e *env, _ handlers.SignInRequest) *oauthreg.Login { return alice(e, "urn:pwd", 0) }},
		{name: "essential acr that does not exist", params: []string{"claims", strings.Replace(acrClaim, "mfa", "x", 1)}, want: "unmet_authentication_requirements"},
		{name: "essential acr with prompt=none", params: []string{"claims", acrClaim, "prompt", "none"}, acr: "urn:pwd", want: "login_required"},

		{name: "sub asked for, who is there", params: []string{"claims", `{"id_token":{"sub":{"value":"sub-alice"}}}`}, want: "code"},
		{name: "sub asked for, somebody else, who signs in", params: []string{"claims", `{"id_token":{"sub":{"value":"sub-bob"}}}`}, signIn: 1, want: "code",
			begin: func(e *env, req handlers.SignInRequest) *oauthreg.Login {
				l := alice(e, "", 0)
				l.Subject = "sub-bob"
				return l
			},
			check: func(t *testing.T, reqs []handlers.SignInRequest, claims map[string]any) {
				if claims["sub"] != "sub-bob" || !reqs[0].SelectAccount {
					t.Errorf("asked %+v, claims %v", reqs, claims)
				}
			}},
		{name: "sub asked for, somebody else, who does not", params: []string{"claims", `{"id_token":{"sub":{"value":"sub-bob"}}}`}, signIn: 1, want: "login_required"},
		{name: "login_hint, ui_locales and display", params: []string{"login_hint", "al", "ui_locales", "de fr", "display", "touch"}, nobody: true, signIn: 1, want: "code",
			check: func(t *testing.T, reqs []handlers.SignInRequest, _ map[string]any) {
				if r := reqs[0]; r.LoginHint != "al" || !slices.Equal(r.UILocales, []string{"de", "fr"}) || r.Display != "touch" {
					t.Errorf("got %+v", r)
				}
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, host := hostEnv(t, func(c *handlers.Config) { c.ACRValues = []string{"urn:pwd", "urn:mfa"} })
			if !tt.nobody {
				host.login = alice(e, tt.acr, tt.ago)
			}
			host.begin = func(req handlers.SignInRequest) *oauthreg.Login {
				if tt.begin != nil {
					return tt.begin(e, req)
				}
				acr := tt.acr
				if len(req.ACRValues) > 0 {
					acr = req.ACRValues[0]
				}
				return alice(e, acr, 0)
			}
			reg := e.register(with(openIDClient(), func(c *oauthreg.Client) {
				c.FirstParty = true
				if tt.client != nil {
					tt.client(c)
				}
			}))
			target, verifier := e.authorizeURL(reg.Client.ClientID, append([]string{"scope", "openid"}, tt.params...)...)
			a := e.browser().walk(target)
			got := a.param("error")
			if a.param("code") != "" {
				got = "code"
			}
			reqs := host.requests()
			if got != tt.want || len(reqs) != tt.signIn {
				t.Fatalf("got %s after %d sign-ins, want %s after %d: %v %s", got, len(reqs), tt.want, tt.signIn, a.location, a.body)
			}
			var claims map[string]any
			if got == "code" {
				_, claims = decodeJWT(t, e.redeem(reg, a.param("code"), verifier).str("id_token"))
			}
			if tt.check != nil {
				tt.check(t, reqs, claims)
			}
		})
	}
}

func TestIDTokenHint(t *testing.T) {
	e, host := hostEnv(t)
	login := func(sub string) *oauthreg.Login {
		return &oauthreg.Login{Subject: sub, SessionID: "s-" + sub, AuthTime: e.clock.Now()}
	}
	host.login = login("sub-alice")
	firstParty := func(c *oauthreg.Client) { c.FirstParty = true }
	reg, other := e.register(with(openIDClient(), firstParty)), e.register(with(openIDClient(), firstParty))
	tokens := e.tokens(reg, "scope", "openid")
	hint := tokens.str("id_token")
	foreign := e.tokens(other, "scope", "openid").str("id_token")
	ask := func(params ...string) *answer {
		t.Helper()
		target, _ := e.authorizeURL(reg.Client.ClientID, append([]string{"scope", "openid"}, params...)...)
		return e.browser().walk(target)
	}
	if a := ask("id_token_hint", hint, "prompt", "none"); a.param("code") == "" {
		t.Errorf("the same user: %v", a.location)
	}
	e.clock.add(3 * time.Hour)
	host.login = login("sub-alice")
	if a := ask("id_token_hint", hint, "prompt", "none"); a.param("code") == "" {
		t.Errorf("an expired hint: %v", a.location)
	}
	for name, bad := range map[string]string{
		"another client's": foreign, "a changed one": hint[:len(hint)-4] + "AAAA", "no JWT": "x", "an access token": tokens.str("access_token"),
	} {
		if a := ask("id_token_hint", bad); a.param("error") != "invalid_request" {
			t.Errorf("%s: %v", name, a.location)
		}
	}

	host.login = login("sub-bob")
	host.requests()
	if a := ask("id_token_hint", hint, "prompt", "none"); a.param("error") != "login_required" || len(host.requests()) != 0 {
		t.Errorf("somebody else, prompt=none: %v", a.location)
	}
	if a := ask("id_token_hint", hint); a.param("error") != "login_required" || len(host.requests()) != 1 {
		t.Errorf("somebody else, who stays: %v", a.location)
	}
	host.begin = func(handlers.SignInRequest) *oauthreg.Login { return login("sub-alice") }
	if a := ask("id_token_hint", hint); a.param("code") == "" {
		t.Errorf("somebody else, and then the user: %v", a.location)
	}
}

// Keys that have retired are good for hints as long as they are published.
func TestIDTokenHintOfRetiredKey(t *testing.T) {
	var keys *oauthreg.KeyRing
	e := openIDEnv(t, "", func(c *handlers.Config) { keys = c.Keys })
	reg := e.register(openIDClient())
	b := e.browser()
	target, verifier := e.authorizeURL(reg.Client.ClientID, "scope", "openid")
	hint := e.redeem(reg, b.walk(target).param("code"), verifier).str("id_token")
	if _, err := keys.Rotate(context.Background(), "RS256"); err != nil {
		t.Fatal(err)
	}
	target, _ = e.authorizeURL(reg.Client.ClientID, "scope", "openid", "id_token_hint", hint, "prompt", "none")
	if a := b.walk(target); a.param("code") == "" {
		t.Errorf("location %v", a.location)
	}
}

// ID tokens are signed by every algorithm that the ring has, with the hash of the
// algorithm.
func TestIDTokenAlgorithms(t *testing.T) {
	algs := []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	e := newEnv(t, envOptions{})
	store, now := e.store, e.clock.Now
	ring := must(oauthreg.NewKeyRing(oauthreg.KeyRingConfig{Store: store, Now: now, Algorithms: algs}))
	if err := ring.Maintain(context.Background()); err != nil {
		t.Fatal(err)
	}
	e = newEnv(t, envOptions{file: e.file, config: func(c *handlers.Config) { c.Keys = ring }})
	ctx := oidc.ClientContext(context.Background(), e.http.Client())
	provider := must(oidc.NewProvider(ctx, e.issuer))
	for _, alg := range algs {
		reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.IDTokenSignedResponseAlg, c.UserinfoSignedResponseAlg = alg, alg }))
		tokens := e.tokens(reg, "scope", "openid")
		verifier := provider.Verifier(&oidc.Config{ClientID: reg.Client.ClientID, SupportedSigningAlgs: []string{alg}})
		id, err := verifier.Verify(ctx, tokens.str("id_token"))
		if err != nil {
			t.Errorf("%s: %v", alg, err)
			continue
		}
		header, _ := decodeJWT(t, tokens.str("id_token"))
		if header["alg"] != alg || header["kid"] == nil {
			t.Errorf("%s: header %v", alg, header)
		}
		if err := id.VerifyAccessToken(tokens.str("access_token")); err != nil {
			t.Errorf("%s: at_hash: %v", alg, err)
		}
		a := e.userinfo(tokens.str("access_token"))
		if header, _ := decodeJWT(t, a.raw); header["alg"] != alg {
			t.Errorf("%s: userinfo %v", alg, header)
		}
	}
}
