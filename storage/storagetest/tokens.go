package storagetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/openid"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func codeIsUsedOnce(t testing.TB, s Store) {
	_, f := client(t, s)
	for range 5 {
		r := request(f)
		must(t, s.CreateAuthorizeCodeSession(t.Context(), r.ID, r))
		race(t, callers, fosite.ErrInvalidatedAuthorizeCode, func(i int) error {
			if i%2 == 0 {
				return s.InvalidateAuthorizeCodeSession(t.Context(), r.ID)
			}
			return inTransaction(t.Context(), s, func(ctx context.Context) error { return s.InvalidateAuthorizeCodeSession(ctx, r.ID) })
		})
	}
}

func usedCodeIsTold(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	issue(t, s, r)
	must(t, s.InvalidateAuthorizeCodeSession(t.Context(), r.ID+"code"))
	got, err := s.GetAuthorizeCodeSession(t.Context(), r.ID+"code", nil)
	want(t, "a used code", err, fosite.ErrInvalidatedAuthorizeCode)
	if got == nil || got.GetID() != r.ID {
		t.Errorf("got request %v, want the code's beside the error", got)
	}
}

func codeExpires(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	must(t, s.CreateGrant(t.Context(), oauthreg.Grant{ID: r.ID, ClientID: internalID(t, s, f), Subject: "alice", ExpiresAt: time.Now().Add(time.Hour)}))
	r.Session.SetExpiresAt(fosite.AuthorizeCode, time.Now().Add(-time.Second))
	must(t, s.CreateAuthorizeCodeSession(t.Context(), "sig", r))
	_, err := s.GetAuthorizeCodeSession(t.Context(), "sig", nil)
	want(t, "read", err, fosite.ErrNotFound)
	if err := s.InvalidateAuthorizeCodeSession(t.Context(), "sig"); err == nil {
		t.Error("an expired code could be used")
	}
}

func codeMakesItsGrant(t testing.TB, s Store) {
	k, f := client(t, s)
	r := request(f)
	must(t, s.CreateAuthorizeCodeSession(t.Context(), r.ID+"code", r))
	g, err := s.Grant(t.Context(), r.ID)
	must(t, err)
	if g.ClientID != k.ID || g.Subject != "alice" || !slices.Equal(g.Scopes, r.GrantedScope) {
		t.Errorf("got %+v, want the request's client, subject and what was granted", g)
	}
	// One that is there already stays as it is.
	first := oauthreg.Grant{Subject: "bob", SessionID: "sid", Scopes: []string{"a"}}
	second := granted(t, s, f, first)
	g, err = s.Grant(t.Context(), second.ID)
	must(t, err)
	if g.Subject != "bob" || g.SessionID != "sid" || !slices.Equal(g.Scopes, first.Scopes) {
		t.Errorf("got %+v, want the grant that was there", g)
	}
}

func challengeStaysWithCode(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	must(t, s.CreateAuthorizeCodeSession(t.Context(), "sig", r))
	r.Form.Set("code_challenge", "challenge")
	must(t, s.CreatePKCERequestSession(t.Context(), "sig", r))
	// fosite deletes it before it compares the verifier.
	must(t, s.DeletePKCERequestSession(t.Context(), "sig"))
	got, err := s.GetPKCERequestSession(t.Context(), "sig", nil)
	must(t, err)
	if c := got.GetRequestForm().Get("code_challenge"); c != "challenge" {
		t.Errorf("got challenge %q", c)
	}
}

func nonceStaysWithCode(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	must(t, s.CreateAuthorizeCodeSession(t.Context(), "sig", r))
	r.Form.Set("nonce", "n")
	must(t, s.CreateOpenIDConnectSession(t.Context(), "code.sig", r))
	must(t, s.InvalidateAuthorizeCodeSession(t.Context(), "sig")) // fosite asks after the exchange
	got, err := s.GetOpenIDConnectSession(t.Context(), "code.sig", r)
	must(t, err)
	if n := got.GetRequestForm().Get("nonce"); n != "n" {
		t.Errorf("got nonce %q", n)
	}
	must(t, s.DeleteOpenIDConnectSession(t.Context(), "code.sig")) // fosite, once it has it
}

func tokenNeedsGrant(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	want(t, "no grant, access token", s.CreateAccessTokenSession(t.Context(), "a", r), fosite.ErrNotFound)
	want(t, "no grant, refresh token", s.CreateRefreshTokenSession(t.Context(), "r", "", r), fosite.ErrNotFound)
	must(t, s.CreateAuthorizeCodeSession(t.Context(), "code", r))
	must(t, s.RevokeAccessToken(t.Context(), r.ID))
	want(t, "revoked grant, access token", s.CreateAccessTokenSession(t.Context(), "a", r), fosite.ErrNotFound)
	want(t, "revoked grant, refresh token", s.CreateRefreshTokenSession(t.Context(), "r", "", r), fosite.ErrNotFound)
}

