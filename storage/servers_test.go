package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// eachServer runs a test on each server.
func eachServer(t *testing.T, run func(t *testing.T, kind string)) {
	for _, kind := range []string{"postgres", "mysql"} {
		t.Run(kind, func(t *testing.T) { run(t, kind) })
	}
}

// admin opens a server beside the store.
func admin(t *testing.T, kind, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(hostDriver(t, kind, dsn))
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	return db
}

// waitsForLock returns when a transaction waits for another, or done is closed.
func waitsForLock(t *testing.T, db *sql.DB, kind string, done <-chan error) {
	t.Helper()
	query := map[string]string{
		"postgres": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
		"mysql":    "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'INNODB_ROW_LOCK_CURRENT_WAITS'",
	}[kind]
	for len(done) == 0 {
		var n int
		must(t, db.QueryRow(query).Scan(&n))
		if n > 0 {
			return
		}
		runtime.Gosched()
	}
}

// Issuing and revoking wait for each other at the grant's row: what is issued
// beneath a grant is issued before its revocation or not at all.
func TestIssueWaitsForRevocation(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string) {
		dsn := place(t, kind)
		s := openPath(t, dsn, testConfig(newClock()))
		db := admin(t, kind, dsn)
		k := addClient(t, s)
		for name, create := range map[string]func(*fosite.Request) error{
			"access":  func(r *fosite.Request) error { return s.CreateAccessTokenSession(t.Context(), r.ID, r) },
			"refresh": func(r *fosite.Request) error { return s.CreateRefreshTokenSession(t.Context(), r.ID, "", r) },
		} {
			r := newRequest(s, k)
			must(t, s.CreateAuthorizeCodeSession(t.Context(), r.ID, r))
			tx, err := db.Begin()
			must(t, err)
			_, err = tx.Exec(s.sql.of("UPDATE oauthreg_grants SET revoked_at = 1 WHERE id = ?"), r.ID)
			must(t, err)
			done := make(chan error, 1)
			go func() { done <- create(r) }()
			waitsForLock(t, db, kind, done)
			must(t, tx.Commit())
			wantErr(t, <-done, fosite.ErrNotFound)
			if n := count(t, s, name+"_tokens"); n != 0 {
				t.Errorf("%s: %d tokens were issued beneath a revoked grant", name, n)
			}
		}
	})
}

// The other way round: who revokes waits for who issues, and then ends it.
func TestRevocationWaitsForIssue(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string) {
		dsn := place(t, kind)
		s := openPath(t, dsn, testConfig(newClock()))
		db := admin(t, kind, dsn)
		r := newRequest(s, addClient(t, s))
		must(t, s.CreateAuthorizeCodeSession(t.Context(), r.ID, r))
		done := make(chan error, 1)
		revoked := false
		unit, err := s.BeginTX(t.Context())
		must(t, err)
		must(t, s.CreateAccessTokenSession(unit, r.ID, r))
		must(t, s.do(unit, "wait", func(context.Context, conn) error {
			go func() { done <- s.RevokeAccessToken(t.Context(), r.ID) }()
			waitsForLock(t, db, kind, done)
			revoked = len(done) > 0
			return nil
		}))
		must(t, s.Commit(unit))
		must(t, <-done)
		if revoked {
			t.Error("the revocation did not wait")
		}
		_, err = s.GetAccessTokenSession(t.Context(), r.ID, nil)
		wantErr(t, err, fosite.ErrNotFound)
	})
}

