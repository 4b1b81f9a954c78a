package handlers_test

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// badIntrospectionRequests are lines 86 to 103: what is asked with and about a
// token at introspection, revocation and userinfo.
func badIntrospectionRequests() []badRequest {
	return []badRequest{
		{nr: 86, name: "introspect without credentials", introspect: []string{"token={access:web}"}, status: 401, code: "invalid_client"},
		{nr: 86, name: "introspect as a public client", introspect: []string{"token={access:public}", "client_id={public}"}, status: 401, code: "invalid_client"},
		{nr: 86, name: "introspect with a wrong secret", as: "web:wrong", introspect: []string{"token={access:web}"}, status: 401, code: "invalid_client"},
		{nr: 88, name: "bearer in the query", introspect: []string{"token={access:web}"}, query: "access_token={access:web}", status: 400, code: "invalid_request"},
		{nr: 89, name: "a token does not authenticate the question about itself", introspect: []string{"token={access:web}"}, header: []string{"Authorization", "Bearer {access:web}"}, status: 401, code: "invalid_client"},
		{nr: 87, name: "credentials in the body, registered so", introspect: []string{"token={access:web}", "client_id={post}", "client_secret={post.secret}"}, status: 200, code: `{"active":false}`},
		{nr: 101, name: "revoke with a wrong hint", as: "web", revoke: []string{"token={access:web}", "token_type_hint=refresh_token"}, status: 200, accept: true, stores: true},
		{nr: 101, name: "revoke with an unknown hint", as: "web", revoke: []string{"token={access:web}", "token_type_hint=nonsense"}, status: 200, accept: true, stores: true},
		{nr: 102, name: "a public client revokes its own token", revoke: []string{"token={access:public}", "client_id={public}"}, status: 200, accept: true, stores: true},
		{nr: 99, name: "revoke a made-up token with a real MAC", as: "web", revoke: []string{"token={junk:web}"}, status: 200, accept: true},
		{nr: 93, name: "a refresh token is told about as itself", scenario: refreshTokenIsIntrospected},
		{nr: 94, name: "claims of the host never replace the server's own", scenario: alone(reservedClaims)},
		{nr: 95, name: "introspect while the database is away", also: []int{100}, scenario: alone(introspectWithoutDatabase)},
		{nr: 96, name: "the token of a user who is gone", scenario: alone(userIsGone)},
		{nr: 96, name: "the token of a client that is gone", scenario: clientIsGone},
		{nr: 99, name: "altered tokens do not work and revoke nothing", scenario: alteredTokens},
		{nr: 101, name: "what a revocation ends", also: []int{102}, scenario: revocation},
		{nr: 103, name: "userinfo with an expired token, or one without a user", scenario: userinfoRefuses},
		{nr: 90, name: "introspect without token", as: "web", introspect: []string{}, status: 400, code: "invalid_request"},
		{nr: 91, name: "another client's token", as: "other", introspect: []string{"token={access:web}"}, status: 200, code: `{"active":false}`},
		{nr: 92, name: "another client's refresh token", as: "other", introspect: []string{"token={refresh:web}"}, status: 200, code: `{"active":false}`},
		{nr: 97, name: "revoke without token", as: "web", revoke: []string{}, status: 400, code: "invalid_request"},
		{nr: 98, name: "revoke another client's access token", as: "other", revoke: []string{"token={access:web}"}, status: 400, code: "invalid_grant"},
		{nr: 98, name: "revoke another client's refresh token", as: "other", revoke: []string{"token={refresh:web}"}, status: 400, code: "invalid_grant"},
		{nr: 99, name: "revoke without credentials", revoke: []string{"token={access:web}"}, status: 401, code: "invalid_client"},
		{nr: 102, name: "a confidential client without its secret", revoke: []string{"token={access:web}", "client_id={web}"}, status: 401, code: "invalid_client"},
		{nr: 103, name: "userinfo without token", method: "GET", path: "/oauth/userinfo", status: 401, want: "WWW-Authenticate"},
		{nr: 103, name: "userinfo with an id_token", method: "GET", path: "/oauth/userinfo", header: []string{"Authorization", "Bearer {idtoken:web}"}, status: 401, code: "invalid_token"},
		{nr: 103, name: "userinfo with a refresh token", method: "GET", path: "/oauth/userinfo", header: []string{"Authorization", "Bearer {refresh:web}"}, status: 401, code: "invalid_token"},
		{nr: 103, name: "userinfo without openid", method: "GET", path: "/oauth/userinfo", header: []string{"Authorization", "Bearer {access:web}"}, status: 403, code: "insufficient_scope", want: "WWW-Authenticate"},
		{nr: 103, name: "userinfo with the token in the query", method: "GET", path: "/oauth/userinfo", query: "access_token={openid:web}", status: 400, code: "invalid_request"},
		{nr: 103, name: "userinfo by PUT", method: "PUT", path: "/oauth/userinfo", status: 405, code: "invalid_request", want: "Allow"},
	}
}

