package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Migrations are numbered files per dialect, the same steps in each. They are
// applied in order, each in a transaction of its own, and are never edited after
// a release: what has been applied is remembered with its checksum.
//
// In MySQL data definition commits by itself. There each statement of a
// migration must be one that can be run again (IF NOT EXISTS, INSERT IGNORE; a
// column or key that is added or dropped counts as done when it is there or
// gone), and the migration is remembered after the last. One that was
// interrupted is continued by running all of it again.
//
//go:embed migrations/*/*.sql
var migrationFiles embed.FS

// Migration is one step of the schema.
type Migration struct {
	// Version numbers the steps from 1 without gaps.
	Version int
	// Name says what it does, as in its file's name.
	Name string
	// AppliedAt is zero while it is pending.
	AppliedAt time.Time
}

// migration is one that this program has.
type migration struct {
	version  int
	name     string
	checksum string
	text     string
}

// migrationsOf reads the embedded files of a dialect, once.
var migrationsOf = func() func(dialect string) ([]migration, error) {
	var all sync.Map // dialect -> []migration
	return func(dialect string) ([]migration, error) {
		if m, ok := all.Load(dialect); ok {
			return m.([]migration), nil
		}
		m, err := readMigrations(migrationFiles, "migrations/"+dialect)
		if err != nil {
			return nil, err
		}
		all.Store(dialect, m)
		return m, nil
	}
}()

func readMigrations(files fs.FS, dir string) ([]migration, error) {
	entries, err := fs.ReadDir(files, dir) // in order of their names
	if err != nil {
		return nil, err
	}
	var out []migration
	for i, e := range entries {
		number, name, ok := strings.Cut(strings.TrimSuffix(e.Name(), ".sql"), "_")
		version, err := strconv.Atoi(number)
		if !ok || err != nil || version != i+1 {
			return nil, fmt.Errorf("migration file %s/%s: names are 0001_what.sql, numbered without gaps", dir, e.Name())
		}
		text, err := fs.ReadFile(files, dir+"/"+e.Name())
		if err != nil {
			return nil, err
		}
		text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")) // as some checkouts have it
		sum := sha256.Sum256(text)
		out = append(out, migration{version, name, hex.EncodeToString(sum[:]), string(text)})
	}
	return out, nil
}

// schemaTable remembers what was applied. It is made by Migrate itself.
const schemaTable = `CREATE TABLE IF NOT EXISTS oauthreg_schema_migrations (
    version    INTEGER NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    checksum   TEXT    NOT NULL, -- SHA-256 of the file, in hexadecimal
    applied_at TEXT    NOT NULL  -- RFC 3339, UTC: for people
)`

// hasSchemaTable reports whether the table is there.
func hasSchemaTable(ctx context.Context, c conn) (bool, error) {
	var n int
	return c.one(ctx, c.sql.d.tableExists, []any{c.sql.prefix + "schema_migrations"}, &n)
}

// applied reads what was applied, nothing when the table does not exist yet,
// and refuses a history that is not this program's.
func applied(ctx context.Context, c conn, have []migration) ([]Migration, error) {
	found, err := hasSchemaTable(ctx, c)
	if err != nil || !found {
		return nil, err
	}
	var out []Migration
	err = c.each(ctx, "SELECT version, name, checksum, applied_at FROM oauthreg_schema_migrations ORDER BY version", nil, func(scan func(...any) error) error {
		var m Migration
		var checksum, at string
		if err := scan(&m.Version, &m.Name, &checksum, &at); err != nil {
			return err
		}
		if m.Version > len(have) {
			return fmt.Errorf("the database has migration %04d_%s, this program knows none after %04d: a newer version of the program has migrated it", m.Version, m.Name, len(have))
		}
		if m.Version != len(out)+1 {
			return fmt.Errorf("the database lacks migration %04d but has %04d", len(out)+1, m.Version)
		}
		if k := have[m.Version-1]; k.checksum != checksum {
			return fmt.Errorf("migration %04d_%s was applied with other contents than this program's %04d_%s", m.Version, m.Name, k.version, k.name)
		}
		var err error
		m.AppliedAt, err = time.Parse(time.RFC3339, at)
		out = append(out, m)
		return err
	})
	return out, err
}

