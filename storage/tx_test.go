package storage

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ory/fosite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// exchange makes the writes of a code exchange.
func exchange(s *Store, ctx context.Context, r *fosite.Request) error {
	return errors.Join(
		s.InvalidateAuthorizeCodeSession(ctx, r.ID+"code"),
		s.UseGrant(ctx, r.ID, s.now(), s.now().Add(30*24*time.Hour)),
		s.CreateAccessTokenSession(ctx, r.ID+"access", r),
		s.CreateRefreshTokenSession(ctx, r.ID+"refresh", r.ID+"access", r),
	)
}

func TestTransactionCommits(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		r := newRequest(s, addClient(t, s))
		must(t, s.CreateAuthorizeCodeSession(t.Context(), r.ID+"code", r))
		ctx, err := s.BeginTX(t.Context())
		must(t, err)
		must(t, exchange(s, ctx, r))

		// Nothing is there before the commit, for nobody.
		for _, ctx := range []context.Context{ctx, t.Context()} {
			_, err = s.GetAccessTokenSession(ctx, r.ID+"access", nil)
			wantErr(t, err, fosite.ErrNotFound)
		}
		// Changing the request after the call changes nothing.
		r.Session.SetExpiresAt(fosite.AccessToken, c.now())
		must(t, s.Commit(ctx))
		got, err := s.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
		must(t, err)
		if !got.GetSession().GetExpiresAt(fosite.AccessToken).After(c.now()) {
			t.Error("the request was read at the commit")
		}

		wantErr(t, s.Commit(ctx), errTransactionOver)
		must(t, s.Rollback(ctx)) // nothing to do any more
		wantErr(t, s.DeleteAccessTokenSession(ctx, r.ID+"access"), errTransactionOver)
		_, err = s.BeginTX(ctx)
		wantErr(t, err, errTransactionOver)
		_, err = s.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
		must(t, err)
	})
}

// The first error undoes all; a rollback after it, as fosite makes it, is quiet.
func TestTransactionFails(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		r := newRequest(s, addClient(t, s))
		must(t, s.CreateAuthorizeCodeSession(t.Context(), r.ID+"code", r))
		must(t, s.InvalidateAuthorizeCodeSession(t.Context(), r.ID+"code"))

		ctx, err := s.BeginTX(t.Context())
		must(t, err)
		must(t, s.SetClientAssertionJWT(ctx, "jti", c.now().Add(time.Hour)))
		must(t, exchange(s, ctx, r))
		wantUsed(t, s.Commit(ctx), fosite.ErrInvalidatedAuthorizeCode, c.now())
		must(t, s.Rollback(ctx))
		must(t, s.Rollback(ctx))
		_, err = s.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
		wantErr(t, err, fosite.ErrNotFound)
		must(t, s.ClientAssertionJWTValid(t.Context(), "jti"))
	})
}

func TestTransactionRollsBack(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		r := newRequest(s, addClient(t, s))
		must(t, s.CreateAuthorizeCodeSession(t.Context(), r.ID+"code", r))
		ctx, err := s.BeginTX(t.Context())
		must(t, err)
		must(t, exchange(s, ctx, r))
		must(t, s.Rollback(ctx))
		wantErr(t, s.Commit(ctx), errTransactionOver)
		_, err = s.GetAuthorizeCodeSession(t.Context(), r.ID+"code", nil)
		must(t, err)
	})
}

