package storage

import (
	"context"
	"errors"
	"time"

	"github.com/ory/fosite"
)

// Assertion ids (jti) live in one namespace for all clients: a caller that
// wants one per client puts the client into the string. They are stored as
// digests, so their length does not matter.

var errNoJTI = errors.New("the assertion id is empty")

// ClientAssertionJWTValid returns [fosite.ErrJTIKnown] when an assertion id was
// used and has not ended. It decides nothing: two callers may both get nil.
// [Store.SetClientAssertionJWT] decides.
func (s *Store) ClientAssertionJWTValid(ctx context.Context, jti string) error {
	const doing = "look up assertion"
	if jti == "" {
		return explain(doing, errNoJTI)
	}
	now := micros(s.now())
	return s.read(ctx, doing, func(ctx context.Context, c conn) error {
		var n int
		found, err := c.one(ctx, "SELECT 1 FROM oauthreg_assertions WHERE jti = ? AND expires_at > ?", []any{digest(jti), now}, &n)
		if err == nil && found {
			return fosite.ErrJTIKnown
		}
		return err
	})
}

// SetClientAssertionJWT uses an assertion id up until exp (RFC 7523 §3 item 7).
// Of any number of concurrent calls exactly one succeeds, in a transaction with
// its commit; the others get [fosite.ErrJTIKnown]. exp should include the clock
// skew that the caller tolerates: from exp on the id may be used again.
func (s *Store) SetClientAssertionJWT(ctx context.Context, jti string, exp time.Time) error {
	const doing = "use assertion"
	if jti == "" {
		return explain(doing, errNoJTI)
	}
	key := digest(jti)
	now := micros(s.now())
	return s.do(ctx, doing, func(ctx context.Context, c conn) error {
		n, err := c.exec(ctx, "INSERT INTO oauthreg_assertions (jti, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING", key, expiry(exp))
		if err != nil || n == 1 {
			return err
		}
		// Two callers that find it ended cannot both change it: the row that
		// the first leaves has not ended, or, for an exp in the past, differs.
		n, err = c.exec(ctx, "UPDATE oauthreg_assertions SET expires_at = ? WHERE jti = ? AND expires_at <= ? AND expires_at <> ?",
			expiry(exp), key, now, expiry(exp))
		if err == nil && n == 0 {
			return fosite.ErrJTIKnown
		}
		return err
	})
}
