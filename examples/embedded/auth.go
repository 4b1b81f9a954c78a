package main

import (
	"context"
	"io/fs"
	"net/http"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/handlers/bearer"
	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// README begin

// mountAuth makes the app an authorization server: at /auth, in the app's own
// database (a.db, a *gorm.DB), for the app's own users (a is a handlers.SignIn).
// master is 32 random bytes that the app keeps; api is what tokens give access to.
func (a *app) mountAuth(ctx context.Context, mux *http.ServeMux, master []byte, pages fs.FS, api http.Handler) error {
	store, err := storage.New(a.db, storage.Config{EncryptionKeys: [][]byte{oauthreg.DeriveKey(master, "storage")}, NewSession: handlers.NewSession})
	if err != nil {
		return err
	}
	if err := store.Migrate(ctx); err != nil { // tables oauthreg_*, beside the app's own
		return err
	}
	registry, err := oauthreg.NewRegistry(oauthreg.Config{Store: store, SecretKey: oauthreg.DeriveKey(master, "secrets")})
	if err != nil {
		return err
	}
	keys, err := oauthreg.OpenKeyRing(ctx, oauthreg.KeyRingConfig{Store: store})
	if err != nil {
		return err
	}
	renderer, err := handlers.NewRenderer(pages) // the app's templates in place of ours
	if err != nil {
		return err
	}
	issuer := a.origin + "/auth"
	server, err := handlers.New(handlers.Config{
		Issuer: issuer, Registry: registry, Store: store, Keys: keys, Secrets: [][]byte{oauthreg.DeriveKey(master, "tokens")},
		SignIn: a, Claims: a, Renderer: renderer,
		Scopes: []handlers.Scope{{Name: "openid"}, {Name: "notes", Title: "Your notes", Description: "Read what you wrote."}},
	})
	if err != nil {
		return err
	}
	protect := bearer.Middleware(bearer.Config{Verifier: server.Verifier(), Resource: issuer, Scopes: []string{"notes"}, ResourceMetadata: handlers.ResourceMetadataURL(issuer)})
	mux.Handle("/auth/", server)
	mux.Handle("/.well-known/", server)
	mux.Handle("/api/", protect(api))
	a.store, a.registry, a.server = store, registry, server
	return nil
}

// README end