// refreshTokenIsIntrospected: with its own end, and without token_type, which
// only access tokens have (RFC 7662 §2.2).
func refreshTokenIsIntrospected(t *testing.T, e *env) {
	reg := e.register(with(webClient(), func(c *oauthreg.Client) {
		c.Lifetimes.AccessToken, c.Lifetimes.RefreshTokenIdle = time.Minute, time.Hour
	}))
	tokens := e.tokens(reg, "scope", "read")
	access := e.authenticated("/oauth/introspect", reg, "token", tokens.str("access_token"))
	refresh := e.authenticated("/oauth/introspect", reg, "token", tokens.str("refresh_token"), "token_type_hint", "access_token")
	if access.body["active"] != true || access.body["token_type"] != "Bearer" {
		t.Errorf("access token: %s", access.raw)
	}
	if refresh.body["active"] != true || refresh.body["token_type"] != nil || refresh.body["sub"] != "sub-alice" || refresh.body["scope"] != "read" {
		t.Errorf("refresh token: %s", refresh.raw)
	}
	in := func(a *tokenAnswer) time.Duration {
		exp, _ := a.body["exp"].(float64)
		return time.Unix(int64(exp), 0).Sub(e.clock.Now())
	}
	const second = time.Second // exp is whole seconds
	if in(access) > time.Minute+second || in(refresh) < 55*time.Minute || in(refresh) > time.Hour+second {
		t.Errorf("the access token ends in %v, want a minute; the refresh token in %v, want an hour", in(access), in(refresh))
	}
}

// hostileClaims is a host whose claims have the names of the server's own.
type hostileClaims struct{}

func (hostileClaims) Claims(context.Context, string) (map[string]any, error) {
	return map[string]any{
		"active": false, "iss": "https://evil.example", "sub": "root", "aud": "https://evil.example", "exp": 1, "iat": 1, "nbf": 99999999999,
		"jti": "evil", "client_id": "evil", "scope": "admin", "azp": "evil", "auth_time": 1, "nonce": "evil", "acr": "evil", "amr": []string{"evil"},
		"sid": "evil", "cnf": map[string]any{"jkt": "evil"}, "username": "mallory", "team": "hearts",
	}, nil
}

