package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/oauthreg/oauthreg/storage"
)

// printMigrations prints which migrations are applied, or the SQL of those that
// are not, and changes nothing: a SQLite file that is not there is not made.
func printMigrations(ctx context.Context, o options, stdout io.Writer) (err error) {
	db := o.db
	if err := exists(db); errors.Is(err, fs.ErrNotExist) {
		db = ":memory:" // has as many migrations as a file that is not there
	}
	// Nothing that is encrypted is read.
	store, err := storage.Open(db, storage.Config{EncryptionKeys: [][]byte{newMasterKey()}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if o.migrate == "sql" {
		text, err := store.PendingSQL(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", databaseName(o.db), err)
		}
		_, err = io.WriteString(stdout, text)
		return err
	}
	status, err := store.MigrationStatus(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", databaseName(o.db), err)
	}
	for _, m := range status {
		applied := "pending"
		if !m.AppliedAt.IsZero() {
			applied = "applied " + m.AppliedAt.Format(time.RFC3339)
		}
		if _, err := fmt.Fprintf(stdout, "%04d %s %s\n", m.Version, m.Name, applied); err != nil {
			return err
		}
	}
	return nil
}

// backup copies the database. The key is not needed for it.
func backup(ctx context.Context, o options) error {
	if err := exists(o.db); err != nil {
		return err
	}
	store, err := storage.Open(o.db, storage.Config{EncryptionKeys: [][]byte{newMasterKey()}})
	if err != nil {
		return err
	}
	if err := errors.Join(store.Backup(ctx, o.backup), store.Close()); err != nil {
		return fmt.Errorf("%s: %w", databaseName(o.db), err)
	}
	return nil
}

// exists is an error for a SQLite file that is not there: Open would make it.
func exists(db string) error {
	if strings.Contains(db, "://") {
		return nil
	}
	_, err := os.Stat(db)
	return err
}

// reencrypt seals everything with the newest key, so that older ones, but for the
// first line of the key file, can be removed from it.
func reencrypt(ctx context.Context, o options, stdout io.Writer) error {
	if err := exists(o.db); err != nil {
		return err
	}
	keys, err := encryptionKeys(keyFile(o.db, o.key))
	if err != nil {
		return err
	}
	store, err := storage.Open(o.db, storage.Config{EncryptionKeys: keys})
	if err != nil {
		return err
	}
	n, err := store.Reencrypt(ctx)
	if err = errors.Join(err, store.Close()); err != nil {
		return fmt.Errorf("%s: %w", databaseName(o.db), err)
	}
	_, err = fmt.Fprintf(stdout, "%d values encrypted with the newest key\n", n)
	return err
}

// migrated is an error while there are pending migrations.
func migrated(ctx context.Context, store *storage.Store) error {
	status, err := store.MigrationStatus(ctx)
	if err != nil {
		return err
	}
	for _, m := range status {
		if m.AppliedAt.IsZero() {
			return fmt.Errorf("migration %04d_%s is pending, and -migrate is off; -migrate sql prints it", m.Version, m.Name)
		}
	}
	return nil
}

// databaseName is what to call a database in a message: a DSN has a password.
func databaseName(db string) string {
	if u, err := url.Parse(db); err == nil && strings.Contains(db, "://") {
		u.RawQuery = "" // may have one too
		return u.Redacted()
	}
	return db
}
