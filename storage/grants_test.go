package storage

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func TestGrantRoundTrip(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		addClient(t, s, func(rec *oauthreg.Record) { rec.Client.ID = "k1" })
		want := oauthreg.Grant{ID: "g1", ClientID: "k1", Subject: "alice", SessionID: "sid", Scopes: []string{"a", "b"}, Resources: []string{"https://r.example"},
			CreatedAt: c.now(), LastUsedAt: c.now(), ExpiresAt: c.now().Add(time.Hour)}
		must(t, s.CreateGrant(ctx, want))
		wantErr(t, s.CreateGrant(ctx, want), oauthreg.ErrConflict)
		got, err := s.Grant(ctx, "g1")
		must(t, err)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		for _, id := range []string{"", "unknown"} {
			_, err := s.Grant(ctx, id)
			wantErr(t, err, oauthreg.ErrNotFound)
			wantErr(t, s.UseGrant(ctx, id, c.now(), c.now().Add(time.Hour)), oauthreg.ErrNotFound)
		}

		c.add(time.Minute)
		must(t, s.UseGrant(ctx, "g1", c.now(), c.now().Add(2*time.Hour)))
		got, err = s.Grant(ctx, "g1")
		must(t, err)
		if !got.LastUsedAt.Equal(c.now()) || !got.ExpiresAt.Equal(c.now().Add(2*time.Hour)) {
			t.Errorf("got %+v", got)
		}
		must(t, s.UseGrant(ctx, "g1", c.now(), c.now().Add(time.Minute))) // it may be shortened
		c.add(time.Minute)
		_, err = s.Grant(ctx, "g1")
		wantErr(t, err, oauthreg.ErrNotFound)
		wantErr(t, s.UseGrant(ctx, "g1", c.now(), c.now().Add(time.Hour)), oauthreg.ErrNotFound)
	})
}

// Twelve grants: clients k1 to k3 (orgs o1, o1, o2) by subjects alice and bob,
// in sessions s1 and s2.
func fillGrants(t *testing.T, s *Store, c *clock) (clients []*Client) {
	t.Helper()
	for i, org := range []string{"o1", "o1", "o2"} {
		k := addClient(t, s, func(rec *oauthreg.Record) {
			rec.Client.OrgID, rec.Client.ProjectID = org, fmt.Sprint("p", i)
		})
		clients = append(clients, k)
		for _, subject := range []string{"alice", "bob"} {
			consent, err := s.SaveConsent(t.Context(), oauthreg.Consent{ClientID: k.RegistryID(), Subject: subject, Scopes: []string{"read"}})
			must(t, err)
			for _, session := range []string{"s1", "s2"} {
				c.add(time.Second)
				must(t, s.CreateGrant(t.Context(), oauthreg.Grant{ID: fmt.Sprint(i, subject, session), ClientID: k.RegistryID(), Subject: subject,
					SessionID: subject + session, ConsentID: consent, ExpiresAt: c.now().Add(time.Hour)}))
			}
		}
	}
	return clients
}

func TestGrantFilters(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		k := fillGrants(t, s, c)
		for _, tt := range []struct {
			name     string
			filter   oauthreg.GrantFilter
			grants   int
			consents int // -1: an error
		}{
			{"everything", oauthreg.GrantFilter{}, 12, 6},
			{"id", oauthreg.GrantFilter{ID: "0alices1"}, 1, 0},
			{"client", oauthreg.GrantFilter{ClientID: k[0].RegistryID()}, 4, 2},
			{"subject", oauthreg.GrantFilter{Subject: "alice"}, 6, 3},
			{"client and subject", oauthreg.GrantFilter{ClientID: k[0].RegistryID(), Subject: "alice"}, 2, 1},
			{"session", oauthreg.GrantFilter{SessionID: "alices1"}, 3, -1},
			{"org", oauthreg.GrantFilter{OrgID: "o1"}, 8, 4},
			{"project", oauthreg.GrantFilter{ProjectID: "p1"}, 4, 2},
			{"org and project", oauthreg.GrantFilter{OrgID: "o2", ProjectID: "p1"}, 0, 0},
			{"another org's client", oauthreg.GrantFilter{OrgID: "o2", ClientID: k[0].RegistryID()}, 0, 0},
		} {
			t.Run(tt.name, func(t *testing.T) {
				grants, total, err := s.ListGrants(ctx, tt.filter, 0, 0)
				must(t, err)
				if len(grants) != tt.grants || total != tt.grants {
					t.Errorf("got %d grants of %d, want %d", len(grants), total, tt.grants)
				}
				if !slices.IsSortedFunc(grants, func(a, b oauthreg.Grant) int { return b.CreatedAt.Compare(a.CreatedAt) }) {
					t.Error("the grants are not newest first")
				}
				consents, total, err := s.ListConsents(ctx, tt.filter, 0, 0)
				if tt.consents < 0 {
					if err == nil {
						t.Error("consents: got no error")
					}
					return
				}
				must(t, err)
				if len(consents) != tt.consents || total != tt.consents {
					t.Errorf("got %d consents of %d, want %d", len(consents), total, tt.consents)
				}
			})
		}
		page, total, err := s.ListGrants(ctx, oauthreg.GrantFilter{Subject: "alice"}, 1, 2)
		must(t, err)
		all, _, err := s.ListGrants(ctx, oauthreg.GrantFilter{Subject: "alice"}, 0, 1000)
		must(t, err)
		if total != 6 || !reflect.DeepEqual(page, all[1:3]) {
			t.Errorf("got page %v of %d, want %v of 6", page, total, all[1:3])
		}
	})
}

