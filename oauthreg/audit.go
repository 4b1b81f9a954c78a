package oauthreg

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"
)

// Actor is who makes a change.
type Actor struct {
	// Kind is "user", "admin", "client" or "system"; empty means system.
	Kind string
	// ID is the host's identifier of the user, or the client_id.
	ID string
	// RequestID and Address are where the change came from, when known.
	RequestID string
	Address   string
}

type actorKey struct{}

// WithActor returns a context whose changes are recorded as made by a.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorFrom returns the actor of ctx, or the system.
func ActorFrom(ctx context.Context) Actor {
	a, _ := ctx.Value(actorKey{}).(Actor)
	if a.Kind == "" {
		a.Kind = "system"
	}
	return a
}

// AuditRecord tells one change of one client, or of a signing key. It never contains a secret or
// the digest of one.
type AuditRecord struct {
	ID   string // UUID, time-ordered (version 7)
	Time time.Time
	// Action is client.registered, client.updated, client.suspended,
	// client.resumed, client.deleted, secret.created, secret.revoked,
	// secret.rehashed, registration_token.rotated; of signing keys, see
	// [AuditSigningKey].
	Action   string
	Actor    Actor
	ClientID string // Client.ID; empty for a signing key
	OrgID    string
	// ProjectID is the client's project.
	ProjectID string
	// Before and After are the client's changed members as a JSON object, null
	// where the client did not exist.
	Before json.RawMessage
	After  json.RawMessage
}

// AuditQuery selects audit records, newest first. Empty fields do not restrict.
type AuditQuery struct {
	ClientID  string // Client.ID
	OrgID     string
	ProjectID string
	Action    string
	// NoClient selects the records that are about no client: those of signing
	// keys.
	NoClient bool
	// BeforeID continues behind that record (a UUIDv7, so ids are in order of time).
	BeforeID string
	// Limit is 1..1000; zero means 100.
	Limit int
}

// audit makes the record of a change of a client; before is nil for a new one,
// after for a deleted one.
func (r *Registry) audit(ctx context.Context, action string, before, after *Client) (AuditRecord, error) {
	id, err := newID()
	if err != nil {
		return AuditRecord{}, err
	}
	of := after
	if of == nil {
		of = before
	}
	rec := AuditRecord{
		ID:        id,
		Time:      r.now(),
		Action:    action,
		Actor:     ActorFrom(ctx),
		ClientID:  of.ID,
		OrgID:     of.OrgID,
		ProjectID: of.ProjectID,
	}
	rec.Before, rec.After, err = changedMembers(before, after)
	return rec, err
}

// auditSecret makes the record of a change of secrets: old and fresh are what to
// show of them, nil for nothing.
func (r *Registry) auditSecret(ctx context.Context, action string, c *Client, old, fresh *Secret) (AuditRecord, error) {
	rec, err := r.audit(ctx, action, c, c)
	if err != nil {
		return AuditRecord{}, err
	}
	for _, side := range []struct {
		secret *Secret
		out    *json.RawMessage
	}{
		{old, &rec.Before}, {fresh, &rec.After},
	} {
		if side.secret == nil {
			continue
		}
		*side.out, err = json.Marshal(struct {
			ID        string    `json:"secret_id"`
			Label     string    `json:"label,omitempty"`
			ExpiresAt time.Time `json:"expires_at,omitzero"`
		}{side.secret.ID, side.secret.Label, side.secret.ExpiresAt})
		if err != nil {
			return AuditRecord{}, fmt.Errorf("encode secret: %w", err)
		}
	}
	return rec, nil
}

// changedMembers returns the JSON objects of the members that differ; null for
// a client that is nil.
func changedMembers(before, after *Client) (old, fresh json.RawMessage, err error) {
	if before == nil || after == nil {
		if old, err = allMembers(before); err == nil {
			fresh, err = allMembers(after)
		}
		return old, fresh, err
	}
	was, err := encodeMembers(before)
	if err != nil {
		return nil, nil, err
	}
	is, err := encodeMembers(after)
	if err != nil {
		return nil, nil, err
	}
	for name, value := range was {
		if other, ok := is[name]; ok && sameJSON(value, other) {
			delete(was, name)
			delete(is, name)
		}
	}
	if old, err = json.Marshal(was); err != nil {
		return nil, nil, fmt.Errorf("encode client: %w", err)
	}
	if fresh, err = json.Marshal(is); err != nil {
		return nil, nil, fmt.Errorf("encode client: %w", err)
	}
	return old, fresh, nil
}

// allMembers is the JSON object of c without what the registry itself counts;
// null if c is nil.
func allMembers(c *Client) (json.RawMessage, error) {
	if c == nil {
		return json.RawMessage("null"), nil
	}
	b, err := json.Marshal(struct {
		*Client
		Version   any `json:"version,omitempty"` // in place of the client's
		UpdatedAt any `json:"updated_at,omitempty"`
	}{Client: c})
	if err != nil {
		return nil, fmt.Errorf("encode client: %w", err)
	}
	return b, nil
}

// sameMembers reports whether two clients differ in nothing but what the
// registry itself counts.
func sameMembers(a, b *Client) (bool, error) {
	was, err := encodeMembers(a)
	if err != nil {
		return false, err
	}
	is, err := encodeMembers(b)
	if err != nil {
		return false, err
	}
	if len(was) != len(is) {
		return false, nil
	}
	for name, value := range was {
		if other, ok := is[name]; !ok || !sameJSON(value, other) {
			return false, nil
		}
	}
	return true, nil
}

// encodeMembers is the JSON form of c by member, without what the registry
// itself counts; nil if c is.
func encodeMembers(c *Client) (map[string]json.RawMessage, error) {
	if c == nil {
		return nil, nil
	}
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode client: %w", err)
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("encode client: %w", err)
	}
	delete(m, "version")
	delete(m, "updated_at")
	return m, nil
}

// sameJSON compares two values by what they mean: a database may give JSON back
// with its members in another order.
func sameJSON(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if len(a) == 0 || len(b) == 0 || a[0] != '{' || b[0] != '{' {
		return false
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}
