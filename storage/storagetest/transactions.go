package storagetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func transactionIsWhole(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	must(t, s.CreateAuthorizeCodeSession(t.Context(), r.ID+"code", r))
	exchange := func(ctx context.Context) error {
		return errors.Join(
			s.InvalidateAuthorizeCodeSession(ctx, r.ID+"code"),
			s.CreateAccessTokenSession(ctx, r.ID+"access", r),
			s.CreateRefreshTokenSession(ctx, r.ID+"refresh", r.ID+"access", r),
		)
	}
	stop := errors.New("stop")
	want(t, "rolled back", inTransaction(t.Context(), s, func(ctx context.Context) error { return errors.Join(exchange(ctx), stop) }), stop)
	_, err := s.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
	want(t, "after the rollback", err, fosite.ErrNotFound)
	must(t, inTransaction(t.Context(), s, exchange))
	_, err = s.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
	must(t, err)
	// The code is used: what came before in the transaction goes too.
	err = inTransaction(t.Context(), s, func(ctx context.Context) error {
		return errors.Join(s.CreateAccessTokenSession(ctx, r.ID+"late", r), s.InvalidateAuthorizeCodeSession(ctx, r.ID+"code"))
	})
	want(t, "a failed commit", err, fosite.ErrInvalidatedAuthorizeCode)
	_, err = s.GetAccessTokenSession(t.Context(), r.ID+"late", nil)
	want(t, "after the failed commit", err, fosite.ErrNotFound)
}

// write is one that takes part in a transaction.
type write struct {
	name string
	do   func(context.Context) error
	done func() bool // whether it has happened
}

