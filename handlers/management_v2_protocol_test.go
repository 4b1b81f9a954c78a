package handlers_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/oauthreg/oauthreg/handlers"
)

// jwtClaims are the claims of a JWT whose signature others check.
func jwtClaims(t testing.TB, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %q", token)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(b, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestV2TokenAndIntrospection(t *testing.T) {
	for _, base := range []string{"", "/auth"} {
		e := newManagedEnv(t, envOptions{base: base}, nil)
		c := e.create(machineBody)
		id, secret := c["client_id"].(string), c["client_secret"].(string)
		body := func(pairs ...string) string {
			m := map[string]string{}
			for i := 0; i < len(pairs); i += 2 {
				m[pairs[i]] = pairs[i+1]
			}
			return mustJSON(t, m)
		}

		// The bearer of the management API stands on every request; credentials count.
		token := e.call(http.MethodPost, "/oauth/token", body("grant_type", "client_credentials", "client_id", id, "client_secret", secret, "scope", "read write"))
		token.wantStatus(t, 200)
		if token.str("token_type") != "Bearer" || token.str("scope") != "read write" || token.body["expires_in"] != float64(3600) {
			t.Errorf("got %s", token.raw)
		}
		e.call(http.MethodPost, "/oauth/token", `{"grant_type":"client_credentials","client_id":"`+id+`","client_secret":"`+secret+`","scope":null,"resource":["`+e.issuer+`/api","`+e.issuer+`/v2"],"code":""}`).wantStatus(t, 200)
		form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
		e.call(http.MethodPost, "/oauth/token", strings.ReplaceAll(form.Encode(), "+", "%20"), "Content-Type", "application/x-www-form-urlencoded").wantStatus(t, 200)
		e.call(http.MethodPost, "/oauth/token", body("grant_type", "client_credentials")).wantError(t, 401, "invalid_client")
		e.call(http.MethodPost, "/oauth/token", body("grant_type", "client_credentials", "client_id", id, "client_secret", "x")).wantError(t, 401, "invalid_client")
		e.call(http.MethodPost, "/oauth/token", body("grant_type", "password", "client_id", id, "client_secret", secret)).wantError(t, 400, "unsupported_grant_type")
		e.call(http.MethodPost, "/oauth/token", body("grant_type", "client_credentials", "client_id", id, "client_secret", secret, "scope", "admin")).wantError(t, 400, "invalid_scope")
		for _, bad := range []string{`{"grant_type":1}`, `[]`, `{`, `{"grant_type":["client_credentials"]}`, `{"grant_type":"a","grant_type":"b"}`, `{"scope":{}}`} {
			e.call(http.MethodPost, "/oauth/token", bad).wantError(t, 400, "invalid_request")
		}
		// Elsewhere the forms of the RFC hold.
		if a := e.post("/oauth/token", id, secret, "grant_type", "client_credentials"); a.status != 200 {
			t.Errorf("got %s", a.raw)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.issuer+"/oauth/token",
			strings.NewReader(body("grant_type", "client_credentials", "client_id", id, "client_secret", secret)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		e.send(req).wantError(t, 400, "invalid_request")

		access := token.str("access_token")
		for name, a := range map[string]*tokenAnswer{
			"management bearer, JSON": e.call(http.MethodPost, "/oauth/introspect", body("token", access)),
			"management bearer, form": e.call(http.MethodPost, "/oauth/introspect", "token="+access, "Content-Type", "application/x-www-form-urlencoded"),
			"client in the body":      e.call(http.MethodPost, "/oauth/introspect", body("token", access, "client_id", id, "client_secret", secret)),
			"client in the header":    e.callAs("", http.MethodPost, "/oauth/introspect", body("token", access), "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(id+":"+secret))),
		} {
			if a.body["active"] != true || a.str("client_id") != id || a.str("iss") != e.issuer || a.str("aud") != e.issuer || a.str("scope") != "read write" {
				t.Errorf("%s: %d %s", name, a.status, a.raw)
			}
		}
		if a := e.call(http.MethodPost, "/oauth/introspect", body("token", "nothing")); a.status != 200 || strings.TrimSpace(a.raw) != `{"active":false}` {
			t.Errorf("got %d %s", a.status, a.raw)
		}
		e.call(http.MethodPost, "/oauth/introspect", `{}`).wantError(t, 400, "invalid_request")
		e.callAs("", http.MethodPost, "/oauth/introspect", body("token", access)).wantError(t, 401, "invalid_client")
		e.callAs("wrong", http.MethodPost, "/oauth/introspect", body("token", access)).wantError(t, 401, "invalid_token")
		// A wrong secret is not made good by the bearer.
		e.call(http.MethodPost, "/oauth/introspect", body("token", access, "client_id", id, "client_secret", "x")).wantError(t, 401, "invalid_client")
	}
}

func TestV2Authorize(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	c := e.create(webBody)
	id := c["client_id"].(string)
	get := func(method string, pairs ...string) *answer {
		target, _ := e.authorizeURL(id, pairs...)
		return e.browser().do(method, strings.Replace(target, e.issuer, e.v2, 1), nil)
	}
	tests := []struct {
		name   string
		pairs  []string
		status int
	}{
		{"unknown client", []string{"client_id", "none"}, 404},
		{"redirect URI not registered", []string{"redirect_uri", "https://evil.example/cb"}, 422},
		{"no client", []string{"client_id", "-"}, 400},
		{"good: the sign-in page", nil, 200},
		{"bad scope goes to the client", []string{"scope", "admin"}, 302},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := get(http.MethodGet, tt.pairs...)
			if a.status != tt.status {
				t.Errorf("got %d, want %d: %s", a.status, tt.status, a.body)
			}
			if tt.status >= 400 && (!strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || a.location != nil) {
				t.Errorf("content type %q, location %v", a.header.Get("Content-Type"), a.location)
			}
		})
	}
	if a := get(http.MethodHead); a.status != 405 {
		t.Errorf("HEAD: %d", a.status)
	}
	e.call(http.MethodPost, "/oauth_clients/"+id+"/suspend", "").wantStatus(t, 200)
	if a := get(http.MethodGet); a.status != 404 {
		t.Errorf("suspended: %d", a.status)
	}
	e.call(http.MethodPost, "/oauth_clients/"+id+"/resume", "").wantStatus(t, 200)

	// With more than one URI, a missing parameter is a bad request like any other.
	e.call(http.MethodPut, "/oauth_clients/"+id, `{"redirect_uris":["https://client.example/cb","https://client.example/b"]}`).wantStatus(t, 200)
	if a := get(http.MethodGet, "redirect_uri", "-"); a.status != 400 {
		t.Errorf("without redirect_uri: %d", a.status)
	}

	// The whole flow, begun below the base.
	target, verifier := e.authorizeURL(id, "scope", "read")
	done := e.browser().walk(strings.Replace(target, e.issuer, e.v2, 1))
	if done.param("code") == "" {
		t.Fatalf("got %d %v %s", done.status, done.location, done.body)
	}
	a := e.call(http.MethodPost, "/oauth/token", mustJSON(t, map[string]string{
		"grant_type": "authorization_code", "code": done.param("code"), "redirect_uri": callback, "code_verifier": verifier,
		"client_id": id, "client_secret": c["client_secret"].(string),
	}))
	a.wantStatus(t, 200)
	if a.str("refresh_token") == "" {
		t.Errorf("got %s", a.raw)
	}
}

// A library in a browser sends headers of its own to the protocol endpoints. The
// management of clients is for servers.
func TestV2Preflight(t *testing.T) {
	e := newManagedEnv(t, envOptions{config: func(c *handlers.Config) { c.Registration.Mode = handlers.RegistrationOpen }}, nil)
	const sdk = "authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-os,x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,x-stainless-timeout"
	ask := func(path, headers string) *tokenAnswer {
		return e.callAs("", http.MethodOptions, path, "", "Origin", "https://app.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", headers)
	}
	allowed := func(a *tokenAnswer) []string {
		names := strings.Split(strings.ToLower(a.header.Get("Access-Control-Allow-Headers")), ",")
		for i := range names {
			names[i] = strings.TrimSpace(names[i])
		}
		return names
	}
	for _, path := range []string{
		"/oauth/token", "/oauth/introspect", "/oauth/revoke", "/oauth/register", "/oauth/register/x", "/oauth/jwks",
		"/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource",
	} {
		a := ask(path, sdk)
		if a.status != 204 || a.header.Get("Access-Control-Allow-Origin") != "*" || a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: got %d %v", path, a.status, a.header)
		}
		for name := range strings.SplitSeq(sdk, ",") {
			if !slices.Contains(allowed(a), name) {
				t.Errorf("%s: %s is not among %v", path, name, allowed(a))
			}
		}
	}
	many := strings.TrimSuffix(strings.Repeat("x-a,", 33), ",")
	for _, headers := range []string{"", "x-a,not a name", "x-a,,x-b", "x-a,(x)", "x-a,\u00e9", "x-" + strings.Repeat("a", 63), many} {
		got := allowed(ask("/oauth/token", headers))
		if !slices.Contains(got, "authorization") || slices.ContainsFunc(got, func(name string) bool { return strings.HasPrefix(name, "x-") }) {
			t.Errorf("%q: got %v", headers, got)
		}
	}
	for _, path := range []string{"/oauth_clients", "/oauth/clients/x", "/oauth_grants", "/oauth/grants", "/oauth/consent/x", "/audit", "/signing_keys", "/oauth/authorize", "/openapi.json"} {
		a := ask(path, sdk)
		for name := range a.header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: %s", path, name)
			}
		}
	}
}

func TestV2Documents(t *testing.T) {
	for _, base := range []string{"", "/auth"} {
		e := newManagedEnv(t, envOptions{base: base}, nil)
		for _, path := range []string{"/.well-known/oauth-authorization-server", "/oauth/jwks"} {
			for _, bearer := range []string{"", "whatever", adminKey} {
				below := e.callAs(bearer, http.MethodGet, path, "")
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.issuer+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if own := e.send(req); below.status != 200 || below.raw != own.raw {
					t.Errorf("%s: %d %s", path, below.status, below.raw)
				}
			}
		}
		a := e.callAs("", http.MethodGet, "/.well-known/oauth-protected-resource", "")
		a.wantStatus(t, 200)
		if a.str("resource") != e.issuer+"/v2" || mustJSON(t, a.body["authorization_servers"]) != `["`+e.issuer+`"]` {
			t.Errorf("got %s", a.raw)
		}
		if a.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Error("no CORS")
		}
		e.callAs("", http.MethodGet, "/.well-known/nothing", "").wantError(t, 404, "not_found")
		e.callAs("", http.MethodGet, "/openapi.json", "").wantStatus(t, 200)
	}
}
