package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// keyLock lets one change of the signing keys happen at a time in this
// process; keyChanges, a row that every change raises, does so between
// processes. A channel rather than a mutex, so that waiting can be given up.
type keyLock struct{ held chan struct{} }

func newKeyLock() *keyLock { return &keyLock{held: make(chan struct{}, 1)} }

// keyChanges is the name of the row in oauthreg_counters.
const keyChanges = "signing_keys"

// SigningKeys returns all keys; see [oauthreg.KeyStore]. Keys are never deleted
// by the store. The first call is one of [Store.CheckEncryptionKeys] too.
func (s *Store) SigningKeys(ctx context.Context) ([]oauthreg.SigningKey, error) {
	keys, _, err := s.signingKeys(ctx)
	return keys, err
}

// signingKeys also returns the count of changes made before.
func (s *Store) signingKeys(ctx context.Context) ([]oauthreg.SigningKey, int64, error) {
	const doing = "get signing keys"
	if err := s.CheckEncryptionKeys(ctx); err != nil {
		return nil, 0, err
	}
	var keys []oauthreg.SigningKey
	var changes int64
	err := s.read(ctx, doing, func(ctx context.Context, c conn) error {
		keys = nil
		// First the count: if a change comes between the two statements, the
		// count is too low and a write that goes by it fails.
		if _, err := c.one(ctx, "SELECT n FROM oauthreg_counters WHERE name = ?", []any{keyChanges}, &changes); err != nil {
			return err
		}
		return c.each(ctx, "SELECT kid, alg, private_key, created_at, active_at, retired_at, expires_at FROM oauthreg_signing_keys ORDER BY created_at, kid", nil,
			func(scan func(...any) error) error {
				var k oauthreg.SigningKey
				var created int64
				var active, retired, expires sql.NullInt64
				err := scan(&k.KeyID, &k.Alg, &k.Private, &created, &active, &retired, &expires)
				k.CreatedAt, k.ActiveAt = fromMicros(created), fromMaybe(active)
				k.RetiredAt, k.ExpiresAt = fromMaybe(retired), fromMaybe(expires)
				keys = append(keys, k)
				return err
			})
	})
	if err != nil {
		return nil, 0, err
	}
	for i := range keys {
		if keys[i].Private, err = s.sealer.open(sealSigningKey, []byte(keys[i].KeyID), keys[i].Private); err != nil {
			return nil, 0, explain(doing, err)
		}
	}
	return keys, changes, nil
}

// UpdateSigningKeys changes the keys; see [oauthreg.KeyStore]. Changes exclude
// each other: within a process by waiting, so that two do not generate keys at
// the same time; between processes by the database, which refuses a change that
// was made on older keys, whereupon change runs again with the newer ones. No
// database lock is held while change runs. change must not call
// UpdateSigningKeys. [oauthreg.ErrConflict] if an added KeyID is taken,
// [oauthreg.ErrNotFound] if a replaced one does not exist.
func (s *Store) UpdateSigningKeys(ctx context.Context, change func(have []oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error)) error {
	const doing = "update signing keys"
	select {
	case s.keys.held <- struct{}{}:
		defer func() { <-s.keys.held }()
	case <-ctx.Done():
		return explain(doing, ctx.Err())
	}
	for range maxRevisions {
		have, changes, err := s.signingKeys(ctx)
		if err != nil {
			return err
		}
		add, replace, err := change(have)
		if err != nil || len(add)+len(replace) == 0 {
			return err
		}
		records, err := s.auditKeys(ctx, have, add, replace)
		if err != nil {
			return explain(doing, err)
		}
		sealed := make([][]byte, len(add))
		for i, k := range add {
			if k.KeyID == "" || k.Alg == "" || len(k.Private) == 0 {
				return explain(doing, errors.New("a key has no id, no algorithm or no private key"))
			}
			if sealed[i], err = s.sealer.seal(sealSigningKey, []byte(k.KeyID), k.Private); err != nil {
				return explain(doing, err)
			}
		}
		err = s.write(ctx, doing, func(ctx context.Context, c conn) error {
			n, err := c.exec(ctx, "UPDATE oauthreg_counters SET n = n + 1 WHERE name = ? AND n = ?", keyChanges, changes)
			if err != nil {
				return err
			}
			if n == 0 {
				return errRevised
			}
			if err := changeKeys(ctx, c, s.now(), add, sealed, replace); err != nil {
				return err
			}
			for _, record := range records {
				if err := record(ctx, c); err != nil {
					return err
				}
			}
			return nil
		})
		if !errors.Is(err, errRevised) {
			return err
		}
	}
	return oauthreg.ErrConflict
}

// auditKeys makes the writes of the records that tell a change of keys.
func (s *Store) auditKeys(ctx context.Context, have, add, replace []oauthreg.SigningKey) ([]func(context.Context, conn) error, error) {
	before := map[string]*oauthreg.SigningKey{}
	for i := range have {
		before[have[i].KeyID] = &have[i]
	}
	var writes []func(context.Context, conn) error
	now := s.now()
	for _, keys := range [][]oauthreg.SigningKey{replace, add} {
		for i := range keys {
			rec, err := oauthreg.AuditSigningKey(ctx, now, before[keys[i].KeyID], &keys[i])
			if err != nil {
				return nil, err
			}
			write, err := s.auditInsert(rec)
			if err != nil {
				return nil, err
			}
			writes = append(writes, write)
		}
	}
	return writes, nil
}

func changeKeys(ctx context.Context, c conn, now time.Time, add []oauthreg.SigningKey, sealed [][]byte, replace []oauthreg.SigningKey) error {
	for i, k := range add {
		if k.CreatedAt.IsZero() {
			k.CreatedAt = now
		}
		_, err := c.exec(ctx, "INSERT INTO oauthreg_signing_keys (kid, alg, private_key, created_at, active_at, retired_at, expires_at, changes) VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
			k.KeyID, k.Alg, sealed[i], micros(k.CreatedAt), maybe(k.ActiveAt), maybe(k.RetiredAt), maybe(k.ExpiresAt))
		if err != nil {
			return err
		}
	}
	for _, k := range replace {
		n, err := c.exec(ctx, "UPDATE oauthreg_signing_keys SET active_at = ?, retired_at = ?, expires_at = ?, changes = changes + 1 WHERE kid = ?",
			maybe(k.ActiveAt), maybe(k.RetiredAt), maybe(k.ExpiresAt), k.KeyID)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("key %q: %w", k.KeyID, oauthreg.ErrNotFound)
		}
	}
	return nil
}
