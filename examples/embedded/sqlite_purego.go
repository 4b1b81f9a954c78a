//go:build !cgo

package main

// sqliteDriver is the driver that package storage brings without cgo.
const sqliteDriver = "sqlite"
