// Command standalone is a complete development authorization server: package
// oauthreg's registry in a SQLite file, served by package handlers, with a demo
// client and a demo user unless files name others. Run it with -h for its flags.
//
// main parses the process and nothing else; run does the work and is what the
// tests call. flags.go has the options, secrets.go the master key, users.go the
// users file, metrics.go what -metrics serves, demo.go what is there without
// files, serve.go the wiring, logs.go the log, conformance.go and database.go what is done instead
// of serving.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// gcPercent lets the heap, which is some megabytes, grow further than usual
// before it is collected: every request costs less for it.
const gcPercent = 300

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once: the first one is then no longer caught.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}
