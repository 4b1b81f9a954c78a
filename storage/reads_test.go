package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/ory/fosite"
	"gorm.io/gorm"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// readsTwice is a database in which every read is run again after it was done.
type readsTwice struct{ backend }

func (b readsTwice) read(ctx context.Context, fn func(context.Context, conn) error) error {
	return b.backend.read(ctx, func(ctx context.Context, c conn) error {
		_ = fn(ctx, c)
		return fn(ctx, c)
	})
}

// A read that is run again answers as one that is not.
func TestReadsMayRunAgain(t *testing.T) {
	c := newClock()
	s := openTest(t, "file", testConfig(c))
	seed(t, s, c)
	for i := range 3 {
		addClient(t, s, func(rec *oauthreg.Record) { rec.Client.Name = fmt.Sprint("name", i) })
	}
	again := *s
	again.db = readsTwice{s.db}
	s.records, again.records = nil, nil
	for what, read := range map[string]func(s *Store) (any, error){
		"clients": func(s *Store) (any, error) {
			l, _, err := s.ListClients(t.Context(), oauthreg.ListQuery{})
			return l, err
		},
		"grants": func(s *Store) (any, error) {
			l, _, err := s.ListGrants(t.Context(), oauthreg.GrantFilter{}, 0, 0)
			return l, err
		},
		"consents": func(s *Store) (any, error) {
			l, _, err := s.ListConsents(t.Context(), oauthreg.GrantFilter{}, 0, 0)
			return l, err
		},
		"audit":    func(s *Store) (any, error) { return s.AuditRecords(t.Context(), oauthreg.AuditQuery{}) },
		"initial":  func(s *Store) (any, error) { return s.ListInitialAccessTokens(t.Context(), 0, 0) },
		"sign-ins": func(s *Store) (any, error) { return s.ListLoginSessions(t.Context(), "alice") },
		"members":  func(s *Store) (any, error) { return s.SessionMembers(t.Context(), "sid") },
		"keys":     func(s *Store) (any, error) { return s.SigningKeys(t.Context()) },
		"secrets":  func(s *Store) (any, error) { return s.SecretUses(t.Context(), "internal") },
		"sweep": func(s *Store) (any, error) {
			return s.keysOf(t.Context(), "SELECT signature FROM oauthreg_access_tokens ORDER BY signature", nil)
		},
		"sealed": func(s *Store) (any, error) {
			return s.sealedPage(t.Context(), &sealedColumn{table: "access_tokens", key: []string{"signature"}, column: "request", kind: sealAccess}, nil)
		},
		"migrations": func(s *Store) (any, error) { return s.MigrationStatus(t.Context()) },
	} {
		want, err := read(s)
		must(t, err)
		if reflect.ValueOf(want).Len() == 0 {
			t.Errorf("%s: there is nothing", what)
		}
		got, err := read(&again)
		must(t, err)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got  %+v\nwant %+v", what, got, want)
		}
	}
	must(t, again.Migrate(t.Context()))
	checkSeed(t, &again, c, 99)
}

// What a database gives up under contention is read again; what lasts is not.
func TestReadsAreRunAgain(t *testing.T) {
	passing := map[string]string{"postgres": "40001", "mysql": "1213"}
	check := func(t *testing.T, s *Store, fail func(context.Context, conn) error) {
		t.Helper()
		n := 0
		must(t, s.db.read(t.Context(), func(ctx context.Context, c conn) error {
			if n++; n < 3 {
				return fail(ctx, c)
			}
			return nil
		}))
		if n != 3 {
			t.Errorf("got %d attempts, want 3", n)
		}
		n = 0
		wantErr(t, s.db.read(t.Context(), func(ctx context.Context, c conn) error {
			n++
			return oauthreg.ErrNotFound
		}), oauthreg.ErrNotFound)
		if n != 1 {
			t.Errorf("got %d attempts, want 1: an answer lasts", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		wantErr(t, s.db.read(ctx, func(context.Context, conn) error { return errors.New("it was read") }), context.Canceled)
	}
	eachServer(t, func(t *testing.T, kind string) {
		check(t, openTest(t, kind, testConfig(newClock())), func(ctx context.Context, c conn) error { return raise(ctx, c, kind, passing[kind]) })
	})
	for _, kind := range []string{"postgres", "mysql"} {
		t.Run("host/"+kind, func(t *testing.T) {
			_, s, _ := hostStore(t, kind)
			check(t, s, func(ctx context.Context, c conn) error { return raise(ctx, c, kind, passing[kind]) })
		})
	}
	t.Run("host/file", func(t *testing.T) {
		_, s, _ := hostStore(t, "file")
		check(t, s, func(context.Context, conn) error { return errors.New("database is locked") })
	})
}

// leaving is a host's database whose caller goes away the moment a transaction is
// committed.
type leaving struct {
	*sql.DB
	leave context.CancelFunc
}

type leavingTx struct {
	*sql.Tx
	leave context.CancelFunc
}

func (db leaving) BeginTx(ctx context.Context, opts *sql.TxOptions) (gorm.ConnPool, error) {
	tx, err := db.DB.BeginTx(ctx, opts)
	return &leavingTx{tx, db.leave}, err
}

func (tx *leavingTx) Commit() error {
	tx.leave()
	return tx.Tx.Commit()
}

// A caller who goes away while his transaction is committed does not leave it
// undecided; before that, his transaction is rolled back.
func TestHostCommitDoesNotEndWithCaller(t *testing.T) {
	eachHost(t, func(t *testing.T, kind string) {
		db, s, c := hostStore(t, kind)
		ctx, leave := context.WithCancel(t.Context())
		sqldb, err := db.DB()
		must(t, err)
		db = db.Session(&gorm.Session{})
		db.Statement.ConnPool = leaving{sqldb, leave}
		in, err := New(db, testConfig(c))
		must(t, err)
		must(t, in.SetClientAssertionJWT(ctx, "jti", c.now().Add(time.Hour)))
		wantErr(t, ctx.Err(), context.Canceled)
		wantErr(t, s.ClientAssertionJWTValid(t.Context(), "jti"), fosite.ErrJTIKnown)

		ctx, leave = context.WithCancel(t.Context())
		wantErr(t, s.db.write(ctx, func(ctx context.Context, c conn) error {
			defer leave()
			return addCounter("x")(ctx, c)
		}), context.Canceled)
		if n := added(t, s); n != 0 {
			t.Errorf("%d rows are there of a caller who had gone", n)
		}
	})
}
