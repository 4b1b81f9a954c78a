package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// Consents that were first given before ids were random have one that follows from
// the client and the subject, as the first migration says; nothing depends on it.
const consentColumns = "id, client_id, subject, scopes, resources, created_at, last_used_at"

// scanConsent reads a row of consentColumns, and what more there is of it.
func scanConsent(scan func(...any) error, more ...any) (oauthreg.Consent, error) {
	var (
		k                 oauthreg.Consent
		scopes, resources []byte
		created, lastUsed int64
	)
	if err := scan(append([]any{&k.ID, &k.ClientID, &k.Subject, &scopes, &resources, &created, &lastUsed}, more...)...); err != nil {
		return k, err
	}
	k.CreatedAt, k.LastUsedAt = fromMicros(created), fromMicros(lastUsed)
	return k, readLists(scopes, &k.Scopes, resources, &k.Resources)
}

// savedConsent is a consent that a unit of work saves, for the grants that the
// unit makes on it.
type savedConsent struct {
	given string // the id that SaveConsent returned
	id    string // what it turned out to be, when a row was there already
}

// formatUUID writes 16 bytes as a UUID of a version, changing the bits that
// say so.
func formatUUID(b []byte, version byte) string {
	b = slices.Clone(b)
	b[6] = b[6]&0x0f | version<<4
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// Consent returns the remembered consent; see [oauthreg.GrantStore].
func (s *Store) Consent(ctx context.Context, clientID, subject string) (oauthreg.Consent, error) {
	var k oauthreg.Consent
	if clientID == "" || subject == "" {
		return k, oauthreg.ErrNotFound
	}
	err := s.read(ctx, "get consent", func(ctx context.Context, c conn) error {
		found := false
		err := c.each(ctx, "SELECT "+consentColumns+" FROM oauthreg_consents WHERE client_id = ? AND subject = ?",
			[]any{clientID, subject}, func(scan func(...any) error) (err error) {
				found = true
				k, err = scanConsent(scan)
				return err
			})
		if err == nil && !found {
			return oauthreg.ErrNotFound
		}
		return err
	})
	return k, err
}

// SaveConsent adds or widens; see [oauthreg.GrantStore]. A consent that is given
// after none existed, or after it was revoked, has an id that none had before, so
// that nobody revokes it who meant the old one. In a transaction the id that is
// returned stands for that of the row until the commit.
// [oauthreg.ErrNotFound] if there is no consent yet, and no such client or a
// suspended one.
func (s *Store) SaveConsent(ctx context.Context, k oauthreg.Consent) (string, error) {
	const doing = "save consent"
	if k.ClientID == "" || k.Subject == "" {
		return "", explain(doing, errors.New("the consent has no client or no subject"))
	}
	if k.CreatedAt.IsZero() {
		k.CreatedAt = s.now()
	}
	if k.LastUsedAt.IsZero() {
		k.LastUsedAt = k.CreatedAt
	}
	id, err := uuid7(s.now())
	if err != nil {
		return "", explain(doing, err)
	}
	saved := &savedConsent{given: id}
	wantScopes, wantResources := union(nil, k.Scopes), union(nil, k.Resources)
	scopes, err := listJSON(wantScopes)
	if err != nil {
		return "", explain(doing, err)
	}
	resources, err := listJSON(wantResources)
	if err != nil {
		return "", explain(doing, err)
	}
	from, holder := s.fromHolder(k.ClientID)
	err = s.do(ctx, doing, func(ctx context.Context, c conn) error {
		saved.id = id
		var n int64
		var err error
		if k.ID == "" {
			n, err = c.exec(ctx, `INSERT INTO oauthreg_consents (id, client_id, subject, scopes, resources, created_at, last_used_at, uses)
			SELECT ?, c.id, ?, ?, ?, ?, ?, 0`+from+onConflict,
				append([]any{id, k.Subject, scopes, resources, micros(k.CreatedAt), micros(k.LastUsedAt)}, holder...)...)
		}
		if err != nil || n == 1 {
			return err
		}
		var haveScopes, haveResources []byte
		found, err := c.one(ctx, "SELECT id, scopes, resources FROM oauthreg_consents WHERE client_id = ? AND subject = ?"+c.sql.d.forUpdate,
			[]any{k.ClientID, k.Subject}, &saved.id, &haveScopes, &haveResources)
		if err != nil {
			return err
		}
		if !found {
			var one int
			there, err := c.one(ctx, "SELECT 1"+from, holder, &one)
			if err == nil && there { // revoked meanwhile
				err = oauthreg.ErrConflict
			} else if err == nil {
				err = fmt.Errorf("%w: %w", errNoClient, oauthreg.ErrNotFound)
			}
			return err
		}
		if k.ID != "" && saved.id != k.ID { // and given anew
			return oauthreg.ErrConflict
		}
		var have oauthreg.Consent
		if err := readLists(haveScopes, &have.Scopes, haveResources, &have.Resources); err != nil {
			return err
		}
		joinedScopes, err := listJSON(union(have.Scopes, wantScopes))
		if err != nil {
			return err
		}
		joinedResources, err := listJSON(union(have.Resources, wantResources))
		if err != nil {
			return err
		}
		_, err = c.exec(ctx, "UPDATE oauthreg_consents SET scopes = ?, resources = ?, last_used_at = ?, uses = uses + 1 WHERE id = ?",
			joinedScopes, joinedResources, micros(k.LastUsedAt), saved.id)
		return err
	})
	if err != nil {
		return "", err
	}
	if s.savesConsent(ctx, saved) {
		return id, nil
	}
	return saved.id, nil
}

// union is a without repetitions, and what b has beyond it.
func union(a, b []string) []string {
	out := make([]string, 0, len(a)+len(b))
	for _, list := range [][]string{a, b} {
		for _, v := range list {
			if !slices.Contains(out, v) {
				out = append(out, v)
			}
		}
	}
	return out
}

var errConsentSession = errors.New("consents do not belong to a session; GrantFilter.SessionID does not select any")

// ListConsents returns a page of consents; see [oauthreg.GrantStore]. A filter
// with a SessionID is an error: consents have none.
func (s *Store) ListConsents(ctx context.Context, f oauthreg.GrantFilter, offset, limit int) ([]oauthreg.Consent, int, error) {
	const doing = "list consents"
	if f.SessionID != "" {
		return nil, 0, explain(doing, errConsentSession)
	}
	now := micros(s.now())
	var w where
	grantFilter(&w, "k", f)
	var consents []oauthreg.Consent
	total := 0
	err := s.read(ctx, doing, func(ctx context.Context, c conn) error {
		consents = nil
		if _, err := c.one(ctx, "SELECT COUNT(*) FROM oauthreg_consents k"+w.sql(), w.args, &total); err != nil {
			return err
		}
		// Grants are looked for beneath the rows of the page alone: some databases
		// compute all columns before they sort and cut.
		return c.each(ctx, "SELECT "+consentColumns+`,
				(SELECT MAX(g.last_used_at) FROM oauthreg_grants g WHERE g.consent_id = few.id AND g.revoked_at IS NULL AND g.expires_at > ?)
			FROM (SELECT `+consentColumns+" FROM oauthreg_consents k"+w.sql()+` ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?) few
			ORDER BY created_at DESC, id DESC`,
			slices.Concat([]any{now}, w.args, []any{page(limit), max(offset, 0)}), func(scan func(...any) error) error {
				var issued sql.NullInt64
				k, err := scanConsent(scan, &issued)
				k.LastIssuedAt = fromMicros(max(issued.Int64, micros(k.LastUsedAt)))
				consents = append(consents, k)
				return err
			})
	})
	return consents, total, err
}

// RevokeConsents deletes consents and revokes the grants beneath them; see
// [oauthreg.GrantStore]. A filter with a SessionID is an error.
func (s *Store) RevokeConsents(ctx context.Context, f oauthreg.GrantFilter) (int, error) {
	const doing = "revoke consents"
	switch {
	case f == oauthreg.GrantFilter{}:
		return 0, explain(doing, errEmptyFilter)
	case f.SessionID != "":
		return 0, explain(doing, errConsentSession)
	}
	now := micros(s.now())
	var w where
	grantFilter(&w, "k", f)
	total := 0
	err := s.write(ctx, doing, func(ctx context.Context, c conn) error {
		total = 0
		var ids []any
		err := c.each(ctx, "SELECT k.id FROM oauthreg_consents k"+w.sql()+c.sql.d.forUpdate, w.args, func(scan func(...any) error) error {
			var id string
			err := scan(&id)
			ids = append(ids, id)
			return err
		})
		if err != nil {
			return err
		}
		for some := range lists(ids) {
			in := " IN (" + marks(len(some)) + ")"
			n, err := c.exec(ctx, "DELETE FROM oauthreg_consents WHERE id"+in, some...)
			if err != nil {
				return err
			}
			total += int(n)
			// After the deletion: it waited for those who were making a grant.
			_, err = c.exec(ctx, "UPDATE oauthreg_grants SET revoked_at = ? WHERE revoked_at IS NULL AND consent_id"+in, append([]any{now}, some...)...)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return total, nil
}
