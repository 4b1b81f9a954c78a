//go:build cgo

package storage

import (
	"testing"

	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
)

// hostDialector is the SQLite that a host would open with gorm.
func hostDialector(_ *testing.T, path string) gorm.Dialector {
	return sqlite.Open("file:" + path + "?_busy_timeout=10000&_txlock=immediate&_journal_mode=WAL")
}
