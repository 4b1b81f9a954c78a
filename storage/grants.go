package storage

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// errGrantOver is why a token is not stored: nothing may be issued under a
// grant that was revoked while the request was under way.
var errGrantOver = fmt.Errorf("the grant was revoked, has ended, or does not exist: %w", fosite.ErrNotFound)

// errNoClient is why nothing is stored for a client: it was deleted, or suspended,
// while the request was under way. Otherwise what is stored would come alive with
// the next client of that id.
var (
	errNoClient   = errors.New("the client is not registered, or suspended")
	errClientOver = fmt.Errorf("%w: %w", errNoClient, fosite.ErrNotFound)
)

// fromHolder ends an INSERT whose SELECT has the row of a client that may hold
// grants, by the name c. While that is locked the client is not deleted: who deletes
// it comes before, and nothing is stored, or after, and ends that as well.
func (s *Store) fromHolder(clientID string) (from string, args []any) {
	from, args = " FROM oauthreg_clients c WHERE c.id = ? AND c.suspended_at IS NULL", []any{clientID}
	// It is still the one that the request has to do with, as far as is known
	// without asking: not another that was given its id.
	if known := s.records.current(clientID); known != nil {
		from, args = from+" AND c.incarnation = ?", append(args, known.incarnation)
	}
	return from + s.sql.d.forShare, args
}

var errEmptyFilter = errors.New("the filter is empty, which would select everything")

// liveGrantEnd is when the grant of a code or token ends; NULL when it was
// revoked or is gone. A join says the same, but SQLite compiles a join with a
// bound value anew each time it runs, which takes longer than to run it.
const liveGrantEnd = "(SELECT g.expires_at FROM oauthreg_grants g WHERE g.id = a.grant_id AND g.revoked_at IS NULL)"

const grantColumns = "g.id, g.client_id, g.subject, g.session_id, g.consent_id, g.scopes, g.resources, g.created_at, g.last_used_at, g.expires_at, g.revoked_at"

func scanGrant(scan func(...any) error) (oauthreg.Grant, error) {
	var (
		g                          oauthreg.Grant
		session, consent           sql.NullString
		scopes, resources          []byte
		created, lastUsed, expires int64
		revoked                    sql.NullInt64
	)
	if err := scan(&g.ID, &g.ClientID, &g.Subject, &session, &consent, &scopes, &resources, &created, &lastUsed, &expires, &revoked); err != nil {
		return g, err
	}
	g.SessionID, g.ConsentID = session.String, consent.String
	g.CreatedAt, g.LastUsedAt = fromMicros(created), fromMicros(lastUsed)
	g.ExpiresAt, g.RevokedAt = fromMicros(expires), fromMaybe(revoked)
	return g, readLists(scopes, &g.Scopes, resources, &g.Resources)
}

// listJSON is the stored form of a list.
func listJSON(list []string) (string, error) {
	if list == nil {
		return "[]", nil
	}
	b, err := json.Marshal(list)
	return string(b), err
}

// readLists turns two columns written by listJSON back; an empty list is nil.
func readLists(a []byte, to *[]string, b []byte, and *[]string) error {
	for i, raw := range [][]byte{a, b} {
		list := [...]*[]string{to, and}[i]
		if err := json.Unmarshal(raw, list); err != nil {
			return fmt.Errorf("read list: %w", err)
		}
		if len(*list) == 0 {
			*list = nil
		}
	}
	return nil
}

// null is the stored form of a string that need not be set.
func null(v string) any {
	if v == "" {
		return nil
	}
	return v
}