func TestTransactionsNest(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		end := c.now().Add(time.Hour)
		outer, err := s.BeginTX(t.Context())
		must(t, err)
		must(t, s.SetClientAssertionJWT(outer, "outer", end))

		inner, err := s.BeginTX(outer)
		must(t, err)
		must(t, s.SetClientAssertionJWT(inner, "kept", end))
		must(t, s.Commit(inner))
		must(t, s.ClientAssertionJWTValid(t.Context(), "kept")) // not yet

		inner, err = s.BeginTX(outer)
		must(t, err)
		must(t, s.SetClientAssertionJWT(inner, "dropped", end))
		deepest, err := s.BeginTX(inner)
		must(t, err)
		must(t, s.SetClientAssertionJWT(deepest, "dropped too", end))
		must(t, s.Commit(deepest))
		must(t, s.Rollback(inner))
		must(t, s.Rollback(inner))
		wantErr(t, s.Commit(inner), errTransactionOver)

		must(t, s.SetClientAssertionJWT(outer, "after", end))
		must(t, s.Commit(outer))
		for jti, want := range map[string]error{"outer": fosite.ErrJTIKnown, "kept": fosite.ErrJTIKnown, "after": fosite.ErrJTIKnown, "dropped": nil, "dropped too": nil} {
			if err := s.ClientAssertionJWTValid(t.Context(), jti); !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", jti, err, want)
			}
		}
	})
}

func TestTransactionWithout(t *testing.T) {
	s := openTest(t, "memory", testConfig(newClock()))
	wantErr(t, s.Commit(t.Context()), errNoTransaction)
	wantErr(t, s.Rollback(t.Context()), errNoTransaction)
	ctx, err := s.BeginTX(t.Context())
	must(t, err)
	must(t, s.Commit(ctx)) // empty

	// Another store's transaction is not this one's.
	other := openTest(t, "memory", testConfig(newClock()))
	ctx, err = other.BeginTX(t.Context())
	must(t, err)
	must(t, s.SetClientAssertionJWT(ctx, "jti", s.now().Add(time.Hour)))
	wantErr(t, s.ClientAssertionJWTValid(t.Context(), "jti"), fosite.ErrJTIKnown)
}

// The writes of our own that take part.
func TestTransactionTakesOurs(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		k := addClient(t, s)
		must(t, s.CreateInteraction(t.Context(), oauthreg.Interaction{Handle: "h", ClientID: k.RegistryID(), ExpiresAt: c.now().Add(time.Hour)}))
		must(t, s.CreateLoginSession(t.Context(), oauthreg.LoginSession{Login: oauthreg.Login{Subject: "alice", SessionID: "sid"}, Handle: "h"}))
		must(t, s.CreateGrant(t.Context(), oauthreg.Grant{ID: "old", ClientID: k.RegistryID(), Subject: "alice"}))

		decide := func(handle string) error {
			ctx, err := s.BeginTX(t.Context())
			must(t, err)
			must(t, s.FinishInteraction(ctx, handle))
			n, err := s.RevokeGrants(ctx, oauthreg.GrantFilter{ID: "old"})
			must(t, err)
			if n != 0 {
				t.Errorf("got %d, want 0 before the commit", n)
			}
			consent, err := s.SaveConsent(ctx, oauthreg.Consent{ClientID: k.RegistryID(), Subject: "alice", Scopes: []string{"read"}})
			must(t, err)
			r := newRequest(s, k)
			must(t, s.CreateGrant(ctx, oauthreg.Grant{ID: r.ID, ClientID: k.RegistryID(), Subject: "alice", ConsentID: consent, ExpiresAt: c.now().Add(time.Minute)}))
			must(t, s.CreateAuthorizeCodeSession(ctx, r.ID+"code", r))
			must(t, s.CreatePKCERequestSession(ctx, r.ID+"code", r))
			must(t, s.EndLoginSession(ctx, "sid"))
			if err := s.Commit(ctx); err != nil {
				return err
			}
			g, err := s.Grant(t.Context(), r.ID)
			must(t, err)
			if g.ConsentID != consent {
				t.Errorf("got consent %q, want %q", g.ConsentID, consent)
			}
			_, err = s.GetPKCERequestSession(t.Context(), r.ID+"code", nil)
			return err
		}
		wantErr(t, decide("unknown"), oauthreg.ErrNotFound)
		_, err := s.Grant(t.Context(), "old")
		must(t, err)
		_, err = s.LoginSession(t.Context(), "h")
		must(t, err)

		must(t, decide("h"))
		_, err = s.Grant(t.Context(), "old")
		wantErr(t, err, oauthreg.ErrNotFound)
		_, err = s.LoginSession(t.Context(), "h")
		wantErr(t, err, oauthreg.ErrNotFound)
		wantErr(t, decide("h"), oauthreg.ErrConsumed)
	})
}

