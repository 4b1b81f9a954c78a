package oauthreg

import (
	"context"
	"time"
)

// Grant is one authorization of one client by one user (or by itself), made at
// one consent decision or its silent repetition. Codes, access and refresh
// tokens point at it and are worth nothing once it is revoked or expired.
type Grant struct {
	// ID is a UUID; the request id of every token beneath the grant.
	ID string
	// ClientID is the client's internal id ([Client.ID]).
	ClientID string
	// Subject is the user, by the host's identifier.
	Subject string
	// SessionID is the sign-in session the grant was made in (sid of OpenID
	// Connect Front-Channel Logout §3), empty when there is none.
	SessionID string
	// ConsentID is the remembered consent the grant stands on; empty for
	// first-party clients.
	ConsentID string
	// Scopes and Resources are what was granted.
	Scopes    []string
	Resources []string
	CreatedAt time.Time
	// LastUsedAt is when a token was last issued under the grant.
	LastUsedAt time.Time
	// ExpiresAt is the absolute end: no token outlives it.
	ExpiresAt time.Time
	// RevokedAt is zero while the grant is good.
	RevokedAt time.Time
}

// Consent is what a user once allowed a client: remembered, so that the same
// request is not asked again. Each code flow makes its own [Grant] beneath it.
type Consent struct {
	ID        string // UUID
	ClientID  string // Client.ID
	Subject   string
	Scopes    []string
	Resources []string
	CreatedAt time.Time
	// LastUsedAt is when a grant was last made on it.
	LastUsedAt time.Time
	// LastIssuedAt is when a token was last issued under it: the latest of
	// LastUsedAt and that of the live grants beneath. [GrantStore.ListConsents]
	// alone fills it in; it is not saved.
	LastIssuedAt time.Time
}

// GrantFilter selects grants and consents. Empty fields do not restrict; OrgID
// and ProjectID are those of the client.
type GrantFilter struct {
	ID        string
	ClientID  string // Client.ID
	Subject   string
	SessionID string
	OrgID     string
	ProjectID string
}

// GrantStore keeps grants and remembered consents. Implementations must be safe
// for concurrent use, and must pass storage/storagetest. They may refuse a grant or
// a consent for a client that does not exist, or is suspended, with [ErrNotFound]:
// it was deleted while the request was under way, and what is stored for it would
// come alive with the next client of its id.
type GrantStore interface {
	// CreateGrant adds g. [ErrConflict] if its ID is taken, or if ConsentID names
	// a consent that is not there: it was revoked meanwhile. Inside a transaction
	// of the engine it is part of it, and the verdict may come with the commit.
	CreateGrant(ctx context.Context, g Grant) error

	// Grant returns the live grant of that id: [ErrNotFound] when it does not
	// exist, was revoked, or has expired.
	Grant(ctx context.Context, id string) (Grant, error)

	// UseGrant sets LastUsedAt to at and ExpiresAt to expires on a live grant;
	// [ErrNotFound] when it is not live. Inside a transaction of the engine it
	// takes part in it, and the verdict may come with the commit.
	UseGrant(ctx context.Context, id string, at, expires time.Time) error

	// ListGrants returns live grants, newest first, at most limit (1..1000)
	// after skipping offset, and how many match in all.
	ListGrants(ctx context.Context, f GrantFilter, offset, limit int) ([]Grant, int, error)

	// RevokeGrants revokes every live grant that f selects, with its codes and
	// tokens, at once, and returns how many there were. An empty filter is an
	// error: nobody revokes everything by mistake. Inside a transaction of the
	// engine it is part of it, and the number may be 0.
	RevokeGrants(ctx context.Context, f GrantFilter) (int, error)

	// Consent returns what subject allowed the client ([Client.ID]), without
	// LastIssuedAt; [ErrNotFound] if nothing.
	Consent(ctx context.Context, clientID, subject string) (Consent, error)

	// SaveConsent adds or widens: c.Scopes and c.Resources are joined to what
	// an existing consent of the same client and subject has, and the id of
	// the one row that now exists is returned. A consent given after none
	// existed has an id that none had before. Safe under concurrent calls.
	//
	// With an id in c it widens the consent of that id alone: [ErrConflict] when
	// it was revoked meanwhile, so that what a user took back does not return
	// because somebody has read it before.
	//
	// Inside a transaction of the engine it is part of it, and the id, returned at
	// once, is for CreateGrant in the same transaction. Whether the consent has it,
	// or one that another call gave it, may show at the commit; the grant has that
	// of the consent.
	SaveConsent(ctx context.Context, c Consent) (string, error)

	// ListConsents returns consents, newest first and with LastIssuedAt; limits
	// as ListGrants.
	ListConsents(ctx context.Context, f GrantFilter, offset, limit int) ([]Consent, int, error)

	// RevokeConsents deletes the consents that f selects and revokes all live
	// grants beneath them, in one transaction. It returns how many consents
	// went. An empty filter is an error.
	RevokeConsents(ctx context.Context, f GrantFilter) (int, error)
}
