package handlers_test

import (
	"context"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// descriptive are the members of a client that say something about it and are
// not meant to be enforced in a flow. Every other member needs a row in
// TestRegistrationIsEnforced that succeeds because of it and one that is refused
// because of it.
var descriptive = map[string]string{
	"ID":              "internal name",
	"OrgID":           "owner; scopes management, not flows",
	"ProjectID":       "owner; scopes management, not flows",
	"UserID":          "creator",
	"Name":            "shown on pages",
	"Description":     "for operators",
	"ApplicationType": "decides at registration which redirect URIs are legal",
	"ClientURI":       "shown on pages",
	"LogoURI":         "shown on pages",
	"TOSURI":          "shown on pages",
	"PolicyURI":       "shown on pages",
	"Contacts":        "for operators",
	"SoftwareID":      "for operators",
	"SoftwareVersion": "for operators",
	"Verified":        "shown on the consent page",
	"SelfRegistered":  "shown on the consent page",
	"CreatedAt":       "history",
	"UpdatedAt":       "history",
	"Version":         "history",
	"Metadata":        "the host's own",

	"InitiateLoginURI":                 "for whoever starts a sign-in; the server does not",
	"BackchannelLogoutSessionRequired": "every logout token has sid",
}

type enforcement struct {
	field   string
	name    string
	allowed bool // the row succeeds because of the field; else it is refused because of it
	run     func(t *testing.T, e *env)
}

func TestRegistrationIsEnforced(t *testing.T) {
	shared := newEnv(t, envOptions{})
	seen := map[string]map[bool]bool{}
	for _, row := range slices.Concat(enforcements(), openIDEnforcements(), documentEnforcements()) {
		if seen[row.field] == nil {
			seen[row.field] = map[bool]bool{}
		}
		seen[row.field][row.allowed] = true
		verdict := "refused"
		if row.allowed {
			verdict = "allowed"
		}
		t.Run(row.field+"/"+verdict+"/"+row.name, func(t *testing.T) {
			e := *shared
			e.t = t
			row.run(t, &e)
		})
	}
	for _, f := range append(reflect.VisibleFields(reflect.TypeFor[oauthreg.Client]()), reflect.VisibleFields(reflect.TypeFor[oauthreg.Lifetimes]())...) {
		name := f.Name
		if name == "Lifetimes" || descriptive[name] != "" {
			continue
		}
		if f.Type == reflect.TypeFor[time.Duration]() {
			name = "Lifetimes." + name
		}
		for _, allowed := range []bool{true, false} {
			if !seen[name][allowed] {
				t.Errorf("Client.%s has no row with allowed=%v: a registered member must be enforced in a flow, and shown to be", name, allowed)
			}
		}
	}
}

// wantCode walks the browser and wants a code.
func wantCode(t *testing.T, e *env, reg oauthreg.Registration, params ...string) {
	t.Helper()
	e.code(reg.Client.ClientID, params...)
}

// wantRedirectError walks the browser and wants an error at the redirect URI.
func wantRedirectError(t *testing.T, e *env, reg oauthreg.Registration, code string, params ...string) {
	t.Helper()
	target, _ := e.authorizeURL(reg.Client.ClientID, params...)
	a := e.browser().walk(target)
	if a.param("error") != code || a.param("iss") != e.issuer || a.param("state") != "st-"+reg.Client.ClientID {
		t.Errorf("got status %d, location %v, want error=%s with iss and state", a.status, a.location, code)
	}
}

// wantPage walks the browser and wants an error page without a redirect.
func wantPage(t *testing.T, e *env, status int, code, target string) {
	t.Helper()
	a := e.browser().walk(target)
	if a.location != nil || a.status != status || !strings.Contains(a.body, code) {
		t.Errorf("got status %d, location %v, want a page with %d %s\n%s", a.status, a.location, status, code, a.body)
	}
}

// wantOK wants a token.
func (a *tokenAnswer) wantOK(t testing.TB) {
	t.Helper()
	if a.status != http.StatusOK || a.str("access_token") == "" {
		t.Errorf("got %d %s, want a token", a.status, a.raw)
	}
}

func with(c oauthreg.Client, change func(*oauthreg.Client)) oauthreg.Client {
	change(&c)
	return c
}

func enforcements() []enforcement {
	ctx := context.Background()
	return []enforcement{
		{"ClientID", "the registered client_id", true, func(t *testing.T, e *env) {
			wantCode(t, e, e.register(webClient()))
		}},
		{"ClientID", "an unknown one at authorize is a page", false, func(t *testing.T, e *env) {
			target, _ := e.authorizeURL("nobody")
			wantPage(t, e, http.StatusBadRequest, "invalid_client", target)
		}},
		{"ClientID", "an unknown one at the token endpoint", false, func(t *testing.T, e *env) {
			e.post("/oauth/token", "nobody", "x", "grant_type", "client_credentials").wantError(t, 401, "invalid_client")
		}},
		{"ClientID", "the code of another client", false, func(t *testing.T, e *env) {
			owner, thief := e.register(webClient()), e.register(webClient())
			code, verifier := e.code(owner.Client.ClientID)
			e.redeem(thief, code, verifier).wantError(t, 400, "invalid_grant")
			e.redeem(owner, code, verifier).wantOK(t) // unharmed
		}},

		{"Type", "a confidential client with its secret", true, func(t *testing.T, e *env) {
			e.tokenRequest(e.register(machineClient()), "grant_type", "client_credentials").wantOK(t)
		}},
		{"Type", "a public client may not use client_credentials", false, func(t *testing.T, e *env) {
			reg := e.register(with(publicClient(), func(c *oauthreg.Client) {
				c.GrantTypes = append(c.GrantTypes, oauthreg.GrantClientCredentials)
			}))
			e.tokenRequest(reg, "grant_type", "client_credentials").wantError(t, 400, "unauthorized_client")
		}},
		{"Type", "a public client may not introspect", false, func(t *testing.T, e *env) {
			reg := e.register(publicClient())
			token := e.tokens(reg).str("access_token")
			e.authenticated("/oauth/introspect", reg, "token", token).wantError(t, 401, "invalid_client")
		}},

		{"RequirePKCE", "a confidential client that need not, without", true, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.RequirePKCE = false }))
			code, _ := e.code(reg.Client.ClientID, "code_challenge", "-", "code_challenge_method", "-")
			e.redeem(reg, code, "").wantOK(t)
		}},
		{"RequirePKCE", "a confidential client that must, with", true, func(t *testing.T, e *env) {
			e.tokens(e.register(webClient()))
		}},
		{"RequirePKCE", "a confidential client that must, without", false, func(t *testing.T, e *env) {
			wantRedirectError(t, e, e.register(webClient()), "invalid_request", "code_challenge", "-", "code_challenge_method", "-")
		}},
		{"RequirePKCE", "a public client always must", false, func(t *testing.T, e *env) {
			reg := e.register(with(publicClient(), func(c *oauthreg.Client) { c.RequirePKCE = false }))
			wantRedirectError(t, e, reg, "invalid_request", "code_challenge", "-", "code_challenge_method", "-")
		}},
		{"RequirePKCE", "raised between authorize and token", false, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.RequirePKCE = false }))
			code, _ := e.code(reg.Client.ClientID, "code_challenge", "-", "code_challenge_method", "-")
			if _, err := e.reg.Update(ctx, oauthreg.ByID(reg.Client.ID), oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error {
				c.RequirePKCE = true
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			e.redeem(reg, code, "").wantError(t, 400, "invalid_grant")
		}},
		{"RequirePKCE", "wrong, missing and malformed verifiers, which do not burn the code", false, func(t *testing.T, e *env) {
			for _, c := range []oauthreg.Client{webClient(), publicClient(), with(webClient(), func(c *oauthreg.Client) { c.RequirePKCE = false })} {
				reg := e.register(c)
				code, verifier := e.code(reg.Client.ClientID)
				e.redeem(reg, code, oauth2.GenerateVerifier()).wantError(t, 400, "invalid_grant")
				e.redeem(reg, code, "").wantError(t, 400, "invalid_grant")
				e.redeem(reg, code, strings.Repeat("a", 42)).wantError(t, 400, "invalid_request")
				e.redeem(reg, code, strings.Repeat("a", 129)).wantError(t, 400, "invalid_request")
				e.redeem(reg, code, strings.Repeat("!", 43)).wantError(t, 400, "invalid_request")
				e.redeem(reg, code, verifier).wantOK(t)
			}
		}},
		{"RequirePKCE", "a verifier without a challenge", false, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.RequirePKCE = false }))
			code, _ := e.code(reg.Client.ClientID, "code_challenge", "-", "code_challenge_method", "-")
			e.redeem(reg, code, oauth2.GenerateVerifier()).wantError(t, 400, "invalid_grant")
		}},
		{"RequirePKCE", "any method but S256", false, func(t *testing.T, e *env) {
			reg := e.register(webClient())
			for _, method := range []string{"plain", "s256", "S512", "-"} {
				wantRedirectError(t, e, reg, "invalid_request", "code_challenge_method", method)
			}
		}},

		{"Scopes", "a registered scope", true, func(t *testing.T, e *env) {
			a := e.tokens(e.register(webClient()), "scope", "read openid")
			if a.str("scope") != "read openid" {
				t.Errorf("scope is %q", a.str("scope"))
			}
		}},
		{"Scopes", "another scope at authorize", false, func(t *testing.T, e *env) {
			wantRedirectError(t, e, e.register(webClient()), "invalid_scope", "scope", "read admin")
		}},
		{"Scopes", "another scope at client_credentials", false, func(t *testing.T, e *env) {
			e.tokenRequest(e.register(machineClient()), "grant_type", "client_credentials", "scope", "admin").wantError(t, 400, "invalid_scope")
		}},
		{"Scopes", "a scope taken away ends the grant at refresh", false, func(t *testing.T, e *env) {
			reg := e.register(webClient())
			refresh := e.tokens(reg, "scope", "read write").str("refresh_token")
			if _, err := e.reg.Update(ctx, oauthreg.ByID(reg.Client.ID), oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error {
				c.Scopes = []string{"read"}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", refresh).wantError(t, 400, "invalid_grant")
		}},
		{"DefaultScopes", "no scope asked gives the default set", true, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.DefaultScopes = []string{"read"} }))
			if a := e.tokens(reg); a.str("scope") != "read" {
				t.Errorf("scope is %q, want read", a.str("scope"))
			}
		}},
		{"DefaultScopes", "the default set is not more than that", false, func(t *testing.T, e *env) {
			reg := e.register(with(machineClient(), func(c *oauthreg.Client) { c.DefaultScopes = []string{"read"} }))
			a := e.tokenRequest(reg, "grant_type", "client_credentials")
			if a.str("scope") != "read" {
				t.Errorf("scope is %q: write was not asked for", a.str("scope"))
			}
		}},

		{"GrantTypes", "authorization_code and refresh_token", true, func(t *testing.T, e *env) {
			reg := e.register(webClient())
			refresh := e.tokens(reg).str("refresh_token")
			e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", refresh).wantOK(t)
		}},
		{"GrantTypes", "no authorization_code at authorize", false, func(t *testing.T, e *env) {
			reg := e.register(with(machineClient(), func(c *oauthreg.Client) { c.RedirectURIs = []string{callback} }))
			wantRedirectError(t, e, reg, "unauthorized_client")
		}},
		{"GrantTypes", "no authorization_code at the token endpoint", false, func(t *testing.T, e *env) {
			e.tokenRequest(e.register(machineClient()), "grant_type", "authorization_code", "code", "x").wantError(t, 400, "unauthorized_client")
		}},
		{"GrantTypes", "no client_credentials", false, func(t *testing.T, e *env) {
			e.tokenRequest(e.register(webClient()), "grant_type", "client_credentials").wantError(t, 400, "unauthorized_client")
		}},
		{"GrantTypes", "no refresh_token: none is issued, none redeemed", false, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.GrantTypes = []string{oauthreg.GrantAuthorizationCode} }))
			if a := e.tokens(reg, "scope", "read offline_access"); a.str("refresh_token") != "" {
				t.Error("a refresh token was issued")
			}
			e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", "x").wantError(t, 400, "unauthorized_client")
		}},
		{"GrantTypes", "implicit has no effect unless the server switches it on", false, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) {
				c.GrantTypes = append(c.GrantTypes, oauthreg.GrantImplicit)
			}))
			wantRedirectError(t, e, reg, "unsupported_response_type", "response_type", "token")
		}},
		{"ResponseTypes", "code", true, func(t *testing.T, e *env) {
			wantCode(t, e, e.register(with(webClient(), func(c *oauthreg.Client) { c.ResponseTypes = []string{"code"} })))
		}},
		{"ResponseTypes", "anything else", false, func(t *testing.T, e *env) {
			reg := e.register(webClient())
			for _, rt := range []string{"token", "id_token", "code token", "CODE", "none"} {
				wantRedirectError(t, e, reg, "unsupported_response_type", "response_type", rt)
			}
			wantRedirectError(t, e, reg, "invalid_request", "response_type", "-")
		}},

		{"RedirectURIs", "exactly the registered one, repeated at the token endpoint", true, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) {
				c.RedirectURIs = []string{callback, "https://client.example/other?x=1"}
			}))
			target, verifier := e.authorizeURL(reg.Client.ClientID, "redirect_uri", "https://client.example/other?x=1")
			a := e.browser().walk(target)
			if got := a.location.Query().Get("x"); got != "1" || a.param("code") == "" {
				t.Fatalf("location is %v", a.location)
			}
			e.tokenRequest(reg, "grant_type", "authorization_code", "code", a.param("code"), "code_verifier", verifier,
				"redirect_uri", "https://client.example/other?x=1").wantOK(t)
		}},
		{"RedirectURIs", "the port of a loopback URI is free", true, func(t *testing.T, e *env) {
			for registered, asked := range map[string]string{
				"http://127.0.0.1/cb":      "http://127.0.0.1:5011/cb",
				"http://localhost:3000/cb": "http://localhost:3118/cb",
				"http://[::1]/cb":          "http://[::1]:9/cb",
			} {
				reg := e.register(with(publicClient(), func(c *oauthreg.Client) { c.RedirectURIs = []string{registered} }))
				target, verifier := e.authorizeURL(reg.Client.ClientID, "redirect_uri", asked)
				a := e.browser().walk(target)
				if a.location == nil || !strings.HasPrefix(a.location.String(), asked+"?code=") {
					t.Fatalf("location is %v, want %s", a.location, asked)
				}
				e.tokenRequest(reg, "grant_type", "authorization_code", "code", a.param("code"), "code_verifier", verifier, "redirect_uri", asked).wantOK(t)
			}
		}},
		{"RedirectURIs", "left out with a single registered one", true, func(t *testing.T, e *env) {
			reg := e.register(webClient())
			code, verifier := e.code(reg.Client.ClientID, "redirect_uri", "-")
			e.tokenRequest(reg, "grant_type", "authorization_code", "code", code, "code_verifier", verifier).wantOK(t)
		}},
		{"RedirectURIs", "anything else is a page", false, func(t *testing.T, e *env) {
			reg := e.register(webClient())
			for _, uri := range []string{
				callback + "/", "https://client.example/CB", callback + "?x=1", callback + "#f", "https://client.example/cb/../cb",
				"https://client.example/%63b", "https://client.example@evil.example/cb", `https://client.example\@evil.example/cb`,
				"https://client.example:443/cb", "HTTPS://client.example/cb", "javascript:alert(1)",
			} {
				target, _ := e.authorizeURL(reg.Client.ClientID, "redirect_uri", uri)
				wantPage(t, e, http.StatusBadRequest, "invalid_request", target)
			}
		}},
		{"RedirectURIs", "left out with two registered ones", false, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.RedirectURIs = append(c.RedirectURIs, "https://client.example/2") }))
			target, _ := e.authorizeURL(reg.Client.ClientID, "redirect_uri", "-")
			wantPage(t, e, http.StatusBadRequest, "invalid_request", target)
		}},
		{"RedirectURIs", "another one at the token endpoint", false, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.RedirectURIs = append(c.RedirectURIs, "https://client.example/2") }))
			code, verifier := e.code(reg.Client.ClientID)
			e.tokenRequest(reg, "grant_type", "authorization_code", "code", code, "code_verifier", verifier, "redirect_uri", "https://client.example/2").wantError(t, 400, "invalid_grant")
			e.tokenRequest(reg, "grant_type", "authorization_code", "code", code, "code_verifier", verifier).wantError(t, 400, "invalid_grant")
			e.redeem(reg, code, verifier).wantOK(t)
		}},

		{"Audience", "a registered resource", true, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.Audience = []string{"https://api.example"} }))
			a := e.tokens(reg, "resource", "https://api.example/")
			got := e.authenticated("/oauth/introspect", reg, "token", a.str("access_token"))
			if got.body["aud"] != "https://api.example" {
				t.Errorf("aud is %v", got.body["aud"])
			}
		}},
		{"Audience", "another resource", false, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.Audience = []string{"https://api.example"} }))
			for _, r := range []string{e.issuer + "/api", "https://api.example.evil", "https://api.example/x", "relative", "https://api.example#f"} {
				wantRedirectError(t, e, reg, "invalid_target", "resource", r)
			}
			machine := e.register(with(machineClient(), func(c *oauthreg.Client) { c.Audience = []string{"https://api.example"} }))
			e.tokenRequest(machine, "grant_type", "client_credentials", "resource", e.issuer).wantError(t, 400, "invalid_target")
		}},
		{"Audience", "a resource that was not granted, at the token endpoint", false, func(t *testing.T, e *env) {
			reg := e.register(webClient())
			code, verifier := e.code(reg.Client.ClientID, "resource", e.issuer+"/api")
			e.redeem(reg, code, verifier, "resource", e.issuer).wantError(t, 400, "invalid_target")
			refresh := e.redeem(reg, code, verifier).str("refresh_token")
			e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", refresh, "resource", e.issuer).wantError(t, 400, "invalid_target")
		}},
		{"ResourceServer", "introspects what is meant for it", true, func(t *testing.T, e *env) {
			rs := e.register(with(machineClient(), func(c *oauthreg.Client) { c.ResourceServer = []string{e.issuer + "/api"} }))
			token := e.tokens(e.register(webClient()), "resource", e.issuer+"/api").str("access_token")
			if a := e.authenticated("/oauth/introspect", rs, "token", token); a.body["active"] != true {
				t.Errorf("got %s", a.raw)
			}
		}},
		{"ResourceServer", "sees nothing else", false, func(t *testing.T, e *env) {
			rs := e.register(with(machineClient(), func(c *oauthreg.Client) { c.ResourceServer = []string{e.issuer + "/other"} }))
			tokens := e.tokens(e.register(webClient()), "resource", e.issuer+"/api")
			for _, token := range []string{tokens.str("access_token"), tokens.str("refresh_token")} {
				if a := e.authenticated("/oauth/introspect", rs, "token", token); strings.TrimSpace(a.raw) != `{"active":false}` {
					t.Errorf("got %s", a.raw)
				}
			}
		}},

		{"TokenEndpointAuthMethod", "each as registered", true, func(t *testing.T, e *env) {
			for _, m := range []string{oauthreg.AuthClientSecretBasic, oauthreg.AuthClientSecretPost} {
				e.tokenRequest(e.register(with(machineClient(), func(c *oauthreg.Client) { c.TokenEndpointAuthMethod = m })), "grant_type", "client_credentials").wantOK(t)
			}
			unnamed := e.register(with(machineClient(), func(c *oauthreg.Client) { c.TokenEndpointAuthMethod = oauthreg.AuthUnnamed }))
			e.post("/oauth/token", unnamed.Client.ClientID, unnamed.Secret, "grant_type", "client_credentials").wantOK(t)
			e.post("/oauth/token", "", "", "grant_type", "client_credentials", "client_id", unnamed.Client.ClientID, "client_secret", unnamed.Secret).wantOK(t)
			e.tokens(e.register(publicClient()))
		}},
		{"TokenEndpointAuthMethod", "basic sent in the body", false, func(t *testing.T, e *env) {
			reg := e.register(machineClient())
			for _, path := range []string{"/oauth/token", "/oauth/introspect", "/oauth/revoke"} {
				a := e.post(path, "", "", "grant_type", "client_credentials", "token", "x", "client_id", reg.Client.ClientID, "client_secret", reg.Secret)
				a.wantError(t, 401, "invalid_client")
				if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic ") {
					t.Errorf("%s: WWW-Authenticate is %q", path, a.header.Get("WWW-Authenticate"))
				}
			}
		}},
		{"TokenEndpointAuthMethod", "post sent as basic", false, func(t *testing.T, e *env) {
			reg := e.register(with(machineClient(), func(c *oauthreg.Client) { c.TokenEndpointAuthMethod = oauthreg.AuthClientSecretPost }))
			e.post("/oauth/token", reg.Client.ClientID, reg.Secret, "grant_type", "client_credentials").wantError(t, 401, "invalid_client")
		}},
		{"TokenEndpointAuthMethod", "two at once, none at all, wrong, and a secret for a public client", false, func(t *testing.T, e *env) {
			reg := e.register(machineClient())
			e.post("/oauth/token", reg.Client.ClientID, reg.Secret, "grant_type", "client_credentials", "client_secret", reg.Secret).wantError(t, 400, "invalid_request")
			e.post("/oauth/token", "", "", "grant_type", "client_credentials").wantError(t, 401, "invalid_client")
			e.post("/oauth/token", "", "", "grant_type", "client_credentials", "client_id", reg.Client.ClientID).wantError(t, 401, "invalid_client")
			e.post("/oauth/token", reg.Client.ClientID, reg.Secret+"x", "grant_type", "client_credentials").wantError(t, 401, "invalid_client")
			public := e.register(publicClient())
			e.post("/oauth/token", "", "", "grant_type", "refresh_token", "refresh_token", "x", "client_id", public.Client.ClientID, "client_secret", "made-up").wantError(t, 401, "invalid_client")
		}},

		{"TokenEndpointAuthMethod", "a rotated secret and its overlap", true, func(t *testing.T, e *env) {
			e = newEnv(t, envOptions{})
			reg := e.register(machineClient())
			fresh, err := e.reg.RotateSecret(ctx, oauthreg.ByID(reg.Client.ID), oauthreg.RotateOptions{Overlap: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			renewed := reg
			renewed.Secret = fresh.Secret
			e.tokenRequest(reg, "grant_type", "client_credentials").wantOK(t)
			e.tokenRequest(renewed, "grant_type", "client_credentials").wantOK(t)
			e.clock.add(61 * time.Minute)
			e.tokenRequest(reg, "grant_type", "client_credentials").wantError(t, 401, "invalid_client")
			e.tokenRequest(renewed, "grant_type", "client_credentials").wantOK(t)
		}},
		{"JWKS", "an assertion by the registered key", true, func(t *testing.T, e *env) {
			key := newAssertionKey(t)
			reg := e.register(key.client(t))
			e.assert(reg, key.sign(t, "ES256", key.claims(e, reg))).wantOK(t)
		}},
		{"JWKS", "an assertion by another key, and a used one", false, func(t *testing.T, e *env) {
			key, other := newAssertionKey(t), newAssertionKey(t)
			reg := e.register(key.client(t))
			e.assert(reg, other.sign(t, "ES256", key.claims(e, reg))).wantError(t, 401, "invalid_client")
			assertion := key.sign(t, "ES256", key.claims(e, reg))
			e.assert(reg, assertion).wantOK(t)
			e.assert(reg, assertion).wantError(t, 401, "invalid_client")
		}},
		{"JWKSURI", "an assertion by the published key", true, func(t *testing.T, e *env) {
			key := newAssertionKey(t)
			e, jwksURI := envWithJWKS(t, key)
			reg := e.register(with(key.client(t), func(c *oauthreg.Client) { c.JWKS, c.JWKSURI = nil, jwksURI }))
			e.assert(reg, key.sign(t, "ES256", key.claims(e, reg))).wantOK(t)
		}},
		{"JWKSURI", "an assertion by a key that is not published", false, func(t *testing.T, e *env) {
			e, jwksURI := envWithJWKS(t, newAssertionKey(t))
			key := newAssertionKey(t)
			reg := e.register(with(key.client(t), func(c *oauthreg.Client) { c.JWKS, c.JWKSURI = nil, jwksURI }))
			e.assert(reg, key.sign(t, "ES256", key.claims(e, reg))).wantError(t, 401, "invalid_client")
		}},
		{"TokenEndpointAuthSigningAlg", "the registered one", true, func(t *testing.T, e *env) {
			key := newAssertionKey(t)
			reg := e.register(with(key.client(t), func(c *oauthreg.Client) { c.TokenEndpointAuthSigningAlg = "ES256" }))
			e.assert(reg, key.sign(t, "ES256", key.claims(e, reg))).wantOK(t)
		}},
		{"TokenEndpointAuthSigningAlg", "another one", false, func(t *testing.T, e *env) {
			key := newAssertionKey(t)
			reg := e.register(with(key.client(t), func(c *oauthreg.Client) {
				c.JWKS = jwkSet(t, key, newAssertionKeyOn(t, elliptic.P384(), "ES384"))
				c.TokenEndpointAuthSigningAlg = "ES384"
			}))
			e.assert(reg, key.sign(t, "ES256", key.claims(e, reg))).wantError(t, 401, "invalid_client")
		}},

		{"SuspendedAt", "resuming revives what did not expire", true, func(t *testing.T, e *env) {
			reg := e.register(webClient())
			token := e.tokens(reg)
			for _, change := range []func(context.Context, oauthreg.Ref) (oauthreg.Client, error){e.reg.Suspend, e.reg.Resume} {
				if _, err := change(ctx, oauthreg.ByID(reg.Client.ID)); err != nil {
					t.Fatal(err)
				}
			}
			e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", token.str("refresh_token")).wantOK(t)
		}},
		{"SuspendedAt", "at once, at every endpoint", false, func(t *testing.T, e *env) {
			reg := e.register(webClient())
			rs := e.register(with(machineClient(), func(c *oauthreg.Client) { c.ResourceServer = []string{e.issuer + "/api"} }))
			tokens := e.tokens(reg, "resource", e.issuer+"/api")
			code, verifier := e.code(reg.Client.ClientID)
			if _, err := e.reg.Suspend(ctx, oauthreg.ByID(reg.Client.ID)); err != nil {
				t.Fatal(err)
			}
			target, _ := e.authorizeURL(reg.Client.ClientID)
			wantPage(t, e, http.StatusBadRequest, "invalid_client", target)
			e.redeem(reg, code, verifier).wantError(t, 401, "invalid_client")
			e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantError(t, 401, "invalid_client")
			e.authenticated("/oauth/introspect", reg, "token", tokens.str("access_token")).wantError(t, 401, "invalid_client")
			if a := e.authenticated("/oauth/introspect", rs, "token", tokens.str("access_token")); strings.TrimSpace(a.raw) != `{"active":false}` {
				t.Errorf("got %s", a.raw)
			}
		}},

		{"AccessTokenFormat", "a JWT for the client that registered it", true, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.AccessTokenFormat = oauthreg.JWT }))
			token := e.tokens(reg, "scope", "read").str("access_token")
			header, claims := decodeJWT(t, token)
			if header["typ"] != "at+jwt" || header["kid"] == "" || claims["iss"] != e.issuer || claims["aud"] != e.issuer ||
				claims["sub"] != "sub-alice" || claims["client_id"] != reg.Client.ClientID || claims["scope"] != "read" || claims["jti"] == "" {
				t.Errorf("header %v, claims %v", header, claims)
			}
			if a := e.authenticated("/oauth/introspect", reg, "token", token); a.body["active"] != true {
				t.Errorf("introspection: %s", a.raw)
			}
			e.authenticated("/oauth/revoke", reg, "token", token)
			if a := e.authenticated("/oauth/introspect", reg, "token", token); a.body["active"] != false {
				t.Errorf("after revocation: %s", a.raw)
			}
		}},
		{"AccessTokenFormat", "opaque for every other", false, func(t *testing.T, e *env) {
			if token := e.tokens(e.register(webClient())).str("access_token"); strings.Count(token, ".") == 2 {
				t.Errorf("token is a JWT")
			}
		}},
		{"IDTokenSignedResponseAlg", "as registered", true, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.IDTokenSignedResponseAlg = "ES256" }))
			header, claims := decodeJWT(t, e.tokens(reg, "scope", "openid", "nonce", "n-1").str("id_token"))
			if header["alg"] != "ES256" || claims["aud"] != reg.Client.ClientID || claims["nonce"] != "n-1" {
				t.Errorf("header %v, claims %v", header, claims)
			}
		}},
		{"IDTokenSignedResponseAlg", "RS256 for every other", false, func(t *testing.T, e *env) {
			header, _ := decodeJWT(t, e.tokens(e.register(webClient()), "scope", "openid").str("id_token"))
			if header["alg"] != "RS256" {
				t.Errorf("alg is %v", header["alg"])
			}
		}},

		{"FirstParty", "is not asked for consent", true, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.FirstParty = true }))
			b := e.browser()
			target, _ := e.authorizeURL(reg.Client.ClientID)
			if a := b.walk(target); a.param("code") == "" || len(b.pages) != 1 {
				t.Errorf("location %v after pages %v", a.location, b.pages)
			}
		}},
		{"FirstParty", "everybody else is, once", false, func(t *testing.T, e *env) {
			reg := e.register(webClient())
			b := e.browser()
			target, _ := e.authorizeURL(reg.Client.ClientID)
			if b.walk(target); len(b.pages) != 2 {
				t.Errorf("pages %v, want sign-in and consent", b.pages)
			}
			target, _ = e.authorizeURL(reg.Client.ClientID)
			if b.walk(target); len(b.pages) != 2 {
				t.Errorf("pages %v: the decision was not remembered", b.pages)
			}
			a := e.browser().do("GET", target+"&prompt=none", nil)
			if a.param("error") != "login_required" {
				t.Errorf("location %v", a.location)
			}
			other := e.register(webClient())
			target, _ = e.authorizeURL(other.Client.ClientID, "prompt", "none")
			if a := b.do("GET", target, nil); a.param("error") != "consent_required" {
				t.Errorf("location %v", a.location)
			}
		}},

		{"Lifetimes.AuthorizationCode", "longer than the default", true, func(t *testing.T, e *env) {
			e = newEnv(t, envOptions{})
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.Lifetimes.AuthorizationCode = 2 * time.Minute }))
			code, verifier := e.code(reg.Client.ClientID)
			e.clock.add(90 * time.Second)
			e.redeem(reg, code, verifier).wantOK(t)
		}},
		{"Lifetimes.AuthorizationCode", "over", false, func(t *testing.T, e *env) {
			e = newEnv(t, envOptions{})
			short := e.register(with(webClient(), func(c *oauthreg.Client) { c.Lifetimes.AuthorizationCode = 10 * time.Second }))
			usual := e.register(webClient())
			code, verifier := e.code(short.Client.ClientID)
			code2, verifier2 := e.code(usual.Client.ClientID)
			e.clock.add(11 * time.Second)
			e.redeem(short, code, verifier).wantError(t, 400, "invalid_grant")
			e.clock.add(50 * time.Second)
			e.redeem(usual, code2, verifier2).wantError(t, 400, "invalid_grant")
		}},
		{"Lifetimes.AccessToken", "said and kept", true, func(t *testing.T, e *env) {
			e = newEnv(t, envOptions{})
			reg := e.register(with(machineClient(), func(c *oauthreg.Client) { c.Lifetimes.AccessToken = 2 * time.Hour }))
			a := e.tokenRequest(reg, "grant_type", "client_credentials")
			if a.body["expires_in"] != float64(7200) {
				t.Errorf("expires_in is %v", a.body["expires_in"])
			}
			e.clock.add(7199 * time.Second)
			if a := e.authenticated("/oauth/introspect", reg, "token", a.str("access_token")); a.body["active"] != true {
				t.Errorf("got %s", a.raw)
			}
		}},
		{"Lifetimes.AccessToken", "over", false, func(t *testing.T, e *env) {
			e = newEnv(t, envOptions{})
			reg := e.register(with(machineClient(), func(c *oauthreg.Client) { c.Lifetimes.AccessToken = time.Minute }))
			a := e.tokenRequest(reg, "grant_type", "client_credentials")
			e.clock.add(62 * time.Second)
			if a := e.authenticated("/oauth/introspect", reg, "token", a.str("access_token")); a.body["active"] != false {
				t.Errorf("got %s", a.raw)
			}
		}},
		{"Lifetimes.RefreshTokenIdle", "each use starts it anew", true, func(t *testing.T, e *env) {
			e = newEnv(t, envOptions{})
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.Lifetimes.RefreshTokenIdle = time.Hour }))
			refresh := e.tokens(reg).str("refresh_token")
			for range 4 {
				e.clock.add(50 * time.Minute)
				a := e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", refresh)
				a.wantOK(t)
				refresh = a.str("refresh_token")
			}
		}},
		{"Lifetimes.RefreshTokenIdle", "over", false, func(t *testing.T, e *env) {
			e = newEnv(t, envOptions{})
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.Lifetimes.RefreshTokenIdle = time.Hour }))
			refresh := e.tokens(reg).str("refresh_token")
			e.clock.add(61 * time.Minute)
			e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", refresh).wantError(t, 400, "invalid_grant")
		}},
		{"Lifetimes.RefreshToken", "longer than the default", true, func(t *testing.T, e *env) {
			e = newEnv(t, envOptions{})
			reg := e.register(with(webClient(), func(c *oauthreg.Client) {
				c.Lifetimes.RefreshToken, c.Lifetimes.RefreshTokenIdle = 365*24*time.Hour, 365*24*time.Hour
			}))
			refresh := e.tokens(reg).str("refresh_token")
			e.clock.add(364 * 24 * time.Hour)
			e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", refresh).wantOK(t)
		}},
		{"Lifetimes.RefreshToken", "the absolute end, however often used", false, func(t *testing.T, e *env) {
			e = newEnv(t, envOptions{})
			reg := e.register(with(webClient(), func(c *oauthreg.Client) {
				c.Lifetimes.RefreshToken, c.Lifetimes.RefreshTokenIdle = 2*time.Hour, time.Hour
			}))
			refresh := e.tokens(reg).str("refresh_token")
			for range 2 {
				e.clock.add(50 * time.Minute)
				a := e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", refresh)
				a.wantOK(t)
				refresh = a.str("refresh_token")
			}
			e.clock.add(21 * time.Minute)
			e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", refresh).wantError(t, 400, "invalid_grant")
		}},
		{"Lifetimes.IDToken", "as registered", true, func(t *testing.T, e *env) {
			reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.Lifetimes.IDToken = 5 * time.Minute }))
			_, claims := decodeJWT(t, e.tokens(reg, "scope", "openid").str("id_token"))
			if d := claims["exp"].(float64) - claims["iat"].(float64); d < 300 || d > 301 {
				t.Errorf("lives %v seconds", d)
			}
		}},
		{"Lifetimes.IDToken", "the default for every other", false, func(t *testing.T, e *env) {
			_, claims := decodeJWT(t, e.tokens(e.register(webClient()), "scope", "openid").str("id_token"))
			if d := claims["exp"].(float64) - claims["iat"].(float64); d < 3600 || d > 3601 {
				t.Errorf("lives %v seconds", d)
			}
		}},
	}
}

