package handlers_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/handlers/bearer"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// Resource indicators (RFC 8707) from the authorization request to the resource
// servers that verify the tokens, opaque and JWT: by introspection, offline, and
// in the same process.
func TestResourceIndicators(t *testing.T) {
	for _, format := range []oauthreg.AccessTokenFormat{oauthreg.Opaque, oauthreg.JWT} {
		t.Run(string(format), func(t *testing.T) {
			e := newEnv(t, envOptions{config: func(c *handlers.Config) {
				c.Resources = []string{c.Issuer + "/a", c.Issuer + "/b", "https://elsewhere.example"}
			}})
			a, b, elsewhere := e.issuer+"/a", e.issuer+"/b", "https://elsewhere.example"
			client := e.register(with(webClient(), func(c *oauthreg.Client) { c.AccessTokenFormat = format }))
			servers := map[string]oauthreg.Registration{}
			for _, resource := range []string{a, b, elsewhere} {
				servers[resource] = e.register(with(machineClient(), func(c *oauthreg.Client) { c.ResourceServer = []string{resource} }))
			}
			good := func(token string, resources ...string) {
				t.Helper()
				for resource, server := range servers {
					want := slices.Contains(resources, resource)
					for name, verifier := range e.verifiers(t, resource, server, format) {
						accepted := accepts(t, verifier, resource, token)
						if accepted != want {
							t.Errorf("%s at %s: accepted is %v, want %v", name, resource, accepted, want)
						}
					}
				}
			}
			two := []string{"grant_type", "refresh_token"}

			// Two resources are granted, one token is for the first of them only.
			target, verifier := e.authorizeURL(client.Client.ClientID, "resource", a)
			answer := e.browser().walk(target + "&resource=" + b)
			code := answer.param("code")
			if code == "" {
				t.Fatalf("status %d, location %v\n%s", answer.status, answer.location, answer.body)
			}
			e.redeem(client, code, verifier, "resource", elsewhere).wantError(t, 400, "invalid_target")
			tokens := e.redeem(client, code, verifier, "resource", a)
			tokens.wantOK(t)
			good(tokens.str("access_token"), a)

			// A refresh narrows the one access token and not the grant.
			refresh := func(resources ...string) *tokenAnswer {
				t.Helper()
				pairs := append(slices.Clone(two), "refresh_token", tokens.str("refresh_token"))
				for _, r := range resources {
					pairs = append(pairs, "resource", r)
				}
				answer := e.tokenRequest(client, pairs...)
				if answer.status == 200 {
					tokens = answer
				}
				return answer
			}
			refresh(b).wantOK(t)
			good(tokens.str("access_token"), b)
			refresh().wantOK(t)
			good(tokens.str("access_token"), a, b)
			refresh(b, a, b).wantOK(t)
			good(tokens.str("access_token"), a, b)
			refresh(elsewhere).wantError(t, 400, "invalid_target")
			refresh(a, elsewhere).wantError(t, 400, "invalid_target")
			refresh(a+"#f").wantError(t, 400, "invalid_target")
			refresh(a).wantOK(t) // nothing was used up

			// A resource that is a bare origin has one slash more or less.
			slash := e.tokens(client, "resource", elsewhere+"/")
			good(slash.str("access_token"), elsewhere)

			// Without any, the token is for nobody but the authorization server.
			none := e.tokens(client)
			good(none.str("access_token"))

			// What may be asked for is registered per client.
			narrow := e.register(with(webClient(), func(c *oauthreg.Client) { c.AccessTokenFormat, c.Audience = format, []string{a} }))
			good(e.tokens(narrow, "resource", a).str("access_token"), a)
			wantRedirectError(t, e, narrow, "invalid_target", "resource", b)
			machine := e.register(with(machineClient(), func(c *oauthreg.Client) { c.AccessTokenFormat, c.Audience = format, []string{b} }))
			good(e.tokenRequest(machine, "grant_type", "client_credentials", "resource", b).str("access_token"), b)
			e.tokenRequest(machine, "grant_type", "client_credentials", "resource", a).wantError(t, 400, "invalid_target")
			// And per server.
			wantRedirectError(t, e, client, "invalid_target", "resource", e.issuer+"/c")

			// What the client is no longer registered for, its refresh tokens are not good for.
			held := e.tokens(narrow, "resource", a).str("refresh_token")
			if _, err := e.reg.Update(t.Context(), oauthreg.ByID(narrow.Client.ID), oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error {
				c.Audience = []string{b}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			e.tokenRequest(narrow, "grant_type", "refresh_token", "refresh_token", held).wantError(t, 400, "invalid_grant")

			// A revoked token is noticed by those that ask.
			e.authenticated("/oauth/revoke", client, "token", tokens.str("access_token"))
			for name, verifier := range e.verifiers(t, a, servers[a], format) {
				if accepted := accepts(t, verifier, a, tokens.str("access_token")); accepted != (name == "offline") {
					t.Errorf("revoked, %s: accepted is %v", name, accepted)
				}
			}
		})
	}
}

// verifiers are the ways in which a resource server can verify.
func (e *env) verifiers(t *testing.T, resource string, server oauthreg.Registration, format oauthreg.AccessTokenFormat) map[string]bearer.Verifier {
	t.Helper()
	now := func() time.Time { return e.clock.Now() }
	out := map[string]bearer.Verifier{"in process": e.server.Verifier()}
	out["introspection"] = must(bearer.NewIntrospection(bearer.IntrospectionConfig{
		Endpoint: e.issuer + "/oauth/introspect", ClientID: server.Client.ClientID, ClientSecret: server.Secret, Issuer: e.issuer, Now: now, Client: e.http.Client(),
	}))
	offline := must(bearer.NewJWT(bearer.JWTConfig{Issuer: e.issuer, Audience: []string{resource}, Now: now, Client: e.http.Client()}))
	if format == oauthreg.JWT {
		out["offline"] = offline
	} else {
		out["by format"] = bearer.ByFormat(offline, out["introspection"])
	}
	return out
}

// accepts sends a request with the token through the middleware.
func accepts(t *testing.T, verifier bearer.Verifier, resource, token string) bool {
	t.Helper()
	_, err := verifier.Verify(t.Context(), token)
	if err != nil && !errors.Is(err, bearer.ErrInvalidToken) {
		t.Errorf("cannot verify: %v", err)
	}
	var got *bearer.Token
	protect := bearer.Middleware(bearer.Config{Verifier: verifier, Resource: resource, ResourceMetadata: bearer.MetadataURL(resource)})
	w := httptest.NewRecorder()
	r := must(http.NewRequestWithContext(t.Context(), http.MethodGet, "http://api.example/", nil))
	r.Header.Set("Authorization", "Bearer "+token)
	protect(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got, _ = bearer.FromContext(r.Context()) })).ServeHTTP(w, r)
	if got == nil && (w.Code != http.StatusUnauthorized || !strings.Contains(w.Header().Get("WWW-Authenticate"), `error="invalid_token"`)) {
		t.Errorf("refused by %d %q", w.Code, w.Header().Get("WWW-Authenticate"))
	}
	if got != nil && (got.ClientID == "" || got.Subject == "" || got.ExpiresAt.IsZero()) {
		t.Errorf("the token is %+v", got)
	}
	return got != nil
}
