package oauthreg

import (
	"context"
	"time"
)

// KeyState is where a signing key stands in its life.
type KeyState string

// A key is published in the JWKS in every state but Expired, and signs only
// while Active.
const (
	KeyUpcoming KeyState = "upcoming"
	KeyActive   KeyState = "active"
	KeyRetired  KeyState = "retired"
	KeyExpired  KeyState = "expired"
)

// SigningKey is a private key of the server with its schedule.
type SigningKey struct {
	// KeyID is kid: unique for ever, public.
	KeyID string
	// Alg is the JWS algorithm (RFC 7518 §3.1, RFC 8037): one key, one algorithm.
	Alg string
	// Private is the key in PKCS #8 DER. Stores encrypt it.
	Private   []byte
	CreatedAt time.Time
	// ActiveAt is when it starts to sign, RetiredAt when it stops (zero: not
	// planned), ExpiresAt when it leaves the JWKS (zero: not planned).
	ActiveAt  time.Time
	RetiredAt time.Time
	ExpiresAt time.Time
}

// State is the key's state at time t.
func (k *SigningKey) State(t time.Time) KeyState {
	switch {
	case t.Before(k.ActiveAt):
		return KeyUpcoming
	case k.RetiredAt.IsZero() || t.Before(k.RetiredAt):
		return KeyActive
	case k.ExpiresAt.IsZero() || t.Before(k.ExpiresAt):
		return KeyRetired
	default:
		return KeyExpired
	}
}

// KeyStore keeps the server's signing keys, encrypted.
type KeyStore interface {
	// SigningKeys returns all keys, oldest first, in order of CreatedAt and KeyID.
	SigningKeys(ctx context.Context) ([]SigningKey, error)
	// UpdateSigningKeys reads all keys under a lock that excludes other
	// updates (other processes' too), lets change say which to add and which
	// schedules to replace (by KeyID; Private is ignored for those), and
	// writes that in one transaction, with the record of [AuditSigningKey] for
	// each key that is added or replaced.
	UpdateSigningKeys(ctx context.Context, change func(have []SigningKey) (add, replace []SigningKey, err error)) error
}
