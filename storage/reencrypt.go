package storage

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// sealedForm is how a sealed value stands in its column.
type sealedForm int

const (
	sealedBlob    sealedForm = iota // as it is
	sealedText                      // in base64
	sealedMarked                    // behind sealedMark, or in clear as older releases wrote it
	sealedMembers                   // in members of JSON, see seal_members.go; the same two
)

// sealedColumn is a column whose values are sealed.
type sealedColumn struct {
	table, column, kind string
	key                 []string // the columns of the primary key
	form                sealedForm
}

// keys that are not text are binary, and of one column.
func (col *sealedColumn) binaryKey() bool {
	return col.key[0] == "signature" || col.key[0] == "handle"
}

// sealedColumns are all columns whose values are sealed. The last is by which
// CheckEncryptionKeys goes: as long as it is sealed with an old key, that is needed.
var sealedColumns = []sealedColumn{
	{table: "signing_keys", key: []string{"kid"}, column: "private_key", kind: sealSigningKey},
	{table: "authorize_codes", key: []string{"signature"}, column: "request", kind: sealCode},
	{table: "authorize_codes", key: []string{"signature"}, column: "pkce", kind: sealPKCE},
	{table: "authorize_codes", key: []string{"signature"}, column: "openid", kind: sealOpenID},
	{table: "access_tokens", key: []string{"signature"}, column: "request", kind: sealAccess},
	{table: "refresh_tokens", key: []string{"signature"}, column: "request", kind: sealRefresh},
	{table: "interactions", key: []string{"handle"}, column: "request", kind: sealInteraction},
	{table: "interactions", key: []string{"handle"}, column: "subject", kind: sealInteractionSubject, form: sealedMarked},
	{table: "login_sessions", key: []string{"handle"}, column: "user_agent", kind: sealUserAgent, form: sealedText},
	{table: "login_sessions", key: []string{"handle"}, column: "amr", kind: sealAMR, form: sealedMarked},
	{table: "login_sessions", key: []string{"handle"}, column: "acr", kind: sealACR, form: sealedMarked},
	{table: "session_members", key: []string{"session_id", "client_id"}, column: "subject", kind: sealMemberSubject, form: sealedMarked},
	{table: "session_members", key: []string{"session_id", "client_id"}, column: "client_subject", kind: sealMemberAlias, form: sealedMarked},
	{table: "logout_outbox", key: []string{"id"}, column: "subject", kind: sealNoticeSubject, form: sealedMarked},
	{table: "logout_outbox", key: []string{"id"}, column: "client_subject", kind: sealNoticeAlias, form: sealedMarked},
	{table: "audit_log", key: []string{"id"}, column: "actor_id", kind: sealActor, form: sealedMarked},
	{table: "audit_log", key: []string{"id"}, column: "actor_address", kind: sealAddress, form: sealedMarked},
	{table: "audit_log", key: []string{"id"}, column: "before_json", kind: sealBefore, form: sealedMembers},
	{table: "audit_log", key: []string{"id"}, column: "after_json", kind: sealAfter, form: sealedMembers},
	{table: "clients", key: []string{"id"}, column: "data", kind: sealClient, form: sealedMembers},
	{table: "initial_access_tokens", key: []string{"id"}, column: "data", kind: sealPermission, form: sealedMembers},
	{table: "key_check", key: []string{"name"}, column: "value", kind: sealCheck},
}

