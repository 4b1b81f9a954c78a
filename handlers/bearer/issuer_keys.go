package bearer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // case-sensitive, refuses repeated members
)

const (
	maxDocument   = 256 << 10 // bytes of metadata, of a JWK set, of an introspection answer
	maxKeys       = 100
	maxKeysTried  = 20 // for one signature
	clientTimeout = 10 * time.Second

	keysLifetime = 15 * time.Minute
	staleKeys    = 24 * time.Hour   // how long keys are used while the issuer is down
	refetchKeys  = 30 * time.Second // between fetches because of unknown keys
	retryKeys    = 5 * time.Second  // between fetches that fail
)

// issuerKeys are the public keys of one issuer, fetched when they are needed. It
// is safe for concurrent use.
type issuerKeys struct {
	issuer  string
	jwksURI string // empty: the metadata tells
	client  *http.Client
	now     func() time.Time

	mu       sync.Mutex
	keys     []jose.JSONWebKey
	fetched  time.Time // when keys came; zero: never
	tried    time.Time
	err      error // of the last fetch
	inFlight chan struct{}
}

func newIssuerKeys(issuer, jwksURI string, client *http.Client, now func() time.Time) *issuerKeys {
	return &issuerKeys{issuer: issuer, jwksURI: jwksURI, client: client, now: now}
}

// orDefault returns client, or one for hosts that the operator chose.
func orDefault(client *http.Client) *http.Client {
	if client != nil {
		return client
	}
	return &http.Client{
		Timeout:       clientTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// find returns the keys with that id, or those without one; all when kid is
// empty. None is an empty result; an error means that the keys cannot be had.
func (k *issuerKeys) find(ctx context.Context, kid string) ([]jose.JSONWebKey, error) {
	k.mu.Lock()
	now := k.now()
	found := k.pick(kid)
	if len(found) > 0 && now.Sub(k.fetched) < keysLifetime {
		k.mu.Unlock()
		return found, nil
	}
	pause := refetchKeys
	if k.err != nil {
		pause = retryKeys
	}
	if k.inFlight == nil && (k.tried.IsZero() || now.Sub(k.tried) >= pause) {
		k.inFlight = make(chan struct{})
		go k.refresh()
	}
	// While the issuer is down, requests do not wait for it to time out.
	if k.inFlight == nil || len(found) > 0 && k.err != nil && now.Sub(k.fetched) < staleKeys {
		defer k.mu.Unlock()
		return k.answer(now, kid)
	}
	wait := k.inFlight
	k.mu.Unlock()

	select {
	case <-wait:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.answer(k.now(), kid)
}

func (k *issuerKeys) answer(now time.Time, kid string) ([]jose.JSONWebKey, error) {
	if now.Sub(k.fetched) < staleKeys {
		if found := k.pick(kid); len(found) > 0 {
			return found, nil
		}
	}
	return nil, k.err
}

func (k *issuerKeys) pick(kid string) []jose.JSONWebKey {
	var exact, unnamed []jose.JSONWebKey
	for _, key := range k.keys {
		switch {
		case kid == "" || key.KeyID == kid:
			exact = append(exact, key)
		case key.KeyID == "":
			unnamed = append(unnamed, key)
		}
	}
	if len(exact) == 0 {
		exact = unnamed
	}
	return exact[:min(len(exact), maxKeysTried)]
}

// refresh belongs to no request: the one that began it may be canceled while
// others wait.
func (k *issuerKeys) refresh() {
	keys, err := k.load()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tried, k.err = k.now(), err
	if err == nil {
		k.keys, k.fetched = keys, k.tried
	}
	close(k.inFlight)
	k.inFlight = nil
}

func (k *issuerKeys) load() (keys []jose.JSONWebKey, err error) {
	defer func() {
		if p := recover(); p != nil { // no request's handler is there to catch it
			err = fmt.Errorf("bearer: keys of %s: panic: %v", k.issuer, p)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 2*clientTimeout)
	defer cancel()
	uri := k.jwksURI
	if uri == "" {
		if uri, err = k.discover(ctx); err != nil {
			return nil, err
		}
	}
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := k.get(ctx, uri, &doc); err != nil {
		return nil, err
	}
	if len(doc.Keys) > maxKeys {
		doc.Keys = doc.Keys[:maxKeys]
	}
	for _, raw := range doc.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) != nil || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
			continue // RFC 7517 §5: what is not understood is ignored
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("bearer: %s has no usable key", uri)
	}
	return keys, nil
}

// errNotHere: the server answers, but not with this document.
var errNotHere = errors.New("bearer: not found")

// discover reads jwks_uri from the issuer's metadata (RFC 8414 §3.1), or from
// where OpenID Connect Discovery §4 has it.
func (k *issuerKeys) discover(ctx context.Context) (string, error) {
	u, err := url.Parse(k.issuer)
	if err != nil {
		return "", err
	}
	path := strings.TrimSuffix(u.Path, "/")
	origin := u.Scheme + "://" + u.Host
	var doc struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	err = k.get(ctx, origin+"/.well-known/oauth-authorization-server"+path, &doc)
	if errors.Is(err, errNotHere) {
		err = k.get(ctx, origin+path+"/.well-known/openid-configuration", &doc)
	}
	switch {
	case err != nil:
		return "", err
	case doc.Issuer != k.issuer:
		return "", fmt.Errorf("bearer: the metadata of %q names the issuer %q", k.issuer, doc.Issuer)
	case !isSecureURL(doc.JWKSURI):
		return "", fmt.Errorf("bearer: the metadata of %q has no acceptable jwks_uri", k.issuer)
	}
	return doc.JWKSURI, nil
}

// get fetches a JSON document.
func (k *issuerKeys) get(ctx context.Context, uri string, doc any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	status, body, err := do(k.client, req)
	switch {
	case err != nil:
		return err
	case status == http.StatusNotFound:
		return fmt.Errorf("%w: %s", errNotHere, uri)
	case status != http.StatusOK:
		return fmt.Errorf("bearer: %s answers %d", uri, status)
	}
	if err := json.Unmarshal(body, doc); err != nil {
		return fmt.Errorf("bearer: %s: %w", uri, err)
	}
	return nil
}

// do sends req and reads at most maxDocument bytes of the answer.
func do(client *http.Client, req *http.Request) (status int, body []byte, err error) {
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("bearer: %w", err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return 0, nil, fmt.Errorf("bearer: read %s: %w", req.URL.Redacted(), err)
	}
	if len(body) > maxDocument {
		return 0, nil, fmt.Errorf("bearer: %s answers with more than %d bytes", req.URL.Redacted(), maxDocument)
	}
	return resp.StatusCode, body, nil
}
