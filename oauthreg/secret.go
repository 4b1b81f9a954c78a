package oauthreg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// SecretPrefix begins every client secret that the registry generates, so that
// secret scanners recognize a leaked one.
const SecretPrefix = "oas_"

// Secret is a client secret as it is kept: never the secret itself.
type Secret struct {
	// ID is a UUID; Label is the operator's, at most 64 characters.
	ID    string `json:"id"`
	Label string `json:"label,omitempty"`
	// Hash is self-describing: "s1$" and a keyed SHA-256 for secrets long
	// enough to have been generated, otherwise a slow hash in the form of its
	// field ("$2b$...", "$argon2id$...", "$pbkdf2-sha256$...").
	Hash      string    `json:"hash"`
	CreatedAt time.Time `json:"created_at"`
	// ExpiresAt is when it stops to authenticate; zero means never.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// LastUsedAt is filled in by [Registry.Secrets] alone.
	LastUsedAt time.Time `json:"-"`
}

// Expired reports whether the secret no longer authenticates at time t.
func (s *Secret) Expired(t time.Time) bool {
	return !s.ExpiresAt.IsZero() && !t.Before(s.ExpiresAt)
}

// public is s without its digest.
func (s Secret) public() Secret {
	s.Hash = ""
	return s
}

// MaxSecretOverlap is how long old secrets may stay valid beside a new one, at
// most.
const MaxSecretOverlap = 90 * 24 * time.Hour

// maxSecrets is how many secrets of a client may be valid at once.
const maxSecrets = 16

// usesSecret reports whether a client of that method has secrets.
func usesSecret(m AuthMethod) bool {
	return m == AuthUnnamed || m == AuthClientSecretBasic || m == AuthClientSecretPost
}

// secretProblems returns what is wrong with the secret that a client is given.
func secretProblems(c *Client, secret, hash, label string) []problem {
	v := &validator{}
	if (secret != "" || hash != "") && !usesSecret(c.TokenEndpointAuthMethod) {
		v.add("client_secret", "", "must not be given: the client does not authenticate by secret")
	}
	if secret != "" && hash != "" {
		v.add("client_secret", "", "must not come together with its hash")
	}
	if len(secret) > maxSecret || !isVSCHAR(secret) {
		v.addf("client_secret", "", "must be 1 to %d printable ASCII characters", maxSecret)
	}
	if hash != "" {
		if err := checkSecretHash(hash); err != nil {
			v.add("client_secret", "", err.Error())
		}
	}
	v.label(label)
	return v.problems
}

func (v *validator) label(label string) {
	if utf8.RuneCountInString(label) > maxLabel || !printable(label) {
		v.addf("label", label, "must be at most %d characters without control characters", maxLabel)
	}
}