// Two transactions that lock the same two rows in opposite order: the database
// ends one, which then runs again.
func TestDeadlockIsRunAgain(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string) {
		s := openTest(t, kind, testConfig(newClock()))
		for _, name := range []string{"a", "b"} {
			must(t, s.db.write(t.Context(), addCounter(name)))
		}
		var met sync.WaitGroup // both have their first row
		met.Add(2)
		var wg sync.WaitGroup
		attempts := make([]int, 2)
		for i, names := range [][]string{{"a", "b"}, {"b", "a"}} {
			wg.Go(func() {
				err := s.db.write(t.Context(), func(ctx context.Context, c conn) error {
					attempts[i]++
					for j, name := range names {
						if _, err := c.exec(ctx, "UPDATE oauthreg_counters SET n = n + 1 WHERE name = ?", name); err != nil {
							return err
						}
						if j == 0 && attempts[i] == 1 {
							met.Done()
							met.Wait()
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if attempts[0]+attempts[1] != 3 {
			t.Errorf("got %v attempts, want one to be repeated", attempts)
		}
		must(t, s.db.read(t.Context(), func(ctx context.Context, c conn) error {
			var sum int
			_, err := c.one(ctx, "SELECT SUM(n) FROM oauthreg_counters WHERE name IN ('a', 'b')", nil, &sum)
			if sum != 6 {
				t.Errorf("got %d, want both to have counted once", sum)
			}
			return err
		}))
	})
}

// MySQL ends a host's whole transaction with a deadlock, and would run what
// comes next outside of any. The store does not let it.
func TestHostTransactionAfterDeadlock(t *testing.T) {
	for _, kind := range []string{"postgres", "mysql"} {
		t.Run(kind, func(t *testing.T) {
			db, s, c := hostStore(t, kind)
			must(t, s.db.write(t.Context(), addCounter("a")))
			other := db.Begin() // does more, so that it is not the one to end
			for range 200 {
				must(t, other.Exec("INSERT INTO host_things VALUES ('x')").Error)
			}
			const raise = "UPDATE oauthreg_counters SET n = n + 1 WHERE name = "
			must(t, other.Exec(raise+"'signing_keys'").Error)
			tx := db.Begin()
			must(t, tx.Exec(raise+"'a'").Error)
			done := make(chan error, 1)
			go func() {
				in := s.WithTx(tx)
				err := in.db.write(t.Context(), func(ctx context.Context, c conn) error {
					_, err := c.exec(ctx, raise+"'signing_keys'")
					return err
				})
				if err == nil { // the other was ended
					done <- errors.Join(tx.Rollback().Error)
					return
				}
				wantErr(t, err, oauthreg.ErrUnavailable)
				if kind == "mysql" {
					wantErr(t, in.SetClientAssertionJWT(t.Context(), "jti", c.now()), oauthreg.ErrUnavailable)
					_, err := in.GetClient(t.Context(), "x")
					wantErr(t, err, oauthreg.ErrUnavailable)
				}
				done <- tx.Rollback().Error
			}()
			sqldb, err := db.DB()
			must(t, err)
			waitsForLock(t, sqldb, kind, done)
			_ = other.Exec(raise + "'a'") // one of the two is ended
			must(t, <-done)
			other.Rollback()
			if n := count(t, s, "assertions"); n != 0 {
				t.Error("a write was made outside of the transaction")
			}
		})
	}
}

// raise makes the database fail with a code.
func raise(ctx context.Context, c conn, kind string, code string) error {
	statement := "DO 'BEGIN RAISE SQLSTATE ''" + code + "''; END'"
	if kind == "mysql" {
		statement = "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = " + code
	}
	_, err := c.exec(ctx, statement)
	return err
}

// What passes is tried again, as often as is reasonable; what lasts is not.
func TestTransactionsAreRunAgain(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string) {
		s := openTest(t, kind, testConfig(newClock()))
		passing := map[string][]string{
			"postgres": {"40001", "40P01", "55P03", "57P01", "53300", "25006"},
			"mysql":    {"1213", "1205", "1020", "1290", "1047"},
		}[kind]
		for _, code := range passing {
			n := 0
			must(t, s.db.write(t.Context(), func(ctx context.Context, c conn) error {
				if n++; n < 3 {
					return raise(ctx, c, kind, code)
				}
				return nil
			}))
			if n != 3 {
				t.Errorf("%s: got %d attempts, want 3", code, n)
			}
		}
		n := 0
		err := s.db.write(t.Context(), func(ctx context.Context, c conn) error {
			n++
			if err := addCounter("half done")(ctx, c); err != nil {
				return err
			}
			return raise(ctx, c, kind, passing[0])
		})
		wantErr(t, err, oauthreg.ErrUnavailable)
		if n != maxAttempts || added(t, s) != 0 {
			t.Errorf("got %d attempts and %d rows, want %d and none new", n, added(t, s), maxAttempts)
		}
		n = 0
		err = s.db.write(t.Context(), func(ctx context.Context, c conn) error {
			n++
			return addCounter("signing_keys")(ctx, c) // is there already
		})
		wantErr(t, err, oauthreg.ErrConflict)
		if n != 1 {
			t.Errorf("got %d attempts, want 1: a conflict lasts", n)
		}
	})
}

// kill ends the connection of a transaction from outside.
func kill(t *testing.T, db *sql.DB, kind string, ctx context.Context, c conn) {
	t.Helper()
	var id int64
	end := "SELECT pg_terminate_backend(%d, 5000)"
	if kind == "mysql" {
		end = "KILL %d"
	}
	_, err := c.one(ctx, selfID[kind], nil, &id)
	must(t, err)
	_, err = db.Exec(fmt.Sprintf(end, id))
	must(t, err)
}

// A connection that breaks before the commit costs an attempt; one that breaks
// in it leaves the outcome open, which is not tried again.
func TestBrokenConnections(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string) {
		dsn := place(t, kind)
		s := openPath(t, dsn, testConfig(newClock()))
		db := admin(t, kind, dsn)
		n := 0
		must(t, s.db.write(t.Context(), func(ctx context.Context, c conn) error {
			if n++; n == 1 {
				kill(t, db, kind, ctx, c)
			}
			return addCounter("x")(ctx, c)
		}))
		if n != 2 {
			t.Errorf("got %d attempts, want 2", n)
		}
		n = 0
		err := s.db.write(t.Context(), func(ctx context.Context, c conn) error {
			n++
			must(t, addCounter("y")(ctx, c))
			kill(t, db, kind, ctx, c)
			return nil
		})
		wantErr(t, err, oauthreg.ErrUnavailable)
		if n != 1 {
			t.Errorf("got %d attempts, want 1", n)
		}
		must(t, s.Ping(t.Context()))
		if got := added(t, s); got != 1 {
			t.Errorf("got %d rows, want 1", got)
		}
	})
}

// A single statement whose connection breaks is run again, whether it was made or
// not: the row that it made is there once, and is no conflict. Another's is one.
func TestBrokenConnectionsOfOneStatement(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string) {
		dsn := place(t, kind)
		s := openPath(t, dsn, testConfig(newClock()))
		db := admin(t, kind, dsn)
		for name, before := range map[string]bool{"before": true, "after": false} {
			n := 0
			must(t, s.db.writeOne(t.Context(), func(ctx context.Context, c conn) error {
				n++
				if n == 1 && before {
					kill(t, db, kind, ctx, c)
				}
				if err := addCounter(name)(ctx, c); err != nil {
					return err
				}
				if n == 1 && !before { // its answer is lost
					kill(t, db, kind, ctx, c)
					_, err := c.exec(ctx, "SELECT 1")
					return err
				}
				return nil
			}))
			if n != 2 {
				t.Errorf("%s: got %d attempts, want 2", name, n)
			}
		}
		if got := added(t, s); got != 2 {
			t.Errorf("got %d rows, want 2", got)
		}
		wantErr(t, s.db.writeOne(t.Context(), addCounter("after")), oauthreg.ErrConflict)
		must(t, s.Ping(t.Context()))
	})
}

