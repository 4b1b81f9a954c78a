package storage

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
)

// sealedColumn is a column whose values are sealed.
type sealedColumn struct {
	table, key, column, kind string
	text                     bool // key is text
	base64                   bool // column is text
}

// first is before the first key.
func (col sealedColumn) first() any {
	if col.text {
		return ""
	}
	return []byte{}
}

// page is the query for sealedPage.
func (col sealedColumn) page() string {
	return "SELECT " + col.key + ", " + col.column + " FROM oauthreg_" + col.table + " WHERE " + col.key + " > ? ORDER BY " + col.key + " LIMIT ?"
}

// sealedColumns are all of them. The last is by which CheckEncryptionKeys goes: as
// long as it is sealed with an old key, that is needed.
var sealedColumns = []sealedColumn{
	{table: "signing_keys", key: "kid", column: "private_key", kind: sealSigningKey, text: true},
	{table: "authorize_codes", key: "signature", column: "request", kind: sealCode},
	{table: "authorize_codes", key: "signature", column: "pkce", kind: sealPKCE},
	{table: "authorize_codes", key: "signature", column: "openid", kind: sealOpenID},
	{table: "access_tokens", key: "signature", column: "request", kind: sealAccess},
	{table: "refresh_tokens", key: "signature", column: "request", kind: sealRefresh},
	{table: "interactions", key: "handle", column: "request", kind: sealInteraction},
	{table: "login_sessions", key: "handle", column: "user_agent", kind: sealUserAgent, base64: true},
	{table: "key_check", key: "name", column: "value", kind: sealCheck, text: true},
}

// Reencrypt seals everything anew, with the first of [Config.EncryptionKeys],
// that was sealed with another, and returns how many values that were. When it
// has succeeded the other keys can be taken away, provided that no process any
// more has another first key; until then a server without them does not start, see
// [Store.CheckEncryptionKeys]. It can be run while servers work, and again after it
// was interrupted; it reads every row, in batches, each written in a
// transaction of its own. What opens with no key is left as it is and makes
// Reencrypt fail, after everything else was done.
//
// To change the key of several nodes, none of which may meet what it cannot
// read: add the new key to all of them, behind the old one; then put it first, on
// all; then run Reencrypt on one; then take the old key away.
func (s *Store) Reencrypt(ctx context.Context) (int, error) {
	const doing = "reencrypt"
	total := 0
	var failures []error
	for _, col := range sealedColumns {
		for after := col.first(); ; {
			page, err := s.sealedPage(ctx, col.page(), after, col.text)
			if err != nil {
				return total, explain(doing, err)
			}
			if len(page) == 0 {
				break
			}
			after = page[len(page)-1].bound
			var changes [][]any // new value, key, old value
			var failed error
			for _, row := range page {
				now, err := s.sealer.anew(col.kind, row.key, row.sealed, col.base64)
				was := any(row.sealed)
				if col.base64 {
					was = string(row.sealed)
				}
				switch {
				case err != nil:
					failed = fmt.Errorf("%s.%s: %w", col.table, col.column, err)
				case now != nil:
					changes = append(changes, []any{now, row.bound, was})
				}
			}
			if failed != nil {
				failures = append(failures, failed)
			}
			if len(changes) == 0 {
				continue
			}
			n := 0
			err = s.db.write(ctx, func(ctx context.Context, c conn) error {
				n = 0
				for _, change := range changes {
					// Unless it was changed or deleted meanwhile.
					changed, err := c.exec(ctx, "UPDATE oauthreg_"+col.table+" SET "+col.column+" = ? WHERE "+col.key+" = ? AND "+col.column+" = ?", change...)
					if err != nil {
						return err
					}
					n += int(changed)
				}
				return nil
			})
			if err != nil {
				return total, explain(doing, err)
			}
			total += n
		}
	}
	if len(failures) == 0 {
		// In a database from before there was one, where it could not be made.
		if err := s.writeKeyCheck(ctx, doing); err != nil {
			return total, err
		}
	}
	return total, explain(doing, errors.Join(failures...))
}

// sealedRow is a value with the key of its row, as it is bound.
type sealedRow struct {
	key, sealed []byte
	bound       any
}

// reencryptBatch is how many rows Reencrypt writes in one transaction.
const reencryptBatch = 200

func (s *Store) sealedPage(ctx context.Context, query string, after any, text bool) (page []sealedRow, err error) {
	err = s.db.read(ctx, func(ctx context.Context, c conn) error {
		page = nil
		return c.each(ctx, query, []any{after, reencryptBatch}, func(scan func(...any) error) error {
			var row sealedRow
			err := scan(&row.key, &row.sealed)
			row.bound = row.key
			if text {
				row.bound = string(row.key)
			}
			page = append(page, row)
			return err
		})
	})
	return page, err
}

// anew seals a column's value with the first key; nil when it is already, or when
// there is none.
func (s *sealer) anew(kind string, row, sealed []byte, text bool) (any, error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	b := sealed
	if text {
		var err error
		if b, err = base64.RawStdEncoding.DecodeString(string(sealed)); err != nil {
			return nil, errUnsealable
		}
	}
	first := sealer{keys: s.keys[:1]}
	if _, err := first.open(kind, row, b); err == nil {
		return nil, nil
	}
	plain, err := s.open(kind, row, b)
	if err != nil {
		return nil, err
	}
	if text {
		return first.sealText(kind, row, string(plain))
	}
	return first.seal(kind, row, plain)
}