// hostKinds are the databases that a host may have, and how: "simple" with
// PostgreSQL's simple protocol, "matched" with MySQL counting matched rows.
var hostKinds = []string{"file", "postgres", "postgres simple", "mysql", "mysql matched"}

func eachHost(t *testing.T, run func(t *testing.T, kind string)) {
	for _, kind := range hostKinds {
		t.Run(kind, func(t *testing.T) { run(t, kind) })
	}
}

// openHost opens a database as a host does, with its own settings.
func openHost(t *testing.T, kind, dsn string, edit ...func(*gorm.Config)) *gorm.DB {
	t.Helper()
	cfg := &gorm.Config{Logger: logger.Default.LogMode(logger.Silent)}
	for _, e := range edit {
		e(cfg)
	}
	db, err := gorm.Open(hostOf(t, kind, dsn), cfg)
	must(t, err)
	sqldb, err := db.DB()
	must(t, err)
	t.Cleanup(func() { sqldb.Close() })
	must(t, db.Exec("CREATE TABLE IF NOT EXISTS host_things (name TEXT)").Error)
	return db
}

func hostStore(t *testing.T, kind string, edit ...func(*gorm.Config)) (*gorm.DB, *Store, *clock) {
	t.Helper()
	c := newClock()
	base, _, _ := strings.Cut(kind, " ")
	db := openHost(t, kind, place(t, base), edit...)
	s, err := New(db, testConfig(c))
	must(t, err)
	if _, err := s.GetClient(t.Context(), "x"); err == nil || errors.Is(err, fosite.ErrNotFound) {
		t.Fatalf("got %v, want an error: New must not migrate", err)
	}
	must(t, s.Migrate(t.Context()))
	return db, s, c
}

// The store in a host's database does what one of our own does.
func TestHostDatabase(t *testing.T) {
	eachHost(t, func(t *testing.T, kind string) {
		for name, edit := range map[string]func(*gorm.Config){
			"plain":    func(*gorm.Config) {},
			"prepared": func(cfg *gorm.Config) { cfg.PrepareStmt = true },
			"settings": func(cfg *gorm.Config) { cfg.TranslateError, cfg.DryRun, cfg.SkipDefaultTransaction = true, false, true },
		} {
			t.Run(name, func(t *testing.T) {
				_, s, c := hostStore(t, kind, edit)
				ctx := t.Context()
				r := newRequest(s, addClient(t, s))
				issue(t, s, r)
				race(t, 20, fosite.ErrInvalidatedAuthorizeCode, 1, func(int) error { return s.InvalidateAuthorizeCodeSession(ctx, r.ID+"code") })
				race(t, 20, fosite.ErrJTIKnown, 1, func(int) error { return s.SetClientAssertionJWT(ctx, "jti", c.now()) })
				must(t, s.SecretsUsed(ctx, map[string]time.Time{"secret": c.now()}))
				must(t, s.SecretsUsed(ctx, map[string]time.Time{"secret": c.now()}))
				_, err := s.GetAuthorizeCodeSession(ctx, r.ID+"code", nil)
				wantUsed(t, err, fosite.ErrInvalidatedAuthorizeCode, c.now())
				wantErr(t, s.CreateAccessTokenSession(ctx, r.ID+"access", r), oauthreg.ErrConflict)

				tx, err := s.BeginTX(ctx)
				must(t, err)
				must(t, s.RotateRefreshToken(tx, r.ID, r.ID+"refresh"))
				must(t, s.CreateAccessTokenSession(tx, "next", r))
				must(t, s.Commit(tx))
				_, err = s.GetAccessTokenSession(ctx, "next", nil)
				must(t, err)
				must(t, s.RevokeAccessToken(ctx, r.ID))
				c.add(100 * 24 * time.Hour)
				gone, err := s.Sweep(ctx, 0)
				must(t, err)
				if gone["grants"] != 1 || gone["access_tokens"] != 2 {
					t.Errorf("got %v", gone)
				}

				defer func() {
					if recover() == nil {
						t.Error("the panic was swallowed")
					}
					if n := count(t, s, "assertions"); n != 0 { // the one above was swept
						t.Error("the panic did not roll back")
					}
				}()
				_ = s.db.write(ctx, func(ctx context.Context, c conn) error {
					_, err := c.exec(ctx, "INSERT INTO oauthreg_assertions (jti, expires_at) VALUES ('x', 1)")
					must(t, err)
					panic("boom")
				})
			})
		}
	})
}

