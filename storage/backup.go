package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// Backup copies a SQLite database that [Open] opened to a new file, with mode
// 0600, while the database is in use: readers and writers do not wait. The copy
// is the database as it was at one moment, without a log beside it, and can be
// opened as it is, with the same [Config.EncryptionKeys], which are not in it.
// [fs.ErrExist] when there is something of that name. What failed or was ended by
// ctx leaves no file behind.
//
// PostgreSQL and MariaDB have their own tools, pg_dump and mariadb-dump
// --single-transaction for example; for these, and for a host's database, Backup
// is an error.
func (s *Store) Backup(ctx context.Context, path string) (err error) {
	const doing = "backup"
	db, ok := s.db.(*sqliteDB)
	if !ok || db.path == "" {
		return explain(doing, errors.New("only a SQLite file that Open opened can be copied"))
	}
	if path, err = sqlitePath(path); err != nil {
		return explain(doing, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return explain(doing, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(path)
		}
	}()
	if err := f.Close(); err != nil {
		return explain(doing, err)
	}
	// Neither the writer, which would be kept busy, nor the readers, which may
	// not write anywhere.
	c, err := sql.Open(sqliteDriver, sqliteURI(db.path, url.Values{"_busy_timeout": {busyTimeout}}))
	if err != nil {
		return explain(doing, err)
	}
	_, err = c.ExecContext(ctx, "VACUUM INTO ?", path)
	if err = errors.Join(err, c.Close()); err != nil {
		return explain(doing, s.sql.d.classify(err))
	}
	// SQLite itself does not wait for the disk.
	if f, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return explain(doing, err)
	}
	if err = errors.Join(f.Sync(), f.Close()); err != nil {
		return explain(doing, fmt.Errorf("%s: %w", path, err))
	}
	return explain(doing, syncFolder(filepath.Dir(path)))
}

// syncFolder waits until the names in a folder are on the disk: without it a file
// may be there and not be found after a power cut. Windows does that by itself, and
// some file systems that cannot say EINVAL.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, f.Close())
}