// The caller's context ends a wait for another's lock, and nothing is written.
func TestContextEndsWait(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string) {
		dsn := place(t, kind)
		s := openPath(t, dsn, testConfig(newClock()))
		db := admin(t, kind, dsn)
		tx, err := db.Begin()
		must(t, err)
		_, err = tx.Exec("UPDATE oauthreg_counters SET n = 7")
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- s.db.write(ctx, func(ctx context.Context, c conn) error {
				_, err := c.exec(ctx, "UPDATE oauthreg_counters SET n = 8")
				return err
			})
		}()
		waitsForLock(t, db, kind, done)
		cancel()
		wantErr(t, <-done, context.Canceled)
		must(t, tx.Rollback())
		must(t, s.Ping(t.Context()))
	})
}

// A server that became a standby takes no writes: unavailable, after attempts.
func TestReadOnlyServer(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string) {
		dsn := place(t, kind)
		k := addClient(t, openPath(t, dsn, testConfig(newClock())))
		u, err := url.Parse(dsn)
		must(t, err)
		q := u.Query()
		q.Set(map[string]string{"postgres": "default_transaction_read_only", "mysql": "tx_read_only"}[kind], "1")
		u.RawQuery = q.Encode()
		s, err := Open(u.String(), testConfig(newClock()))
		must(t, err)
		t.Cleanup(func() { must(t, s.Close()) })
		_, err = s.GetClient(t.Context(), k.GetID())
		must(t, err)
		wantErr(t, s.SetClientAssertionJWT(t.Context(), "jti", s.now().Add(time.Hour)), oauthreg.ErrUnavailable)
	})
}

