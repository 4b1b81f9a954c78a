package storage

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/token/jwt"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// clock is a clock that tests set.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock {
	return &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

var testKey = []byte("0123456789abcdef0123456789abcdef")

// testConfig is a configuration whose clock the test sets.
func testConfig(c *clock) Config {
	return Config{EncryptionKeys: [][]byte{testKey}, Now: c.now}
}

// kinds are the ways to a store of our own.
var kinds = []string{"memory", "file", "postgres", "mysql"}

// sharedKinds are those that several processes can have open.
var sharedKinds = kinds[1:]

// eachKind runs a test on a database of each kind.
func eachKind(t *testing.T, run func(t *testing.T, s *Store, c *clock)) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			c := newClock()
			run(t, openTest(t, kind, testConfig(c)), c)
		})
	}
}

// openTest opens and migrates a store that is closed with the test.
func openTest(t testing.TB, kind string, cfg Config) *Store {
	t.Helper()
	return openPath(t, place(t, kind), cfg)
}

// openPath opens what may be open already.
func openPath(t testing.TB, dsn string, cfg Config) *Store {
	t.Helper()
	s, err := Open(dsn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// unique is a different string each time.
func unique(what string) string {
	var b [12]byte
	rand.Read(b[:])
	return fmt.Sprintf("%s-%x", what, b)
}

// addClient registers a client and returns what fosite would be given for it.
func addClient(t testing.TB, s *Store, edit ...func(*oauthreg.Record)) *Client {
	t.Helper()
	now := s.now().Truncate(time.Millisecond)
	rec := oauthreg.Record{Client: oauthreg.Client{
		ID: unique("internal"), ClientID: unique("client"),
		Name: "Test", Type: oauthreg.Confidential, ApplicationType: oauthreg.Web,
		GrantTypes: []string{"authorization_code", "refresh_token"}, ResponseTypes: []string{"code"},
		Scopes: []string{"openid", "read"}, RedirectURIs: []string{"https://a.example/cb"},
		CreatedAt: now, UpdatedAt: now, Version: 1,
	}}
	for _, e := range edit {
		e(&rec)
	}
	audit := oauthreg.AuditRecord{Action: "client.registered", ClientID: rec.Client.ID, OrgID: rec.Client.OrgID, ProjectID: rec.Client.ProjectID}
	if err := s.InsertClient(t.Context(), rec, audit); err != nil {
		t.Fatal(err)
	}
	return newClient(rec.Client)
}

// suspend switches a client off, or on again.
func suspend(t testing.TB, s *Store, k *Client, at time.Time) {
	t.Helper()
	err := s.UpdateClient(t.Context(), oauthreg.ByID(k.RegistryID()), func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
		rec.Client.SuspendedAt = at
		rec.Client.Version++
		return &oauthreg.AuditRecord{Action: "client.suspended", ClientID: rec.Client.ID}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// newRequest is an authorization request of a user, with the ends a server sets.
func newRequest(s *Store, client fosite.Client) *fosite.Request {
	r := fosite.NewRequest()
	r.ID = unique("request")
	r.Client = client
	r.RequestedAt = s.now()
	r.RequestedScope = fosite.Arguments{"openid", "read"}
	r.GrantedScope = fosite.Arguments{"openid"}
	r.RequestedAudience = fosite.Arguments{"https://api.example"}
	r.GrantedAudience = fosite.Arguments{"https://api.example"}
	r.Form = url.Values{"redirect_uri": {"https://a.example/cb"}, "scope": {"openid read"}}
	r.Session = &openid.DefaultSession{
		Claims:   &jwt.IDTokenClaims{Subject: "alice", Nonce: "n-1"},
		Headers:  &jwt.Headers{},
		Subject:  "alice",
		Username: "Alice",
		ExpiresAt: map[fosite.TokenType]time.Time{
			fosite.AuthorizeCode: s.now().Add(time.Minute),
			fosite.AccessToken:   s.now().Add(time.Hour),
			fosite.RefreshToken:  s.now().Add(30 * 24 * time.Hour),
		},
	}
	return r
}

// machineRequest is a client_credentials request as fosite stores it.
func machineRequest(s *Store, client fosite.Client) *fosite.Request {
	r := newRequest(s, client)
	r.Form = url.Values{"grant_type": {"client_credentials"}}
	r.Session.(*openid.DefaultSession).Subject = ""
	return r
}

// issue stores a request's grant, code, access and refresh token under names
// that begin with the request's id.
func issue(t testing.TB, s *Store, r *fosite.Request) {
	t.Helper()
	ctx := t.Context()
	for _, err := range []error{
		s.CreateAuthorizeCodeSession(ctx, r.ID+"code", r),
		s.CreateAccessTokenSession(ctx, r.ID+"access", r),
		s.CreateRefreshTokenSession(ctx, r.ID+"refresh", r.ID+"access", r),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// count is how many rows a table has, whose name is given without prefix.
func count(t testing.TB, s *Store, table string) (n int) {
	t.Helper()
	must(t, s.db.read(context.Background(), func(ctx context.Context, c conn) error {
		_, err := c.one(ctx, "SELECT COUNT(*) FROM oauthreg_"+table, nil, &n)
		return err
	}))
	return n
}
