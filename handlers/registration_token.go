package handlers

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// InitialAccessTokensConfig is what an [InitialAccessTokenIssuer] is made of.
type InitialAccessTokensConfig struct {
	// Key keys the digests of tokens: at least 32 random bytes. Who changes it
	// invalidates all tokens. Required.
	Key []byte
	// Store keeps the tokens. nil keeps them in memory: they count in this
	// process alone and end with it.
	Store oauthreg.InitialAccessTokenStore
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// InitialAccessTokenIssuer makes initial access tokens (RFC 7591 §1.2) and
// answers for them. It is safe for concurrent use.
type InitialAccessTokenIssuer struct {
	key   []byte
	store oauthreg.InitialAccessTokenStore
	now   func() time.Time
}

var _ InitialAccessTokens = (*InitialAccessTokenIssuer)(nil)

// NewInitialAccessTokens checks cfg and returns an issuer. It does no I/O.
func NewInitialAccessTokens(cfg InitialAccessTokensConfig) (*InitialAccessTokenIssuer, error) {
	if len(cfg.Key) < 32 {
		return nil, errors.New("handlers: InitialAccessTokensConfig.Key must be at least 32 bytes")
	}
	i := &InitialAccessTokenIssuer{key: oauthreg.DeriveKey(cfg.Key, "initial access token"), store: cfg.Store, now: cfg.Now}
	if i.store == nil {
		i.store = new(memoryInitialTokens)
	}
	if i.now == nil {
		i.now = time.Now
	}
	return i, nil
}

// InitialAccessTokenOptions are what [InitialAccessTokenIssuer.Issue] takes.
// The zero value is a token for one client that anybody could register, and
// that does not expire.
type InitialAccessTokenOptions struct {
	// Ceiling is the most that the token permits. Its Name becomes the token's
	// label, at most 64 characters.
	Ceiling RegistrationCeiling
	// Uses is how many clients may be registered. Zero means one, negative any
	// number.
	Uses int
	// Lifetime is how long the token works; zero means for ever.
	Lifetime time.Duration
}

const (
	// prefixInitialToken begins every initial access token, so that secret
	// scanners recognize a leaked one.
	prefixInitialToken = "oai_"
	maxInitialToken    = 1024 // bytes that are looked at
	maxTokenLabel      = 64   // characters
)

// Issue makes a token. It is shown here and never again.
func (i *InitialAccessTokenIssuer) Issue(ctx context.Context, opts InitialAccessTokenOptions) (token string, info oauthreg.InitialAccessToken, err error) {
	c := opts.Ceiling
	if utf8.RuneCountInString(c.Name) > maxTokenLabel {
		return "", info, fmt.Errorf("handlers: Ceiling.Name must be at most %d characters", maxTokenLabel)
	}
	if opts.Lifetime < 0 {
		return "", info, errors.New("handlers: Lifetime must not be negative")
	}
	for _, scope := range c.Scopes {
		if !oauthreg.ValidScopeToken(scope) {
			return "", info, fmt.Errorf("handlers: Ceiling.Scopes: %q is not a scope (RFC 6749 §3.3)", scope)
		}
	}
	id, err := uuid.NewV7()
	if err != nil {
		return "", info, fmt.Errorf("make id: %w", err)
	}
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	token = prefixInitialToken + base64.RawURLEncoding.EncodeToString(random[:])

	now := i.now().UTC().Truncate(time.Millisecond)
	info = oauthreg.InitialAccessToken{
		ID: id.String(), Label: c.Name, Digest: i.digest(token),
		Scopes: slices.Clone(c.Scopes), GrantTypes: slices.Clone(c.GrantTypes),
		OrgID: c.OrgID, ProjectID: c.ProjectID, UserID: c.UserID,
		MaxUses: max(opts.Uses, 0), CreatedAt: now,
	}
	if opts.Uses == 0 {
		info.MaxUses = 1
	}
	if opts.Lifetime > 0 {
		info.ExpiresAt = now.Add(opts.Lifetime)
	}
	if err := i.store.CreateInitialAccessToken(ctx, info); err != nil {
		return "", oauthreg.InitialAccessToken{}, err
	}
	info.Digest = nil
	return token, info, nil
}

func (i *InitialAccessTokenIssuer) digest(token string) []byte {
	m := hmac.New(sha256.New, i.key)
	m.Write([]byte(token))
	return m.Sum(nil)
}

// known reports whether a token can be one of this issuer's at all.
func knownInitialToken(token string) bool {
	return strings.HasPrefix(token, prefixInitialToken) && len(token) <= maxInitialToken
}

// Ceiling is part of [InitialAccessTokens].
func (i *InitialAccessTokenIssuer) Ceiling(ctx context.Context, token string) (*RegistrationCeiling, error) {
	if !knownInitialToken(token) {
		return nil, ErrInvalidInitialAccessToken
	}
	t, err := i.store.InitialAccessToken(ctx, i.digest(token))
	switch {
	case errors.Is(err, oauthreg.ErrNotFound):
		return nil, ErrInvalidInitialAccessToken
	case err != nil:
		return nil, err
	case t.Expired(i.now()) || t.UsedUp():
		return nil, ErrInvalidInitialAccessToken
	}
	name := t.Label
	if name == "" {
		name = t.ID
	}
	return &RegistrationCeiling{
		Name: name, Scopes: t.Scopes, GrantTypes: t.GrantTypes,
		OrgID: t.OrgID, ProjectID: t.ProjectID, UserID: t.UserID,
	}, nil
}

// Use is part of [InitialAccessTokens].
func (i *InitialAccessTokenIssuer) Use(ctx context.Context, token string) error {
	if !knownInitialToken(token) {
		return ErrInvalidInitialAccessToken
	}
	err := i.store.UseInitialAccessToken(ctx, i.digest(token), i.now().UTC())
	if errors.Is(err, oauthreg.ErrNotFound) || errors.Is(err, oauthreg.ErrConsumed) {
		return ErrInvalidInitialAccessToken
	}
	return err
}

// List returns the tokens there are, without themselves, newest first: at most
// limit (1..1000) after skipping offset.
func (i *InitialAccessTokenIssuer) List(ctx context.Context, offset, limit int) ([]oauthreg.InitialAccessToken, error) {
	if offset < 0 || limit < 1 || limit > 1000 {
		return nil, errors.New("handlers: offset must not be negative, and limit from 1 to 1000")
	}
	list, err := i.store.ListInitialAccessTokens(ctx, offset, limit)
	for n := range list {
		list[n].Digest = nil
	}
	return list, err
}

// Revoke ends the token of that id. [oauthreg.ErrNotFound] when there is none.
func (i *InitialAccessTokenIssuer) Revoke(ctx context.Context, id string) error {
	return i.store.DeleteInitialAccessToken(ctx, id)
}

// memoryInitialTokens keeps initial access tokens in memory. The zero value is
// empty.
type memoryInitialTokens struct {
	mu   sync.Mutex
	list []oauthreg.InitialAccessToken // oldest first
}

var _ oauthreg.InitialAccessTokenStore = (*memoryInitialTokens)(nil)

// index finds a token that matches; -1 if there is none. The caller has locked mu.
func (s *memoryInitialTokens) index(match func(t *oauthreg.InitialAccessToken) bool) int {
	for i := range s.list {
		if match(&s.list[i]) {
			return i
		}
	}
	return -1
}

func byDigest(digest []byte) func(t *oauthreg.InitialAccessToken) bool {
	return func(t *oauthreg.InitialAccessToken) bool { return hmac.Equal(t.Digest, digest) }
}

func cloneInitialToken(t oauthreg.InitialAccessToken) oauthreg.InitialAccessToken {
	t.Digest = bytes.Clone(t.Digest)
	t.Scopes, t.GrantTypes = slices.Clone(t.Scopes), slices.Clone(t.GrantTypes)
	return t
}

// CreateInitialAccessToken is part of [oauthreg.InitialAccessTokenStore].
func (s *memoryInitialTokens) CreateInitialAccessToken(_ context.Context, t oauthreg.InitialAccessToken) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index(func(have *oauthreg.InitialAccessToken) bool { return have.ID == t.ID || byDigest(t.Digest)(have) }) >= 0 {
		return oauthreg.ErrConflict
	}
	s.list = append(s.list, cloneInitialToken(t))
	return nil
}

