package handlers_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// badTokenRequests are lines 41 to 85: the token endpoint, and with it client
// authentication.
func badTokenRequests() []badRequest {
	token := func(nr int, name, as string, status int, code string, edits ...string) badRequest {
		return badRequest{nr: nr, name: name, as: as, token: append([]string{}, edits...), status: status, code: code}
	}
	longVerifier := strings.Repeat("a", 129)
	out := []badRequest{
		{nr: 41, name: "GET at the token endpoint", method: "GET", path: "/oauth/token", status: 405, code: "invalid_request"},
		{nr: 41, name: "JSON body", path: "/oauth/token", as: "machine", contentType: "application/json", rawBody: `{"grant_type":"client_credentials"}`, status: 400, code: "invalid_request"},
		{nr: 41, name: "parameters in the query", path: "/oauth/token", as: "machine", query: "grant_type=client_credentials", rawBody: "a=b", status: 400, code: "invalid_request"},
		token(42, "no grant_type", "machine", 400, "invalid_request"),
		token(42, "two grant_type", "machine", 400, "invalid_request", "grant_type=client_credentials", "+grant_type=client_credentials"),
		token(43, "grant_type=password", "machine", 400, "unsupported_grant_type", "grant_type=password", "username=alice", "password=wonderland"),
		token(43, "grant_type=urn:x", "machine", 400, "unsupported_grant_type", "grant_type=urn:x"),
		token(43, "grant_type in upper case", "machine", 400, "unsupported_grant_type", "grant_type=CLIENT_CREDENTIALS"),
		token(44, "a grant that is not registered", "web", 400, "unauthorized_client", "grant_type=client_credentials"),
		token(45, "no client authentication", "-", 401, "invalid_client", "grant_type=client_credentials"),
		token(45, "client_id alone for a confidential client", "-", 401, "invalid_client", "grant_type=client_credentials", "client_id={machine}"),
		token(46, "wrong secret", "machine:wrong", 401, "invalid_client", "grant_type=client_credentials"),
		token(47, "unknown client", "nobody:wrong", 401, "invalid_client", "grant_type=client_credentials"),
		token(47, "suspended client", "suspended", 401, "invalid_client", "grant_type=client_credentials"),
		{nr: 47, name: "every failure looks like every other", scenario: failuresLookAlike},
		token(48, "Basic and body secret", "machine", 400, "invalid_request", "grant_type=client_credentials", "client_secret={machine.secret}"),
		token(48, "Basic and another client_id", "machine", 400, "invalid_request", "grant_type=client_credentials", "client_id={web}"),
		token(48, "Basic and assertion", "machine", 400, "invalid_request", "grant_type=client_credentials", "client_id={machine}", "client_assertion={assertion:good}", "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
		token(48, "two assertions", "-", 400, "invalid_request", "grant_type=client_credentials", "client_assertion={assertion:good}", "+client_assertion={assertion:good}", "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
		token(49, "basic registered, sent in the body", "-", 401, "invalid_client", "grant_type=client_credentials", "client_id={machine}", "client_secret={machine.secret}"),
		token(49, "post registered, sent by Basic", "post", 401, "invalid_client", "grant_type=client_credentials"),
		token(50, "public client with a secret", "-", 401, "invalid_client", "grant_type=refresh_token", "refresh_token=x", "client_id={public}", "client_secret=made-up"),
		{nr: 51, name: "Basic without colon", token: []string{"grant_type=client_credentials"}, header: []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("nocolon"))}, status: 401, code: "invalid_client"},
		{nr: 51, name: "Basic that is not base64", token: []string{"grant_type=client_credentials"}, header: []string{"Authorization", "Basic %%%"}, status: 401, code: "invalid_client"},
		{nr: 51, name: "Basic with a bare percent sign", token: []string{"grant_type=client_credentials"}, header: []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("a%:b%"))}, status: 401, code: "invalid_client"},
		{nr: 51, name: "two Authorization headers", token: []string{"grant_type=client_credentials"}, header: []string{"Authorization", "Basic YTpi", "Authorization", "Basic YTpi"}, status: 400, code: "invalid_request"},
		token(52, "a secret with NUL", "-", 401, "invalid_client", "grant_type=client_credentials", "client_id={post}", "client_secret=\x00"),
		token(52, "a secret of 10 kB", "-", 401, "invalid_client", "grant_type=client_credentials", "client_id={post}", "client_secret="+strings.Repeat("s", 10000)),
		token(52, "a secret of 1 MB", "-", 413, "invalid_request", "grant_type=client_credentials", "client_id={post}", "client_secret="+strings.Repeat("s", 1<<20)),
		{nr: 52, name: "a secret that only begins like the right one", scenario: secretsAreComparedWhole},
		{nr: 55, name: "an assertion once more, or many at once", scenario: assertionRace},
		{nr: 56, name: "a refused assertion does not use up its jti", scenario: refusedAssertionKeepsItsID, also: []int{55}},
		token(58, "assertion for another sub", "-", 401, "invalid_client", "grant_type=client_credentials", "client_id={jwt}", "client_assertion={assertion:sub}", "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
		{nr: 53, name: "an assertion of a clock that is three seconds ahead is good", token: []string{"grant_type=client_credentials", "client_id={jwt}", "client_assertion={assertion:iat-skew}", "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, status: 200, accept: true, stores: true},
		token(58, "assertion with another client_id", "-", 401, "invalid_client", "grant_type=client_credentials", "client_id={web}", "client_assertion={assertion:good}", "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
		token(58, "assertion of another type", "-", 401, "invalid_client", "grant_type=client_credentials", "client_id={jwt}", "client_assertion={assertion:good}", "client_assertion_type=urn:x"),
		token(59, "no code", "web", 400, "invalid_request", "grant_type=authorization_code"),
		token(60, "random code", "web", 400, "invalid_grant", "grant_type=authorization_code", "code="+rand.Text()),
		token(60, "a code without its last character", "web", 400, "invalid_grant", "grant_type=authorization_code", "code={cut:web}", "code_verifier={verifier}"),
		token(60, "a code in another spelling", "web", 400, "invalid_grant", "grant_type=authorization_code", "code={respelled:web}", "code_verifier={verifier}"),
		token(61, "a code of dots", "web", 400, "invalid_request", "grant_type=authorization_code", "code="+strings.Repeat(".", 60000)),
		token(61, "9 MB of dots", "web", 413, "invalid_request", "grant_type=authorization_code", "code="+strings.Repeat(".", 9<<20)),
		token(62, "the code of another client", "other", 400, "invalid_grant", "grant_type=authorization_code", "code={code:web}", "code_verifier={verifier}"),
		{nr: 62, name: "after every failed exchange the rightful one works", also: []int{60, 66, 68}, scenario: failedExchangeKeepsCode},
		{nr: 63, name: "replayed, by whom, and when", also: []int{62, 64}, scenario: alone(codeReplay)},
		{nr: 65, name: "an expired code", scenario: expiredCode},
		{nr: 70, name: "fifty redemptions at once", scenario: codeRace},
		{nr: 75, name: "a narrower scope", scenario: refreshNarrows},
		{nr: 77, name: "fifty refreshes at once", scenario: refreshRace},
		{nr: 78, name: "a rotated token after the grace window, restarts in between", also: []int{72, 73}, scenario: alone(refreshReplay)},
		{nr: 79, name: "the user, the consent or a scope is gone", scenario: alone(refreshWhenNotAllowedAnyMore)},
		{nr: 84, name: "the database is gone at any call", scenario: alone(tokenWithoutDatabase)},
		{nr: 85, name: "interrupted at any call", scenario: alone(interrupted)},
		token(63, "a spent code", "web", 400, "invalid_grant", "grant_type=authorization_code", "code={spent:web}", "code_verifier={verifier}"),
		token(64, "a made-up code with the MAC of a spent one", "web", 400, "invalid_grant", "grant_type=authorization_code", "code={junk:web}", "code_verifier={verifier}"),
		token(67, "a foreign redirect_uri, none at authorize", "web", 400, "invalid_grant", "grant_type=authorization_code", "code={bare:web}", "code_verifier={verifier}", "redirect_uri=https://evil.example/cb"),
		token(69, "a verifier without challenge", "nopkce", 400, "invalid_grant", "grant_type=authorization_code", "code={open:nopkce}", "code_verifier="+longVerifier[:43]),
		token(66, "another redirect_uri", "web", 400, "invalid_grant", "grant_type=authorization_code", "code={code:web}", "code_verifier={verifier}", "redirect_uri=https://client.example/2"),
		token(66, "no redirect_uri though sent at authorize", "web", 400, "invalid_grant", "grant_type=authorization_code", "code={code:web}", "code_verifier={verifier}", "-redirect_uri"),
		token(68, "no verifier", "web", 400, "invalid_grant", "grant_type=authorization_code", "code={code:web}"),
		token(68, "wrong verifier", "web", 400, "invalid_grant", "grant_type=authorization_code", "code={code:web}", "code_verifier="+longVerifier[:43]),
		token(68, "verifier of 42", "web", 400, "invalid_request", "grant_type=authorization_code", "code={code:web}", "code_verifier="+longVerifier[:42]),
		token(68, "verifier of 129", "web", 400, "invalid_request", "grant_type=authorization_code", "code={code:web}", "code_verifier="+longVerifier),
		token(68, "verifier that is not ASCII", "web", 400, "invalid_request", "grant_type=authorization_code", "code={code:web}", "code_verifier="+strings.Repeat("é", 43)),
		token(71, "no refresh token", "web", 400, "invalid_request", "grant_type=refresh_token"),
		token(72, "a refresh token with a forged half", "web", 400, "invalid_grant", "grant_type=refresh_token", "refresh_token=ort_"+strings.Repeat("A", 43)+"."+strings.Repeat("A", 43)),
		token(73, "the refresh token of another client", "other", 400, "invalid_grant", "grant_type=refresh_token", "refresh_token={refresh:web}"),
		token(74, "a wider scope", "web", 400, "invalid_scope", "grant_type=refresh_token", "refresh_token={refresh:web}", "scope=read write"),
		token(74, "an unknown scope", "web", 400, "invalid_scope", "grant_type=refresh_token", "refresh_token={refresh:web}", "scope=unknown"),
		token(76, "a new resource", "web", 400, "invalid_target", "grant_type=refresh_token", "refresh_token={refresh:web}", "resource={issuer}/api"),
		token(80, "an access token as refresh token", "web", 400, "invalid_grant", "grant_type=refresh_token", "refresh_token={access:web}"),
		token(80, "a code as refresh token", "web", 400, "invalid_grant", "grant_type=refresh_token", "refresh_token={code:web}"),
		token(80, "a refresh token as code", "web", 400, "invalid_grant", "grant_type=authorization_code", "code={refresh:web}"),
		token(81, "client_credentials by a public client", "-", 400, "unauthorized_client", "grant_type=client_credentials", "client_id={pubmachine}"),
		token(82, "client_credentials with openid", "userless", 400, "invalid_scope", "grant_type=client_credentials", "scope=openid"),
		token(82, "client_credentials with offline_access", "userless", 400, "invalid_scope", "grant_type=client_credentials", "scope=offline_access"),
		token(83, "a body of 65 kB", "machine", 413, "invalid_request", "grant_type=client_credentials", "x="+strings.Repeat("x", 65<<10)),
		{nr: 83, name: "10 000 parameters", path: "/oauth/token", as: "machine", rawBody: strings.Repeat("a=&", 10000), status: 400, code: "invalid_request"},
		{nr: 83, name: "bad percent-encoding", path: "/oauth/token", as: "machine", rawBody: "grant_type=%zz", status: 400, code: "invalid_request"},
	}
	for _, edit := range []string{"expired", "future-nbf", "zero-exp", "no-exp", "year-3000", "no-jti", "aud", "no-aud", "none", "hs256", "iat-future"} {
		nr := map[string]int{"expired": 53, "future-nbf": 53, "zero-exp": 54, "no-exp": 54, "year-3000": 54, "aud": 56, "no-aud": 56, "none": 57, "hs256": 57, "no-jti": 55, "iat-future": 53}[edit]
		out = append(out, token(nr, "assertion: "+edit, "-", 401, "invalid_client", "grant_type=client_credentials", "client_id={jwt}",
			"client_assertion={assertion:"+edit+"}", "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer"))
	}
	return out
}

// secretsAreComparedWhole: bcrypt looks at 72 bytes, and so must the check before it.
func secretsAreComparedWhole(t *testing.T, e *env) {
	secret := strings.Repeat("s", 72)
	hash, err := bcrypt.GenerateFromPassword([]byte(secret), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	hashed, err := e.reg.Register(context.Background(), with(machineClient(), func(c *oauthreg.Client) { c.Name = "Imported" }), oauthreg.RegisterOptions{SecretHash: string(hash)})
	if err != nil {
		t.Fatal(err)
	}
	digested := e.register(machineClient())
	grant := func(id, secret string) *tokenAnswer {
		return e.post("/oauth/token", id, secret, "grant_type", "client_credentials")
	}
	for _, wrong := range []string{secret + "s", secret + "\x00", secret[:71], "", "\x00" + secret} {
		grant(hashed.Client.ClientID, wrong).wantError(t, 401, "invalid_client")
	}
	for _, wrong := range []string{digested.Secret + "s", digested.Secret[:len(digested.Secret)-1], digested.Secret + "\x00", strings.ToUpper(digested.Secret)} {
		grant(digested.Client.ClientID, wrong).wantError(t, 401, "invalid_client")
	}
	grant(hashed.Client.ClientID, secret).wantOK(t)
	for _, wrong := range []string{secret + "s", secret[:71]} { // the right one is remembered now
		grant(hashed.Client.ClientID, wrong).wantError(t, 401, "invalid_client")
	}
	grant(digested.Client.ClientID, digested.Secret).wantOK(t)
}

// refusedAssertionKeepsItsID: an assertion is used up by working, not by being sent.
func refusedAssertionKeepsItsID(t *testing.T, e *env) {
	key := newAssertionKey(t)
	reg, other := e.register(key.client(t)), e.register(key.client(t))
	claims := key.claims(e, reg)
	aud := claims["aud"]
	before := e.rows(t)
	claims["aud"] = "https://other.example"
	e.assert(reg, key.sign(t, "ES256", claims)).wantError(t, 401, "invalid_client")
	claims["aud"] = aud
	good := key.sign(t, "ES256", claims)
	if after := e.rows(t); after != before {
		t.Errorf("stored something:\nbefore %s\nafter  %s", before, after)
	}
	e.assert(reg, good).wantOK(t)
	e.assert(reg, good).wantError(t, 401, "invalid_client")
	// Another client may well use the same identifier (RFC 7523 §3: per issuer).
	claims["iss"], claims["sub"] = other.Client.ClientID, other.Client.ClientID
	e.assert(other, key.sign(t, "ES256", claims)).wantOK(t)
}

func expiredCode(t *testing.T, e *env) {
	reg := e.register(webClient())
	code, verifier := e.code(reg.Client.ClientID)
	e.clock.add(61 * time.Second)
	before := e.rows(t)
	e.redeem(reg, code, verifier).wantError(t, 400, "invalid_grant")
	if after := e.rows(t); after != before {
		t.Errorf("stored something:\nbefore %s\nafter  %s", before, after)
	}
}

// refreshWhenNotAllowedAnyMore: what was granted once is decided again at every use.
func refreshWhenNotAllowedAnyMore(t *testing.T) {
	gone := map[string]bool{}
	e := newEnv(t, envOptions{config: func(c *handlers.Config) {
		c.UserActive = func(_ context.Context, subject string) (bool, error) { return !gone[subject], nil }
	}})
	ctx := context.Background()
	refused := func(what string, reg oauthreg.Registration, change func()) {
		t.Helper()
		token := e.tokens(reg, "scope", "read write").str("refresh_token")
		first := e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", token)
		first.wantOK(t)
		change()
		before := e.rows(t)
		a := e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", first.str("refresh_token"))
		if a.wantError(t, 400, "invalid_grant"); t.Failed() {
			t.Fatalf("%s: %s", what, a.raw)
		}
		if after := e.rows(t); after != before {
			t.Errorf("%s: stored something:\nbefore %s\nafter  %s", what, before, after)
		}
	}
	reg := e.register(webClient())
	refused("the user is disabled", reg, func() { gone["sub-alice"] = true })
	gone["sub-alice"] = false
	refused("the consent is withdrawn", reg, func() {
		if n, err := e.store.RevokeConsents(ctx, oauthreg.GrantFilter{ClientID: reg.Client.ID, Subject: "sub-alice"}); err != nil || n == 0 {
			t.Fatalf("%d consents withdrawn, %v", n, err)
		}
	})
	refused("a scope is taken away", reg, func() {
		if _, err := e.reg.Update(ctx, oauthreg.ByID(reg.Client.ID), oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error {
			c.Scopes = []string{"read"}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// tokenWithoutDatabase: no token and nothing used up while the database is away.
func tokenWithoutDatabase(t *testing.T) {
	e, store := faultyEnv(t)
	for _, s := range steps() {
		if s.name != "code" && s.name != "refresh" && s.name != "client credentials" {
			continue
		}
		s.disturbed(e, store, func() error { return errNoDatabase }, func(fired string, status int, done bool) {
			if done || status != http.StatusServiceUnavailable {
				t.Errorf("%s, %s fails: status %d, done %v, want 503", s.name, fired, status, done)
			}
		})
	}
}