// Migrate brings the schema up to date. It is safe to call at every start and
// from any number of processes at once, each migration is applied once. It
// refuses, before it changes anything, a database that a newer version of this
// program has migrated, and one whose history differs from this program's.
//
// A migration is applied wholly or not at all; on MySQL and MariaDB, which
// commit after each change of the schema, one that was interrupted is continued
// by calling Migrate again.
func (s *Store) Migrate(ctx context.Context) error {
	const doing = "migrate"
	have, err := migrationsOf(s.sql.d.name)
	if err != nil {
		return explain(doing, err)
	}
	fresh, err := s.emptyInMemory(ctx)
	if err != nil {
		return explain(doing, err)
	}
	if fresh {
		if copied, err := s.copyMigrated(ctx); err != nil || copied {
			return explain(doing, err)
		}
	}
	if err := s.migrate(ctx, doing, have); err != nil {
		return err
	}
	if fresh {
		s.keepMigrated()
	}
	return nil
}

// migrate applies what is pending of have.
func (s *Store) migrate(ctx context.Context, doing string, have []migration) error {
	// Most starts find nothing to do, and need no lock for it.
	var done []Migration
	err := s.read(ctx, doing, func(ctx context.Context, c conn) (err error) {
		done, err = applied(ctx, c, have)
		return err
	})
	if err != nil {
		return err
	}
	for i := len(done); i < len(have); i++ {
		m := have[i]
		err := s.write(ctx, doing, func(ctx context.Context, c conn) error {
			if c.sql.d.lock != nil {
				unlock, err := c.sql.d.lock(ctx, c)
				if err != nil {
					return err
				}
				defer unlock()
			}
			// On PostgreSQL IF NOT EXISTS looks into the first schema of the
			// search path alone, the other statements into all.
			if found, err := hasSchemaTable(ctx, c); err != nil {
				return err
			} else if !found {
				if _, err := c.exec(ctx, schemaTable+c.sql.d.tableOptions); err != nil {
					return err
				}
			}
			// Now that others are excluded: one of them may have been faster.
			done, err := applied(ctx, c, have)
			if err != nil || len(done) >= m.version {
				return err
			}
			if err := c.script(ctx, m.text); err != nil {
				return fmt.Errorf("%04d_%s: %w", m.version, m.name, err)
			}
			// MySQL's lock ends before the commit: another may have been here, and
			// done the same.
			_, err = c.exec(ctx, "INSERT INTO oauthreg_schema_migrations (version, name, checksum, applied_at) VALUES (?, ?, ?, ?)"+onConflict,
				m.version, m.name, m.checksum, s.now().Format(time.RFC3339))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// MigrationStatus lists the migrations this program knows, applied and pending.
// It changes nothing. It refuses as [Store.Migrate] does.
func (s *Store) MigrationStatus(ctx context.Context) ([]Migration, error) {
	const doing = "migration status"
	have, err := migrationsOf(s.sql.d.name)
	if err != nil {
		return nil, explain(doing, err)
	}
	var done []Migration
	err = s.read(ctx, doing, func(ctx context.Context, c conn) (err error) {
		done, err = applied(ctx, c, have)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, m := range have[len(done):] {
		done = append(done, Migration{Version: m.version, Name: m.name})
	}
	return done, nil
}

// PendingSQL is the script that [Store.Migrate] would run, for those who let
// somebody else change their schemas; empty when there is nothing to do. It
// records what it applies, so that Migrate agrees afterwards.
func (s *Store) PendingSQL(ctx context.Context) (string, error) {
	status, err := s.MigrationStatus(ctx)
	if err != nil {
		return "", err
	}
	have, err := migrationsOf(s.sql.d.name)
	if err != nil {
		return "", explain("pending migrations", err)
	}
	if len(status) != len(have) {
		return "", errors.New("storage: pending migrations: the list of migrations is not complete")
	}
	var b strings.Builder
	for i, m := range have {
		if !status[i].AppliedAt.IsZero() {
			continue
		}
		if b.Len() == 0 {
			b.WriteString(s.sql.of(schemaTable+s.sql.d.tableOptions) + ";\n")
		}
		begin, commit := "BEGIN;\n", "COMMIT;\n"
		if s.sql.d.implicitCommit {
			begin, commit = "", ""
		}
		fmt.Fprintf(&b, "\n%s%s", begin, s.sql.of(m.text))
		fmt.Fprintf(&b, "INSERT INTO %sschema_migrations (version, name, checksum, applied_at) VALUES (%d, '%s', '%s', '%s');\n%s",
			s.sql.prefix, m.version, m.name, m.checksum, s.now().Format(time.RFC3339), commit)
	}
	return b.String(), nil
}
