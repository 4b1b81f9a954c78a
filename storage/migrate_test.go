package storage

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
)

func openUnmigrated(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path, testConfig(newClock()))
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func run(t *testing.T, s *Store, statement string, args ...any) {
	t.Helper()
	must(t, s.db.write(t.Context(), func(ctx context.Context, c conn) error {
		_, err := c.exec(ctx, statement, args...)
		return err
	}))
}

func TestMigrate(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) { testMigrate(t, openUnmigrated(t, place(t, kind))) })
	}
}

func testMigrate(t *testing.T, s *Store) {
	ctx := t.Context()

	_, err := s.GetClient(ctx, "x")
	if err == nil || !strings.Contains(err.Error(), "Migrate") {
		t.Errorf("read: got %v, want it to mention Migrate", err)
	}
	err = s.SetClientAssertionJWT(ctx, "x", s.now())
	if err == nil || !strings.Contains(err.Error(), "Migrate") {
		t.Errorf("write: got %v, want it to mention Migrate", err)
	}

	status, err := s.MigrationStatus(ctx)
	must(t, err)
	if len(status) == 0 || status[0].Version != 1 || status[0].Name != "initial" || !status[0].AppliedAt.IsZero() {
		t.Errorf("before: got %+v", status)
	}
	must(t, s.Migrate(ctx))
	must(t, s.Migrate(ctx))
	status, err = s.MigrationStatus(ctx)
	must(t, err)
	for _, m := range status {
		if !m.AppliedAt.Equal(s.now()) {
			t.Errorf("after: got %+v", m)
		}
	}
	text, err := s.PendingSQL(ctx)
	must(t, err)
	if text != "" {
		t.Errorf("got pending %q, want nothing", text)
	}
	addClient(t, s)
}

// Ten servers that start at the same time on a new database.
func TestMigrateConcurrently(t *testing.T) {
	for _, kind := range sharedKinds {
		t.Run(kind, func(t *testing.T) {
			path := place(t, kind)
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					s, err := Open(path, testConfig(newClock()))
					if err != nil {
						t.Error(err)
						return
					}
					if err := errors.Join(s.Migrate(t.Context()), s.Close()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			s := openUnmigrated(t, path)
			have, err := migrationsOf(s.sql.d.name)
			must(t, err)
			if n := count(t, s, "schema_migrations"); n != len(have) {
				t.Errorf("got %d migrations recorded, want %d", n, len(have))
			}
		})
	}
}

// What PendingSQL writes is what Migrate does, for any prefix.
func TestPendingSQL(t *testing.T) {
	for _, kind := range sharedKinds {
		t.Run(kind, func(t *testing.T) {
			for _, prefix := range []string{"", "my_"} {
				cfg := testConfig(newClock())
				cfg.TablePrefix = prefix
				dsn := place(t, kind)
				s, err := Open(dsn, cfg)
				must(t, err)
				t.Cleanup(func() { must(t, s.Close()) })
				text, err := s.PendingSQL(t.Context())
				must(t, err)
				if prefix != "" && strings.Contains(text, "oauthreg_") {
					t.Error("the script has names without the prefix")
				}
				// As a person would run it, which is not in a transaction of ours.
				people := runScript(t, kind, dsn, s)
				_, err = people.ExecContext(t.Context(), text)
				must(t, err)
				status, err := s.MigrationStatus(t.Context())
				must(t, err)
				for _, m := range status {
					if m.AppliedAt.IsZero() {
						t.Errorf("%+v is still pending", m)
					}
				}
				must(t, s.Migrate(t.Context()))
				issue(t, s, newRequest(s, addClient(t, s)))
			}
		})
	}
}

// runScript is where a script of several statements can be run.
func runScript(t *testing.T, kind, dsn string, s *Store) interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
} {
	t.Helper()
	if kind == "file" {
		return s.db.(*sqliteDB).writer.conn
	}
	driver, source := hostDriver(t, kind, dsn)
	if kind == "mysql" {
		source += "&multiStatements=true"
	}
	db, err := sql.Open(driver, source)
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	return db
}

func TestMigrateRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, sql string
		want      string
	}{
		{"a newer database", "INSERT INTO oauthreg_schema_migrations VALUES (99, 'future', 'x', '2030-01-01T00:00:00Z')", "newer version"},
		{"other contents", "UPDATE oauthreg_schema_migrations SET checksum = 'x' WHERE version = 1", "other contents"},
		{"a gap", "DELETE FROM oauthreg_schema_migrations WHERE version = 1", "lacks migration 0001"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, s *Store, _ *clock) {
				run(t, s, tt.sql)
				for what, err := range map[string]error{
					"Migrate":         s.Migrate(t.Context()),
					"MigrationStatus": func() error { _, err := s.MigrationStatus(t.Context()); return err }(),
					"PendingSQL":      func() error { _, err := s.PendingSQL(t.Context()); return err }(),
				} {
					if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
						t.Errorf("%s: got %v, want one line with %q", what, err, tt.want)
					}
				}
			})
		})
	}
}

// A migration that fails leaves nothing of itself.
func TestMigrationIsAtomic(t *testing.T) {
	for _, kind := range []string{"memory", "file", "postgres"} {
		t.Run(kind, func(t *testing.T) {
			s := openUnmigrated(t, place(t, kind))
			run(t, s, "CREATE TABLE oauthreg_counters (x TEXT)") // in the way of a late statement
			if err := s.Migrate(t.Context()); err == nil {
				t.Fatal("got no error")
			}
			for _, table := range []string{"oauthreg_clients", "oauthreg_schema_migrations"} {
				must(t, s.db.read(t.Context(), func(ctx context.Context, c conn) error {
					var n int
					found, err := c.one(ctx, c.sql.d.tableExists, []any{table}, &n)
					if found {
						t.Errorf("%s is there", table)
					}
					return err
				}))
			}
		})
	}
}

func TestMigrationFiles(t *testing.T) {
	for d := range dialects {
		if have, err := migrationsOf(d); err != nil || len(have) == 0 {
			t.Errorf("%s: got %d migrations, %v", d, len(have), err)
		}
	}
	for name, files := range map[string]fstest.MapFS{
		"gap":       {"d/0001_a.sql": {}, "d/0003_c.sql": {}},
		"no number": {"d/a.sql": {}},
		"no name":   {"d/0001.sql": {}},
	} {
		if _, err := readMigrations(files, "d"); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	got, err := readMigrations(fstest.MapFS{"d/0001_a.sql": {Data: []byte("x;\r\ny;\r\n")}}, "d")
	must(t, err)
	want, err := readMigrations(fstest.MapFS{"d/0001_a.sql": {Data: []byte("x;\ny;\n")}}, "d")
	must(t, err)
	if got[0] != want[0] {
		t.Error("the checksum depends on line ends")
	}
}
