package storage

import (
	"context"
	"fmt"
	"sync"
)

// migratedImages are databases with nothing in them but the schema, by table
// prefix: the first database in memory that a process migrates is kept, and the
// others begin as copies of it. Tests open one database each, and the schema is
// most of what that costs.
var migratedImages sync.Map // of prefix to []byte

// emptyInMemory reports whether the database is one of our own in memory, with
// nothing in it yet.
func (s *Store) emptyInMemory(ctx context.Context) (bool, error) {
	db, ok := s.db.(*sqliteDB)
	if !ok || db.shared == nil {
		return false, nil
	}
	var tables int
	err := db.read(ctx, func(ctx context.Context, c conn) error {
		_, err := c.one(ctx, "SELECT count(*) FROM sqlite_master", nil, &tables)
		return err
	})
	return tables == 0, err
}

// raw lets fn use the driver's connection of a database in memory, while nothing
// else does.
func (db *sqliteDB) raw(fn func(driverConn any) error) error {
	db.shared.Lock()
	defer db.shared.Unlock()
	if db.writer.conn == nil {
		return errClosed
	}
	return db.writer.conn.Raw(fn)
}

// copyMigrated makes a database of emptyInMemory a copy of a migrated one, and
// reports whether it did. Where there is none yet, migrations are applied.
func (s *Store) copyMigrated(ctx context.Context) (bool, error) {
	image, ok := migratedImages.Load(s.sql.prefix)
	if !ok {
		return false, ctx.Err()
	}
	if err := s.db.(*sqliteDB).raw(func(c any) error { return loadImage(c, image.([]byte)) }); err != nil {
		return false, fmt.Errorf("copy schema: %w", s.sql.d.classify(err))
	}
	return true, nil
}

// keepMigrated keeps the schema for copyMigrated, of a database of emptyInMemory
// that was migrated.
func (s *Store) keepMigrated() {
	_ = s.db.(*sqliteDB).raw(func(c any) error { // a driver that cannot is no harm: migrations are applied each time
		image, err := saveImage(c)
		if err == nil {
			migratedImages.LoadOrStore(s.sql.prefix, image)
		}
		return err
	})
}
