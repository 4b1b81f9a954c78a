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

// saveImage returns the database of a connection as one value.
func saveImage(driverConn any) ([]byte, error) {
	return driverConn.(*sqlite3.SQLiteConn).Serialize("main")
}

// loadImage makes the database of a connection a copy of what saveImage
// returned. The driver's own Deserialize makes one that cannot grow, so it is
// copied from there.
func loadImage(driverConn any, image []byte) error {
	opened, err := new(sqlite3.SQLiteDriver).Open(":memory:")
	if err != nil {
		return err
	}
	from := opened.(*sqlite3.SQLiteConn)
	defer func() { _ = from.Close() }() // a copy in memory
	if err := from.Deserialize(image, "main"); err != nil {
		return err
	}
	copying, err := driverConn.(*sqlite3.SQLiteConn).Backup("main", from, "main")
	if err != nil {
		return err
	}
	_, err = copying.Step(-1)
	return errors.Join(err, copying.Finish())
}
