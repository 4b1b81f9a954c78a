package storage

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// The column expires_at is the earlier of the two ends of a session, which is
// what it is looked up and swept by.

const loginColumns = "handle, session_id, subject, auth_time, amr, acr, user_agent, created_at, last_seen_at, absolute_expires_at, idle_expires_at"

func (s *Store) scanLogin(scan func(...any) error) (oauthreg.LoginSession, error) {
	var (
		l                              oauthreg.LoginSession
		key                            []byte
		auth                           sql.NullInt64
		amr                            string
		created, seen, expires, idleAt int64
	)
	if err := scan(&key, &l.SessionID, &l.Subject, &auth, &amr, &l.ACR, &l.UserAgent, &created, &seen, &expires, &idleAt); err != nil {
		return l, err
	}
	var err error
	if l.UserAgent, err = s.sealer.openText(sealUserAgent, key, l.UserAgent); err != nil {
		return l, err
	}
	if amr, err = s.sealer.openMarked(sealAMR, key, amr); err != nil {
		return l, err
	}
	if l.ACR, err = s.sealer.openMarked(sealACR, key, l.ACR); err != nil {
		return l, err
	}
	l.AuthTime = fromMaybe(auth)
	l.CreatedAt, l.LastSeenAt = fromMicros(created), fromMicros(seen)
	l.ExpiresAt, l.IdleExpiresAt = fromMicros(expires), fromMicros(idleAt)
	if amr == "" {
		return l, nil
	}
	if err := json.Unmarshal([]byte(amr), &l.AMR); err != nil {
		return l, err
	}
	if len(l.AMR) == 0 { // as older releases stored none
		l.AMR = nil
	}
	return l, nil
}

// CreateLoginSession stores a session; see [oauthreg.SessionStore].
// [oauthreg.ErrConflict] if its handle or session id is taken. An end that is
// zero does not come.
func (s *Store) CreateLoginSession(ctx context.Context, l oauthreg.LoginSession) error {
	const doing = "create sign-in session"
	if l.Handle == "" || l.SessionID == "" || l.Subject == "" {
		return explain(doing, errors.New("the session has no handle, no session id or no subject"))
	}
	key := rowKey(l.Handle)
	amr := ""
	if len(l.AMR) > 0 {
		list, err := listJSON(l.AMR)
		if err == nil {
			amr, err = s.sealer.sealMarked(sealAMR, key, list)
		}
		if err != nil {
			return explain(doing, err)
		}
	}
	acr, err := s.sealer.sealMarked(sealACR, key, l.ACR)
	if err != nil {
		return explain(doing, err)
	}
	// Whatever bytes a browser sent.
	browser, err := s.sealer.sealText(sealUserAgent, key, strings.ToValidUTF8(l.UserAgent, "\uFFFD"))
	if err != nil {
		return explain(doing, err)
	}
	if l.CreatedAt.IsZero() {
		l.CreatedAt = s.now()
	}
	if l.LastSeenAt.IsZero() {
		l.LastSeenAt = l.CreatedAt
	}
	expires, idle := expiry(l.ExpiresAt), expiry(l.IdleExpiresAt)
	return s.doStatement(ctx, doing, statement{
		query: "INSERT INTO oauthreg_login_sessions (expires_at, " + loginColumns + ") VALUES (" + marks(12) + ")",
		args: []any{min(expires, idle), key,
			l.SessionID, l.Subject, maybe(l.AuthTime), amr, acr, browser, micros(l.CreatedAt), micros(l.LastSeenAt), expires, idle},
	})
}

// LoginSession finds a session by its handle; see [oauthreg.SessionStore].
func (s *Store) LoginSession(ctx context.Context, handle string) (oauthreg.LoginSession, error) {
	if handle == "" {
		return oauthreg.LoginSession{}, oauthreg.ErrNotFound
	}
	found, err := s.loginSessions(ctx, "get sign-in session", "handle = ?", rowKey(handle))
	if err != nil {
		return oauthreg.LoginSession{}, err
	}
	if len(found) == 0 {
		return oauthreg.LoginSession{}, oauthreg.ErrNotFound
	}
	found[0].Handle = handle
	return found[0], nil
}

// ListLoginSessions returns a subject's live sessions; see [oauthreg.SessionStore].
func (s *Store) ListLoginSessions(ctx context.Context, subject string) ([]oauthreg.LoginSession, error) {
	if subject == "" {
		return nil, nil
	}
	return s.loginSessions(ctx, "list sign-in sessions", "subject = ?", subject)
}

func (s *Store) loginSessions(ctx context.Context, doing, condition string, value any) ([]oauthreg.LoginSession, error) {
	now := micros(s.now())
	var found []oauthreg.LoginSession
	err := s.read(ctx, doing, func(ctx context.Context, c conn) error {
		found = nil
		return c.each(ctx, "SELECT "+loginColumns+" FROM oauthreg_login_sessions WHERE "+condition+" AND expires_at > ? ORDER BY created_at DESC, session_id DESC",
			[]any{value, now}, func(scan func(...any) error) error {
				l, err := s.scanLogin(scan)
				found = append(found, l)
				return err
			})
	})
	return found, err
}

// TouchLoginSession moves a live session's times; see [oauthreg.SessionStore].
// [oauthreg.ErrNotFound] when there is no live session with that handle.
func (s *Store) TouchLoginSession(ctx context.Context, handle string, seen, idleExpires time.Time) error {
	if handle == "" {
		return oauthreg.ErrNotFound
	}
	key, now, idle := rowKey(handle), micros(s.now()), expiry(idleExpires)
	return s.writeOne(ctx, "touch sign-in session", func(ctx context.Context, c conn) error {
		n, err := c.exec(ctx, `UPDATE oauthreg_login_sessions SET last_seen_at = ?, idle_expires_at = ?, touches = touches + 1,
			expires_at = CASE WHEN absolute_expires_at < ? THEN absolute_expires_at ELSE ? END
			WHERE handle = ? AND expires_at > ?`, micros(seen), idle, idle, idle, key, now)
		if err == nil && n == 0 {
			return oauthreg.ErrNotFound
		}
		return err
	})
}

// EndLoginSession removes a session; see [oauthreg.SessionStore].
func (s *Store) EndLoginSession(ctx context.Context, sessionID string) error {
	if sessionID == "" {
		return nil
	}
	return s.do(ctx, "end sign-in session", func(ctx context.Context, c conn) error {
		_, err := c.exec(ctx, "DELETE FROM oauthreg_login_sessions WHERE session_id = ?", sessionID)
		return err
	})
}
