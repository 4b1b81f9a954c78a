//go:build cgo

package storage

import (
	"errors"

	"github.com/mattn/go-sqlite3"
)

// sqliteDriver is the database/sql driver that Open uses: with cgo the C library.
const sqliteDriver = "sqlite3"

// driverCode is the extended result code of an error of this build's driver.
func driverCode(err error) (int, bool) {
	var e sqlite3.Error
	if errors.As(err, &e) {
		return int(e.ExtendedCode), true
	}
	return 0, false
}