// writes are all of them, each about something of its own.
func writes(t testing.TB, s Store) (list []write) {
	t.Helper()
	k, f := client(t, s)
	end := time.Now().Add(time.Hour)
	add := func(name string, do func(context.Context) error, done func() bool) {
		list = append(list, write{name, do, done})
	}
	issued := func() *fosite.Request {
		r := request(f)
		issue(t, s, r)
		return r
	}

	r := issued()
	add("CreateAuthorizeCodeSession", func(ctx context.Context) error { return s.CreateAuthorizeCodeSession(ctx, "code", r) },
		func() bool { _, err := s.GetAuthorizeCodeSession(t.Context(), "code", nil); return err == nil })
	add("CreatePKCERequestSession", func(ctx context.Context) error { return s.CreatePKCERequestSession(ctx, r.ID+"code", r) },
		func() bool { _, err := s.GetPKCERequestSession(t.Context(), r.ID+"code", nil); return err == nil })
	add("CreateOpenIDConnectSession", func(ctx context.Context) error { return s.CreateOpenIDConnectSession(ctx, r.ID+"code", r) },
		func() bool { _, err := s.GetOpenIDConnectSession(t.Context(), r.ID+"code", r); return err == nil })
	add("CreateAccessTokenSession", func(ctx context.Context) error { return s.CreateAccessTokenSession(ctx, "access", r) },
		func() bool { _, err := s.GetAccessTokenSession(t.Context(), "access", nil); return err == nil })
	add("CreateRefreshTokenSession", func(ctx context.Context) error { return s.CreateRefreshTokenSession(ctx, "refresh", "access", r) },
		func() bool { _, err := s.GetRefreshTokenSession(t.Context(), "refresh", nil); return err == nil })

	used := issued()
	add("InvalidateAuthorizeCodeSession", func(ctx context.Context) error { return s.InvalidateAuthorizeCodeSession(ctx, used.ID+"code") },
		func() bool { _, err := s.GetAuthorizeCodeSession(t.Context(), used.ID+"code", nil); return err != nil })
	add("RotateRefreshToken", func(ctx context.Context) error { return s.RotateRefreshToken(ctx, used.ID, used.ID+"refresh") },
		func() bool {
			_, err := s.GetRefreshTokenSession(t.Context(), used.ID+"refresh", nil)
			return err != nil
		})

	for _, of := range []struct {
		name string
		do   func(context.Context, *fosite.Request) error
	}{
		{"DeleteAccessTokenSession", func(ctx context.Context, r *fosite.Request) error {
			return s.DeleteAccessTokenSession(ctx, r.ID+"access")
		}},
		{"RevokeAccessToken", func(ctx context.Context, r *fosite.Request) error { return s.RevokeAccessToken(ctx, r.ID) }},
		{"RevokeGrants", func(ctx context.Context, r *fosite.Request) error {
			_, err := s.RevokeGrants(ctx, oauthreg.GrantFilter{ID: r.ID})
			return err
		}},
	} {
		r := issued()
		add(of.name, func(ctx context.Context) error { return of.do(ctx, r) },
			func() bool { _, err := s.GetAccessTokenSession(t.Context(), r.ID+"access", nil); return err != nil })
	}
	ended, revoked, kept := issued(), issued(), issued()
	noRefresh := func(r *fosite.Request) func() bool {
		return func() bool {
			_, err := s.GetRefreshTokenSession(t.Context(), r.ID+"refresh", nil)
			return err != nil
		}
	}
	add("DeleteRefreshTokenSession", func(ctx context.Context) error { return s.DeleteRefreshTokenSession(ctx, ended.ID+"refresh") }, noRefresh(ended))
	add("RevokeRefreshToken", func(ctx context.Context) error { return s.RevokeRefreshToken(ctx, revoked.ID) }, noRefresh(revoked))
	add("SetClientAssertionJWT", func(ctx context.Context) error { return s.SetClientAssertionJWT(ctx, "jti", end) },
		func() bool { return s.ClientAssertionJWTValid(t.Context(), "jti") != nil })

	add("CreateGrant", func(ctx context.Context) error {
		return s.CreateGrant(ctx, oauthreg.Grant{ID: "grant", ClientID: k.ID, Subject: "alice", ExpiresAt: end})
	}, func() bool { _, err := s.Grant(t.Context(), "grant"); return err == nil })
	at := now().Add(-time.Minute)
	add("UseGrant", func(ctx context.Context) error { return s.UseGrant(ctx, kept.ID, at, end) },
		func() bool {
			g, err := s.Grant(t.Context(), kept.ID)
			return err == nil && g.LastUsedAt.Equal(at)
		})
	add("SaveConsent", func(ctx context.Context) error {
		_, err := s.SaveConsent(ctx, oauthreg.Consent{ClientID: k.ID, Subject: "carol", Scopes: []string{"a"}})
		return err
	}, func() bool { _, err := s.Consent(t.Context(), k.ID, "carol"); return err == nil })

	add("CreateInteraction", func(ctx context.Context) error {
		return s.CreateInteraction(ctx, oauthreg.Interaction{Handle: "new", Request: []byte("{}"), ExpiresAt: end})
	}, func() bool { _, err := s.Interaction(t.Context(), "new", ""); return err == nil })
	pending(t, s)
	add("UpdateInteraction", func(ctx context.Context) error {
		return s.UpdateInteraction(ctx, oauthreg.Interaction{Handle: "h", Subject: "alice", Request: []byte("{}")})
	}, func() bool {
		i, err := s.Interaction(t.Context(), "h", "b")
		return err == nil && i.Subject == "alice"
	})
	add("FinishInteraction", func(ctx context.Context) error { return s.FinishInteraction(ctx, "h") },
		func() bool { _, err := s.Interaction(t.Context(), "h", "b"); return err != nil })
	add("CreateLoginSession", func(ctx context.Context) error { return s.CreateLoginSession(ctx, signIn("browser")) },
		func() bool { _, err := s.LoginSession(t.Context(), "browser"); return err == nil })
	add("EndLoginSession", func(ctx context.Context) error { return s.EndLoginSession(ctx, "sid-browser") },
		func() bool { _, err := s.LoginSession(t.Context(), "browser"); return err != nil })
	members := func(session string) int {
		list, err := s.SessionMembers(t.Context(), session)
		must(t, err)
		return len(list)
	}
	add("JoinSession", func(ctx context.Context) error {
		return s.JoinSession(ctx, oauthreg.SessionMember{SessionID: "joined", ClientID: k.ID, Subject: "alice", ExpiresAt: end})
	}, func() bool { return members("joined") == 1 })
	member(t, s)
	add("EndSession", func(ctx context.Context) error { return s.EndSession(ctx, "sid", now()) },
		func() bool { return members("sid") == 0 })
	return list
}

func writesTakePart(t testing.TB, s Store) {
	for _, w := range writes(t, s) {
		stop := errors.New("stop")
		want(t, w.name+", rolled back", inTransaction(t.Context(), s, func(ctx context.Context) error { return errors.Join(w.do(ctx), stop) }), stop)
		if w.done() {
			t.Errorf("%s: the rollback did not undo it", w.name)
		}
		want(t, w.name, inTransaction(t.Context(), s, w.do), nil)
		if !w.done() {
			t.Errorf("%s: the commit did not make it", w.name)
		}
	}
}