// isVSCHAR reports whether s is all VSCHAR (RFC 6749 Appendix A).
func isVSCHAR(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// newSecret makes what is kept of secret, of the given hash, or of a generated
// secret. plain is empty when only the hash is known.
func (r *Registry) newSecret(secret, hash, label string, now time.Time) (plain string, kept Secret, err error) {
	kept = Secret{Label: label, CreatedAt: now, Hash: hash}
	if kept.ID, err = newID(); err != nil {
		return "", Secret{}, err
	}
	if hash != "" {
		return "", kept, nil
	}
	if secret == "" {
		secret = randomToken(SecretPrefix)
	}
	if kept.Hash, err = r.hasher.hash(secret); err != nil {
		return "", Secret{}, err
	}
	return secret, kept, nil
}

// RotateOptions are what [Registry.RotateSecret] takes. The zero value replaces
// all secrets at once by one that does not expire.
type RotateOptions struct {
	// ID is the new secret's, a UUID that no secret of the client has:
	// [ErrConflict]. Empty means a fresh one. Who repeats a call under the same
	// ID rotates once.
	ID string
	// Overlap is how long the secrets there are stay valid, at most
	// [MaxSecretOverlap]. One that ends earlier anyway keeps its end.
	Overlap time.Duration
	// Lifetime is when the new secret expires; zero means never.
	Lifetime time.Duration
	// Label is the operator's name for the new secret, at most 64 characters.
	Label string
	// IfVersion refuses with [ErrConflict] unless the client has that version;
	// 0 means any.
	IfVersion int64
}

// IssuedSecret is a secret that was just made, shown once and never again.
type IssuedSecret struct {
	Client Client
	Secret string
	// Info is what is kept of it, without the digest.
	Info Secret
}

// RotateSecret gives the client a new generated secret, and its other secrets
// an end. Secrets that have expired are forgotten.
//
// The error is [ErrNotFound], [ErrConflict] when the version is not
// opts.IfVersion or the ID is taken, or [InvalidError] when the client does not authenticate by
// secret, when opts is outside its limits, or when the client would have more
// than 16 valid secrets.
func (r *Registry) RotateSecret(ctx context.Context, ref Ref, opts RotateOptions) (IssuedSecret, error) {
	v := &validator{}
	if opts.Overlap < 0 || opts.Overlap > MaxSecretOverlap {
		v.add("overlap", "", "must be from 0 to 90 days")
	}
	if opts.Lifetime < 0 {
		v.add("lifetime", "", "must not be negative")
	}
	v.label(opts.Label)
	if id, err := uuid.Parse(opts.ID); opts.ID != "" && (err != nil || id.String() != opts.ID) {
		v.add("id", "", "must be a UUID in lower case")
	}
	if err := invalid(v.problems); err != nil {
		return IssuedSecret{}, err
	}

	now := r.now()
	plain, kept, err := r.newSecret("", "", opts.Label, now)
	if err != nil {
		return IssuedSecret{}, err
	}
	if opts.ID != "" {
		kept.ID = opts.ID
	}
	if opts.Lifetime > 0 {
		kept.ExpiresAt = now.Add(opts.Lifetime).Truncate(time.Millisecond)
	}
	end := now.Add(opts.Overlap).Truncate(time.Millisecond)
	out := IssuedSecret{Secret: plain, Info: kept.public()}
	taken := false
	err = r.update(ctx, ref, opts.IfVersion, func(rec *Record) (*AuditRecord, error) {
		if !usesSecret(rec.Client.TokenEndpointAuthMethod) {
			return nil, invalidField("token_endpoint_auth_method", "must be one that uses a secret")
		}
		// Not an error yet: a conflict would be tried again.
		if taken = slices.ContainsFunc(rec.Secrets, func(s Secret) bool { return s.ID == kept.ID }); taken {
			return nil, nil
		}
		secrets := []Secret{kept}
		for _, s := range rec.Secrets {
			if s.ExpiresAt.IsZero() || s.ExpiresAt.After(end) {
				s.ExpiresAt = end
			}
			if !s.Expired(now) {
				secrets = append(secrets, s)
			}
		}
		if len(secrets) > maxSecrets {
			return nil, invalidField("overlap", fmt.Sprintf("must leave at most %d valid secrets", maxSecrets))
		}
		r.touch(&rec.Client)
		audit, err := r.auditSecret(ctx, "secret.created", &rec.Client, nil, &kept)
		if err != nil {
			return nil, err
		}
		rec.Secrets = secrets
		out.Client = rec.Client.Clone()
		return &audit, nil
	})
	if err == nil && taken {
		err = fmt.Errorf("%w: the client has a secret of that id", ErrConflict)
	}
	if err != nil {
		return IssuedSecret{}, err
	}
	return out, nil
}

// Secrets returns what is kept of the client's secrets, newest first, with
// their last use and without their digests. Last uses are noted to the minute.
func (r *Registry) Secrets(ctx context.Context, ref Ref) ([]Secret, error) {
	rec, err := r.Record(ctx, ref)
	if err != nil {
		return nil, err
	}
	used, err := r.store.SecretUses(ctx, rec.Client.ID)
	if err != nil {
		return nil, err
	}
	out := make([]Secret, len(rec.Secrets))
	for i, s := range rec.Secrets {
		s.LastUsedAt = used[s.ID]
		if at := r.uses.pendingAt(s.ID); at.After(s.LastUsedAt) {
			s.LastUsedAt = at
		}
		out[i] = s.public()
	}
	slices.SortStableFunc(out, func(a, b Secret) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return out, nil
}

// RevokeSecret ends a secret at once, also the last one: the client cannot
// authenticate until it is given another. [ErrNotFound] when the client or the
// secret does not exist.
func (r *Registry) RevokeSecret(ctx context.Context, ref Ref, secretID string) error {
	return r.RevokeSecretIfVersion(ctx, ref, secretID, 0)
}

// RevokeSecretIfVersion is [Registry.RevokeSecret] for a client of that version;
// [ErrConflict] when it has another. 0 means any.
func (r *Registry) RevokeSecretIfVersion(ctx context.Context, ref Ref, secretID string, version int64) error {
	return r.update(ctx, ref, version, func(rec *Record) (*AuditRecord, error) {
		i := slices.IndexFunc(rec.Secrets, func(s Secret) bool { return s.ID == secretID })
		if i < 0 {
			return nil, ErrNotFound
		}
		r.touch(&rec.Client)
		audit, err := r.auditSecret(ctx, "secret.revoked", &rec.Client, &rec.Secrets[i], nil)
		if err != nil {
			return nil, err
		}
		rec.Secrets = slices.Delete(slices.Clone(rec.Secrets), i, i+1)
		return &audit, nil
	})
}

// CheckSecret reports whether presented is one of the client's secrets that are
// valid now, and notes its use. It says nothing of the method by which it came
// ([Client.AllowsAuthMethod]) or of suspension. Whether rec is nil, for an
// unknown client, cannot be told from the time it takes for a client with
// generated secrets.
//
// Digests are compared in constant time. The slow hash of a short or imported
// secret is computed once and its success remembered in memory.
func (r *Registry) CheckSecret(rec *Record, presented string) bool {
	if rec == nil || !usesSecret(rec.Client.TokenEndpointAuthMethod) {
		_ = r.hasher.verify(unknownClientHash, presented)
		return false
	}
	now := r.now()
	found := -1
	for i := range rec.Secrets {
		s := &rec.Secrets[i]
		if !s.Expired(now) && r.hasher.verify(s.Hash, presented) && found < 0 {
			found = i
		}
	}
	if found < 0 {
		return false
	}
	s := &rec.Secrets[found]
	r.NoteSecretUse(s.ID)
	if upgradable(s.Hash, presented) {
		r.uses.noteUpgrade(s.ID, upgrade{clientID: rec.Client.ID, old: s.Hash, fast: r.hasher.fast(presented)})
	}
	return true
}

// unknownClientHash has no secret: it is not a digest of anything.
const unknownClientHash = fastHashPrefix + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// upgradable reports whether an imported hash can give way to the digest of the
// secret, which is long enough.
func upgradable(hash, presented string) bool {
	return len(presented) >= fastHashMinimum && hash[:min(len(hash), len(fastHashPrefix))] != fastHashPrefix
}

// secretUses is what is known of secrets in memory and not yet in the store.
type secretUses struct {
	mu sync.Mutex
	// noted is when a use was last noted, pending what of that is not stored.
	noted    map[string]time.Time
	pending  map[string]time.Time
	upgrades map[string]upgrade
}

// upgrade replaces the imported hash of a secret.
type upgrade struct{ clientID, old, fast string }

const (
	// useInterval is how exactly last uses are noted.
	useInterval = time.Minute
	// maxUses bounds each map of secretUses; more are not noted.
	maxUses = 65536
)

// NoteSecretUse notes in memory that the secret was used now, at most once per
// secret and minute. [Registry.CheckSecret] calls it.
func (r *Registry) NoteSecretUse(secretID string) {
	now := r.now()
	u := r.uses
	u.mu.Lock()
	defer u.mu.Unlock()
	if last, ok := u.noted[secretID]; ok && now.Sub(last) < useInterval {
		return
	}
	if len(u.noted) >= maxUses {
		u.forget(now)
	}
	if len(u.noted) >= maxUses || len(u.pending) >= maxUses {
		return
	}
	if u.noted == nil {
		u.noted = map[string]time.Time{}
	}
	if u.pending == nil {
		u.pending = map[string]time.Time{}
	}
	u.noted[secretID], u.pending[secretID] = now, now
}

// forget drops notes that no longer hold back new ones.
func (u *secretUses) forget(now time.Time) {
	for id, at := range u.noted {
		if now.Sub(at) >= useInterval {
			delete(u.noted, id)
		}
	}
}

func (u *secretUses) pendingAt(secretID string) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.pending[secretID]
}

func (u *secretUses) noteUpgrade(secretID string, up upgrade) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.upgrades == nil {
		u.upgrades = map[string]upgrade{}
	}
	if len(u.upgrades) < maxUses {
		u.upgrades[secretID] = up
	}
}

