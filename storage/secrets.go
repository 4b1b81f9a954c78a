package storage

import (
	"context"
	"slices"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// SecretsUsed notes last uses; see [oauthreg.Store]. An older time than the one
// known is ignored.
func (s *Store) SecretsUsed(ctx context.Context, used map[string]time.Time) error {
	if len(used) == 0 {
		return nil
	}
	return s.write(ctx, "note secrets' uses", func(ctx context.Context, c conn) error {
		for id, at := range used {
			n, err := c.exec(ctx, "INSERT INTO oauthreg_client_secret_uses (secret_id, last_used_at) VALUES (?, ?) ON CONFLICT DO NOTHING", id, micros(at))
			if err != nil {
				return err
			}
			if n == 1 {
				continue
			}
			_, err = c.exec(ctx, "UPDATE oauthreg_client_secret_uses SET last_used_at = ? WHERE secret_id = ? AND last_used_at < ?", micros(at), id, micros(at))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// SecretUses returns last uses; see [oauthreg.Store]. clientID is the internal
// id. A secret that was never used is not in the map.
func (s *Store) SecretUses(ctx context.Context, clientID string) (map[string]time.Time, error) {
	const doing = "get secrets' uses"
	k, err := s.client(ctx, doing, oauthreg.ByID(clientID))
	if err != nil {
		return nil, err
	}
	uses := make(map[string]time.Time)
	if len(k.Secrets) == 0 {
		return uses, nil
	}
	ids := removedSecrets(k.Secrets, nil)
	err = s.read(ctx, doing, func(ctx context.Context, c conn) error {
		clear(uses)
		return c.each(ctx, "SELECT secret_id, last_used_at FROM oauthreg_client_secret_uses WHERE secret_id IN ("+marks(len(ids))+")",
			ids, func(scan func(...any) error) error {
				var id string
				var at int64
				err := scan(&id, &at)
				uses[id] = fromMicros(at)
				return err
			})
	})
	return uses, err
}

// removedSecrets are the ids that before has and after does not.
func removedSecrets(before, after []oauthreg.Secret) []any {
	var ids []any
	for _, b := range before {
		if !slices.ContainsFunc(after, func(a oauthreg.Secret) bool { return a.ID == b.ID }) {
			ids = append(ids, b.ID)
		}
	}
	return ids
}

// forgetSecrets removes what is known of the uses of secrets.
func forgetSecrets(ctx context.Context, c conn, ids []any) error {
	for _, id := range ids {
		if _, err := c.exec(ctx, "DELETE FROM oauthreg_client_secret_uses WHERE secret_id = ?", id); err != nil {
			return err
		}
	}
	return nil
}
