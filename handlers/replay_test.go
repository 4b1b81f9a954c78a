package handlers_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// active asks the introspection endpoint.
func (e *env) active(reg oauthreg.Registration, token string) bool {
	e.t.Helper()
	a := e.authenticated("/oauth/introspect", reg, "token", token)
	if a.status != 200 {
		e.t.Fatalf("introspect: %d %s", a.status, a.raw)
	}
	active, ok := a.body["active"].(bool)
	if !ok {
		e.t.Fatalf("introspect: %s", a.raw)
	}
	return active
}

// RFC 6749 §4.1.2: a code that is used more than once revokes what it produced;
// a lost race or a retry right away does not.
func codeReplay(t *testing.T) {
	e := newEnv(t, envOptions{})
	reg, stranger := e.register(webClient()), e.register(webClient())
	code, verifier := e.code(reg.Client.ClientID)
	tokens := e.redeem(reg, code, verifier)
	tokens.wantOK(t)

	e.redeem(reg, code, verifier).wantError(t, 400, "invalid_grant")
	if !e.active(reg, tokens.str("access_token")) {
		t.Fatal("a repetition within the first seconds revoked the grant")
	}
	e.clock.add(11 * time.Second)
	e.redeem(stranger, code, verifier).wantError(t, 400, "invalid_grant")
	_, mac, _ := strings.Cut(code, ".")
	junk := "oac_" + strings.Repeat("A", 43) + "." + mac
	e.redeem(reg, junk, verifier).wantError(t, 400, "invalid_grant")
	e.redeem(reg, code[:len(code)-1], verifier).wantError(t, 400, "invalid_grant")
	if !e.active(reg, tokens.str("access_token")) || !e.active(reg, tokens.str("refresh_token")) {
		t.Fatal("a stranger or a made-up code revoked the grant")
	}
	e.redeem(reg, code, verifier).wantError(t, 400, "invalid_grant")
	for _, kind := range []string{"access_token", "refresh_token"} {
		if e.active(reg, tokens.str(kind)) {
			t.Errorf("the %s outlived the replay of its code", kind)
		}
	}
	e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantError(t, 400, "invalid_grant")
}

// RFC 9700 §4.14.2: inside the grace window a repeated refresh token yields
// usable successors of one grant; after it, a repetition revokes the grant. Both
// survive a restart.
func refreshReplay(t *testing.T) {
	first := newEnv(t, envOptions{})
	reg, stranger := first.register(webClient()), first.register(webClient())
	old := first.tokens(reg).str("refresh_token")
	a := first.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", old)
	a.wantOK(t)

	e := restart(t, first)
	b := e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", old)
	b.wantOK(t)
	c := e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", a.str("refresh_token"))
	c.wantOK(t)

	e.clock.add(11 * time.Second)
	e.tokenRequest(stranger, "grant_type", "refresh_token", "refresh_token", old).wantError(t, 400, "invalid_grant")
	_, mac, _ := strings.Cut(old, ".")
	e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", "ort_"+strings.Repeat("A", 43)+"."+mac).wantError(t, 400, "invalid_grant")
	if !e.active(reg, c.str("access_token")) {
		t.Fatal("a stranger revoked the grant")
	}
	e = restart(t, e)
	e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", old).wantError(t, 400, "invalid_grant")
	for _, token := range []string{a.str("access_token"), b.str("access_token"), c.str("access_token"), b.str("refresh_token"), c.str("refresh_token")} {
		if e.active(reg, token) {
			t.Error("a token outlived the replay of its grant's refresh token")
		}
	}
	e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", c.str("refresh_token")).wantError(t, 400, "invalid_grant")
}

// restart ends the server of e and starts another on its database.
func restart(t *testing.T, e *env) *env {
	t.Helper()
	e.http.Close()
	if err := e.store.Close(); err != nil {
		t.Fatal(err)
	}
	opts := e.opts
	opts.file, opts.clock = e.file, e.clock
	return newEnv(t, opts)
}

// Of fifty simultaneous redemptions of a code exactly one succeeds; the others
// lose with invalid_grant, revoke nothing, and never see a 5xx.
func codeRace(t *testing.T, e *env) {
	reg := e.register(publicClient())
	for range 12 {
		code, verifier := e.code(reg.Client.ClientID)
		won := race(t, 50, "invalid_grant", func() *tokenAnswer { return e.redeem(reg, code, verifier) })
		if len(won) != 1 {
			t.Fatalf("%d redemptions succeeded, want 1", len(won))
		}
		e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", won[0].str("refresh_token")).wantOK(t)
	}
}

// Parallel refreshes inside the window all get usable tokens of one grant.
func refreshRace(t *testing.T, e *env) {
	reg := e.register(webClient())
	for range 6 {
		old := e.tokens(reg).str("refresh_token")
		won := race(t, 50, "invalid_grant", func() *tokenAnswer {
			return e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", old)
		})
		if len(won) < 10 {
			t.Fatalf("%d refreshes succeeded, want at least 10", len(won))
		}
		for _, a := range won {
			if !e.active(reg, a.str("access_token")) || !e.active(reg, a.str("refresh_token")) {
				t.Fatal("a successor does not work")
			}
		}
		grants, n, err := e.store.ListGrants(context.Background(), oauthreg.GrantFilter{ClientID: reg.Client.ID}, 0, 10)
		if err != nil || n != 1 {
			t.Fatalf("%d grants (%v), want one", n, err)
		}
		if _, err := e.store.RevokeGrants(context.Background(), oauthreg.GrantFilter{ID: grants[0].ID}); err != nil {
			t.Fatal(err)
		}
		for _, a := range won {
			if e.active(reg, a.str("access_token")) || e.active(reg, a.str("refresh_token")) {
				t.Fatal("a successor outlived its grant")
			}
		}
	}
}

