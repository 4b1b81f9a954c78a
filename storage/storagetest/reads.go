package storagetest

import (
	"errors"
	"reflect"
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
	for what, read := range map[string]func() error{
		"registered client": func() error { _, err := s.Client(t.Context(), oauthreg.ByID("unknown")); return err },
		"grant":             func() error { _, err := s.Grant(t.Context(), "unknown"); return err },
		"sign-in session":   func() error { _, err := s.LoginSession(t.Context(), "unknown"); return err },
		"interaction":       func() error { _, err := s.Interaction(t.Context(), "unknown", ""); return err },
		"permission":        func() error { _, err := s.InitialAccessToken(t.Context(), []byte("unknown")); return err },
		"change":            func() error { return s.UpdateInteraction(t.Context(), oauthreg.Interaction{Handle: "unknown"}) },
		"decision":          func() error { return s.FinishInteraction(t.Context(), "unknown") },
		"registration":      func() error { return s.UseInitialAccessToken(t.Context(), []byte("unknown"), now()) },
		"withdrawal":        func() error { return s.DeleteInitialAccessToken(t.Context(), "unknown") },
		"use":               func() error { return s.UseGrant(t.Context(), "unknown", now(), now().Add(time.Hour)) },
	} {
		want(t, what, read(), oauthreg.ErrNotFound)
	}
	for what, list := range map[string]func() (int, error){
		"grants": func() (int, error) {
			_, n, err := s.ListGrants(t.Context(), oauthreg.GrantFilter{Subject: "unknown"}, 0, 0)
			return n, err
		},
		"consents": func() (int, error) {
			_, n, err := s.ListConsents(t.Context(), oauthreg.GrantFilter{Subject: "unknown"}, 0, 0)
			return n, err
		},
		"revoked grants":   func() (int, error) { return s.RevokeGrants(t.Context(), oauthreg.GrantFilter{Subject: "unknown"}) },
		"revoked consents": func() (int, error) { return s.RevokeConsents(t.Context(), oauthreg.GrantFilter{Subject: "unknown"}) },
	} {
		if n, err := list(); n != 0 || err != nil {
			t.Errorf("%s of somebody unknown: got %d and %v, want none", what, n, err)
		}
	}
	must(t, s.EndLoginSession(t.Context(), "unknown"))
	must(t, s.EndSession(t.Context(), "unknown", now()))
	must(t, s.RevokeAccessToken(t.Context(), "unknown"))
	must(t, s.DeleteAccessTokenSession(t.Context(), "unknown"))
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

func recordsShareNothing(t testing.TB, s Store) {
	rec := fullRecord()
	must(t, s.InsertClient(t.Context(), rec, filled[oauthreg.AuditRecord]()))
	permission := filled[oauthreg.InitialAccessToken]()
	must(t, s.CreateInitialAccessToken(t.Context(), permission))
	must(t, s.UpdateSigningKeys(t.Context(), func([]oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
		return []oauthreg.SigningKey{filled[oauthreg.SigningKey]()}, nil, nil
	}))
	type all struct {
		Client      oauthreg.Record
		Listed      []oauthreg.Client
		Audit       []oauthreg.AuditRecord
		Permission  oauthreg.InitialAccessToken
		Permissions []oauthreg.InitialAccessToken
		Keys        []oauthreg.SigningKey
	}
	read := func() (a all) {
		t.Helper()
		var err [6]error
		a.Client, err[0] = s.Client(t.Context(), oauthreg.ByID(rec.Client.ID))
		a.Listed, _, err[1] = s.ListClients(t.Context(), oauthreg.ListQuery{})
		a.Audit, err[2] = s.AuditRecords(t.Context(), oauthreg.AuditQuery{ClientID: filled[oauthreg.AuditRecord]().ClientID})
		a.Permission, err[3] = s.InitialAccessToken(t.Context(), permission.Digest)
		a.Permissions, err[4] = s.ListInitialAccessTokens(t.Context(), 0, 10)
		a.Keys, err[5] = s.SigningKeys(t.Context())
		must(t, errors.Join(err[:]...))
		if len(a.Listed) != 1 || len(a.Audit) != 1 || len(a.Permissions) != 1 || len(a.Keys) != 1 {
			t.Fatalf("got %d clients, %d records, %d permissions and %d keys, want one of each", len(a.Listed), len(a.Audit), len(a.Permissions), len(a.Keys))
		}
		return a
	}
	first := read()
	before := cloned(reflect.ValueOf(first)).Interface()
	spoil(reflect.ValueOf(first))
	same(t, "read again", read(), before)
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