// Concurrent writers in a host's SQLite wait for each other instead of failing.
func TestHostDatabaseContention(t *testing.T) {
	eachHost(t, func(t *testing.T, kind string) {
		_, s, c := hostStore(t, kind)
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				if err := s.SetClientAssertionJWT(t.Context(), fmt.Sprint(i), c.now().Add(time.Hour)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := count(t, s, "assertions"); n != 32 {
			t.Errorf("got %d rows, want 32", n)
		}
	})
}

// A database that stays busy is unavailable, after some attempts; and one that
// is not busy any more is not.
func TestHostDatabaseBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "host.db")
	c := newClock()
	other := openHost(t, "file", path)
	db := openHost(t, "file", path)
	must(t, db.Exec("PRAGMA busy_timeout = 0").Error)
	sqldb, err := db.DB()
	must(t, err)
	sqldb.SetMaxOpenConns(1) // the one with the pragma
	s, err := New(db, testConfig(c))
	must(t, err)
	must(t, s.Migrate(t.Context()))
	end := c.now().Add(time.Hour)

	lock := other.Begin()
	must(t, lock.Exec("INSERT INTO host_things VALUES ('x')").Error)
	wantErr(t, s.SetClientAssertionJWT(t.Context(), "jti", end), oauthreg.ErrUnavailable)

	done := make(chan error)
	attempts := 0
	go func() {
		done <- s.db.write(t.Context(), func(ctx context.Context, c conn) error {
			attempts++
			return nil
		})
	}()
	must(t, lock.Commit().Error)
	must(t, <-done)
	if attempts != 1 {
		t.Errorf("the function ran %d times, want once: the transaction could not begin before", attempts)
	}
	must(t, s.SetClientAssertionJWT(t.Context(), "jti", end))
}

// recorder is a host's logger that notices what is logged.
type recorder struct {
	logger.Interface
	lines int
}

func (r *recorder) LogMode(logger.LogLevel) logger.Interface { return r }
func (r *recorder) Trace(context.Context, time.Time, func() (string, int64), error) {
	r.lines++
}

// Borrowed things keep their owner: nothing of the host's is changed, and its
// logger never sees a statement of ours.
func TestHostDatabaseStaysTheHosts(t *testing.T) {
	eachHost(t, func(t *testing.T, kind string) {
		rec := &recorder{Interface: logger.Discard}
		db, s, _ := hostStore(t, kind, func(cfg *gorm.Config) { cfg.Logger = rec })
		before := *db.Config
		lines := rec.lines
		issue(t, s, newRequest(s, addClient(t, s)))
		tx := db.Begin()
		_, err := s.WithTx(tx).GetClient(t.Context(), "x")
		wantErr(t, err, fosite.ErrNotFound)
		must(t, tx.Rollback().Error)
		must(t, s.Close())
		if !reflect.DeepEqual(fmt.Sprintf("%+v", before), fmt.Sprintf("%+v", *db.Config)) {
			t.Error("the host's settings were changed")
		}
		if rec.lines != lines {
			t.Errorf("%d statements were logged", rec.lines-lines)
		}
		must(t, db.Exec("INSERT INTO host_things VALUES ('still open')").Error)
	})
}

