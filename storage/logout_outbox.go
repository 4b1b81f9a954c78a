package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/oauthreg/oauthreg/oauthreg"
)

var _ oauthreg.LogoutOutbox = (*Store)(nil)

// logoutKept is how long a notice is kept that nobody settles.
const logoutKept = 7 * 24 * time.Hour

// JoinSession notes a member of a session; see [oauthreg.LogoutOutbox]. A zero
// ExpiresAt does not come.
func (s *Store) JoinSession(ctx context.Context, m oauthreg.SessionMember) error {
	const doing = "join session"
	if m.SessionID == "" || m.ClientID == "" || m.Subject == "" {
		return explain(doing, errors.New("the member has no session, no client or no subject"))
	}
	// A client that knows the subject as everybody does, as most do, needs one
	// value sealed and not two.
	if m.ClientSubject == m.Subject {
		m.ClientSubject = ""
	}
	row := memberRow(m.SessionID, m.ClientID)
	subject, err := s.sealer.sealMarked(sealMemberSubject, row, m.Subject)
	if err != nil {
		return explain(doing, err)
	}
	alias, err := s.sealer.sealMarked(sealMemberAlias, row, m.ClientSubject)
	if err != nil {
		return explain(doing, err)
	}
	return s.do(ctx, doing, func(ctx context.Context, c conn) error {
		n, err := c.exec(ctx, `INSERT INTO oauthreg_session_members (session_id, client_id, subject, client_subject, expires_at)
			VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			m.SessionID, m.ClientID, subject, alias, expiry(m.ExpiresAt))
		if err != nil || n == 1 {
			return err
		}
		_, err = c.exec(ctx, "UPDATE oauthreg_session_members SET subject = ?, client_subject = ?, expires_at = ? WHERE session_id = ? AND client_id = ?",
			subject, alias, expiry(m.ExpiresAt), m.SessionID, m.ClientID)
		return err
	})
}

// SessionMembers lists the members of a session; see [oauthreg.LogoutOutbox].
func (s *Store) SessionMembers(ctx context.Context, sessionID string) ([]oauthreg.SessionMember, error) {
	if sessionID == "" {
		return nil, nil
	}
	now := micros(s.now())
	var members []oauthreg.SessionMember
	err := s.read(ctx, "list session members", func(ctx context.Context, c conn) error {
		members = nil
		return s.membersOf(ctx, c, sessionID, now, &members)
	})
	return members, err
}

// memberRow is what a member's row is called where values are sealed for it.
func memberRow(sessionID, clientID string) []byte {
	return []byte(sessionID + "\x00" + clientID)
}

func (s *Store) membersOf(ctx context.Context, c conn, sessionID string, now int64, to *[]oauthreg.SessionMember) error {
	return c.each(ctx, `SELECT client_id, subject, client_subject, expires_at FROM oauthreg_session_members
		WHERE session_id = ? AND expires_at > ? ORDER BY client_id`, []any{sessionID, now}, func(scan func(...any) error) error {
		m := oauthreg.SessionMember{SessionID: sessionID}
		var expires int64
		if err := scan(&m.ClientID, &m.Subject, &m.ClientSubject, &expires); err != nil {
			return err
		}
		row := memberRow(sessionID, m.ClientID)
		if err := s.openSubjects(row, sealMemberSubject, sealMemberAlias, &m.Subject, &m.ClientSubject); err != nil {
			return err
		}
		m.ExpiresAt = fromMicros(expires)
		*to = append(*to, m)
		return nil
	})
}

// openSubjects opens a subject and what the client calls it; none means the same.
func (s *Store) openSubjects(row []byte, kind, aliasKind string, subject, alias *string) (err error) {
	if *subject, err = s.sealer.openMarked(kind, row, *subject); err != nil {
		return err
	}
	if *alias == "" {
		*alias = *subject
		return nil
	}
	*alias, err = s.sealer.openMarked(aliasKind, row, *alias)
	return err
}

// EndSession makes notices of a session's members; see [oauthreg.LogoutOutbox].
func (s *Store) EndSession(ctx context.Context, sessionID string, at time.Time) error {
	if sessionID == "" {
		return nil
	}
	now := micros(s.now())
	return s.do(ctx, "end session", func(ctx context.Context, c conn) error {
		var members []oauthreg.SessionMember
		if err := s.membersOf(ctx, c, sessionID, now, &members); err != nil {
			return err
		}
		for _, m := range members {
			// Whoever deletes the member makes the notice, and nobody else.
			n, err := c.exec(ctx, "DELETE FROM oauthreg_session_members WHERE session_id = ? AND client_id = ?", sessionID, m.ClientID)
			if err != nil {
				return err
			}
			if n == 0 {
				continue
			}
			id := uuid.NewString()
			subject, err := s.sealer.sealMarked(sealNoticeSubject, []byte(id), m.Subject)
			if err != nil {
				return err
			}
			alias := ""
			if m.ClientSubject != m.Subject {
				if alias, err = s.sealer.sealMarked(sealNoticeAlias, []byte(id), m.ClientSubject); err != nil {
					return err
				}
			}
			_, err = c.exec(ctx, `INSERT INTO oauthreg_logout_outbox
				(id, session_id, client_id, subject, client_subject, ended_at, due_at, attempts, lease, expires_at)
				VALUES (?, ?, ?, ?, ?, ?, ?, 0, '', ?)`,
				id, sessionID, m.ClientID, subject, alias, micros(at), micros(at), micros(at.Add(logoutKept)))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// ClaimLogouts claims notices that are due; see [oauthreg.LogoutOutbox]. One that
// opens with no key keeps none of the others back: it is postponed as if it was
// claimed, and is an error when nothing else was due.
func (s *Store) ClaimLogouts(ctx context.Context, now, until time.Time, limit int) ([]oauthreg.LogoutNotice, error) {
	const doing = "claim logout notices"
	var claimed []oauthreg.LogoutNotice
	due := func(ctx context.Context, c conn, row func(scan func(...any) error) error) error {
		return c.each(ctx, `SELECT id, session_id, client_id, subject, client_subject, ended_at, attempts, expires_at
			FROM oauthreg_logout_outbox WHERE due_at <= ? ORDER BY due_at LIMIT ?`, []any{micros(now), page(limit)}, row)
	}
	// Most calls find nothing, and need no lock for it.
	found := false
	err := s.read(ctx, "look for logout notices", func(ctx context.Context, c conn) error {
		found = false
		return due(ctx, c, func(func(...any) error) error { found = true; return nil })
	})
	if err != nil || !found {
		return nil, err
	}
	var sealed error // of a notice that does not open
	err = s.write(ctx, doing, func(ctx context.Context, c conn) error {
		claimed, sealed = nil, nil
		var seen []oauthreg.LogoutNotice
		err := due(ctx, c, func(scan func(...any) error) error {
			var n oauthreg.LogoutNotice
			var ended, expires int64
			err := scan(&n.ID, &n.SessionID, &n.ClientID, &n.Subject, &n.ClientSubject, &ended, &n.Attempts, &expires)
			n.EndedAt, n.ExpiresAt = fromMicros(ended), fromMicros(expires)
			seen = append(seen, n)
			return err
		})
		if err != nil {
			return err
		}
		for _, n := range seen {
			n.Lease = rand.Text()
			changed, err := c.exec(ctx, "UPDATE oauthreg_logout_outbox SET due_at = ?, lease = ? WHERE id = ? AND due_at <= ?",
				micros(until), n.Lease, n.ID, micros(now))
			if err != nil {
				return err
			}
			if changed == 0 {
				continue
			}
			if err := s.openSubjects([]byte(n.ID), sealNoticeSubject, sealNoticeAlias, &n.Subject, &n.ClientSubject); err != nil {
				sealed = err
				continue
			}
			claimed = append(claimed, n)
		}
		return nil
	})
	if err == nil && len(claimed) == 0 {
		err = explain(doing, sealed)
	}
	if err != nil {
		return nil, err
	}
	return claimed, nil
}

// LogoutDelivered removes a notice; see [oauthreg.LogoutOutbox].
func (s *Store) LogoutDelivered(ctx context.Context, n oauthreg.LogoutNotice) error {
	if n.Lease == "" {
		return nil
	}
	return s.write(ctx, "settle logout notice", func(ctx context.Context, c conn) error {
		_, err := c.exec(ctx, "DELETE FROM oauthreg_logout_outbox WHERE id = ? AND lease = ?", n.ID, n.Lease)
		return err
	})
}

// LogoutFailed makes a notice due again; see [oauthreg.LogoutOutbox].
func (s *Store) LogoutFailed(ctx context.Context, n oauthreg.LogoutNotice, retry time.Time) error {
	if n.Lease == "" {
		return nil
	}
	return s.write(ctx, "postpone logout notice", func(ctx context.Context, c conn) error {
		_, err := c.exec(ctx, "UPDATE oauthreg_logout_outbox SET due_at = ?, attempts = attempts + 1, lease = '' WHERE id = ? AND lease = ?",
			micros(retry), n.ID, n.Lease)
		return err
	})
}
