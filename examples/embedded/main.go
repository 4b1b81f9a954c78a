// Command embedded is an ordinary web application, a place for short notes, that
// has become an authorization server: it keeps its own users, sessions and
// sign-in page in its own database, lets its users register programs, asks them
// on a page of its own whether a program may read their notes, and serves the
// notes to programs as JSON.
//
//	go run ./examples/embedded
//
// What makes it an authorization server is in auth.go and signin.go; the rest is
// the application. It is for development: it serves plain http on loopback.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"gorm.io/gorm"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "embedded:", err)
		os.Exit(1)
	}
}

// run is main without the process: it serves until ctx ends.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("embedded", flag.ContinueOnError)
	flags.SetOutput(stdout)
	addr := flags.String("addr", "127.0.0.1:8080", "address to listen on, of this machine")
	file := flags.String("db", "notes.db", "the SQLite file; its key stands beside it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	master, err := masterKey(*file + ".key")
	if err != nil {
		return err
	}
	db, err := openDatabase(*file)
	if err != nil {
		return err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	a, err := newApp(ctx, db, "http://"+ln.Addr().String(), master)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	return a.serve(ctx, ln, stdout)
}

// app is the application. Its last three fields make it an authorization server.
type app struct {
	db      *gorm.DB
	origin  string // where browsers find it, without a slash at the end
	handler http.Handler

	store    *storage.Store
	registry *oauthreg.Registry
	server   *handlers.Server
}

// newApp puts the application together.
func newApp(ctx context.Context, db *gorm.DB, origin string, master []byte) (*app, error) {
	if err := db.WithContext(ctx).AutoMigrate(&user{}, &session{}, &note{}, &program{}); err != nil {
		return nil, err
	}
	templates, err := fs.Sub(pages, "pages/auth")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	a := &app{db: db, origin: origin, handler: mux}
	mux.Handle("/", a.site())
	return a, a.mountAuth(ctx, mux, master, templates, a.api())
}

func (a *app) serve(ctx context.Context, ln net.Listener, stdout io.Writer) error {
	srv := &http.Server{Handler: a.handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var work sync.WaitGroup
	work.Go(func() { _ = a.server.Run(background) })                         // ends without an error
	work.Go(func() { _ = a.store.RunJanitor(background, time.Minute, nil) }) // too
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	_, _ = fmt.Fprintf(stdout, "listening on %s\nOpen it in a browser, sign up, and register a program: the page then shows a first flow.\n", a.origin)

	select {
	case err := <-served: // the listener broke
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := srv.Shutdown(drain)
	stop()
	work.Wait()
	return err
}

// masterKey reads the key that everything secret is derived from, or makes one.
// An application has it from wherever it keeps its secrets.
func masterKey(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		b = make([]byte, 32)
		_, _ = rand.Read(b) // never fails (crypto/rand)
		err = os.WriteFile(file, b, 0o600)
	}
	if err == nil && len(b) != 32 {
		err = fmt.Errorf("%s has %d bytes, not the 32 of a key", file, len(b))
	}
	return b, err
}
