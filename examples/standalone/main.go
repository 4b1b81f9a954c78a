// Command standalone is a complete development authorization server: package
// oauthreg's registry in a SQLite file, served by package handlers, with a demo
// client and a demo user unless files name others. Run it with -h for its flags.
//
// main parses the process and nothing else; run does the work and is what the
// tests call. flags.go has the options, secrets.go the master key, users.go the
// users file, metrics.go what -metrics serves, demo.go what is there without
// files, serve.go the wiring, logs.go the log, memory.go the heap's bounds, conformance.go and database.go what is done instead
// of serving.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once: the first one is then no longer caught.
	context.AfterFunc(ctx, stop)
	beforeServing = tune
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}
