package oauthreg

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// AuditSigningKey makes the record of a change of a signing key at time now, for
// a [KeyStore] to write with it. before is nil for a new key. The action is
// signing_key.created, signing_key.scheduled, signing_key.retired or
// signing_key.withdrawn, which is one that left the JWKS at once. The record has
// no client and belongs to no organization; it names the key, never its private
// part.
func AuditSigningKey(ctx context.Context, now time.Time, before, after *SigningKey) (AuditRecord, error) {
	id, err := newID()
	if err != nil {
		return AuditRecord{}, err
	}
	rec := AuditRecord{ID: id, Time: now, Actor: ActorFrom(ctx), Action: "signing_key.scheduled"}
	switch state := after.State(now); {
	case before == nil:
		rec.Action = "signing_key.created"
	case state == KeyExpired:
		rec.Action = "signing_key.withdrawn"
	case state == KeyRetired:
		rec.Action = "signing_key.retired"
	}
	if before != nil {
		if rec.Before, err = describeKey(before); err != nil {
			return AuditRecord{}, err
		}
	}
	rec.After, err = describeKey(after)
	return rec, err
}

func describeKey(k *SigningKey) (json.RawMessage, error) {
	b, err := json.Marshal(struct {
		KeyID     string    `json:"kid"`
		Alg       string    `json:"alg"`
		ActiveAt  time.Time `json:"active_at,omitzero"`
		RetiredAt time.Time `json:"retired_at,omitzero"`
		ExpiresAt time.Time `json:"expires_at,omitzero"`
	}{k.KeyID, k.Alg, k.ActiveAt, k.RetiredAt, k.ExpiresAt})
	if err != nil {
		return nil, fmt.Errorf("encode signing key: %w", err)
	}
	return b, nil
}