// take empties what is pending.
func (u *secretUses) take(now time.Time) (used map[string]time.Time, upgrades map[string]upgrade) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.forget(now)
	used, upgrades = u.pending, u.upgrades
	u.pending, u.upgrades = nil, nil
	return used, upgrades
}

// putBack keeps uses for the next time that could not be stored now.
func (u *secretUses) putBack(used map[string]time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.pending == nil {
		u.pending = map[string]time.Time{}
	}
	for id, at := range used {
		if len(u.pending) < maxUses && at.After(u.pending[id]) {
			u.pending[id] = at
		}
	}
}

// FlushSecretUses stores the uses of secrets noted since the last call, and
// replaces imported hashes whose secret turned out to be long enough for a
// digest. The host calls it now and then, and before it ends. Uses that could
// not be stored are kept for the next call.
func (r *Registry) FlushSecretUses(ctx context.Context) error {
	used, upgrades := r.uses.take(r.now())
	var errs []error
	if len(used) > 0 {
		if err := r.store.SecretsUsed(ctx, used); err != nil {
			r.uses.putBack(used)
			errs = append(errs, fmt.Errorf("note uses of secrets: %w", err))
		}
	}
	for id, up := range upgrades {
		// Whatever goes wrong here is tried again at the secret's next use.
		if err := r.rehash(ctx, id, up); err != nil && !errors.Is(err, ErrNotFound) {
			errs = append(errs, fmt.Errorf("rehash secret: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (r *Registry) rehash(ctx context.Context, secretID string, up upgrade) error {
	return r.update(ctx, ByID(up.clientID), 0, func(rec *Record) (*AuditRecord, error) {
		i := slices.IndexFunc(rec.Secrets, func(s Secret) bool { return s.ID == secretID && s.Hash == up.old })
		if i < 0 {
			return nil, nil
		}
		r.touch(&rec.Client)
		audit, err := r.auditSecret(ctx, "secret.rehashed", &rec.Client, nil, &rec.Secrets[i])
		if err != nil {
			return nil, err
		}
		rec.Secrets = slices.Clone(rec.Secrets)
		rec.Secrets[i].Hash = up.fast
		return &audit, nil
	})
}
