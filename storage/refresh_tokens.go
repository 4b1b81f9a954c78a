package storage

import (
	"context"
	"database/sql"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// CreateRefreshTokenSession stores a refresh token under its signature, with
// the digest of the access token issued beside it (empty: none). Its grant must
// be live, else the error is [fosite.ErrNotFound]; if the token outlives the
// grant, the grant is extended. It ends when the session says; if the session
// does not say, neither the token nor the grant ends by itself.
func (s *Store) CreateRefreshTokenSession(ctx context.Context, signature string, accessSignature string, r fosite.Requester) error {
	const doing = "create refresh token"
	q, err := s.sealRequest(ctx, doing, sealRefresh, signature, r)
	if err != nil {
		return err
	}
	var access any
	if accessSignature != "" {
		access = rowKey(accessSignature)
	}
	now := micros(s.now())
	expires := q.expiresAt(fosite.RefreshToken, time.Time{})
	if s.lastsUntil(ctx, q.id, expires, now) {
		return s.doStatement(ctx, doing, statement{
			query: `INSERT INTO oauthreg_refresh_tokens
				(signature, grant_id, client_id, access_signature, request, created_at, expires_at, used_times) VALUES (?, ?, ?, ?, ?, ?, ?, 0)`,
			args: []any{q.key, q.id, q.clientID, access, q.sealed, now, expires},
		})
	}
	return s.do(ctx, doing, func(ctx context.Context, c conn) error {
		n, err := c.exec(ctx, `INSERT INTO oauthreg_refresh_tokens
			(signature, grant_id, client_id, access_signature, request, created_at, expires_at, used_times)
			SELECT ?, g.id, ?, ?, ?, ?, ?, 0 FROM oauthreg_grants g WHERE g.id = ? AND g.revoked_at IS NULL AND g.expires_at > ?`+c.sql.d.forUpdate,
			q.key, q.clientID, access, q.sealed, now, expires, q.id, now)
		if err == nil && n == 0 {
			return errGrantOver
		}
		if err != nil {
			return err
		}
		return extendGrant(ctx, c, q.id, now, expires)
	})
}

// GetRefreshTokenSession finds a refresh token by its signature.
// [fosite.ErrNotFound] when it is unknown or expired, when its grant was
// revoked or has ended, or when its client is suspended or gone.
//
// A token that was used is returned as if it was not during
// [Config.RefreshGrace]. After that it is returned together with an
// [oauthreg.UsedError] that wraps [fosite.ErrInactiveToken]: someone has a copy
// of it (RFC 9700 §4.14). The stored session is written into session, unless
// that is nil.
func (s *Store) GetRefreshTokenSession(ctx context.Context, signature string, session fosite.Session) (fosite.Requester, error) {
	const doing = "get refresh token"
	if signature == "" {
		return nil, fosite.ErrNotFound
	}
	key := rowKey(signature)
	now := micros(s.now())
	var (
		id, clientID string
		sealed       []byte
		expires      int64
		used         sql.NullInt64
		grantEnd     sql.NullInt64
	)
	err := s.read(ctx, doing, func(ctx context.Context, c conn) error {
		found, err := c.one(ctx, "SELECT a.request, a.grant_id, a.client_id, a.expires_at, a.first_used_at, "+liveGrantEnd+`
			FROM oauthreg_refresh_tokens a WHERE a.signature = ?`,
			[]any{key}, &sealed, &id, &clientID, &expires, &used, &grantEnd)
		if err == nil && (!found || grantEnd.Int64 <= now) {
			return fosite.ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	replayed := used.Valid && used.Int64 <= now-s.cfg.RefreshGrace.Microseconds()
	if !replayed && expires <= now {
		return nil, fosite.ErrNotFound
	}
	holder, err := s.holder(ctx, doing, oauthreg.ByID(clientID))
	if err != nil {
		return nil, err
	}
	r, err := s.decode(ctx, sealRefresh, key, sealed, id, holder, session)
	if err != nil {
		return nil, explain(doing, err)
	}
	if replayed {
		return r, &oauthreg.UsedError{At: fromMaybe(used), Err: fosite.ErrInactiveToken}
	}
	return r, nil
}

// RotateRefreshToken uses a refresh token of the grant up. Of any number of
// concurrent calls the first succeeds, and of the others as many as
// [Config.RefreshGraceUses] allows within [Config.RefreshGrace]; the rest get
// [fosite.ErrInactiveToken], in a transaction from its commit. The access token
// issued beside it stays good until it ends.
func (s *Store) RotateRefreshToken(ctx context.Context, requestID string, signature string) error {
	if signature == "" || requestID == "" {
		return fosite.ErrNotFound
	}
	key := rowKey(signature)
	now := s.now()
	repetitions := s.cfg.RefreshGraceUses
	if s.cfg.RefreshGrace == 0 {
		// Whoever came second may have looked at the clock before the first.
		repetitions = 0
	}
	return s.doStatement(ctx, "rotate refresh token", statement{
		query: `UPDATE oauthreg_refresh_tokens
			SET first_used_at = COALESCE(first_used_at, ?), used_times = used_times + 1
			WHERE signature = ? AND grant_id = ?
			AND (first_used_at IS NULL OR first_used_at > ? AND used_times <= ?)`,
		args:    []any{micros(now), key, requestID, micros(now.Add(-s.cfg.RefreshGrace)), repetitions},
		verdict: orElse(fosite.ErrInactiveToken),
	})
}

// DeleteRefreshTokenSession removes that one token; nil when there is none. Its
// later use is not recognized as a replay any more.
func (s *Store) DeleteRefreshTokenSession(ctx context.Context, signature string) error {
	if signature == "" {
		return nil
	}
	key := rowKey(signature)
	return s.doOne(ctx, "delete refresh token", statement{query: "DELETE FROM oauthreg_refresh_tokens WHERE signature = ?", args: []any{key}})
}

// RevokeRefreshToken revokes the grant of that id with all its codes and tokens
// (RFC 7009 §2.1). It is the same as [Store.RevokeAccessToken].
func (s *Store) RevokeRefreshToken(ctx context.Context, requestID string) error {
	return s.revokeRequest(ctx, "revoke refresh token", requestID)
}
