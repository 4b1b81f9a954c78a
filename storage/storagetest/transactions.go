package storagetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ory/fosite"
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
