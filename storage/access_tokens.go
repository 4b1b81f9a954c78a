package storage

import (
	"context"
	"database/sql"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// CreateAccessTokenSession stores an access token under its signature. The
// request's id names the grant it stands under, which must be live, else the
// error is [fosite.ErrNotFound]; if the token outlives the grant, the grant is
// extended. A client_credentials token stands under no grant: its client must
// be there and not suspended. It costs less to store where the request's id is the
// signature, so that revoking either needs no index of its own.
//
// The token ends when the session says; if it does not, the token does not end
// before its grant.
func (s *Store) CreateAccessTokenSession(ctx context.Context, signature string, r fosite.Requester) error {
	const doing = "create access token"
	q, err := s.sealRequest(ctx, doing, sealAccess, signature, r)
	if err != nil {
		return err
	}
	now := micros(s.now())
	expires := q.expiresAt(fosite.AccessToken, time.Time{})

	if isClientCredentials(r) {
		if q.id == signature {
			q.id = ""
		}
		return s.doOne(ctx, doing, statement{
			query: `INSERT INTO oauthreg_access_tokens
				(signature, grant_id, client_id, incarnation, request, created_at, expires_at)
				SELECT ?, ?, c.id, c.incarnation, ?, ?, ? FROM oauthreg_clients c WHERE c.id = ? AND c.suspended_at IS NULL`,
			args:    []any{q.key, q.id, q.sealed, now, expires, q.clientID},
			verdict: orElse(errClientOver),
		})
	}
	if s.lastsUntil(ctx, q.id, expires, now) {
		return s.doStatement(ctx, doing, statement{
			query: `INSERT INTO oauthreg_access_tokens
				(signature, grant_id, client_id, request, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)`,
			args: []any{q.key, q.id, q.clientID, q.sealed, now, expires},
		})
	}
	return s.do(ctx, doing, func(ctx context.Context, c conn) error {
		n, err := c.exec(ctx, `INSERT INTO oauthreg_access_tokens
			(signature, grant_id, client_id, request, created_at, expires_at)
			SELECT ?, g.id, ?, ?, ?, ? FROM oauthreg_grants g WHERE g.id = ? AND g.revoked_at IS NULL AND g.expires_at > ?`+c.sql.d.forUpdate,
			q.key, q.clientID, q.sealed, now, expires, q.id, now)
		if err == nil && n == 0 {
			return errGrantOver
		}
		if err != nil || expires == never {
			return err
		}
		return extendGrant(ctx, c, q.id, now, expires)
	})
}

// GetAccessTokenSession finds an access token by its signature.
// [fosite.ErrNotFound] when it is unknown or expired, when its grant was
// revoked or has ended, or when its client is suspended or gone. The stored
// session is written into session, unless that is nil.
func (s *Store) GetAccessTokenSession(ctx context.Context, signature string, session fosite.Session) (fosite.Requester, error) {
	const doing = "get access token"
	if signature == "" {
		return nil, fosite.ErrNotFound
	}
	key := rowKey(signature)
	now := micros(s.now())
	var (
		id, clientID string
		incarnation  sql.NullInt64
		sealed       []byte
		grantEnd     sql.NullInt64
	)
	err := s.read(ctx, doing, func(ctx context.Context, c conn) error {
		found, err := c.one(ctx, `SELECT a.request, a.grant_id, a.client_id, a.incarnation,
			CASE WHEN a.incarnation IS NULL THEN `+liveGrantEnd+` END
			FROM oauthreg_access_tokens a WHERE a.signature = ? AND a.expires_at > ?`,
			[]any{key, now}, &sealed, &id, &clientID, &incarnation, &grantEnd)
		if err == nil && (!found || !incarnation.Valid && grantEnd.Int64 <= now) {
			return fosite.ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	holder, err := s.holder(ctx, doing, oauthreg.ByID(clientID))
	if err != nil {
		return nil, err
	}
	// A token without a grant belongs to the client as it was when the token was
	// issued, not to another that was given its id later.
	if incarnation.Valid && incarnation.Int64 != holder.incarnation {
		return nil, fosite.ErrNotFound
	}
	if id == "" {
		id = signature
	}
	r, err := s.decode(ctx, sealAccess, key, sealed, id, holder, session)
	if err != nil {
		return nil, explain(doing, err)
	}
	return r, nil
}

// DeleteAccessTokenSession removes that one token; its grant and the grant's
// other tokens stay. Nil when there is none.
func (s *Store) DeleteAccessTokenSession(ctx context.Context, signature string) error {
	if signature == "" {
		return nil
	}
	key := rowKey(signature)
	return s.doOne(ctx, "delete access token", statement{query: "DELETE FROM oauthreg_access_tokens WHERE signature = ?", args: []any{key}})
}

// RevokeAccessToken revokes the grant of that id with all its codes and tokens
// (RFC 7009 §2.1), or, where the id is that of a client_credentials request,
// the request's access tokens. Nil when there is nothing.
func (s *Store) RevokeAccessToken(ctx context.Context, requestID string) error {
	return s.revokeRequest(ctx, "revoke access token", requestID)
}