func decodeJWT(t testing.TB, token string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %q", token)
	}
	for i, into := range []*map[string]any{&header, &claims} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, into); err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

// The happy paths with golang.org/x/oauth2, unchanged.
func TestXOAuth2(t *testing.T) {
	for _, base := range []string{"", "/auth/tenant"} {
		e := newEnv(t, envOptions{base: base})
		ctx := context.WithValue(context.Background(), oauth2.HTTPClient, e.http.Client())
		for name, c := range map[string]oauthreg.Client{"confidential": webClient(), "public": publicClient()} {
			t.Run("code flow/"+name+base, func(t *testing.T) {
				reg := e.register(c)
				conf := e.oauth2Config(reg, "openid", "read", "offline_access")
				verifier := oauth2.GenerateVerifier()
				a := e.browser().walk(conf.AuthCodeURL("some-state", oauth2.S256ChallengeOption(verifier)))
				if a.param("state") != "some-state" || a.param("iss") != e.issuer {
					t.Fatalf("location %v", a.location)
				}
				token, err := conf.Exchange(ctx, a.param("code"), oauth2.VerifierOption(verifier))
				if err != nil {
					t.Fatal(err)
				}
				if !token.Valid() || token.TokenType != "Bearer" || token.Extra("id_token") == nil {
					t.Errorf("token %+v", token)
				}
				token.Expiry = time.Now().Add(-time.Minute)
				fresh, err := conf.TokenSource(ctx, token).Token()
				if err != nil {
					t.Fatal(err)
				}
				if fresh.AccessToken == token.AccessToken || fresh.RefreshToken == token.RefreshToken {
					t.Error("refresh gave the old tokens")
				}
			})
		}
		t.Run("client credentials"+base, func(t *testing.T) {
			reg := e.register(machineClient())
			conf := clientcredentials.Config{
				ClientID: reg.Client.ClientID, ClientSecret: reg.Secret, TokenURL: e.issuer + "/oauth/token",
				Scopes: []string{"read"}, EndpointParams: url.Values{"resource": {e.issuer + "/api"}},
			}
			token, err := conf.Token(ctx)
			if err != nil || !token.Valid() {
				t.Fatalf("token %+v, err %v", token, err)
			}
		})
	}
}