// CreateGrant adds g; see [oauthreg.GrantStore]. [oauthreg.ErrConflict] if its
// id is taken, or if ConsentID names a consent of that client and subject that
// does not exist any more: it was revoked while the request was under way.
// [oauthreg.ErrNotFound] if there is no such client, or it is suspended. A zero
// ExpiresAt does not come.
func (s *Store) CreateGrant(ctx context.Context, g oauthreg.Grant) error {
	const doing = "create grant"
	if g.ID == "" || g.ClientID == "" {
		return explain(doing, errors.New("the grant has no id or no client"))
	}
	scopes, err := listJSON(g.Scopes)
	if err != nil {
		return explain(doing, err)
	}
	resources, err := listJSON(g.Resources)
	if err != nil {
		return explain(doing, err)
	}
	if g.CreatedAt.IsZero() {
		g.CreatedAt = s.now()
	}
	if g.LastUsedAt.IsZero() {
		g.LastUsedAt = g.CreatedAt
	}
	consentID := s.consentNamed(ctx, g.ConsentID)
	from, holder := s.fromHolder(g.ClientID)
	err = s.do(ctx, doing, func(ctx context.Context, c conn) error {
		consent := consentID()
		if g.ConsentID != "" {
			// Also locks the consent's row, where rows are locked: a revocation
			// comes before this or sees the new grant.
			n, err := c.exec(ctx, "UPDATE oauthreg_consents SET last_used_at = ?, uses = uses + 1 WHERE id = ? AND client_id = ? AND subject = ?",
				micros(g.CreatedAt), consent, g.ClientID, g.Subject)
			if err != nil {
				return err
			}
			if n == 0 {
				return fmt.Errorf("the consent is gone: %w", oauthreg.ErrConflict)
			}
		}
		n, err := c.exec(ctx, `INSERT INTO oauthreg_grants
			(id, client_id, subject, session_id, consent_id, scopes, resources, created_at, last_used_at, expires_at, revoked_at, uses)
			SELECT ?, c.id, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0`+from,
			append([]any{g.ID, g.Subject, null(g.SessionID), null(consent), scopes, resources,
				micros(g.CreatedAt), micros(g.LastUsedAt), expiry(g.ExpiresAt), maybe(g.RevokedAt)}, holder...)...)
		if err == nil && n == 0 {
			return fmt.Errorf("%w: %w", errNoClient, oauthreg.ErrNotFound)
		}
		return err
	})
	if err == nil && g.RevokedAt.IsZero() {
		s.usesGrant(ctx, g.ID, expiry(g.ExpiresAt))
	}
	return err
}

// Grant returns a live grant; see [oauthreg.GrantStore].
func (s *Store) Grant(ctx context.Context, id string) (oauthreg.Grant, error) {
	if id == "" {
		return oauthreg.Grant{}, oauthreg.ErrNotFound
	}
	var g oauthreg.Grant
	now := micros(s.now())
	err := s.read(ctx, "get grant", func(ctx context.Context, c conn) error {
		found := false
		err := c.each(ctx, "SELECT "+grantColumns+" FROM oauthreg_grants g WHERE g.id = ? AND g.revoked_at IS NULL AND g.expires_at > ?",
			[]any{id, now}, func(scan func(...any) error) (err error) {
				found = true
				g, err = scanGrant(scan)
				return err
			})
		if err == nil && !found {
			return oauthreg.ErrNotFound
		}
		return err
	})
	return g, err
}

// UseGrant moves a live grant's times; see [oauthreg.GrantStore]. A zero
// expires does not come.
func (s *Store) UseGrant(ctx context.Context, id string, at, expires time.Time) error {
	if id == "" {
		return oauthreg.ErrNotFound
	}
	now, end := micros(s.now()), expiry(expires)
	move := statement{
		query: `UPDATE oauthreg_grants SET last_used_at = ?, expires_at = ?, uses = uses + 1
			WHERE id = ? AND revoked_at IS NULL AND expires_at > ?`,
		args:    []any{micros(at), end, id, now},
		verdict: orElse(oauthreg.ErrNotFound),
	}
	const doing = "use grant"
	var err error
	if _, own := s.db.(*sqliteDB); own && end > now {
		// Its end seldom changes, and SQLite would write the index of ends anew for one
		// that is the same.
		err = s.do(ctx, doing, func(ctx context.Context, c conn) error {
			n, err := c.exec(ctx, `UPDATE oauthreg_grants SET last_used_at = ?, uses = uses + 1
				WHERE id = ? AND revoked_at IS NULL AND expires_at = ?`, micros(at), id, end)
			if err != nil || n > 0 {
				return err
			}
			return move.run(ctx, c)
		})
	} else {
		err = s.doStatement(ctx, doing, move)
	}
	if err == nil {
		s.usesGrant(ctx, id, end)
	}
	return err
}