// selfID is the statement that tells a connection's number.
var selfID = map[string]string{"postgres": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}

// After a failover the old server takes no writes. The connection to it is not
// used again.
func TestReadOnlyConnectionIsDropped(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string) {
		s := openTest(t, kind, testConfig(newClock()))
		s.db.(*serverDB).db.SetMaxOpenConns(1)
		var ids []int64
		must(t, s.db.write(t.Context(), func(ctx context.Context, c conn) error {
			var id int64
			_, err := c.one(ctx, selfID[kind], nil, &id)
			must(t, err)
			if ids = append(ids, id); len(ids) == 1 {
				return raise(ctx, c, kind, map[string]string{"postgres": "25006", "mysql": "1290"}[kind])
			}
			return nil
		}))
		if len(ids) != 2 || ids[0] == ids[1] {
			t.Errorf("got connections %v, want two", ids)
		}
	})
}

// Whatever a session's default is, transactions see what others have committed
// meanwhile: ours, and those in a host's database.
func TestIsolation(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string) {
		u, err := url.Parse(place(t, kind))
		must(t, err)
		if kind == "postgres" {
			q := u.Query()
			q.Set("default_transaction_isolation", "repeatable read") // MySQL's own default
			u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
		}
		s := openPath(t, u.String(), testConfig(newClock()))
		host, err := New(openHost(t, kind, u.String()), testConfig(newClock()))
		must(t, err)
		for _, s := range []*Store{s, host} {
			before, after := 0, 0
			must(t, s.db.write(t.Context(), func(ctx context.Context, c conn) error {
				for i, n := range []*int{&before, &after} {
					if i == 1 {
						must(t, host.db.write(t.Context(), addCounter(unique("x"))))
					}
					if _, err := c.one(ctx, "SELECT COUNT(*) FROM oauthreg_counters", nil, n); err != nil {
						return err
					}
				}
				return nil
			}))
			if after != before+1 {
				t.Errorf("%T: got %d rows and then %d, want one more", s.db, before, after)
			}
		}
	})
}

// More writers than connections wait for each other.
func TestSmallPool(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string) {
		u, err := url.Parse(place(t, kind))
		must(t, err)
		q := u.Query()
		q.Set("pool_max_conns", "2")
		u.RawQuery = q.Encode()
		s := openPath(t, u.String(), testConfig(newClock()))
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				if err := s.db.write(t.Context(), addCounter(fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := s.db.(*serverDB).db.Stats(); got.OpenConnections > 2 || got.MaxOpenConnections != 2 {
			t.Errorf("got %d connections of %d, want 2", got.OpenConnections, got.MaxOpenConnections)
		}
	})
}

