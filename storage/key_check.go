package storage

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"slices"
)

// ErrEncryptionKeys is the error of a database whose contents do not open with
// [Config.EncryptionKeys].
var ErrEncryptionKeys = errors.New("what is stored does not open with any configured encryption key: the keys are another database's, or one was taken away before Store.Reencrypt had succeeded")

// keyCheck is the name of the one row of oauthreg_key_check.
const keyCheck = "oauthreg"

// CheckEncryptionKeys returns [ErrEncryptionKeys] when the database is sealed with a
// key that is not among [Config.EncryptionKeys]. It goes by a value that was sealed
// for it, which is the last that [Store.Reencrypt] seals anew, so that a key which is
// still needed is missed also after a Reencrypt that was cut off. The value is made
// when there is none, with the first key; in a database from before there was one,
// provided that everything in it opens with that key, for which it is read once.
//
// [Store.SigningKeys], and so [oauthreg.OpenKeyRing] and [oauthreg.KeyRing.Maintain],
// call it first: only a host whose keys are elsewhere has to. [Store.Migrate] does
// not, so that whoever changes the schema need not have the keys.
func (s *Store) CheckEncryptionKeys(ctx context.Context) error {
	const doing = "check encryption keys"
	if s.keysChecked.Load() || s.inHostTx() {
		return nil
	}
	for range 2 {
		var sealed []byte
		found := false
		err := s.read(ctx, doing, func(ctx context.Context, c conn) (err error) {
			found, err = c.one(ctx, "SELECT value FROM oauthreg_key_check WHERE name = ?", []any{keyCheck}, &sealed)
			return err
		})
		if err != nil {
			return err
		}
		if found {
			if _, err := s.sealer.open(sealCheck, []byte(keyCheck), sealed); err != nil {
				return explain(doing, ErrEncryptionKeys)
			}
			break
		}
		first, err := s.sealedWithFirst(ctx)
		if err != nil {
			return explain(doing, err)
		}
		if !first { // but with another that is configured: Reencrypt is to come
			break
		}
		// Whoever comes second finds what the first has written.
		if err := s.writeKeyCheck(ctx, doing); err != nil {
			return err
		}
	}
	s.keysChecked.Store(true)
	return nil
}

// writeKeyCheck makes the value that is checked, unless there is one.
func (s *Store) writeKeyCheck(ctx context.Context, doing string) error {
	sealed, err := s.sealer.seal(sealCheck, []byte(keyCheck), []byte(keyCheck))
	if err != nil {
		return explain(doing, err)
	}
	return s.write(ctx, doing, func(ctx context.Context, c conn) error {
		_, err := c.exec(ctx, "INSERT INTO oauthreg_key_check (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", keyCheck, sealed)
		return err
	})
}

// sealedWithFirst reports whether everything that is stored opens with the first
// key. What names a key that is not configured is ErrEncryptionKeys. What names one
// and does not open was altered, and says nothing about keys, unless nothing opens.
func (s *Store) sealedWithFirst(ctx context.Context) (bool, error) {
	first := sealer{keys: s.sealer.keys[:1]}
	opened, altered := false, false
	for _, col := range sealedColumns {
		var after []any
		for col.form != sealedMembers { // those were clear before there was a value to check
			page, err := s.sealedPage(ctx, &col, after)
			if err != nil {
				return false, err
			}
			if len(page) == 0 {
				break
			}
			after = page[len(page)-1].bound
			for _, row := range page {
				b := row.stored
				if col.form == sealedMarked {
					if b, _ = bytes.CutPrefix(b, []byte(sealedMark)); len(b) == len(row.stored) {
						continue // in clear
					}
				}
				if len(b) == 0 {
					continue
				}
				if col.form != sealedBlob {
					b, err = base64.RawStdEncoding.DecodeString(string(b))
				}
				if err != nil || len(b) < sealOverhead {
					altered = true
				} else if _, err := first.open(col.kind, row.key, b); err == nil {
					opened = true
				} else if _, err := s.sealer.open(col.kind, row.key, b); err == nil {
					return false, nil
				} else if !slices.ContainsFunc(s.sealer.keys, func(k sealKey) bool { return k.id == b[0] }) {
					return false, ErrEncryptionKeys
				} else {
					altered = true
				}
			}
		}
	}
	if altered && !opened {
		return false, ErrEncryptionKeys
	}
	return true, nil
}