// The host's transaction and ours are one.
func TestWithTx(t *testing.T) {
	eachHost(t, func(t *testing.T, kind string) {
		for name, edit := range map[string]func(*gorm.Config){
			"plain":    func(*gorm.Config) {},
			"prepared": func(cfg *gorm.Config) { cfg.PrepareStmt = true },
		} {
			t.Run(name, func(t *testing.T) {
				db, s, c := hostStore(t, kind, edit)
				ctx := t.Context()
				k := addClient(t, s)
				things := func() (n int64) {
					must(t, db.Table("host_things").Count(&n).Error)
					return n
				}
				boom := errors.New("boom")
				for _, end := range []error{boom, nil} {
					r := newRequest(s, k)
					err := db.Transaction(func(tx *gorm.DB) error {
						must(t, tx.Exec("INSERT INTO host_things VALUES ('x')").Error)
						in := s.WithTx(tx)
						issue(t, in, r)
						// It sees its own writes.
						_, err := in.GetAccessTokenSession(ctx, r.ID+"access", nil)
						must(t, err)
						must(t, in.InvalidateAuthorizeCodeSession(ctx, r.ID+"code"))
						// A write that fails leaves the others alone.
						wantErr(t, in.InvalidateAuthorizeCodeSession(ctx, r.ID+"code"), fosite.ErrInvalidatedAuthorizeCode)
						wantErr(t, in.CreateAccessTokenSession(ctx, r.ID+"access", r), oauthreg.ErrConflict)
						inner, err := in.BeginTX(ctx)
						must(t, err)
						must(t, in.SetClientAssertionJWT(inner, r.ID, c.now().Add(time.Hour)))
						must(t, in.Commit(inner))
						must(t, in.UpdateClient(ctx, oauthreg.ByID(k.RegistryID()), func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
							rec.Client.Name = r.ID
							return &oauthreg.AuditRecord{}, nil
						}))
						return end
					})
					wantErr(t, err, end)
					_, accessErr := s.GetAccessTokenSession(ctx, r.ID+"access", nil)
					jtiErr := s.ClientAssertionJWTValid(ctx, r.ID)
					got, err := s.Client(ctx, oauthreg.ByID(k.RegistryID()))
					must(t, err)
					client, err := s.GetClient(ctx, k.GetID())
					must(t, err)
					if end != nil {
						wantErr(t, accessErr, fosite.ErrNotFound)
						must(t, jtiErr)
						if things() != 0 || got.Client.Name == r.ID || client.(*Client).Registration().Name == r.ID {
							t.Error("the rollback left something")
						}
						continue
					}
					must(t, accessErr)
					wantErr(t, jtiErr, fosite.ErrJTIKnown)
					if things() != 1 || got.Client.Name != r.ID || client.(*Client).Registration().Name != r.ID {
						t.Error("the commit lost something")
					}
				}
			})
		}
	})
}

// What is not a transaction is refused, rather than written at once.
func TestWithTxNeedsATransaction(t *testing.T) {
	eachHost(t, func(t *testing.T, kind string) {
		db, s, _ := hostStore(t, kind)
		for name, tx := range map[string]*gorm.DB{"nil": nil, "no transaction": db, "failed to begin": failedBegin(db)} {
			in := s.WithTx(tx)
			if err := in.SetClientAssertionJWT(t.Context(), "jti", s.now().Add(time.Hour)); err == nil {
				t.Errorf("%s: a write was accepted", name)
			}
			if err := in.Ping(t.Context()); err == nil {
				t.Errorf("%s: a read was accepted", name)
			}
		}
	})
}

func failedBegin(db *gorm.DB) *gorm.DB {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return db.WithContext(ctx).Begin()
}

// New in a transaction is WithTx.
func TestNewInTransaction(t *testing.T) {
	eachHost(t, func(t *testing.T, kind string) {
		db, s, c := hostStore(t, kind)
		tx := db.Begin()
		in, err := New(tx, testConfig(c))
		must(t, err)
		k := addClient(t, in)
		must(t, tx.Rollback().Error)
		_, err = s.GetClient(t.Context(), k.GetID())
		wantErr(t, err, fosite.ErrNotFound)
	})
}