// reservedClaims: whatever the host says, the members that mean something to the
// protocol are the server's, in every form in which a client sees them.
func reservedClaims(t *testing.T) {
	names := slices.Collect(maps.Keys(must(hostileClaims{}.Claims(context.Background(), ""))))
	e := newEnv(t, envOptions{config: func(c *handlers.Config) {
		c.Claims = hostileClaims{}
		c.Scopes = append(c.Scopes, handlers.Scope{Name: "team", Claims: names})
	}})
	for _, format := range []oauthreg.AccessTokenFormat{oauthreg.Opaque, oauthreg.JWT} {
		reg := e.register(with(webClient(), func(c *oauthreg.Client) {
			c.Scopes, c.AccessTokenFormat = append(c.Scopes, "team"), format
		}))
		tokens := e.tokens(reg, "scope", "openid team", "nonce", "n-1")
		seen := map[string]map[string]any{
			"introspection": e.authenticated("/oauth/introspect", reg, "token", tokens.str("access_token")).body,
			"userinfo":      e.userinfo(tokens.str("access_token")).body,
		}
		_, seen["id_token"] = decodeJWT(t, tokens.str("id_token"))
		if format == oauthreg.JWT {
			_, seen["access token"] = decodeJWT(t, tokens.str("access_token"))
		}
		for where, claims := range seen {
			if text := mustJSON(t, claims); strings.Contains(text, "evil") || strings.Contains(text, "root") || claims["sub"] != "sub-alice" {
				t.Errorf("%s: %s", where, text)
			}
			if scope, ok := claims["scope"]; ok && scope != "openid team" {
				t.Errorf("%s: scope is %v", where, scope)
			}
		}
		if seen["introspection"]["active"] != true || seen["userinfo"]["team"] != "hearts" {
			t.Errorf("introspection %v, userinfo %v", seen["introspection"], seen["userinfo"])
		}
	}
}

// introspectWithoutDatabase: a database that is away makes no token inactive and
// no revocation a success.
func introspectWithoutDatabase(t *testing.T) {
	e, store := faultyEnv(t)
	reg := e.register(webClient())
	tokens := e.tokens(reg)
	for _, path := range []string{"/oauth/introspect", "/oauth/revoke"} {
		for _, kind := range []string{"access_token", "refresh_token"} {
			for n := 1; ; n++ {
				store.arm(n, errNoDatabase)
				a := e.authenticated(path, reg, "token", tokens.str(kind))
				fired := store.disarm()
				if fired == "" {
					if a.status != http.StatusOK || n == 1 {
						t.Errorf("%s with a database: %d %s, at the %dth try", path, a.status, a.raw, n)
					}
					break
				}
				a.wantError(t, http.StatusServiceUnavailable, "temporarily_unavailable")
				if a.header.Get("Retry-After") == "" || strings.Contains(a.raw, "active") {
					t.Errorf("%s, %s fails: Retry-After %q, %s", path, fired, a.header.Get("Retry-After"), a.raw)
				}
			}
		}
	}
	if e.active(reg, tokens.str("access_token")) || e.active(reg, tokens.str("refresh_token")) {
		t.Error("the revocation that said so did not happen")
	}
}