// InitialAccessToken is part of [oauthreg.InitialAccessTokenStore].
func (s *memoryInitialTokens) InitialAccessToken(_ context.Context, digest []byte) (oauthreg.InitialAccessToken, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.index(byDigest(digest))
	if i < 0 {
		return oauthreg.InitialAccessToken{}, oauthreg.ErrNotFound
	}
	return cloneInitialToken(s.list[i]), nil
}

// UseInitialAccessToken is part of [oauthreg.InitialAccessTokenStore].
func (s *memoryInitialTokens) UseInitialAccessToken(_ context.Context, digest []byte, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.index(byDigest(digest))
	switch {
	case i < 0 || s.list[i].Expired(now):
		return oauthreg.ErrNotFound
	case s.list[i].UsedUp():
		return oauthreg.ErrConsumed
	}
	s.list[i].Uses++
	return nil
}

// ListInitialAccessTokens is part of [oauthreg.InitialAccessTokenStore].
func (s *memoryInitialTokens) ListInitialAccessTokens(_ context.Context, offset, limit int) ([]oauthreg.InitialAccessToken, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []oauthreg.InitialAccessToken
	for i := len(s.list) - 1 - offset; i >= 0 && len(out) < limit; i-- {
		out = append(out, cloneInitialToken(s.list[i]))
	}
	return out, nil
}

// DeleteInitialAccessToken is part of [oauthreg.InitialAccessTokenStore].
func (s *memoryInitialTokens) DeleteInitialAccessToken(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.index(func(t *oauthreg.InitialAccessToken) bool { return t.ID == id })
	if i < 0 {
		return oauthreg.ErrNotFound
	}
	s.list = slices.Delete(s.list, i, i+1)
	return nil
}