func decisionIsWhole(t testing.TB, s Store) {
	k, f := client(t, s)
	pending(t, s)
	requests := make([]*fosite.Request, callers)
	for i := range requests {
		requests[i] = request(f)
	}
	session := func(i int) string { return fmt.Sprint("sid", i) }
	race(t, callers, oauthreg.ErrConsumed, func(i int) error {
		r, end := requests[i], time.Now().Add(time.Hour)
		return inTransaction(t.Context(), s, func(ctx context.Context) error {
			if err := s.FinishInteraction(ctx, "h"); err != nil {
				return err
			}
			consent, err := s.SaveConsent(ctx, oauthreg.Consent{ClientID: k.ID, Subject: "alice", Scopes: []string{r.ID}})
			if err != nil {
				return err
			}
			return errors.Join(
				s.CreateGrant(ctx, oauthreg.Grant{ID: r.ID, ClientID: k.ID, Subject: "alice", ConsentID: consent, SessionID: session(i), ExpiresAt: end}),
				s.JoinSession(ctx, oauthreg.SessionMember{SessionID: session(i), ClientID: k.ID, Subject: "alice", ExpiresAt: end}),
				s.CreateAuthorizeCodeSession(ctx, r.ID+"code", r),
			)
		})
	})
	consent, err := s.Consent(t.Context(), k.ID, "alice")
	must(t, err)
	for i, r := range requests {
		members, err := s.SessionMembers(t.Context(), session(i))
		must(t, err)
		_, code := s.GetAuthorizeCodeSession(t.Context(), r.ID+"code", nil)
		g, err := s.Grant(t.Context(), r.ID)
		if err != nil {
			want(t, "the grant of a decision that was not made", err, oauthreg.ErrNotFound)
			want(t, "the code of a decision that was not made", code, fosite.ErrNotFound)
			if len(members) != 0 {
				t.Errorf("a decision that was not made has members %+v", members)
			}
			continue
		}
		want(t, "the code of the decision", code, nil)
		if len(members) != 1 || g.ConsentID != consent.ID || !slices.Equal(consent.Scopes, []string{r.ID}) {
			t.Errorf("got members %+v and grant %+v on consent %+v, want those of the decision alone", members, g, consent)
		}
	}
}

func rollbackAfterCommitIsQuiet(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	tx, err := s.BeginTX(t.Context())
	must(t, err)
	first := s.CreateAccessTokenSession(tx, "sig", r) // beneath no grant
	if err := errors.Join(first, s.Commit(tx)); err == nil {
		t.Error("the commit succeeded")
	}
	must(t, s.Rollback(tx))
	tx, err = s.BeginTX(t.Context())
	must(t, err)
	must(t, s.SetClientAssertionJWT(tx, "jti", time.Now().Add(time.Minute)))
	must(t, s.Commit(tx))
	must(t, s.Rollback(tx))
	want(t, "what was committed", s.ClientAssertionJWTValid(t.Context(), "jti"), fosite.ErrJTIKnown)
}

func transactionsNest(t testing.TB, s Store) {
	end := time.Now().Add(time.Minute)
	outer, err := s.BeginTX(t.Context())
	must(t, err)
	inner, err := s.BeginTX(outer)
	must(t, err)
	must(t, s.SetClientAssertionJWT(inner, "kept", end))
	must(t, s.Commit(inner))
	inner, err = s.BeginTX(outer)
	must(t, err)
	must(t, s.SetClientAssertionJWT(inner, "dropped", end))
	must(t, s.Rollback(inner))
	must(t, s.Commit(outer))
	want(t, "committed", s.ClientAssertionJWTValid(t.Context(), "kept"), fosite.ErrJTIKnown)
	must(t, s.ClientAssertionJWTValid(t.Context(), "dropped"))

	outer, err = s.BeginTX(t.Context())
	must(t, err)
	inner, err = s.BeginTX(outer)
	must(t, err)
	must(t, s.SetClientAssertionJWT(inner, "undone", end))
	must(t, s.Commit(inner))
	must(t, s.Rollback(outer))
	must(t, s.ClientAssertionJWTValid(t.Context(), "undone"))
}