func TestRevokeGrants(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		fillGrants(t, s, c)
		if _, err := s.RevokeGrants(ctx, oauthreg.GrantFilter{}); err == nil {
			t.Error("an empty filter was accepted")
		}
		left := func(want int) {
			t.Helper()
			_, total, err := s.ListGrants(ctx, oauthreg.GrantFilter{}, 0, 0)
			must(t, err)
			if total != want {
				t.Errorf("%d grants are left, want %d", total, want)
			}
		}
		left(12)
		for _, tt := range []struct {
			filter oauthreg.GrantFilter
			want   int
			left   int
		}{
			{oauthreg.GrantFilter{SessionID: "alices1"}, 3, 9},
			{oauthreg.GrantFilter{SessionID: "alices1"}, 0, 9},
			{oauthreg.GrantFilter{OrgID: "o2"}, 3, 6},
			{oauthreg.GrantFilter{Subject: "bob", ProjectID: "p0"}, 2, 4},
			{oauthreg.GrantFilter{Subject: "nobody"}, 0, 4},
		} {
			n, err := s.RevokeGrants(ctx, tt.filter)
			must(t, err)
			if n != tt.want {
				t.Errorf("%+v: got %d, want %d", tt.filter, n, tt.want)
			}
			left(tt.left)
		}
		// What has ended by itself does not count.
		c.add(2 * time.Hour)
		n, err := s.RevokeGrants(ctx, oauthreg.GrantFilter{Subject: "alice"})
		must(t, err)
		if n != 0 {
			t.Errorf("got %d, want 0", n)
		}
	})
}

func TestConsentWidens(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		addClient(t, s, func(rec *oauthreg.Record) { rec.Client.ID = "k1" })
		_, err := s.Consent(ctx, "k1", "alice")
		wantErr(t, err, oauthreg.ErrNotFound)

		id, err := s.SaveConsent(ctx, oauthreg.Consent{ClientID: "k1", Subject: "alice", Scopes: []string{"a", "b"}, Resources: []string{"r1"}})
		must(t, err)
		created := c.now()
		c.add(time.Minute)
		again, err := s.SaveConsent(ctx, oauthreg.Consent{ClientID: "k1", Subject: "alice", Scopes: []string{"c", "b"}, Resources: []string{"r2"}})
		must(t, err)
		if again != id {
			t.Errorf("got id %q, want %q", again, id)
		}
		other, err := s.SaveConsent(ctx, oauthreg.Consent{ClientID: "k1", Subject: "bob"})
		must(t, err)
		if other == id {
			t.Error("two subjects have one consent")
		}

		got, err := s.Consent(ctx, "k1", "alice")
		must(t, err)
		want := oauthreg.Consent{ID: id, ClientID: "k1", Subject: "alice", Scopes: []string{"a", "b", "c"}, Resources: []string{"r1", "r2"}, CreatedAt: created, LastUsedAt: c.now()}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		if count(t, s, "consents") != 2 {
			t.Error("there is more than one row per client and subject")
		}

		c.add(time.Minute)
		must(t, s.CreateGrant(ctx, oauthreg.Grant{ID: "g", ClientID: "k1", Subject: "alice", ConsentID: id, ExpiresAt: c.now().Add(time.Hour)}))
		got, err = s.Consent(ctx, "k1", "alice")
		must(t, err)
		if !got.LastUsedAt.Equal(c.now()) {
			t.Errorf("got last use %v, want that of the grant", got.LastUsedAt)
		}
	})
}

func TestConsentConcurrently(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, _ *clock) {
		addClient(t, s, func(rec *oauthreg.Record) { rec.Client.ID = "k1" })
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				_, err := s.SaveConsent(t.Context(), oauthreg.Consent{ClientID: "k1", Subject: "alice", Scopes: []string{fmt.Sprint(i)}})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		got, err := s.Consent(t.Context(), "k1", "alice")
		must(t, err)
		if len(got.Scopes) != 50 {
			t.Errorf("got %d scopes, want 50", len(got.Scopes))
		}
	})
}