// extendGrant lets a grant live as long as a token that was just issued under it.
func extendGrant(ctx context.Context, c conn, id string, now, expires int64) error {
	_, err := c.exec(ctx, "UPDATE oauthreg_grants SET last_used_at = ?, expires_at = ?, uses = uses + 1 WHERE id = ? AND expires_at < ?",
		now, expires, id, expires)
	return err
}

// grantFilter is the conditions of a filter on a table of grants or consents,
// whose columns it names by the table's letter.
func grantFilter(w *where, table string, f oauthreg.GrantFilter) {
	w.is(table+".id", f.ID)
	w.is(table+".client_id", f.ClientID)
	w.is(table+".subject", f.Subject)
	if f.OrgID != "" || f.ProjectID != "" {
		var of where
		of.is("org_id", f.OrgID)
		of.is("project_id", f.ProjectID)
		w.and(table+".client_id IN (SELECT id FROM oauthreg_clients"+of.sql()+")", of.args...)
	}
}

// ListGrants returns a page of live grants; see [oauthreg.GrantStore]. Grants
// made at the same time are in descending order of their ids. A limit of 0
// means 100.
func (s *Store) ListGrants(ctx context.Context, f oauthreg.GrantFilter, offset, limit int) ([]oauthreg.Grant, int, error) {
	var w where
	w.and("g.revoked_at IS NULL AND g.expires_at > ?", micros(s.now()))
	grantFilter(&w, "g", f)
	w.is("g.session_id", f.SessionID)
	var grants []oauthreg.Grant
	total := 0
	err := s.read(ctx, "list grants", func(ctx context.Context, c conn) error {
		grants = nil
		if _, err := c.one(ctx, "SELECT COUNT(*) FROM oauthreg_grants g"+w.sql(), w.args, &total); err != nil {
			return err
		}
		return c.each(ctx, "SELECT "+grantColumns+" FROM oauthreg_grants g"+w.sql()+" ORDER BY g.created_at DESC, g.id DESC LIMIT ? OFFSET ?",
			append(w.args, page(limit), max(offset, 0)), func(scan func(...any) error) error {
				g, err := scanGrant(scan)
				grants = append(grants, g)
				return err
			})
	})
	return grants, total, err
}

// RevokeGrants revokes live grants; see [oauthreg.GrantStore]. In a transaction
// the count is not known yet: it is 0.
func (s *Store) RevokeGrants(ctx context.Context, f oauthreg.GrantFilter) (int, error) {
	const doing = "revoke grants"
	if f == (oauthreg.GrantFilter{}) {
		return 0, explain(doing, errEmptyFilter)
	}
	s.revokesGrants(ctx)
	now := micros(s.now())
	var w where
	w.and("revoked_at IS NULL AND expires_at > ?", now)
	grantFilter(&w, "oauthreg_grants", f)
	w.is("session_id", f.SessionID)
	var n int64
	err := s.do(ctx, doing, func(ctx context.Context, c conn) (err error) {
		n, err = c.exec(ctx, "UPDATE oauthreg_grants SET revoked_at = ?"+w.sql(), append([]any{now}, w.args...)...)
		return err
	})
	if err != nil || s.waits(ctx) {
		return 0, err
	}
	return int(n), nil
}

// revokeRequest revokes what was issued for a request: by the grant of that id,
// or, when there is none, the access tokens of a client_credentials request.
func (s *Store) revokeRequest(ctx context.Context, doing, id string) error {
	if id == "" {
		return nil
	}
	s.revokesGrants(ctx)
	now := micros(s.now())
	return s.do(ctx, doing, func(ctx context.Context, c conn) error {
		n, err := c.exec(ctx, "UPDATE oauthreg_grants SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", now, id)
		if err != nil || n > 0 {
			return err
		}
		n, err = c.exec(ctx, "DELETE FROM oauthreg_access_tokens WHERE signature = ? AND incarnation IS NOT NULL AND grant_id = ''", rowKey(id))
		if err != nil || n > 0 {
			return err
		}
		_, err = c.exec(ctx, "DELETE FROM oauthreg_access_tokens WHERE grant_id = ? AND incarnation IS NOT NULL AND grant_id <> ''", id)
		return err
	})
}