// Two nodes on one database agree about who was first.
func TestTwoNodes(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string) {
		c := newClock()
		dsn := place(t, kind)
		cfg := testConfig(c)
		cfg.ClientCacheAge = -1
		nodes := []*Store{openPath(t, dsn, cfg), openPath(t, dsn, cfg)}
		k := addClient(t, nodes[0])
		for range 5 {
			r := newRequest(nodes[0], k)
			issue(t, nodes[0], r)
			race(t, 32, fosite.ErrInvalidatedAuthorizeCode, 1, func(i int) error {
				return nodes[i%2].InvalidateAuthorizeCodeSession(t.Context(), r.ID+"code")
			})
			race(t, 32, fosite.ErrJTIKnown, 1, func(i int) error {
				return nodes[i%2].SetClientAssertionJWT(t.Context(), r.ID, c.now().Add(time.Hour))
			})
			race(t, 40, fosite.ErrInactiveToken, 33, func(i int) error {
				return nodes[i%2].RotateRefreshToken(t.Context(), r.ID, r.ID+"refresh")
			})
		}
		// What one node changes the other sees at once when it remembers no clients.
		_, err := nodes[1].GetClient(t.Context(), k.GetID())
		must(t, err)
		suspend(t, nodes[0], k, c.now())
		_, err = nodes[1].GetClient(t.Context(), k.GetID())
		wantErr(t, err, fosite.ErrNotFound)
	})
}

// Ids are told apart by every byte, and what a database does not take is not
// there.
func TestIdsAreExact(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		ids := []string{"abc", "ABC", "abc ", "äbc", "a\u0308bc", "abc\t", "%", "_", "'"}
		for i, id := range ids {
			addClient(t, s, func(rec *oauthreg.Record) { rec.Client.ID, rec.Client.ClientID = fmt.Sprint("i", i), id })
		}
		for i, id := range ids {
			got, err := s.Client(ctx, oauthreg.ByClientID(id))
			must(t, err)
			if got.Client.ID != fmt.Sprint("i", i) {
				t.Errorf("%q: got client %q, want i%d", id, got.Client.ID, i)
			}
		}
		for _, id := range []string{"Abc", "abc  ", " abc", "abc\x00", "\x00", "abc\xff", "\xff", "ab\xc3", "\u00e4bC", "", strings.Repeat("x", 5000)} {
			_, getErr := s.GetClient(ctx, id)
			_, clientErr := s.Client(ctx, oauthreg.ByClientID(id))
			_, grantErr := s.Grant(ctx, id)
			for what, err := range map[string]error{
				"GetClient": getErr, "Client": clientErr, "Grant": grantErr,
				"UseGrant":                 s.UseGrant(ctx, id, c.now(), c.now()),
				"DeleteInitialAccessToken": s.DeleteInitialAccessToken(ctx, id),
			} {
				if !errors.Is(err, oauthreg.ErrNotFound) && !errors.Is(err, fosite.ErrNotFound) {
					t.Errorf("%s(%q): got %v, want ErrNotFound", what, id, err)
				}
			}
			must(t, s.EndLoginSession(ctx, id))
			must(t, s.RevokeAccessToken(ctx, id))
			list, _, err := s.ListClients(ctx, oauthreg.ListQuery{NameContains: id + "\xff", Count: true})
			must(t, err)
			if len(list) != 0 {
				t.Errorf("%q: got %d clients", id, len(list))
			}
		}
		// A browser may say what it likes.
		must(t, s.CreateLoginSession(ctx, oauthreg.LoginSession{Handle: "h", Login: oauthreg.Login{Subject: "alice", SessionID: "sid"}, UserAgent: "Br\xf6wser"}))
		l, err := s.LoginSession(ctx, "h")
		must(t, err)
		if l.UserAgent != "Br\uFFFDwser" {
			t.Errorf("got user agent %q", l.UserAgent)
		}
	})
}