func accessTokenExpires(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	must(t, s.CreateAuthorizeCodeSession(t.Context(), r.ID, r))
	r.Session.SetExpiresAt(fosite.AccessToken, time.Now().Add(-time.Second))
	must(t, s.CreateAccessTokenSession(t.Context(), "sig", r))
	if got, err := s.GetAccessTokenSession(t.Context(), "sig", nil); err == nil && got.GetSession().GetExpiresAt(fosite.AccessToken).After(time.Now()) {
		t.Error("an expired token was read as a good one")
	}
}

func machineTokenNeedsNoGrant(t testing.TB, s Store) {
	_, f := client(t, s)
	r, other := machineRequest(f), machineRequest(f)
	must(t, s.CreateAccessTokenSession(t.Context(), "one", r))
	must(t, s.CreateAccessTokenSession(t.Context(), "other", other))
	got, err := s.GetAccessTokenSession(t.Context(), "one", new(openid.DefaultSession))
	must(t, err)
	if got.GetID() != r.ID || got.GetClient().GetID() != f.GetID() || !slices.Equal(got.GetGrantedScopes(), r.GrantedScope) {
		t.Errorf("got %+v, want what was stored", got)
	}
	must(t, s.RevokeAccessToken(t.Context(), r.ID))
	_, err = s.GetAccessTokenSession(t.Context(), "one", nil)
	want(t, "after its revocation", err, fosite.ErrNotFound)
	_, err = s.GetAccessTokenSession(t.Context(), "other", nil)
	must(t, err)
	must(t, s.DeleteAccessTokenSession(t.Context(), "other"))
	_, err = s.GetAccessTokenSession(t.Context(), "other", nil)
	want(t, "after its deletion", err, fosite.ErrNotFound)
}

func refreshTokenExpires(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	r.ID = grant(t, s, oauthreg.Grant{ClientID: internalID(t, s, f), Subject: "alice"})
	r.Session.SetExpiresAt(fosite.RefreshToken, time.Now().Add(-time.Second))
	must(t, s.CreateRefreshTokenSession(t.Context(), "sig", "", r))
	_, err := s.GetRefreshTokenSession(t.Context(), "sig", nil)
	want(t, "after its end", err, fosite.ErrNotFound)
}

func tokensEndWithGrant(t testing.TB, s Store) {
	_, f := client(t, s)
	r, other := request(f), request(f)
	issue(t, s, r)
	issue(t, s, other)
	must(t, s.UseGrant(t.Context(), r.ID, time.Now(), time.Now().Add(-time.Second)))
	dead(t, s, r)
	want(t, "another access token", s.CreateAccessTokenSession(t.Context(), "a", r), fosite.ErrNotFound)
	want(t, "another refresh token", s.CreateRefreshTokenSession(t.Context(), "r", "a", r), fosite.ErrNotFound)
	alive(t, s, other)
}

func grantLastsAsLongAsItsTokens(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	lasts := func(until fosite.TokenType) {
		t.Helper()
		g, err := s.Grant(t.Context(), r.ID)
		must(t, err)
		if end := r.Session.GetExpiresAt(until); g.ExpiresAt.Before(end.Truncate(time.Millisecond)) {
			t.Errorf("the grant ends at %v, its %s at %v", g.ExpiresAt, until, end)
		}
	}
	must(t, s.CreateAuthorizeCodeSession(t.Context(), r.ID+"code", r))
	lasts(fosite.AuthorizeCode)
	must(t, s.CreateAccessTokenSession(t.Context(), r.ID+"access", r))
	lasts(fosite.AccessToken)
	must(t, s.CreateRefreshTokenSession(t.Context(), r.ID+"refresh", r.ID+"access", r))
	lasts(fosite.RefreshToken)
}

func revocationEndsAll(t testing.TB, s Store) {
	_, f := client(t, s)
	r, other := request(f), request(f)
	issue(t, s, r)
	issue(t, s, other)
	must(t, s.CreateAccessTokenSession(t.Context(), r.ID+"second", r))
	must(t, s.RevokeRefreshToken(t.Context(), r.ID))
	dead(t, s, r)
	_, err := s.GetAccessTokenSession(t.Context(), r.ID+"second", nil)
	want(t, "a second access token", err, fosite.ErrNotFound)
	_, err = s.GetAccessTokenSession(t.Context(), other.ID+"access", nil)
	must(t, err)
}

