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

// saveImage returns the database of a connection as one value.
func saveImage(driverConn any) ([]byte, error) {
	return driverConn.(interface{ Serialize() ([]byte, error) }).Serialize()
}

// loadImage makes the database of a connection a copy of what saveImage returned.
func loadImage(driverConn any, image []byte) error {
	return driverConn.(interface{ Deserialize(buf []byte) error }).Deserialize(image)
}