// Values that a database cannot take are refused and not bent.
func TestForeignTextIsNotStored(t *testing.T) {
	eachServer(t, func(t *testing.T, kind string) {
		s := openTest(t, kind, testConfig(newClock()))
		ctx := t.Context()
		addClient(t, s, func(rec *oauthreg.Record) { rec.Client.ID = "k" })
		must(t, s.CreateInteraction(ctx, oauthreg.Interaction{Handle: "h", ExpiresAt: s.now().Add(time.Hour)}))
		for what, err := range map[string]error{
			"insert": s.CreateGrant(ctx, oauthreg.Grant{ID: "g\xff", ClientID: "k", Subject: "alice"}),
			"yield":  s.JoinSession(ctx, oauthreg.SessionMember{SessionID: "s", ClientID: "k\xff", Subject: "alice"}),
			"update": s.UpdateInteraction(ctx, oauthreg.Interaction{Handle: "h", SessionID: "s\xff"}),
		} {
			if !errors.Is(err, errText) {
				t.Errorf("%s: got %v, want errText", what, err)
			}
		}
		if kind == "mysql" {
			long := strings.Repeat("x", 300)
			if err := s.CreateGrant(ctx, oauthreg.Grant{ID: long, ClientID: "k", Subject: "alice"}); err == nil {
				t.Error("what is too long was cut off")
			}
			if err := s.JoinSession(ctx, oauthreg.SessionMember{SessionID: long, ClientID: "k", Subject: "alice"}); err == nil {
				t.Error("what is too long was cut off by an insert that yields")
			}
		}
	})
}

// No error tells a password, whatever is wrong with the DSN.
func TestPasswordsAreNotTold(t *testing.T) {
	for _, dsn := range []string{
		"postgres://u:s3cr3t@127.0.0.1:1/db",
		"postgres://u:s3cr3t@127.0.0.1:1/db?sslmode=nonsense",
		"postgres://u:s3cr3t@127.0.0.1:1/db?pool_max_conns=many",
		"postgres://u:s3cr3t/x@127.0.0.1:1/db",
		"postgres://u:s3cr3t%zz@127.0.0.1:1/db",
		"postgres://u:s3cr3t@127.0.0.1:port/db",
		"postgres://u@127.0.0.1:1/db?password=s3cr3t&sslrootcert=/no/such/s3cr3t",
		"postgres://u:s3cr3t@127.0.0.1:1/db?x=%zz",
		"postgresql://u:s3cr3t#@127.0.0.1:1/db",
		"mysql://u:s3cr3t@127.0.0.1:1/db",
		"mysql://u:s3cr3t@127.0.0.1:1",
		"mysql://u:s3cr3t@/db",
		"mysql://u:s3cr3t@127.0.0.1:1/a/b",
		"mysql://u:s3cr3t@127.0.0.1:1/db?tls=s3cr3t",
		"mysql://u:s3cr3t@127.0.0.1:1/db?timeout=s3cr3t",
		"mysql://u:s3cr3t%zz@127.0.0.1:1/db",
		"mariadb://u:s3cr3t/@127.0.0.1:1/db",
		"my_user:s3cr3t@tcp(127.0.0.1:1)/db",
		"user:s3cr3t@tcp(127.0.0.1:1)/db",
		"host=127.0.0.1 user=u password=s3cr3t",
		"oracle://u:s3cr3t@127.0.0.1:1/db",
	} {
		s, err := Open(dsn, testConfig(newClock()))
		if err == nil {
			must(t, s.Close())
			t.Errorf("%s: got no error", dsn)
			continue
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			if strings.Contains(e.Error(), "s3cr3t") {
				t.Errorf("%s: got %v", dsn, e)
			}
		}
	}
}

// Nobody listens there, and the wrong password for a server that does.
func TestOpenUnreachable(t *testing.T) {
	for _, dsn := range []string{"postgres://u:s3cr3t@127.0.0.1:1/db", "mysql://u:s3cr3t@127.0.0.1:1/db"} {
		_, err := Open(dsn, testConfig(newClock()))
		wantErr(t, err, oauthreg.ErrUnavailable)
		if err == nil || !strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("got %v, want the server named", err)
		}
	}
	eachServer(t, func(t *testing.T, kind string) {
		u := serverDSN(t, kind)
		u.User = url.UserPassword(u.User.Username(), "wr0ng s3cr3t")
		_, err := Open(u.String(), testConfig(newClock()))
		wantErr(t, err, oauthreg.ErrUnavailable)
		if err == nil || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("got %v", err)
		}
	})
}

