package storage

import (
	"bytes"
	"context"
	"database/sql"
	"errors"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// CreateInteraction stores a pending request; see [oauthreg.InteractionStore].
// Its Request and Subject are encrypted.
func (s *Store) CreateInteraction(ctx context.Context, i oauthreg.Interaction) error {
	const doing = "create interaction"
	if i.Handle == "" {
		return explain(doing, errors.New("the interaction has no handle"))
	}
	key := rowKey(i.Handle)
	sealed, err := s.sealer.seal(sealInteraction, key, i.Request)
	if err != nil {
		return explain(doing, err)
	}
	subject, err := s.sealer.sealMarked(sealInteractionSubject, key, i.Subject)
	if err != nil {
		return explain(doing, err)
	}
	var browser any
	if i.Browser != "" {
		browser = digest(i.Browser)
	}
	if i.CreatedAt.IsZero() {
		i.CreatedAt = s.now()
	}
	return s.doOne(ctx, doing, statement{
		query: `INSERT INTO oauthreg_interactions
			(handle, browser, client_id, subject, session_id, request, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		args: []any{key, browser, i.ClientID, subject, i.SessionID, sealed, micros(i.CreatedAt), expiry(i.ExpiresAt)},
	})
}

// Interaction returns a pending request; see [oauthreg.InteractionStore]. One
// that was finished is an [oauthreg.UsedError] until it expires. One that was
// created without a browser is found only by an empty browser.
func (s *Store) Interaction(ctx context.Context, handle, browser string) (oauthreg.Interaction, error) {
	const doing = "get interaction"
	var i oauthreg.Interaction
	if handle == "" {
		return i, oauthreg.ErrNotFound
	}
	key, now := rowKey(handle), micros(s.now())
	var (
		bound, sealed    []byte
		created, expires int64
		finished         sql.NullInt64
	)
	err := s.read(ctx, doing, func(ctx context.Context, c conn) error {
		found, err := c.one(ctx, `SELECT browser, client_id, subject, session_id, request, created_at, expires_at, finished_at
			FROM oauthreg_interactions WHERE handle = ? AND expires_at > ?`, []any{key, now},
			&bound, &i.ClientID, &i.Subject, &i.SessionID, &sealed, &created, &expires, &finished)
		if err == nil && !found {
			return oauthreg.ErrNotFound
		}
		return err
	})
	if err != nil {
		return oauthreg.Interaction{}, err
	}
	// Digests of random values: how long they agree tells nothing.
	if browser != "" && !bytes.Equal(bound, digest(browser)) {
		return oauthreg.Interaction{}, oauthreg.ErrNotFound
	}
	if finished.Valid {
		return oauthreg.Interaction{ClientID: i.ClientID}, &oauthreg.UsedError{At: fromMaybe(finished), Err: oauthreg.ErrConsumed}
	}
	i.Handle = handle
	i.CreatedAt, i.ExpiresAt = fromMicros(created), fromMicros(expires)
	if i.Request, err = s.sealer.open(sealInteraction, key, sealed); err != nil {
		return oauthreg.Interaction{}, explain(doing, err)
	}
	if i.Subject, err = s.sealer.openMarked(sealInteractionSubject, key, i.Subject); err != nil {
		return oauthreg.Interaction{}, explain(doing, err)
	}
	return i, nil
}

// UpdateInteraction replaces what a pending request became; see
// [oauthreg.InteractionStore].
func (s *Store) UpdateInteraction(ctx context.Context, i oauthreg.Interaction) error {
	const doing = "update interaction"
	if i.Handle == "" {
		return oauthreg.ErrNotFound
	}
	key, now := rowKey(i.Handle), micros(s.now())
	sealed, err := s.sealer.seal(sealInteraction, key, i.Request)
	if err != nil {
		return explain(doing, err)
	}
	subject, err := s.sealer.sealMarked(sealInteractionSubject, key, i.Subject)
	if err != nil {
		return explain(doing, err)
	}
	return s.doStatement(ctx, doing, statement{
		query: `UPDATE oauthreg_interactions SET subject = ?, session_id = ?, request = ?
			WHERE handle = ? AND finished_at IS NULL AND expires_at > ?`,
		args:    []any{subject, i.SessionID, sealed, key, now},
		verdict: interactionOver(key, now),
	})
}

// FinishInteraction ends a pending request; see [oauthreg.InteractionStore].
// The loser's error is an [oauthreg.UsedError]; in a transaction it comes with
// the commit. [oauthreg.ErrNotFound] when the handle is unknown or expired.
func (s *Store) FinishInteraction(ctx context.Context, handle string) error {
	if handle == "" {
		return oauthreg.ErrNotFound
	}
	key, now := rowKey(handle), micros(s.now())
	return s.doStatement(ctx, "finish interaction", statement{
		query:   "UPDATE oauthreg_interactions SET finished_at = ? WHERE handle = ? AND finished_at IS NULL AND expires_at > ?",
		args:    []any{now, key, now},
		verdict: interactionOver(key, now),
	})
}

// interactionOver is a verdict, which says why an interaction is not pending when no
// row is there.
func interactionOver(key []byte, now int64) func(context.Context, conn, int64) error {
	return func(ctx context.Context, c conn, n int64) error {
		if n > 0 {
			return nil
		}
		var finished sql.NullInt64
		_, err := c.one(ctx, "SELECT finished_at FROM oauthreg_interactions WHERE handle = ? AND expires_at > ?", []any{key, now}, &finished)
		switch {
		case err != nil:
			return err
		case finished.Valid:
			return &oauthreg.UsedError{At: fromMaybe(finished), Err: oauthreg.ErrConsumed}
		}
		return oauthreg.ErrNotFound
	}
}
