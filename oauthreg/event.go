package oauthreg

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// EventType says what happened.
type EventType string

// What a [Registry] reports. The types are those of [AuditRecord], and there is
// one event for each record, whichever way the change came: the Go API, a
// management API or dynamic registration.
const (
	EventClientRegistered         EventType = "client.registered"
	EventClientUpdated            EventType = "client.updated"
	EventClientSuspended          EventType = "client.suspended"
	EventClientResumed            EventType = "client.resumed"
	EventClientDeleted            EventType = "client.deleted"
	EventSecretCreated            EventType = "secret.created"  // rotation: those before it may go on for a while
	EventSecretRevoked            EventType = "secret.revoked"  // before its time
	EventSecretRehashed           EventType = "secret.rehashed" // an imported hash gave way to a digest
	EventRegistrationTokenRotated EventType = "registration_token.rotated"
)

// What a [KeyRing] reports.
const (
	// EventKeyRotated: a new signing key exists, for KeyID and Alg. Made by the
	// schedule, it is published first and signs later.
	EventKeyRotated EventType = "key.rotated"
)

// What a server (package handlers) reports.
const (
	// EventSignedIn and EventSignInFailed come from the built-in sign-in; a host
	// with its own knows already. A failed one has no Subject.
	EventSignedIn     EventType = "user.signed_in"
	EventSignInFailed EventType = "user.sign_in_failed"
	// EventLoggedOut: the session SessionID has ended, by the user, a client or
	// the host.
	EventLoggedOut EventType = "user.logged_out"

	// EventConsentGiven and EventConsentDenied are decisions a user made just now;
	// what was decided before, or needs no decision, is EventAuthorized alone.
	EventConsentGiven  EventType = "consent.given"
	EventConsentDenied EventType = "consent.denied"
	// EventConsentRevoked: Count remembered consents are gone, with every grant
	// beneath them; those that ClientID, Subject, OrgID and ProjectID say.
	EventConsentRevoked EventType = "consent.revoked"

	// EventAuthorized: a client has its answer, usually a code, for a new grant.
	EventAuthorized EventType = "client.authorized"
	// EventTokenIssued: there is a new access token, by GrantType; by implicit, it
	// came from the authorization endpoint. EventRefreshed is the same for
	// refresh_token.
	EventTokenIssued EventType = "token.issued"
	EventRefreshed   EventType = "token.refreshed"
	// EventTokenRevoked: one access token is worth nothing any more.
	EventTokenRevoked EventType = "token.revoked"
	// EventGrantRevoked: Count grants are, with all their codes and tokens: the one
	// of GrantID, or those that ClientID, Subject, OrgID and ProjectID say.
	EventGrantRevoked EventType = "grant.revoked"
	// EventReplayDetected: a code or refresh token (Detail) was used again by its
	// client, so its grant was revoked.
	EventReplayDetected EventType = "replay.detected"

	// EventClientAuthenticationFailed: somebody who said to be ClientID could not
	// prove it. The name is what was sent, of no known client perhaps.
	EventClientAuthenticationFailed EventType = "client.authentication_failed"
	// EventLimited: a limiter (Detail names the kind) let a request not through.
	EventLimited EventType = "request.limited"
	// EventRefused: Endpoint answered Error, whether directly, at the client's
	// redirect URI or on a page. It follows what else the request led to.
	EventRefused EventType = "request.refused"
	// EventFailed: Endpoint answered 5xx. It is never the client's fault.
	EventFailed EventType = "request.failed"
)

// Event is something that happened. Members that do not apply are empty. It never
// has a secret, a code, a token, or the digest of one.
type Event struct {
	Type EventType
	Time time.Time
	// RequestID is the id that the log and the audit log have for the HTTP
	// request; empty when there was none.
	RequestID string
	// Endpoint is the name of the endpoint, as in the log: "token".
	Endpoint string
	// Address is where the request came from, as limiters count it: IPv6 by its
	// /64. It is personal data.
	Address string

	// ClientID is the client_id; OrgID and ProjectID are the owners of the client.
	ClientID  string
	OrgID     string
	ProjectID string
	// Subject is the user, by the host's identifier.
	Subject   string
	GrantID   string // [Grant.ID]
	SessionID string // sid, not a credential

	// GrantType is how a token was asked for.
	GrantType GrantType
	// Scopes and Resources are those of the token or the grant. They belong to
	// whoever gets the event.
	Scopes    []string
	Resources []string
	// Refresh says that a refresh token was issued beside the access token.
	Refresh bool

	// Error is the OAuth error code, Description its sentence, Status the HTTP
	// status that goes with it, and Field the registered member of the client that
	// decided, if one did.
	Error       string
	Description string
	Status      int
	Field       string

	// Detail is what the Type says of it.
	Detail string
	// Count is how many there were.
	Count int
	// KeyID and Alg name a signing key.
	KeyID string
	Alg   string
	// Actor is who called a management API or changed a client, as in the audit log.
	Actor Actor
}

// EventFunc hears of events: for alarms, counters, webhooks, a log of one's own.
// A [Registry], a [KeyRing] and a server each report what they do, so a host that
// wants everything gives all three the same function, and hears of everything once.
//
// It is called after what it tells is committed, in the goroutine that did it and,
// in a request, before the answer: it must not block, and hands what takes time to
// somebody else. What was rolled back, refused or lost a race is never reported as
// done. Inside a transaction that the host itself opened, the commit is the host's,
// and comes later. Events are not kept: a process that dies between commit and call
// reports nothing; what must not be lost is in the audit log and the tables.
//
// ctx is that of the request. The function must be safe for concurrent use. If it
// panics, that is logged and the request goes on.
type EventFunc func(ctx context.Context, e Event)

// Emit calls f with a copy of e, unless f is nil. A panic goes to log, if there is
// one. It is for those who report.
func (f EventFunc) Emit(ctx context.Context, log *slog.Logger, e Event) {
	if f == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil && log != nil {
			log.LogAttrs(ctx, slog.LevelError, "event function panicked",
				slog.String("event", string(e.Type)), slog.String("request_id", e.RequestID), slog.String("panic", fmt.Sprint(p)))
		}
	}()
	e.Scopes, e.Resources = slices.Clone(e.Scopes), slices.Clone(e.Resources)
	f(ctx, e)
}

// report tells of a change of a client that is committed.
func (r *Registry) report(ctx context.Context, audit *AuditRecord, c *Client) {
	if r.events == nil {
		return
	}
	r.events.Emit(ctx, r.log, Event{
		Type: EventType(audit.Action), Time: audit.Time, RequestID: audit.Actor.RequestID,
		ClientID: c.ClientID, OrgID: c.OrgID, ProjectID: c.ProjectID,
		Address: audit.Actor.Address, Actor: audit.Actor,
	})
}

// report tells of signing keys that are in the store now.
func (k *KeyRing) report(ctx context.Context, made []SigningKey) {
	for _, key := range made {
		k.events.Emit(ctx, k.log, Event{Type: EventKeyRotated, Time: key.CreatedAt, RequestID: ActorFrom(ctx).RequestID, KeyID: key.KeyID, Alg: key.Alg})
	}
}
