package handlers_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
)

func softwareStatements(t *testing.T) {
	trusted, stranger := newAssertionKey(t), newAssertionKey(t)
	const issuer = "https://directory.example"
	statement := func(e *env, key assertionKey, change func(map[string]any)) string {
		claims := map[string]any{
			"iss": issuer, "iat": e.clock.Now().Unix(), "software_id": "soft-1", "client_name": "Certified",
			"redirect_uris": []string{callback}, "scope": "read",
		}
		if change != nil {
			change(claims)
		}
		return key.sign(t, "ES256", claims)
	}
	e := registrationEnv(t, envOptions{}, func(c *handlers.RegistrationConfig) {
		c.SoftwareStatements = []handlers.SoftwareStatementIssuer{{Issuer: issuer, JWKS: jwkSet(t, trusted), Algs: []string{"ES256"}}}
	})
	try := func(e *env, statement, more string) *tokenAnswer {
		return e.sendJSON(http.MethodPost, "/oauth/register", "", `{"software_statement":"`+statement+`"`+more+`}`)
	}

	const invalid, unapproved = "invalid_software_statement", "unapproved_software_statement"
	good := statement(e, trusted, nil)
	parts := strings.Split(good, ".")
	for _, tt := range []struct {
		name, statement, code string
	}{
		{"not a JWT", "x", invalid},
		{"unsigned", "eyJhbGciOiJub25lIn0." + parts[1] + ".", invalid},
		{"another signature", parts[0] + "." + parts[1] + "." + strings.Split(statement(e, stranger, nil), ".")[2], invalid},
		{"signed by a stranger in the issuer's name", statement(e, stranger, nil), invalid},
		{"an issuer nobody trusts", statement(e, stranger, func(c map[string]any) { c["iss"] = "https://evil.example" }), unapproved},
		{"no issuer", statement(e, trusted, func(c map[string]any) { delete(c, "iss") }), invalid},
		{"expired", statement(e, trusted, func(c map[string]any) { c["exp"] = e.clock.Now().Add(-2 * time.Minute).Unix() }), invalid},
		{"not valid yet", statement(e, trusted, func(c map[string]any) { c["nbf"] = e.clock.Now().Add(time.Hour).Unix() }), invalid},
		{"for another server", statement(e, trusted, func(c map[string]any) { c["aud"] = "https://other.example" }), invalid},
	} {
		a := try(e, tt.statement, ","+redirects)
		if a.status != 400 || a.str("error") != tt.code {
			t.Errorf("%s: got %d %s, want %s", tt.name, a.status, a.raw, tt.code)
		}
	}
	e.sendJSON(http.MethodPost, "/oauth/register", "", `{"software_statement":7,`+redirects+`}`).wantError(t, 400, invalid)
	if n := e.clientCount(); n != 0 {
		t.Errorf("got %d clients, want none", n)
	}

	// The statement's claims win over the client's own words, and break the same rules.
	a := try(e, good, `,"client_name":"Mine","software_id":"other","client_uri":"https://mine.example/"`)
	if a.status != 201 || a.str("client_name") != "Certified" || a.str("software_id") != "soft-1" || a.str("scope") != "read" ||
		a.str("client_uri") != "https://mine.example/" || a.str("software_statement") != good || !reflect.DeepEqual(a.list("redirect_uris"), []string{callback}) {
		t.Errorf("got %d %s", a.status, a.raw)
	}
	try(e, statement(e, trusted, func(c map[string]any) { c["scope"] = "admin" }), "").wantError(t, 400, "invalid_client_metadata")
	try(e, statement(e, trusted, func(c map[string]any) { c["aud"] = []string{"x", e.issuer} }), "")

	// None is trusted where none is configured, and one is needed where it is required.
	plain := registrationEnv(t, envOptions{}, nil)
	try(plain, good, ","+redirects).wantError(t, 400, unapproved)
	strict := registrationEnv(t, envOptions{}, func(c *handlers.RegistrationConfig) {
		c.SoftwareStatements = []handlers.SoftwareStatementIssuer{{Issuer: issuer, JWKS: jwkSet(t, trusted)}}
		c.RequireSoftwareStatement = true
	})
	strict.sendJSON(http.MethodPost, "/oauth/register", "", `{`+redirects+`}`).wantError(t, 400, invalid)
	if a := try(strict, statement(strict, trusted, nil), ""); a.status != 201 {
		t.Errorf("required and there: %d %s", a.status, a.raw)
	}
}
