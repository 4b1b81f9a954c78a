package oauthreg

import (
	"context"
	"time"
)

// Login says who is signed in at a browser, and how they proved it.
type Login struct {
	// Subject is the user's stable identifier at the host, at most 255
	// characters (sub of OpenID Connect Core §2). Never reused.
	Subject string
	// SessionID names the sign-in session (sid); unique, not a credential.
	SessionID string
	// AuthTime is when the user last proved who they are.
	AuthTime time.Time
	// AMR and ACR are how (RFC 8176, OpenID Connect Core §2); may be empty.
	AMR []string
	ACR string
}

// LoginSession is a session of the built-in sign-in.
type LoginSession struct {
	Login
	// Handle is the cookie's value. Stores keep only a digest of it; it is
	// empty on a session that was listed rather than looked up.
	Handle     string
	CreatedAt  time.Time
	LastSeenAt time.Time
	// ExpiresAt is the absolute end; IdleExpiresAt moves with use.
	ExpiresAt     time.Time
	IdleExpiresAt time.Time
	// UserAgent is shown to the user in the list of their sessions.
	UserAgent string
}

// SessionStore keeps the sessions of the built-in sign-in.
type SessionStore interface {
	// CreateLoginSession stores s under the digest of s.Handle. Inside a
	// transaction of the engine it is part of it.
	CreateLoginSession(ctx context.Context, s LoginSession) error
	// LoginSession finds by handle; [ErrNotFound] when unknown, ended or expired.
	LoginSession(ctx context.Context, handle string) (LoginSession, error)
	// TouchLoginSession moves LastSeenAt and IdleExpiresAt. A session that has
	// ended stays so.
	TouchLoginSession(ctx context.Context, handle string, seen, idleExpires time.Time) error
	// ListLoginSessions returns the live sessions of a subject, newest first.
	ListLoginSessions(ctx context.Context, subject string) ([]LoginSession, error)
	// EndLoginSession ends the session with that session id ([Login.SessionID]);
	// nil when there is none. Inside a transaction of the engine it is part of it.
	EndLoginSession(ctx context.Context, sessionID string) error
}

// Interaction is an authorization request that waits for a person: to sign in,
// or to decide. It is kept on the server, bound to one browser, and ends once.
type Interaction struct {
	// Handle is what URLs and forms carry. Stores keep only its digest.
	Handle string
	// Browser is the value of the browser's binding cookie. Stores keep only
	// its digest; it is empty on what a store returns.
	Browser string
	// ClientID is the client's internal id.
	ClientID string
	// Subject and SessionID are who the decision is asked of; empty until the
	// user signed in.
	Subject   string
	SessionID string
	// Request is the authorization request's parameters, as JSON; opaque to
	// stores, which may encrypt it.
	Request   []byte
	CreatedAt time.Time
	ExpiresAt time.Time
}

// InteractionStore keeps authorization requests between the browser's visits.
type InteractionStore interface {
	// CreateInteraction stores i under the digest of i.Handle; [ErrConflict] when
	// that is taken. Inside a transaction of the engine it is part of it, and the
	// verdict may come with the commit.
	CreateInteraction(ctx context.Context, i Interaction) error
	// Interaction returns the pending interaction with that handle, if browser
	// is the one it is bound to; an empty browser skips that check, for callers
	// that proved themselves otherwise. [ErrNotFound] when unknown, expired or
	// of another browser; [ErrConsumed] when it was finished, with
	// its ClientID if the store still knows it.
	Interaction(ctx context.Context, handle, browser string) (Interaction, error)
	// UpdateInteraction replaces Subject, SessionID and Request of a pending
	// interaction; [ErrConsumed] when it was finished, [ErrNotFound] when gone.
	// Inside a transaction of the engine it is part of it, and the verdict may
	// come with the commit.
	UpdateInteraction(ctx context.Context, i Interaction) error
	// FinishInteraction ends it. Of any number of concurrent calls exactly one
	// returns nil; the others get [ErrConsumed]. Inside a transaction of the
	// engine it takes part in it, and the verdict may come with the commit.
	FinishInteraction(ctx context.Context, handle string) error
}
