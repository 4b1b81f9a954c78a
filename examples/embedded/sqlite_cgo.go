//go:build cgo

package main

// sqliteDriver is the driver that package storage brings with cgo.
const sqliteDriver = "sqlite3"