// A token never outlives its grant, whatever the transaction said of the grant
// before, and what was rolled back was not said.
func TestTransactionExtendsGrant(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		k := addClient(t, s)
		access, refresh := c.now().Add(time.Hour), c.now().Add(30*24*time.Hour)
		for name, tt := range map[string]struct {
			use        time.Time // said of the grant before the tokens
			rolledBack bool
			want       time.Time
		}{
			"longer":      {refresh.Add(time.Hour), false, refresh.Add(time.Hour)},
			"shorter":     {access.Add(-time.Minute), false, refresh},
			"between":     {access.Add(time.Minute), false, refresh},
			"rolled back": {refresh.Add(time.Hour), true, refresh},
		} {
			r := newRequest(s, k)
			must(t, s.CreateGrant(t.Context(), oauthreg.Grant{ID: r.ID, ClientID: k.RegistryID(), Subject: "alice", ExpiresAt: c.now().Add(time.Minute)}))
			ctx, err := s.BeginTX(t.Context())
			must(t, err)
			inner, err := s.BeginTX(ctx)
			must(t, err)
			must(t, s.UseGrant(inner, r.ID, c.now(), tt.use))
			if tt.rolledBack {
				must(t, s.Rollback(inner))
			} else {
				must(t, s.Commit(inner))
			}
			must(t, s.CreateAccessTokenSession(ctx, r.ID+"access", r))
			must(t, s.CreateRefreshTokenSession(ctx, r.ID+"refresh", r.ID+"access", r))
			must(t, s.Commit(ctx))
			got, err := s.Grant(t.Context(), r.ID)
			must(t, err)
			if !got.ExpiresAt.Equal(tt.want) {
				t.Errorf("%s: the grant ends at %v, want %v", name, got.ExpiresAt, tt.want)
			}
		}
	})
}

// What a transaction said of a grant before it revoked it counts no more.
func TestTransactionRevokesGrant(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		k := addClient(t, s)
		revoke := map[string]func(context.Context, *fosite.Request) error{
			"RevokeGrants": func(ctx context.Context, r *fosite.Request) error {
				_, err := s.RevokeGrants(ctx, oauthreg.GrantFilter{Subject: "alice"})
				return err
			},
			"RevokeRefreshToken": func(ctx context.Context, r *fosite.Request) error { return s.RevokeRefreshToken(ctx, r.ID) },
			"the grant's end": func(ctx context.Context, r *fosite.Request) error {
				return s.UseGrant(ctx, r.ID, c.now(), c.now())
			},
		}
		for name, revoke := range revoke {
			for kind, create := range map[string]func(context.Context, *fosite.Request) error{
				"access token": func(ctx context.Context, r *fosite.Request) error { return s.CreateAccessTokenSession(ctx, r.ID, r) },
				"refresh token": func(ctx context.Context, r *fosite.Request) error {
					return s.CreateRefreshTokenSession(ctx, r.ID, "", r)
				},
			} {
				r := newRequest(s, k)
				must(t, s.CreateGrant(t.Context(), oauthreg.Grant{ID: r.ID, ClientID: k.RegistryID(), Subject: "alice", ExpiresAt: c.now().Add(time.Minute)}))
				ctx, err := s.BeginTX(t.Context())
				must(t, err)
				must(t, s.UseGrant(ctx, r.ID, c.now(), c.now().Add(90*24*time.Hour)))
				must(t, revoke(ctx, r))
				must(t, create(ctx, r))
				if err := s.Commit(ctx); !errors.Is(err, fosite.ErrNotFound) {
					t.Errorf("%s after %s: got %v, want ErrNotFound", kind, name, err)
				}
			}
		}
	})
}

