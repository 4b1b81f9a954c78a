package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

const initialTokenColumns = "id, data, digest, uses"

func (s *Store) scanInitialToken(scan func(...any) error) (oauthreg.InitialAccessToken, error) {
	var t oauthreg.InitialAccessToken
	var id, data, digest []byte
	var uses int
	if err := scan(&id, &data, &digest, &uses); err != nil {
		return t, err
	}
	data, err := s.sealer.openMembers(sealPermission, id, data)
	if err != nil {
		return t, fmt.Errorf("read initial access token: %w", err)
	}
	if err := json.Unmarshal(data, &t); err != nil {
		return t, fmt.Errorf("read initial access token: %w", err)
	}
	t.Digest, t.Uses = digest, uses
	return t, nil
}

// CreateInitialAccessToken adds a token; see [oauthreg.InitialAccessTokenStore].
func (s *Store) CreateInitialAccessToken(ctx context.Context, t oauthreg.InitialAccessToken) error {
	const doing = "create initial access token"
	if t.ID == "" || len(t.Digest) == 0 {
		return explain(doing, errors.New("the token has no id or no digest"))
	}
	data, err := json.Marshal(t)
	if err != nil {
		return explain(doing, err)
	}
	if data, err = s.sealer.sealMembers(sealPermission, []byte(t.ID), data); err != nil {
		return explain(doing, err)
	}
	return s.write(ctx, doing, func(ctx context.Context, c conn) error {
		_, err := c.exec(ctx, "INSERT INTO oauthreg_initial_access_tokens (id, digest, data, max_uses, uses, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
			t.ID, t.Digest, string(data), t.MaxUses, t.Uses, micros(t.CreatedAt), expiry(t.ExpiresAt))
		return err
	})
}

// InitialAccessToken finds a token by digest; see
// [oauthreg.InitialAccessTokenStore]. Tokens are kept until they are deleted, or
// until [Store.Sweep] finds that they have ended long ago.
func (s *Store) InitialAccessToken(ctx context.Context, digest []byte) (oauthreg.InitialAccessToken, error) {
	if len(digest) == 0 {
		return oauthreg.InitialAccessToken{}, oauthreg.ErrNotFound
	}
	found, err := s.initialTokens(ctx, "get initial access token", " WHERE digest = ?", digest)
	if err == nil && len(found) == 0 {
		err = oauthreg.ErrNotFound
	}
	if err != nil {
		return oauthreg.InitialAccessToken{}, err
	}
	return found[0], nil
}

// ListInitialAccessTokens returns a page of tokens; see
// [oauthreg.InitialAccessTokenStore]. A limit of 0 means 100.
func (s *Store) ListInitialAccessTokens(ctx context.Context, offset, limit int) ([]oauthreg.InitialAccessToken, error) {
	return s.initialTokens(ctx, "list initial access tokens", " ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?", page(limit), max(offset, 0))
}

func (s *Store) initialTokens(ctx context.Context, doing, tail string, args ...any) ([]oauthreg.InitialAccessToken, error) {
	var found []oauthreg.InitialAccessToken
	err := s.read(ctx, doing, func(ctx context.Context, c conn) error {
		found = nil
		return c.each(ctx, "SELECT "+initialTokenColumns+" FROM oauthreg_initial_access_tokens"+tail, args, func(scan func(...any) error) error {
			t, err := s.scanInitialToken(scan)
			found = append(found, t)
			return err
		})
	})
	return found, err
}

// UseInitialAccessToken counts one use; see [oauthreg.InitialAccessTokenStore].
func (s *Store) UseInitialAccessToken(ctx context.Context, digest []byte, now time.Time) error {
	if len(digest) == 0 {
		return oauthreg.ErrNotFound
	}
	return s.write(ctx, "use initial access token", func(ctx context.Context, c conn) error {
		n, err := c.exec(ctx, "UPDATE oauthreg_initial_access_tokens SET uses = uses + 1 WHERE digest = ? AND (max_uses = 0 OR uses < max_uses) AND expires_at > ?",
			digest, micros(now))
		if err != nil || n == 1 {
			return err
		}
		var one int
		found, err := c.one(ctx, "SELECT 1 FROM oauthreg_initial_access_tokens WHERE digest = ? AND expires_at > ?", []any{digest, micros(now)}, &one)
		if err != nil {
			return err
		}
		if found {
			return oauthreg.ErrConsumed
		}
		return oauthreg.ErrNotFound
	})
}

// DeleteInitialAccessToken removes a token; see [oauthreg.InitialAccessTokenStore].
func (s *Store) DeleteInitialAccessToken(ctx context.Context, id string) error {
	return s.write(ctx, "delete initial access token", func(ctx context.Context, c conn) error {
		n, err := c.exec(ctx, "DELETE FROM oauthreg_initial_access_tokens WHERE id = ?", id)
		if err == nil && n == 0 {
			return oauthreg.ErrNotFound
		}
		return err
	})
}
