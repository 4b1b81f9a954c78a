package oauthreg

import (
	"context"
	"time"
)

// SessionMember is a client that was let in on a sign-in session and wants to be
// told of its end (OpenID Connect Back-Channel Logout, Front-Channel Logout).
type SessionMember struct {
	// SessionID is [Login.SessionID], ClientID the client's internal id, Subject
	// the user by the host's identifier.
	SessionID string
	ClientID  string
	Subject   string
	// ClientSubject is the user as the client knows them.
	ClientSubject string
	// ExpiresAt is when the session is over in any case, and nobody need be told.
	ExpiresAt time.Time
}

// LogoutNotice is a member that has to be told.
type LogoutNotice struct {
	SessionMember
	// ID is a UUID, the same at every attempt: jti of the logout tokens.
	ID string
	// EndedAt is when the session ended, Attempts how often telling has failed.
	EndedAt  time.Time
	Attempts int
	// Lease names the claim, for [LogoutOutbox.LogoutDelivered] and
	// [LogoutOutbox.LogoutFailed].
	Lease string
}

// LogoutOutbox keeps who has to be told of the end of a session until they were
// told. Implementations must be safe for concurrent use, also by several
// processes on one database.
type LogoutOutbox interface {
	// JoinSession notes a member. A member that is there already has its other
	// fields replaced. Inside a transaction of the engine it is part of it.
	JoinSession(ctx context.Context, m SessionMember) error
	// SessionMembers returns the members of a session that has not ended, in
	// order of ClientID.
	SessionMembers(ctx context.Context, sessionID string) ([]SessionMember, error)
	// EndSession makes a notice of every member of the session; there are no
	// members then. Of any number of concurrent calls one makes the notice of a
	// member. Inside a transaction of the engine it is part of it.
	EndSession(ctx context.Context, sessionID string, at time.Time) error

	// ClaimLogouts returns at most limit (1..1000) notices that are due at now,
	// the oldest first. Nobody else gets them before until, and by then they are
	// due again, unless they were settled.
	ClaimLogouts(ctx context.Context, now, until time.Time, limit int) ([]LogoutNotice, error)
	// LogoutDelivered removes a claimed notice. It does nothing once someone
	// else has claimed it.
	LogoutDelivered(ctx context.Context, n LogoutNotice) error
	// LogoutFailed makes a claimed notice due again at retry, with one attempt
	// more. It does nothing once someone else has claimed it.
	LogoutFailed(ctx context.Context, n LogoutNotice, retry time.Time) error
}
