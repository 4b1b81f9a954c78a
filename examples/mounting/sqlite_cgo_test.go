//go:build cgo

package mounting

// sqliteDriver is the driver that package storage brings with cgo.
const sqliteDriver = "sqlite3"