func revokedAccessTokenEndsAll(t testing.TB, s Store) {
	_, f := client(t, s)
	r, other := request(f), request(f)
	issue(t, s, r)
	issue(t, s, other)
	must(t, s.RevokeAccessToken(t.Context(), r.ID))
	dead(t, s, r)
	alive(t, s, other)
}

func oneRefreshTokenEndsAlone(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	issue(t, s, r)
	must(t, s.CreateRefreshTokenSession(t.Context(), r.ID+"second", r.ID+"access", r))
	must(t, s.DeleteRefreshTokenSession(t.Context(), r.ID+"second"))
	_, err := s.GetRefreshTokenSession(t.Context(), r.ID+"second", nil)
	want(t, "the deleted one", err, fosite.ErrNotFound)
	alive(t, s, r)
}

func oneAccessTokenEndsAlone(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	issue(t, s, r)
	must(t, s.CreateAccessTokenSession(t.Context(), r.ID+"second", r))
	must(t, s.DeleteAccessTokenSession(t.Context(), r.ID+"access"))
	_, err := s.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
	want(t, "the deleted one", err, fosite.ErrNotFound)
	_, err = s.GetAccessTokenSession(t.Context(), r.ID+"second", nil)
	must(t, err)
}

func revocationBeatsIssue(t testing.TB, s Store) {
	_, f := client(t, s)
	const issuers, each = 3, 3
	for range 10 {
		r := request(f)
		must(t, s.CreateAuthorizeCodeSession(t.Context(), r.ID, r))
		var wg sync.WaitGroup
		begun := make(chan struct{}) // somebody issues
		for i := range issuers {
			wg.Go(func() {
				for j := range each {
					if i == 0 && j == 1 {
						close(begun)
					}
					if err := s.CreateAccessTokenSession(t.Context(), fmt.Sprint(r.ID, i, j), r); err != nil && !errors.Is(err, fosite.ErrNotFound) {
						t.Errorf("issue: got %v, want success or ErrNotFound", err)
					}
				}
			})
		}
		<-begun
		if err := s.RevokeAccessToken(t.Context(), r.ID); err != nil {
			t.Errorf("revoke: got %v", err)
		}
		wg.Wait()
		for i := range issuers {
			for j := range each {
				_, err := s.GetAccessTokenSession(t.Context(), fmt.Sprint(r.ID, i, j), nil)
				want(t, "a token issued during the revocation", err, fosite.ErrNotFound)
			}
		}
	}
}

func refreshTokenIsUsedOnce(t testing.TB, s Store) {
	_, f := client(t, s)
	for range 5 {
		r := request(f)
		issue(t, s, r)
		race(t, callers, fosite.ErrInactiveToken, func(i int) error {
			return inTransaction(t.Context(), s, func(ctx context.Context) error {
				next := fmt.Sprint(r.ID, i)
				return errors.Join(
					s.RotateRefreshToken(ctx, r.ID, r.ID+"refresh"),
					s.CreateAccessTokenSession(ctx, next+"a", r),
					s.CreateRefreshTokenSession(ctx, next+"r", next+"a", r),
				)
			})
		})
		successors := 0
		for i := range callers {
			if _, err := s.GetRefreshTokenSession(t.Context(), fmt.Sprint(r.ID, i, "r"), nil); err == nil {
				successors++
			}
		}
		if successors != 1 {
			t.Errorf("one refresh token has %d successors, want 1", successors)
		}
	}
}

func usedRefreshTokenIsTold(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	issue(t, s, r)
	must(t, s.RotateRefreshToken(t.Context(), r.ID, r.ID+"refresh"))
	got, err := s.GetRefreshTokenSession(t.Context(), r.ID+"refresh", nil)
	want(t, "a used refresh token", err, fosite.ErrInactiveToken)
	if got == nil || got.GetID() != r.ID {
		t.Errorf("got request %v, want the token's beside the error", got)
	}
}

func assertionIsUsedOnce(t testing.TB, s Store) {
	end := time.Now().Add(time.Minute)
	must(t, s.ClientAssertionJWTValid(t.Context(), "jti"))
	race(t, callers, fosite.ErrJTIKnown, func(int) error { return s.SetClientAssertionJWT(t.Context(), "jti", end) })
	want(t, "look up", s.ClientAssertionJWTValid(t.Context(), "jti"), fosite.ErrJTIKnown)
	// One that has expired may be used again, once.
	must(t, s.SetClientAssertionJWT(t.Context(), "old", time.Now().Add(-time.Minute)))
	race(t, callers, fosite.ErrJTIKnown, func(int) error { return s.SetClientAssertionJWT(t.Context(), "old", end) })
}
