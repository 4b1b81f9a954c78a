package storage

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// An authorization code is one row: the code, its PKCE challenge (RFC 7636) and
// its OpenID Connect session live and die together, and fosite's three storage
// interfaces are views on it. So a failed exchange cannot separate a code from
// its challenge, and what may be used once is used once in one place.

// maxCodeLifetime ends a code whose session does not say when (RFC 6749 §4.1.2).
const maxCodeLifetime = 10 * time.Minute

// CreateAuthorizeCodeSession stores a code under its signature. It ends when
// the session says, or after 10 minutes.
//
// The request's id names the grant the code belongs to. If there is no such
// grant, one is made in the same write, with the session's subject and what was
// granted, ending with the code; the tokens that come of it extend it.
// [oauthreg.ErrConflict] if the signature is taken; [fosite.ErrNotFound] if there
// is no such grant, nor the client, or it is suspended.
func (s *Store) CreateAuthorizeCodeSession(ctx context.Context, signature string, r fosite.Requester) error {
	const doing = "create authorization code"
	q, err := s.sealRequest(ctx, doing, sealCode, signature, r)
	if err != nil {
		return err
	}
	now := s.now()
	expires := q.expiresAt(fosite.AuthorizeCode, now.Add(maxCodeLifetime))
	if s.lastsUntil(ctx, q.id, expires, micros(now)) {
		return s.doStatement(ctx, doing, statement{
			query: `INSERT INTO oauthreg_authorize_codes
				(signature, grant_id, client_id, request, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)`,
			args: []any{q.key, q.id, q.clientID, q.sealed, micros(now), expires},
		})
	}
	scopes, err := listJSON(q.scopes)
	if err != nil {
		return explain(doing, err)
	}
	resources, err := listJSON(q.audience)
	if err != nil {
		return explain(doing, err)
	}
	from, holder := s.fromHolder(q.clientID)
	return s.do(ctx, doing, func(ctx context.Context, c conn) error {
		_, err := c.exec(ctx, `INSERT INTO oauthreg_grants
			(id, client_id, subject, scopes, resources, created_at, last_used_at, expires_at, uses)
			SELECT ?, c.id, ?, ?, ?, ?, ?, ?, 0`+from+onConflict,
			append([]any{q.id, q.subject, scopes, resources, micros(now), micros(now), expires}, holder...)...)
		if err != nil {
			return err
		}
		n, err := c.exec(ctx, `INSERT INTO oauthreg_authorize_codes
			(signature, grant_id, client_id, request, created_at, expires_at)
			SELECT ?, g.id, ?, ?, ?, ? FROM oauthreg_grants g WHERE g.id = ?`,
			q.key, q.clientID, q.sealed, micros(now), expires, q.id)
		if err == nil && n == 0 {
			return errClientOver
		}
		return err
	})
}

// GetAuthorizeCodeSession finds a code by its signature. [fosite.ErrNotFound]
// when it is unknown or expired, when its grant was revoked or has ended, or
// when its client is suspended or gone. A used code is returned together with
// an [oauthreg.UsedError] that wraps [fosite.ErrInvalidatedAuthorizeCode].
//
// The stored session is written into session, unless that is nil or the live
// session of a request being answered.
func (s *Store) GetAuthorizeCodeSession(ctx context.Context, signature string, session fosite.Session) (fosite.Requester, error) {
	return s.code(ctx, signature, "request", sealCode, session, true)
}

// InvalidateAuthorizeCodeSession marks a code as used. Of any number of
// concurrent calls exactly one succeeds, in a transaction with its commit; the
// others get an [oauthreg.UsedError] that wraps
// [fosite.ErrInvalidatedAuthorizeCode]. For a code that is unknown or expired
// it is that error alone.
func (s *Store) InvalidateAuthorizeCodeSession(ctx context.Context, signature string) error {
	if signature == "" {
		return fosite.ErrNotFound
	}
	key := rowKey(signature)
	now := micros(s.now())
	return s.doStatement(ctx, "invalidate authorization code", statement{
		query: "UPDATE oauthreg_authorize_codes SET used_at = ? WHERE signature = ? AND used_at IS NULL AND expires_at > ?",
		args:  []any{now, key, now},
		verdict: func(ctx context.Context, c conn, n int64) error {
			if n == 1 {
				return nil
			}
			var used sql.NullInt64
			if _, err := c.one(ctx, "SELECT used_at FROM oauthreg_authorize_codes WHERE signature = ?", []any{key}, &used); err != nil {
				return err
			}
			if used.Valid {
				return &oauthreg.UsedError{At: fromMaybe(used), Err: fosite.ErrInvalidatedAuthorizeCode}
			}
			return fosite.ErrInvalidatedAuthorizeCode
		},
	})
}

