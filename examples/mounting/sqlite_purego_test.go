//go:build !cgo

package mounting

// sqliteDriver is the driver that package storage brings without cgo.
const sqliteDriver = "sqlite"