func TestMySQLConfig(t *testing.T) {
	for dsn, want := range map[string]string{
		"mysql://u:p@db.example/auth":                          "u:p@tcp(db.example:3306)/auth",
		"mysql://u:p%40%2F%3A%3F%20%2B@[::1]:3307/auth":        "u:p@/:? +@tcp([::1]:3307)/auth",
		"mariadb://u@/auth?socket=/run/my%20sql.sock":          "u@unix(/run/my sql.sock)/auth",
		"mysql://u:p@h/auth?timeout=2s&clientFoundRows=true":   "u:p@tcp(h:3306)/auth",
		"mysql://u:p@h/auth?multiStatements=true&collation=xy": "u:p@tcp(h:3306)/auth",
	} {
		u, _, err := serverURL(dsn)
		must(t, err)
		cfg, err := mysqlConfig(u)
		must(t, err)
		if got := cfg.FormatDSN(); !strings.HasPrefix(got, want+"?") {
			t.Errorf("%s: got %s, want %s", dsn, got, want)
		}
		if cfg.ClientFoundRows || cfg.MultiStatements || cfg.AllowAllFiles || cfg.Collation != "utf8mb4_bin" {
			t.Errorf("%s: the DSN chose what it must not: %+v", dsn, cfg)
		}
		if want := strings.Contains(dsn, "timeout=2s"); (cfg.Timeout == 2*time.Second) != want {
			t.Errorf("%s: got timeout %v", dsn, cfg.Timeout)
		}
	}
}

func TestRewrite(t *testing.T) {
	if got, want := numbered("a = ? AND b IN (?, ?)"), "a = $1 AND b IN ($2, $3)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got := yieldingByKey("INSERT INTO t (a, b)\n\tVALUES (?, ?) ON CONFLICT DO NOTHING")
	if want := "INSERT INTO t (a, b)\n\tVALUES (?, ?) ON DUPLICATE KEY UPDATE t.a = IF(LAST_INSERT_ID(1) = 0, t.a, t.a)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := yieldingByKey("SELECT 1"); got != "SELECT 1" {
		t.Errorf("got %q", got)
	}
}

// What the databases' errors mean for callers.
func TestErrorsOfServers(t *testing.T) {
	pg := func(code string) error { return fmt.Errorf("x: %w", &pgconn.PgError{Code: code}) }
	my := func(n uint16) error { return fmt.Errorf("x: %w", &mysql.MySQLError{Number: n}) }
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	for _, tt := range []struct {
		kind string
		err  error
		want error // nil: none of ours
	}{
		{"postgres", pg("23505"), oauthreg.ErrConflict},
		{"postgres", pg("40001"), oauthreg.ErrUnavailable},
		{"postgres", pg("40P01"), oauthreg.ErrUnavailable},
		{"postgres", pg("53300"), oauthreg.ErrUnavailable},
		{"postgres", pg("57P03"), oauthreg.ErrUnavailable},
		{"postgres", pg("08006"), oauthreg.ErrUnavailable},
		{"postgres", pg("25006"), oauthreg.ErrUnavailable},
		{"postgres", pg("28P01"), oauthreg.ErrUnavailable},
		{"postgres", pg("22001"), nil},
		{"postgres", pg("42601"), nil},
		{"postgres", refused, oauthreg.ErrUnavailable},
		{"postgres", io.ErrUnexpectedEOF, oauthreg.ErrUnavailable},
		{"mysql", my(1062), oauthreg.ErrConflict},
		{"mysql", my(1213), oauthreg.ErrUnavailable},
		{"mysql", my(1205), oauthreg.ErrUnavailable},
		{"mysql", my(1040), oauthreg.ErrUnavailable},
		{"mysql", my(1290), oauthreg.ErrUnavailable},
		{"mysql", my(1836), oauthreg.ErrUnavailable},
		{"mysql", my(1406), nil},
		{"mysql", my(1064), nil},
		{"mysql", mysql.ErrInvalidConn, oauthreg.ErrUnavailable},
		{"mysql", refused, oauthreg.ErrUnavailable},
	} {
		got := dialects[tt.kind].classify(tt.err)
		for _, named := range []error{oauthreg.ErrConflict, oauthreg.ErrUnavailable} {
			if errors.Is(got, named) != errors.Is(tt.want, named) {
				t.Errorf("%s: %v: got %v, want %v", tt.kind, tt.err, got, tt.want)
			}
		}
		if !errors.Is(got, tt.err) {
			t.Errorf("%s: %v: the cause is lost", tt.kind, tt.err)
		}
	}
	for _, err := range []error{pg("42P01"), pg("42703")} {
		if got := dialects["postgres"].classify(err); !strings.Contains(got.Error(), "Migrate") {
			t.Errorf("got %v, want Migrate named", got)
		}
	}
}