func TestRevokeConsents(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		k := fillGrants(t, s, c)
		// A first-party client's grant stands on no consent.
		must(t, s.CreateGrant(ctx, oauthreg.Grant{ID: "first", ClientID: k[0].RegistryID(), Subject: "alice", ExpiresAt: c.now().Add(time.Hour)}))
		for _, f := range []oauthreg.GrantFilter{{}, {SessionID: "alices1"}} {
			if _, err := s.RevokeConsents(ctx, f); err == nil {
				t.Errorf("%+v: got no error", f)
			}
		}
		consentID := func(subject string) string {
			consent, err := s.Consent(ctx, k[0].RegistryID(), subject)
			must(t, err)
			return consent.ID
		}
		stale, bobs := consentID("alice"), consentID("bob")
		n, err := s.RevokeConsents(ctx, oauthreg.GrantFilter{ClientID: k[0].RegistryID(), Subject: "alice"})
		must(t, err)
		if n != 1 {
			t.Errorf("got %d, want 1", n)
		}
		_, err = s.Consent(ctx, k[0].RegistryID(), "alice")
		wantErr(t, err, oauthreg.ErrNotFound)
		_, total, err := s.ListGrants(ctx, oauthreg.GrantFilter{}, 0, 0)
		must(t, err)
		if total != 11 {
			t.Errorf("%d grants are left, want 11: two beneath the consent went", total)
		}
		// Who read the consent before cannot make a grant on it after.
		wantErr(t, s.CreateGrant(ctx, oauthreg.Grant{ID: "late", ClientID: k[0].RegistryID(), Subject: "alice", ConsentID: stale, ExpiresAt: c.now().Add(time.Hour)}), oauthreg.ErrConflict)
		// Nor on somebody else's.
		wantErr(t, s.CreateGrant(ctx, oauthreg.Grant{ID: "late", ClientID: k[0].RegistryID(), Subject: "alice", ConsentID: bobs, ExpiresAt: c.now().Add(time.Hour)}), oauthreg.ErrConflict)

		n, err = s.RevokeConsents(ctx, oauthreg.GrantFilter{OrgID: "o1"})
		must(t, err)
		if n != 3 {
			t.Errorf("got %d, want 3", n)
		}
		n, err = s.RevokeConsents(ctx, oauthreg.GrantFilter{Subject: "nobody"})
		must(t, err)
		if n != 0 {
			t.Errorf("got %d, want 0", n)
		}
	})
}

// What a request still under way stores for a client that was deleted does not come
// alive with the next client of its id, whichever node the request is on. Nor is
// anything stored for one that is suspended.
func TestNothingForDeletedClient(t *testing.T) {
	for _, kind := range sharedKinds {
		t.Run(kind, func(t *testing.T) {
			ctx := t.Context()
			c := newClock()
			dsn := place(t, kind)
			cfg := testConfig(c)
			cfg.ClientCacheAge = time.Minute // longer than the test
			here, there := openPath(t, dsn, cfg), openPath(t, dsn, cfg)
			named := func(rec *oauthreg.Record) { rec.Client.ID, rec.Client.ClientID = "i", "c" }
			refused := func(s *Store, k *Client, what string) {
				t.Helper()
				r := newRequest(s, k)
				wantErr(t, s.CreateAuthorizeCodeSession(ctx, unique("code"), r), fosite.ErrNotFound)
				wantErr(t, s.CreateGrant(ctx, oauthreg.Grant{ID: unique("g"), ClientID: "i", Subject: "alice"}), oauthreg.ErrNotFound)
				_, err := s.SaveConsent(ctx, oauthreg.Consent{ClientID: "i", Subject: "alice"})
				wantErr(t, err, oauthreg.ErrNotFound)
				if n := count(t, s, "grants") + count(t, s, "authorize_codes") + count(t, s, "consents"); n != 0 {
					t.Errorf("%s: %d rows were stored", what, n)
				}
			}
			k := addClient(t, here, named)
			for _, s := range []*Store{here, there} { // both have it in memory
				_, err := s.GetClient(ctx, "c")
				must(t, err)
			}
			suspend(t, here, k, c.now())
			refused(here, k, "suspended")
			refused(there, k, "suspended elsewhere")
			suspend(t, here, k, time.Time{})
			must(t, deleteClient(ctx, here, k))
			refused(here, k, "deleted")
			refused(there, k, "deleted elsewhere")
			addClient(t, here, named)
			refused(there, k, "registered again elsewhere")
			issue(t, here, newRequest(here, k))
		})
	}
}

// Who deletes a client waits for who makes a grant for it, and then ends that.
func TestDeletionWaitsForGrant(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string) {
		dsn := place(t, kind)
		s := openPath(t, dsn, testConfig(newClock()))
		db := admin(t, kind, dsn)
		k := addClient(t, s)
		done := make(chan error, 1)
		deleted := false
		unit, err := s.BeginTX(t.Context())
		must(t, err)
		must(t, s.CreateGrant(unit, oauthreg.Grant{ID: "g", ClientID: k.RegistryID(), Subject: "alice"}))
		must(t, s.do(unit, "wait", func(context.Context, conn) error {
			go func() { done <- deleteClient(t.Context(), s, k) }()
			waitsForLock(t, db, kind, done)
			deleted = len(done) > 0
			return nil
		}))
		must(t, s.Commit(unit))
		must(t, <-done)
		if deleted {
			t.Error("the deletion did not wait")
		}
		_, err = s.Grant(t.Context(), "g")
		wantErr(t, err, oauthreg.ErrNotFound)
	})
}