// The first write that is refused has the verdict, whatever comes of those after it:
// a server may be sent them together.
func TestTransactionFirstRefusalCounts(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		k := addClient(t, s)
		end := c.now().Add(90 * 24 * time.Hour)
		for name, tt := range map[string]struct {
			first func(ctx context.Context, r *fosite.Request) error
			want  error
		}{
			"refused":   {func(ctx context.Context, r *fosite.Request) error { return s.RotateRefreshToken(ctx, r.ID, "unknown") }, fosite.ErrInactiveToken},
			"not there": {func(ctx context.Context, r *fosite.Request) error { return s.UseGrant(ctx, "unknown", c.now(), end) }, oauthreg.ErrNotFound},
			"nothing is": {func(ctx context.Context, r *fosite.Request) error {
				return s.RotateRefreshToken(ctx, r.ID, r.ID+"refresh")
			}, oauthreg.ErrConflict},
		} {
			r := newRequest(s, k)
			issue(t, s, r)
			ctx, err := s.BeginTX(t.Context())
			must(t, err)
			must(t, tt.first(ctx, r))
			must(t, s.UseGrant(ctx, r.ID, c.now(), end))
			must(t, s.CreateAccessTokenSession(ctx, r.ID+"access", r)) // which is taken
			must(t, s.CreateRefreshTokenSession(ctx, r.ID+"next", r.ID+"access", r))
			if err := s.Commit(ctx); !errors.Is(err, tt.want) {
				t.Errorf("%s: got %v, want %v", name, err, tt.want)
			}
			got, err := s.Grant(t.Context(), r.ID)
			must(t, err)
			if got.ExpiresAt.Equal(end) {
				t.Errorf("%s: a write was kept", name)
			}
			_, err = s.GetRefreshTokenSession(t.Context(), r.ID+"next", nil)
			wantErr(t, err, fosite.ErrNotFound)
		}
	})
}

// sentTogether is a connection that takes statements together.
type sentTogether struct {
	pool
	affected []int64
	err      error
}

func (s sentTogether) execAll(context.Context, []statement) ([]int64, error) {
	return s.affected, s.err
}

// What statements that were sent together are answered with: the verdict of the first
// that is refused, else the error of the one that failed, else, when the connection
// broke after all of them, that.
func TestStatementsSentTogether(t *testing.T) {
	s := openTest(t, "memory", testConfig(newClock()))
	ops := []op{
		{doing: "first", one: &statement{query: "UPDATE a SET b = ?", args: []any{1}, verdict: orElse(oauthreg.ErrNotFound)}},
		{doing: "second", one: &statement{query: "UPDATE a SET b = ?", args: []any{2}, verdict: orElse(oauthreg.ErrConsumed)}},
		{doing: "third", run: func(context.Context, conn) error { return nil }},
	}
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		affected []int64
		err      error
		n        int
		want     error
		says     string
	}{
		"all are good":                         {[]int64{1, 1}, nil, 2, nil, ""},
		"the first is refused":                 {[]int64{0, 1}, nil, 0, oauthreg.ErrNotFound, ""},
		"both are refused":                     {[]int64{0, 0}, nil, 0, oauthreg.ErrNotFound, ""},
		"the first is refused, the next fails": {[]int64{0}, broken, 0, oauthreg.ErrNotFound, ""},
		"the first fails":                      {nil, broken, 0, broken, "first"},
		"the second fails":                     {[]int64{1}, broken, 0, broken, "second"},
		"the connection breaks after both":     {[]int64{1, 1}, broken, 0, broken, "second"},
	} {
		c := conn{pool: sentTogether{affected: tt.affected, err: tt.err}, sql: s.sql}
		n, err := c.together(t.Context(), ops)
		if n != tt.n || !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %d, %v, want %d, %v", name, n, err, tt.n, tt.want)
		}
	}
	if n, err := (conn{pool: sentTogether{}, sql: s.sql}).together(t.Context(), ops[1:]); n != 0 || err != nil {
		t.Errorf("one alone: got %d, %v", n, err)
	}
}
