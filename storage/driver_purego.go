//go:build !cgo

package storage

import (
	"errors"

	"modernc.org/sqlite"
)

// sqliteDriver is the database/sql driver that Open uses: without cgo the
// library translated to Go, which understands the same connection parameters.
const sqliteDriver = "sqlite"

// driverCode is the extended result code of an error of this build's driver.
func driverCode(err error) (int, bool) {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code(), true
	}
	return 0, false
}