// Reencrypt seals everything anew, with the first of [Config.EncryptionKeys],
// that was sealed with another or, by an older release, not at all, and returns how
// many values that were. When it
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
		same := strings.Join(col.key, " = ? AND ") + " = ?"
		var after []any // the key that the page before ended with
		for {
			page, err := s.sealedPage(ctx, &col, after)
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
				now, err := s.sealer.anew(&col, row.key, row.stored)
				switch {
				case err != nil:
					failed = fmt.Errorf("%s.%s: %w", col.table, col.column, err)
				case now != nil:
					changes = append(changes, slices.Concat([]any{col.bound(now)}, row.bound, []any{col.bound(row.stored)}))
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
					changed, err := c.exec(ctx, "UPDATE oauthreg_"+col.table+" SET "+col.column+" = ? WHERE "+same+" AND "+col.column+" = ?", change...)
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

// sealedRow is a value with its row: what that is called where it is sealed, and
// its primary key, as it is bound.
type sealedRow struct {
	key, stored []byte
	bound       []any
}

// bound is a value of the column as it is bound.
func (col *sealedColumn) bound(v []byte) any {
	if col.form == sealedBlob {
		return v
	}
	return string(v)
}

// reencryptBatch is how many rows Reencrypt writes in one transaction.
const reencryptBatch = 200

// sealedPage reads the rows that follow a key; nil stands before all.
func (s *Store) sealedPage(ctx context.Context, col *sealedColumn, after []any) (page []sealedRow, err error) {
	if after == nil {
		for range col.key {
			if col.binaryKey() {
				after = append(after, []byte{})
			} else {
				after = append(after, "")
			}
		}
	}
	// Not (a, b) > (?, ?), for which MySQL looks at every row.
	behind, args := col.key[0]+" > ?", slices.Clone(after)
	if len(col.key) == 2 {
		behind = col.key[0] + " >= ? AND (" + col.key[0] + " > ? OR " + col.key[1] + " > ?)"
		args = []any{after[0], after[0], after[1]}
	}
	key := strings.Join(col.key, ", ")
	query := "SELECT " + key + ", " + col.column + " FROM oauthreg_" + col.table + " WHERE " + behind + " ORDER BY " + key + " LIMIT ?"
	err = s.db.read(ctx, func(ctx context.Context, c conn) error {
		page = nil
		return c.each(ctx, query, append(args, reencryptBatch), func(scan func(...any) error) error {
			var row sealedRow
			parts := make([][]byte, len(col.key))
			var dest []any
			for i := range parts {
				dest = append(dest, &parts[i])
			}
			if err := scan(append(dest, &row.stored)...); err != nil {
				return err
			}
			for _, part := range parts {
				if col.binaryKey() {
					row.bound = append(row.bound, part)
				} else {
					row.bound = append(row.bound, string(part))
				}
			}
			row.key = bytes.Join(parts, []byte{0}) // of two, as memberRow
			page = append(page, row)
			return nil
		})
	})
	return page, err
}

// anew seals a column's value with the first key; nil when it is already, or when
// there is none.
func (s *sealer) anew(col *sealedColumn, row, stored []byte) ([]byte, error) {
	if len(stored) == 0 {
		return nil, nil
	}
	switch col.form {
	case sealedBlob:
		return s.renew(col.kind, row, stored)
	case sealedText:
		now, err := s.renewText(col.kind, row, string(stored))
		return nonEmpty(now), err
	case sealedMarked:
		now, err := s.renewMarked(col.kind, row, string(stored))
		return nonEmpty(now), err
	}
	changed := false
	now, err := changeMembers(col.kind, stored, `"`, func(name string, value []byte) (now []byte, err error) {
		if sealed, ok := sealedMember(value); ok {
			var text string
			if text, err = s.renewText(memberKind(col.kind, name), row, sealed); text == "" {
				return value, err
			}
			now = []byte(`"` + sealedMark + text + `"`)
		} else if now, err = s.sealMember(col.kind, row, name, value); err != nil {
			return nil, err
		}
		changed = changed || !bytes.Equal(now, value)
		return now, err
	})
	if !changed {
		return nil, err
	}
	return now, err
}

func nonEmpty(v string) []byte {
	if v == "" {
		return nil
	}
	return []byte(v)
}

// renew seals anew what seal made; nil when that was with the first key.
func (s *sealer) renew(kind string, row, sealed []byte) ([]byte, error) {
	first := sealer{keys: s.keys[:1]}
	if _, err := first.open(kind, row, sealed); err == nil {
		return nil, nil
	}
	plain, err := s.open(kind, row, sealed)
	if err != nil {
		return nil, err
	}
	return first.seal(kind, row, plain)
}

// renewText is renew for what sealText made; empty when there is nothing to do.
func (s *sealer) renewText(kind string, row []byte, sealed string) (string, error) {
	b, err := base64.RawStdEncoding.DecodeString(sealed)
	if err != nil {
		return "", errUnsealable
	}
	now, err := s.renew(kind, row, b)
	return base64.RawStdEncoding.EncodeToString(now), err
}

// renewMarked is renewText for what sealMarked made, or an older release stored.
func (s *sealer) renewMarked(kind string, row []byte, stored string) (string, error) {
	sealed, ok := strings.CutPrefix(stored, sealedMark)
	if !ok {
		return s.sealMarked(kind, row, stored)
	}
	now, err := s.renewText(kind, row, sealed)
	if now == "" {
		return "", err
	}
	return sealedMark + now, err
}
