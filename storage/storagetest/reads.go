package storagetest

import (
	"slices"
	"testing"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/openid"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func unknownIsNotFound(t testing.TB, s Store) {
	_, f := client(t, s)
	dead(t, s, request(f))
	_, err := s.GetClient(t.Context(), "unknown")
	want(t, "client", err, fosite.ErrNotFound)
	_, err = s.GetPKCERequestSession(t.Context(), "unknown", nil)
	want(t, "challenge", err, fosite.ErrNotFound)
	_, err = s.GetOpenIDConnectSession(t.Context(), "unknown", request(f))
	want(t, "OpenID Connect session", err, openid.ErrNoSessionFound)
	_, err = s.Consent(t.Context(), "unknown", "alice")
	want(t, "consent", err, oauthreg.ErrNotFound)
	must(t, s.RevokeRefreshToken(t.Context(), "unknown"))
	must(t, s.DeleteRefreshTokenSession(t.Context(), "unknown"))
}

func emptySignatureIsNotFound(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	issue(t, s, r)
	for what, call := range map[string]func() error{
		"store": func() error { return s.CreateAccessTokenSession(t.Context(), "", r) },
		"code":  func() error { _, err := s.GetAuthorizeCodeSession(t.Context(), "", nil); return err },
		"access": func() error {
			_, err := s.GetAccessTokenSession(t.Context(), "", nil)
			return err
		},
		"refresh": func() error { _, err := s.GetRefreshTokenSession(t.Context(), "", nil); return err },
		"client":  func() error { _, err := s.GetClient(t.Context(), ""); return err },
	} {
		want(t, what, call(), fosite.ErrNotFound)
	}
}

func readsShareNothing(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	issue(t, s, r)
	a, err := s.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
	must(t, err)
	a.GetSession().SetExpiresAt(fosite.AccessToken, time.Time{})
	a.GetRequestForm().Set("scope", "changed")
	b, err := s.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
	must(t, err)
	if b.GetSession().GetExpiresAt(fosite.AccessToken).IsZero() || b.GetRequestForm().Get("scope") == "changed" {
		t.Error("a second read has what was done to the first")
	}
}

func liveSessionIsLeftAlone(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	must(t, s.CreateAuthorizeCodeSession(t.Context(), "sig", r))
	live := new(openid.DefaultSession)
	got, err := s.GetAuthorizeCodeSession(t.Context(), "sig", live)
	must(t, err)
	if live.Subject != "alice" || got.GetSession() != fosite.Session(live) {
		t.Errorf("a fresh session: got %+v, want it filled in", live)
	}
	live.Subject = "added since"
	_, err = s.GetAuthorizeCodeSession(t.Context(), "sig", live)
	must(t, err)
	if live.Subject != "added since" {
		t.Errorf("the live session was overwritten")
	}
}

func anySessionArgumentIsTaken(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	issue(t, s, r)
	for _, session := range []fosite.Session{nil, new(openid.DefaultSession)} {
		got, err := s.GetRefreshTokenSession(t.Context(), r.ID+"refresh", session)
		must(t, err)
		if got.GetID() != r.ID || got.GetSession().GetSubject() != "alice" || !slices.Equal(got.GetGrantedScopes(), r.GrantedScope) || got.GetClient().GetID() != f.GetID() {
			t.Errorf("got %+v, want what was stored", got)
		}
	}
}
