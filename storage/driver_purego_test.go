//go:build !cgo

package storage

import (
	"database/sql"
	"testing"

	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
)

// hostDialector is the SQLite that a host would open with gorm.
func hostDialector(t *testing.T, path string) gorm.Dialector {
	db, err := sql.Open(sqliteDriver, "file:"+path+"?_busy_timeout=10000&_txlock=immediate&_journal_mode=WAL")
	must(t, err)
	return sqlite.New(sqlite.Config{Conn: db})
}