// userIsGone: tokens of a user whom the host no longer lets in do not work
// anywhere, and work again when it does; when the host cannot tell, that is not an
// answer.
func userIsGone(t *testing.T) {
	state, failing := true, false
	e := newEnv(t, envOptions{config: func(c *handlers.Config) {
		c.UserActive = func(_ context.Context, subject string) (bool, error) {
			if failing {
				return false, errNoDatabase
			}
			return state || subject != "sub-alice", nil
		}
	}})
	for _, format := range []oauthreg.AccessTokenFormat{oauthreg.Opaque, oauthreg.JWT} {
		reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.AccessTokenFormat = format }))
		machine := e.register(machineClient())
		tokens := e.tokens(reg, "scope", "openid read")
		code, verifier := e.code(reg.Client.ClientID)
		own := e.tokenRequest(machine, "grant_type", "client_credentials").str("access_token")

		b := e.browser() // whose session outlives the user's access
		silent, _ := e.authorizeURL(reg.Client.ClientID)
		b.walk(silent)
		asking, _ := e.authorizeURL(e.register(webClient()).Client.ClientID)
		action, form := b.formAt(asking, "consent-allow")

		state = false
		before := e.rows(t)
		for what, a := range map[string]*answer{"a silent request": b.do(http.MethodGet, silent, nil), "a decision": b.do(http.MethodPost, action.String(), form)} {
			if a.param("error") != "access_denied" || a.param("code") != "" || a.param("iss") != e.issuer {
				t.Errorf("%s: got %d, location %v, want access_denied", what, a.status, a.location)
			}
		}
		if a := b.do(http.MethodPost, action.String(), form); a.status != http.StatusConflict {
			t.Errorf("the decision once more: got %d, want 409", a.status)
		}
		for _, kind := range []string{"access_token", "refresh_token"} {
			if a := e.authenticated("/oauth/introspect", reg, "token", tokens.str(kind)); strings.TrimSpace(a.raw) != `{"active":false}` {
				t.Errorf("introspection of the %s: %s", kind, a.raw)
			}
		}
		a := e.userinfo(tokens.str("access_token"))
		a.wantError(t, 401, "invalid_token")
		if !strings.Contains(a.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
			t.Errorf("WWW-Authenticate is %q", a.header.Get("WWW-Authenticate"))
		}
		e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantError(t, 400, "invalid_grant")
		e.redeem(reg, code, verifier).wantError(t, 400, "invalid_grant")
		if after := e.rows(t); after != before {
			t.Errorf("stored something:\nbefore %s\nafter  %s", before, after)
		}
		if !e.active(machine, own) {
			t.Error("a client's own token went with a user")
		}

		failing = true
		if a := b.do(http.MethodGet, silent, nil); a.status != http.StatusServiceUnavailable || a.location != nil {
			t.Errorf("a silent request when nobody can tell: got %d, location %v", a.status, a.location)
		}
		e.authenticated("/oauth/introspect", reg, "token", tokens.str("access_token")).wantError(t, 503, "temporarily_unavailable")
		e.userinfo(tokens.str("access_token")).wantError(t, 503, "temporarily_unavailable")
		e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantError(t, 503, "temporarily_unavailable")

		state, failing = true, false
		if !e.active(reg, tokens.str("access_token")) {
			t.Error("the user is back, and the token is not")
		}
		e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantOK(t)
	}
}

// clientIsGone: with a client go its tokens, whoever asks about them.
func clientIsGone(t *testing.T, e *env) {
	reg := e.register(webClient())
	checker := e.register(with(machineClient(), func(c *oauthreg.Client) { c.ResourceServer = []string{e.issuer + "/api"} }))
	tokens := e.tokens(reg, "scope", "openid", "resource", e.issuer+"/api")
	if !e.active(checker, tokens.str("access_token")) {
		t.Fatal("the token never worked")
	}
	if err := e.reg.Delete(context.Background(), oauthreg.ByID(reg.Client.ID)); err != nil {
		t.Fatal(err)
	}
	if a := e.authenticated("/oauth/introspect", checker, "token", tokens.str("access_token")); strings.TrimSpace(a.raw) != `{"active":false}` {
		t.Errorf("introspection: %s", a.raw)
	}
	e.userinfo(tokens.str("access_token")).wantError(t, 401, "invalid_token")
	e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantError(t, 401, "invalid_client")
}

func userinfoRefuses(t *testing.T, e *env) {
	reg, machine := e.register(webClient()), e.register(machineClient())
	token := e.tokens(reg, "scope", "openid").str("access_token")
	own := e.tokenRequest(machine, "grant_type", "client_credentials").str("access_token")
	e.userinfo(own).wantError(t, 403, "insufficient_scope")
	if a := e.userinfo(token); a.status != 200 {
		t.Fatalf("before: %d %s", a.status, a.raw)
	}
	e.clock.add(2 * time.Hour)
	a := e.userinfo(token)
	a.wantError(t, 401, "invalid_token")
	if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
		t.Errorf("WWW-Authenticate is %q", a.header.Get("WWW-Authenticate"))
	}
}
