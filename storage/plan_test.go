package storage

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// recording is a backend that remembers the statements that run on it.
type recording struct {
	backend
	mu   sync.Mutex
	seen map[string][]any
}

type recordingPool struct {
	pool
	r *recording
}

func (r *recording) wrap(fn func(context.Context, conn) error) func(context.Context, conn) error {
	return func(ctx context.Context, c conn) error {
		c.pool = recordingPool{c.pool, r}
		return fn(ctx, c)
	}
}

func (r *recording) read(ctx context.Context, fn func(context.Context, conn) error) error {
	return r.backend.read(ctx, r.wrap(fn))
}

func (r *recording) write(ctx context.Context, fn func(context.Context, conn) error) error {
	return r.backend.write(ctx, r.wrap(fn))
}

func (p recordingPool) note(query string, args []any) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	p.r.seen[query] = args
}

func (p recordingPool) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	p.note(query, args)
	return p.pool.ExecContext(ctx, query, args...)
}

func (p recordingPool) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	p.note(query, args)
	return p.pool.QueryContext(ctx, query, args...)
}

// No statement on the way of a request, of a revocation or of the janitor reads
// a whole table.
func TestStatementsUseIndexes(t *testing.T) {
	c := newClock()
	s := openTest(t, "memory", testConfig(c))
	rec := &recording{backend: s.db, seen: make(map[string][]any)}
	s.db = rec
	ctx := t.Context()
	k := addClient(t, s, func(r *oauthreg.Record) { r.Secrets = []oauthreg.Secret{{ID: "s"}} })
	ref := oauthreg.ByID(k.RegistryID())

	r, machine := newRequest(s, k), machineRequest(s, k)
	issue(t, s, r)
	must(t, s.CreatePKCERequestSession(ctx, r.ID+"code", r))
	must(t, s.CreateOpenIDConnectSession(ctx, r.ID+"code", r))
	must(t, s.CreateAccessTokenSession(ctx, "machine", machine))
	consent, err := s.SaveConsent(ctx, oauthreg.Consent{ClientID: k.RegistryID(), Subject: "alice"})
	must(t, err)
	_, err = s.SaveConsent(ctx, oauthreg.Consent{ClientID: k.RegistryID(), Subject: "alice", Scopes: []string{"x"}})
	must(t, err)
	must(t, s.CreateGrant(ctx, oauthreg.Grant{ID: "g", ClientID: k.RegistryID(), Subject: "alice", SessionID: "sid", ConsentID: consent, ExpiresAt: c.now().Add(time.Hour)}))
	must(t, s.CreateInteraction(ctx, oauthreg.Interaction{Handle: "h", ExpiresAt: c.now().Add(time.Hour)}))
	must(t, s.CreateLoginSession(ctx, oauthreg.LoginSession{Login: oauthreg.Login{Subject: "alice", SessionID: "sid"}, Handle: "h"}))

	for _, call := range []func() error{
		func() error { _, err := s.GetClient(ctx, k.GetID()); return err },
		func() error { _, err := s.clientIDOf(ctx, foreignClient{k.GetID()}); return err },
		func() error { _, err := s.Client(ctx, ref); return err },
		func() error { _, err := s.Client(ctx, oauthreg.ByClientID(k.GetID()).In("", "")); return err },
		func() error { _, err := s.GetAuthorizeCodeSession(ctx, r.ID+"code", nil); return err },
		func() error { _, err := s.GetPKCERequestSession(ctx, r.ID+"code", nil); return err },
		func() error { _, err := s.GetOpenIDConnectSession(ctx, r.ID+"code", nil); return err },
		func() error { return s.InvalidateAuthorizeCodeSession(ctx, r.ID+"code") },
		func() error { _ = s.InvalidateAuthorizeCodeSession(ctx, r.ID+"code"); return nil }, // used
		func() error { _, err := s.GetAccessTokenSession(ctx, r.ID+"access", nil); return err },
		func() error { _, err := s.GetRefreshTokenSession(ctx, r.ID+"refresh", nil); return err },
		func() error { return s.RotateRefreshToken(ctx, r.ID, r.ID+"refresh") },
		func() error { return s.DeleteAccessTokenSession(ctx, "x") },
		func() error { return s.DeleteRefreshTokenSession(ctx, "x") },
		func() error { return s.RevokeAccessToken(ctx, machine.ID) },
		func() error { return s.ClientAssertionJWTValid(ctx, "jti") },
		func() error { return s.SetClientAssertionJWT(ctx, "jti", c.now().Add(time.Hour)) },
		func() error { _ = s.SetClientAssertionJWT(ctx, "jti", c.now().Add(time.Hour)); return nil }, // known
		func() error { _, err := s.Grant(ctx, "g"); return err },
		func() error { return s.UseGrant(ctx, "g", c.now(), c.now().Add(time.Hour)) },
		func() error { _, err := s.Consent(ctx, k.RegistryID(), "alice"); return err },
		func() error { _, err := s.Interaction(ctx, "h", ""); return err },
		func() error { return s.UpdateInteraction(ctx, oauthreg.Interaction{Handle: "h"}) },
		func() error { return s.FinishInteraction(ctx, "h") },
		func() error { _ = s.FinishInteraction(ctx, "h"); return nil }, // finished
		func() error { _, err := s.LoginSession(ctx, "h"); return err },
		func() error { return s.TouchLoginSession(ctx, "h", c.now(), c.now().Add(time.Hour)) },
		func() error { _, err := s.ListLoginSessions(ctx, "alice"); return err },
		func() error { return s.EndLoginSession(ctx, "sid") },
		func() error { return s.SecretsUsed(ctx, map[string]time.Time{"s": c.now()}) },
		func() error { return s.SecretsUsed(ctx, map[string]time.Time{"s": c.now()}) },
		func() error { _, err := s.SecretUses(ctx, k.RegistryID()); return err },
		func() error { _, _, err := s.ListGrants(ctx, oauthreg.GrantFilter{Subject: "alice"}, 0, 0); return err },
		func() error {
			_, _, err := s.ListGrants(ctx, oauthreg.GrantFilter{ClientID: k.RegistryID()}, 0, 0)
			return err
		},
		func() error {
			_, _, err := s.ListConsents(ctx, oauthreg.GrantFilter{Subject: "alice"}, 0, 0)
			return err
		},
		func() error {
			_, _, err := s.ListClients(ctx, oauthreg.ListQuery{OrgID: "o", ProjectID: "p"})
			return err
		},
		func() error {
			_, _, err := s.ListClients(ctx, oauthreg.ListQuery{AfterCreatedAt: c.now(), AfterID: "x"})
			return err
		},
		func() error { _, err := s.AuditRecords(ctx, oauthreg.AuditQuery{ClientID: "x"}); return err },
		func() error { _, err := s.RevokeGrants(ctx, oauthreg.GrantFilter{SessionID: "sid"}); return err },
		func() error { _, err := s.RevokeGrants(ctx, oauthreg.GrantFilter{Subject: "alice"}); return err },
		func() error { _, err := s.RevokeGrants(ctx, oauthreg.GrantFilter{ClientID: "x"}); return err },
		func() error { _, err := s.RevokeGrants(ctx, oauthreg.GrantFilter{ID: "x"}); return err },
		func() error { _, err := s.RevokeConsents(ctx, oauthreg.GrantFilter{Subject: "alice"}); return err },
		func() error { c.add(100 * 24 * time.Hour); _, err := s.Sweep(ctx, 0); return err },
	} {
		must(t, call())
	}
	s.db = rec.backend
	if len(rec.seen) < 40 {
		t.Errorf("only %d statements were recorded", len(rec.seen))
	}
	must(t, s.db.read(ctx, func(ctx context.Context, c conn) error {
		for query, args := range rec.seen {
			err := c.each(unprepared(ctx), "EXPLAIN QUERY PLAN "+query, args, func(scan func(...any) error) error {
				var id, parent, unused int
				var detail string
				err := scan(&id, &parent, &unused, &detail)
				if strings.HasPrefix(detail, "SCAN") && detail != "SCAN CONSTANT ROW" {
					t.Errorf("%s\n\t%s", detail, query)
				}
				return err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", query, err)
			}
		}
		return nil
	}))
}
