package oauthreg

import (
	"context"
	"time"
)

// InitialAccessToken permits registrations (RFC 7591 §1.2) up to a ceiling. It
// is kept without the token itself.
type InitialAccessToken struct {
	// ID is a UUID; Label is the operator's, at most 64 characters.
	ID    string `json:"id"`
	Label string `json:"label,omitempty"`
	// Digest is a keyed SHA-256 of the token: the key that it is found by.
	Digest []byte `json:"-"`
	// Scopes and GrantTypes are the most that a client may register for; nil
	// means what anybody may, an empty list none.
	Scopes     []string    `json:"scopes"`
	GrantTypes []GrantType `json:"grant_types"`
	// OrgID, ProjectID and UserID are the owners of what is registered; empty
	// means those of the server's configuration.
	OrgID     string `json:"org_id,omitempty"`
	ProjectID string `json:"project_id,omitempty"`
	UserID    string `json:"user_id,omitempty"`
	// MaxUses is how many clients may be registered; 0 means any number. Uses
	// is how many were.
	MaxUses int `json:"max_uses"`
	Uses    int `json:"uses"`
	// CreatedAt is UTC. From ExpiresAt on the token is worth nothing; zero
	// means that it does not expire.
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// Expired reports whether the token is worth nothing any more at time t.
func (a *InitialAccessToken) Expired(t time.Time) bool {
	return !a.ExpiresAt.IsZero() && !t.Before(a.ExpiresAt)
}

// UsedUp reports whether as many clients were registered as may be.
func (a *InitialAccessToken) UsedUp() bool { return a.MaxUses > 0 && a.Uses >= a.MaxUses }

// InitialAccessTokenStore keeps initial access tokens. Implementations must be
// safe for concurrent use and return values that share nothing with later ones.
type InitialAccessTokenStore interface {
	// CreateInitialAccessToken adds t. [ErrConflict] if its ID or Digest is taken.
	CreateInitialAccessToken(ctx context.Context, t InitialAccessToken) error

	// InitialAccessToken finds by digest, expired and used up ones too, as long
	// as they are kept; [ErrNotFound] otherwise.
	InitialAccessToken(ctx context.Context, digest []byte) (InitialAccessToken, error)

	// UseInitialAccessToken adds one to Uses in one conditional statement:
	// [ErrConsumed] when Uses has reached MaxUses, [ErrNotFound] when there is
	// no such token or it has expired at the time now. Of any number of
	// concurrent calls no more than MaxUses succeed.
	UseInitialAccessToken(ctx context.Context, digest []byte, now time.Time) error

	// ListInitialAccessTokens returns tokens, newest first, at most limit
	// (1..1000) after skipping offset.
	ListInitialAccessTokens(ctx context.Context, offset, limit int) ([]InitialAccessToken, error)

	// DeleteInitialAccessToken removes the token of that ID; [ErrNotFound] when
	// there is none. What was registered with it stays.
	DeleteInitialAccessToken(ctx context.Context, id string) error
}