// CreatePKCERequestSession adds the request with its code_challenge to the
// stored code of that signature.
func (s *Store) CreatePKCERequestSession(ctx context.Context, signature string, r fosite.Requester) error {
	return s.addToCode(ctx, "create PKCE session", signature, "pkce", sealPKCE, r)
}

// GetPKCERequestSession returns the request that carried the code_challenge, in
// a new session; session is not written to. [fosite.ErrNotFound] if the code
// had no challenge, or as for [Store.GetAuthorizeCodeSession]. It finds used
// codes too.
func (s *Store) GetPKCERequestSession(ctx context.Context, signature string, _ fosite.Session) (fosite.Requester, error) {
	return s.code(ctx, signature, "pkce", sealPKCE, nil, false)
}

// DeletePKCERequestSession does nothing: the challenge stays as long as the
// code. fosite's handler deletes it before it has compared the verifier, after
// which a second attempt with the same code needs none.
func (s *Store) DeletePKCERequestSession(context.Context, string) error { return nil }

// CreateOpenIDConnectSession adds the authentication request to the stored
// code. Unlike the other methods it is given the code itself; the part behind
// the last dot, or all if there is no dot, must be the signature under which
// the code was stored.
func (s *Store) CreateOpenIDConnectSession(ctx context.Context, code string, r fosite.Requester) error {
	return s.addToCode(ctx, "create OpenID Connect session", signatureOf(code), "openid", sealOpenID, r)
}

// GetOpenIDConnectSession returns the authentication request that came with the
// code, in a new session. [fosite.ErrNotFound] if there was none, or as for
// [Store.GetAuthorizeCodeSession]. It finds used codes too: fosite asks after
// the exchange.
func (s *Store) GetOpenIDConnectSession(ctx context.Context, code string, _ fosite.Requester) (fosite.Requester, error) {
	return s.code(ctx, signatureOf(code), "openid", sealOpenID, nil, false)
}

// DeleteOpenIDConnectSession does nothing: the session goes with the code.
func (s *Store) DeleteOpenIDConnectSession(context.Context, string) error { return nil }

// signatureOf is the signature of a code "prefix random.signature".
func signatureOf(code string) string {
	return code[strings.LastIndexByte(code, '.')+1:]
}

// addToCode fills a column of a stored code.
func (s *Store) addToCode(ctx context.Context, doing, signature, column, kind string, r fosite.Requester) error {
	q, err := s.sealRequest(ctx, doing, kind, signature, r)
	if err != nil {
		return err
	}
	return s.do(ctx, doing, func(ctx context.Context, c conn) error {
		n, err := c.exec(ctx, "UPDATE oauthreg_authorize_codes SET "+column+" = ? WHERE signature = ? AND grant_id = ? AND used_at IS NULL",
			q.sealed, q.key, q.id)
		if err == nil && n == 0 {
			return fmt.Errorf("there is no such unused code of this request: %w", fosite.ErrNotFound)
		}
		return err
	})
}

// code reads one column of a code.
func (s *Store) code(ctx context.Context, signature, column, kind string, session fosite.Session, tellUsed bool) (fosite.Requester, error) {
	const doing = "get authorization code"
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
		found, err := c.one(ctx, "SELECT a."+column+", a.grant_id, a.client_id, a.expires_at, a.used_at, "+liveGrantEnd+`
			FROM oauthreg_authorize_codes a WHERE a.signature = ?`,
			[]any{key}, &sealed, &id, &clientID, &expires, &used, &grantEnd)
		if err == nil && (!found || grantEnd.Int64 <= now || sealed == nil || !used.Valid && expires <= now) {
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
	r, err := s.decode(ctx, kind, key, sealed, id, holder, session)
	if err != nil {
		return nil, explain(doing, err)
	}
	if tellUsed && used.Valid {
		return r, &oauthreg.UsedError{At: fromMaybe(used), Err: fosite.ErrInvalidatedAuthorizeCode}
	}
	return r, nil
}
