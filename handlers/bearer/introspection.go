package bearer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	maxCacheFor   = 5 * time.Minute
	defaultCached = 10_000
)

// IntrospectionConfig configures [NewIntrospection].
type IntrospectionConfig struct {
	// Endpoint is the introspection endpoint: an https URL (http on localhost,
	// 127.0.0.1 and ::1). Required.
	Endpoint string
	// ClientID and ClientSecret are this resource server's own credentials,
	// sent by HTTP Basic (RFC 6749 §2.3.1). Required.
	ClientID     string
	ClientSecret string
	// Issuer, when set, is what iss of the answer has to be, if it has one.
	Issuer string
	// CacheFor is how long the answer for a valid token is reused, and so how
	// late a revocation may be noticed: at most 5 minutes, and never past the
	// token's end. Zero asks for every request. Other answers are not kept.
	CacheFor time.Duration
	// MaxCached bounds how many answers are kept. Zero means 10,000.
	MaxCached int
	// AllowMissingTokenType accepts answers without token_type, which RFC 7662
	// §2.2 makes optional. Authorization servers introspect refresh tokens too
	// and many tell them from access tokens only by this member, so turn it on
	// for a server that never sends it.
	AllowMissingTokenType bool
	// Client sends the requests; nil means one with a timeout of 10 seconds
	// that follows no redirects.
	Client *http.Client
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// NewIntrospection returns a [Verifier] that asks the authorization server about
// each token (RFC 7662), opaque or not. Set [Config.Resource] along with it: an
// authorization server may answer for tokens that are meant for others.
//
// NewIntrospection does no I/O; it returns an error that names everything wrong
// with cfg. That the authorization server refuses the credentials is an error of
// Verify, not [ErrInvalidToken].
func NewIntrospection(cfg IntrospectionConfig) (Verifier, error) {
	var errs []error
	if !isSecureURL(cfg.Endpoint) {
		errs = append(errs, fmt.Errorf("bearer: IntrospectionConfig.Endpoint: %q is not an https URL without query and fragment", cfg.Endpoint))
	}
	if cfg.ClientID == "" || cfg.ClientSecret == "" {
		errs = append(errs, errors.New("bearer: IntrospectionConfig.ClientID or ClientSecret is empty"))
	}
	if cfg.CacheFor < 0 || cfg.CacheFor > maxCacheFor {
		errs = append(errs, fmt.Errorf("bearer: IntrospectionConfig.CacheFor is %v, at most %v is allowed", cfg.CacheFor, maxCacheFor))
	}
	if cfg.MaxCached < 0 {
		errs = append(errs, errors.New("bearer: IntrospectionConfig.MaxCached is negative"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if cfg.MaxCached == 0 {
		cfg.MaxCached = defaultCached
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Client = orDefault(cfg.Client)
	return &introspector{cfg: cfg, cached: make(map[[sha256.Size]byte]cachedToken)}, nil
}

type introspector struct {
	cfg IntrospectionConfig

	mu     sync.Mutex
	cached map[[sha256.Size]byte]cachedToken // by digest, so that no token is kept
}

type cachedToken struct {
	token *Token
	until time.Time
}

// Verify implements [Verifier].
func (i *introspector) Verify(ctx context.Context, token string) (*Token, error) {
	if i.cfg.CacheFor == 0 {
		return i.ask(ctx, token)
	}
	digest := sha256.Sum256([]byte(token))
	i.mu.Lock()
	c, ok := i.cached[digest]
	i.mu.Unlock()
	if ok && i.cfg.Now().Before(c.until) {
		return c.token, nil
	}
	t, err := i.ask(ctx, token)
	if err != nil {
		return nil, err
	}
	i.keep(digest, t)
	return t, nil
}

func (i *introspector) keep(digest [sha256.Size]byte, t *Token) {
	now := i.cfg.Now()
	until := now.Add(i.cfg.CacheFor)
	if !t.ExpiresAt.IsZero() && t.ExpiresAt.Before(until) {
		until = t.ExpiresAt
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, ok := i.cached[digest]; !ok && len(i.cached) >= i.cfg.MaxCached {
		i.makeRoom(now)
	}
	i.cached[digest] = cachedToken{t, until}
}

// makeRoom drops what has ended among a few answers, or else any one of them.
func (i *introspector) makeRoom(now time.Time) {
	const sample = 16
	var seen, dropped int
	var last [sha256.Size]byte
	for d, c := range i.cached {
		last = d
		if !now.Before(c.until) {
			delete(i.cached, d)
			dropped++
		}
		if seen++; seen == sample {
			break
		}
	}
	if dropped == 0 {
		delete(i.cached, last)
	}
}

// ask introspects token.
func (i *introspector) ask(ctx context.Context, token string) (*Token, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, i.cfg.Endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("bearer: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(url.QueryEscape(i.cfg.ClientID), url.QueryEscape(i.cfg.ClientSecret))
	status, body, err := do(i.cfg.Client, req)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("bearer: introspection answers %d", status)
	}
	claims, err := decodeClaims(body)
	if err != nil {
		return nil, fmt.Errorf("bearer: introspection: %w", err)
	}
	active, ok := claims["active"].(bool)
	switch {
	case !ok:
		return nil, errors.New("bearer: introspection does not say whether the token is active")
	case !active:
		return nil, fmt.Errorf("%w: not active", ErrInvalidToken)
	}
	typ, _ := claims["token_type"].(string)
	if !strings.EqualFold(typ, "Bearer") && !(claims["token_type"] == nil && i.cfg.AllowMissingTokenType) {
		return nil, fmt.Errorf("%w: not a bearer token", ErrInvalidToken)
	}
	t, err := tokenOf(claims, i.cfg.Now())
	if err != nil {
		return nil, err
	}
	if i.cfg.Issuer != "" && t.Issuer != "" && t.Issuer != i.cfg.Issuer {
		return nil, fmt.Errorf("%w: another issuer", ErrInvalidToken)
	}
	return t, nil
}