// An assertion counts once, however many arrive together.
func assertionRace(t *testing.T, e *env) {
	key := newAssertionKey(t)
	reg := e.register(key.client(t))
	for range 8 {
		assertion := key.sign(t, "ES256", key.claims(e, reg))
		if won := race(t, 50, "invalid_client", func() *tokenAnswer { return e.assert(reg, assertion) }); len(won) != 1 {
			t.Fatalf("%d assertions succeeded, want 1", len(won))
		}
	}
}

// race calls send n times at once and returns the answers that succeeded; every
// other must be the registered error.
func race(t *testing.T, n int, loser string, send func() *tokenAnswer) []*tokenAnswer {
	t.Helper()
	raced(n)
	answers := make([]*tokenAnswer, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			answers[i] = send()
		})
	}
	close(start)
	wg.Wait()
	var won []*tokenAnswer
	for _, a := range answers {
		switch {
		case a.status == 200 && a.str("access_token") != "":
			won = append(won, a)
		case a.status >= 500 || a.str("error") != loser:
			t.Errorf("a loser got %d %s", a.status, a.raw)
		}
	}
	return won
}

// A failed exchange does not consume the code, whatever is wrong with it
// (RFC 9700: bind and verify before any side effect).
func failedExchangeKeepsCode(t *testing.T, e *env) {
	reg, other := e.register(webClient()), e.register(webClient())
	code, verifier := e.code(reg.Client.ClientID)
	e.redeem(other, code, verifier).wantError(t, 400, "invalid_grant")
	e.redeem(reg, code, verifier, "resource", "https://unknown.example").wantError(t, 400, "invalid_target")
	e.redeem(reg, code, strings.Repeat("x", 43)).wantError(t, 400, "invalid_grant")
	e.post("/oauth/token", reg.Client.ClientID, "wrong", "grant_type", "authorization_code", "code", code, "redirect_uri", callback, "code_verifier", verifier).wantError(t, 401, "invalid_client")
	e.redeem(reg, code, verifier).wantOK(t)
}

// Scope and resource narrow for one access token; the grant keeps what it has.
func refreshNarrows(t *testing.T, e *env) {
	reg := e.register(webClient())
	first := e.tokens(reg, "scope", "read write", "resource", e.issuer+"/api")
	narrow := e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", first.str("refresh_token"), "scope", "read", "resource", e.issuer+"/api")
	if narrow.str("scope") != "read" {
		t.Errorf("scope is %q, want read", narrow.str("scope"))
	}
	whole := e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", narrow.str("refresh_token"))
	if whole.str("scope") != "read write" {
		t.Errorf("scope is %q, want read write", whole.str("scope"))
	}
	if a := e.authenticated("/oauth/introspect", reg, "token", whole.str("access_token")); a.body["aud"] != e.issuer+"/api" {
		t.Errorf("aud is %v", a.body["aud"])
	}
}

// Truncated, altered and re-encoded tokens do not work, and revoke nothing.
func alteredTokens(t *testing.T, e *env) {
	reg := e.register(webClient())
	tokens := e.tokens(reg)
	for _, kind := range []string{"access_token", "refresh_token"} {
		good := tokens.str(kind)
		bad := []string{good + "A", good + ".", " " + good, good[4:], strings.ToUpper(good), strings.Replace(good, ".", "..", 1)}
		for n := 1; n < 50; n += 7 {
			bad = append(bad, good[:len(good)-n])
		}
		// Another spelling of the last character's unused bits.
		bad = append(bad, respelled(good))
		for _, b := range bad {
			if b != good && e.active(reg, b) {
				t.Errorf("%s works as %q", kind, b)
			}
			if a := e.authenticated("/oauth/revoke", reg, "token", b); a.status != 200 {
				t.Errorf("revoking %q: %d %s", b, a.status, a.raw)
			}
		}
		if !e.active(reg, good) {
			t.Errorf("the %s was revoked by an altered one", kind)
		}
	}
}

// RFC 7009: what a revocation ends.
func revocation(t *testing.T, e *env) {
	reg := e.register(webClient())
	tokens := e.tokens(reg)
	if a := e.authenticated("/oauth/revoke", reg, "token", tokens.str("access_token"), "token_type_hint", "refresh_token"); a.status != 200 || a.raw != "" {
		t.Errorf("got %d %q", a.status, a.raw)
	}
	if e.active(reg, tokens.str("access_token")) || !e.active(reg, tokens.str("refresh_token")) {
		t.Error("revoking an access token ends that token alone")
	}
	fresh := e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token"))
	fresh.wantOK(t)
	// A rotated refresh token still names its grant.
	e.authenticated("/oauth/revoke", reg, "token", tokens.str("refresh_token"), "token_type_hint", "nonsense")
	if e.active(reg, fresh.str("access_token")) || e.active(reg, fresh.str("refresh_token")) {
		t.Error("the grant outlived the revocation of its refresh token")
	}
	public := e.register(publicClient())
	own := e.tokens(public).str("refresh_token")
	if a := e.authenticated("/oauth/revoke", public, "token", own); a.status != 200 {
		t.Errorf("a public client revokes its own token: %d %s", a.status, a.raw)
	}
	e.tokenRequest(public, "grant_type", "refresh_token", "refresh_token", own).wantError(t, 400, "invalid_grant")
}
