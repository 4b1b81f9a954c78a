//go:build !cgo

package storage_test

// sqliteDriver is the driver that package storage brings without cgo.
const sqliteDriver = "sqlite"
