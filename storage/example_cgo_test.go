//go:build cgo

package storage_test

// sqliteDriver is the driver that package storage brings with cgo.
const sqliteDriver = "sqlite3"