var (
	tableRule  = regexp.MustCompile(`^CREATE TABLE (?:IF NOT EXISTS )?(\w+) \($`)
	columnRule = regexp.MustCompile(`^ {4}(\w+) +(TEXT|INTEGER|BLOB|BIGINT|BYTEA|VARBINARY|MEDIUMBLOB|MEDIUMTEXT)\b(.*?)(,|--|$)`)
)

// Every dialect has the same migrations, which make the same columns, NULL where
// the others have NULL.
func TestDialectsHaveTheSameSchema(t *testing.T) {
	shape := func(dialect string) (names, columns []string) {
		have, err := migrationsOf(dialect)
		must(t, err)
		for _, m := range have {
			names = append(names, fmt.Sprint(m.version, m.name))
			table := ""
			for line := range strings.Lines(m.text) {
				line = strings.TrimRight(line, "\n")
				if found := tableRule.FindStringSubmatch(line); found != nil {
					table = found[1]
				} else if found := columnRule.FindStringSubmatch(line); found != nil && table != "" {
					columns = append(columns, fmt.Sprint(table, ".", found[1], " ", strings.Contains(found[3], "NOT NULL")))
				}
			}
		}
		slices.Sort(columns)
		return names, columns
	}
	names, columns := shape("sqlite")
	if len(columns) < 100 {
		t.Fatalf("found %d columns", len(columns))
	}
	for d := range dialects {
		n, c := shape(d)
		if !reflect.DeepEqual(n, names) {
			t.Errorf("%s: got migrations %v, want %v", d, n, names)
		}
		for _, missing := range columns {
			if !slices.Contains(c, missing) {
				t.Errorf("%s lacks %s", d, missing)
			}
		}
		for _, more := range c {
			if !slices.Contains(columns, more) {
				t.Errorf("%s has %s, sqlite not", d, more)
			}
		}
	}
}

// On MySQL a migration that was interrupted after any of its statements is
// continued.
func TestMySQLMigrationContinues(t *testing.T) {
	have, err := migrationsOf("mysql")
	must(t, err)
	for _, m := range have {
		for done := 1; done <= len(splitScript(m.text)); done++ {
			s := openUnmigrated(t, place(t, "mysql"))
			for _, before := range have[:m.version] {
				statements := splitScript(before.text)
				if before.version == m.version {
					statements = statements[:done]
				}
				must(t, s.db.write(t.Context(), func(ctx context.Context, c conn) error {
					return c.script(ctx, strings.Join(statements, "\n"))
				}))
			}
			must(t, s.Migrate(t.Context()))
			issue(t, s, newRequest(s, addClient(t, s)))
			if n := added(t, s); n != 0 {
				t.Errorf("%s, interrupted after %d: got %d counters too many", m.name, done, n)
			}
			if done > 3 && done < len(splitScript(m.text))-2 {
				done += 4 // not all of them: each needs a database
			}
		}
	}
}
