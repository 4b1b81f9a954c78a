package handlers

import (
	"context"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	fositestorage "github.com/ory/fosite/storage"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// Store is what a [Server] needs of a database beyond the registry's own store;
// storage.Store fulfils it, and storage/storagetest tells whether another does.
// All methods must be safe for concurrent use.
type Store interface {
	// The engine's storage for codes and tokens, under one transaction.
	oauth2.CoreStorage
	fositestorage.Transactional

	oauthreg.GrantStore
	oauthreg.InteractionStore
	oauthreg.SessionStore
	oauthreg.LogoutOutbox

	// SetClientAssertionJWT uses up the jti of a client assertion:
	// [fosite.ErrJTIKnown] when it was used before and has not expired.
	SetClientAssertionJWT(ctx context.Context, jti string, exp time.Time) error
	// DeleteAccessTokenSession revokes one access token alone; part of
	// oauth2.CoreStorage, named here because revocation relies on it.
	DeleteAccessTokenSession(ctx context.Context, signature string) error
	// Ping reports whether the database can be reached, for /readyz.
	Ping(ctx context.Context) error
}

var _ fosite.Session = (*Session)(nil)
