package handlers

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // case-sensitive, refuses repeated members

	"github.com/oauthreg/oauthreg/oauthreg"
)

const (
	maxJWKS       = 64 << 10 // bytes of a JWK set
	maxJWKSKeys   = 100      // keys looked at in a set; the rest is ignored
	maxKeysTried  = 20       // keys tried for one signature
	minRSABits    = 2048
	maxRSABits    = 8192
	maxInlineSets = 4096
	maxRemoteSets = 1024
	maxKeyFetches = 32 // at the same time

	jwksLifetime    = 5 * time.Minute // when the answer does not say
	minJWKSLifetime = time.Minute
	maxJWKSLifetime = time.Hour
	// staleJWKS is how long past its lifetime a set is used while its URI
	// cannot be reached.
	staleJWKS = time.Hour
	// refetchJWKS is how long a URI is left alone after an answer, however many
	// unknown key ids are asked for; retryJWKS after no answer.
	refetchJWKS = 30 * time.Second
	retryJWKS   = 5 * time.Second
)

// clientKeys finds the public keys of clients: those registered with jwks, and
// those behind jwks_uri, which are fetched when they are needed and kept as long
// as their Cache-Control says, between a minute and an hour. It is safe for
// concurrent use. All that it remembers is bounded by count.
type clientKeys struct {
	outbound *http.Client
	now      func() time.Time
	fetches  chan struct{} // one element for each fetch that runs

	mu     sync.Mutex
	inline map[[sha256.Size]byte][]jose.JSONWebKey // by digest of jwks
	remote map[string]*remoteKeys                  // by jwks_uri
}

// remoteKeys is what is known of one jwks_uri. clientKeys.mu guards it.
type remoteKeys struct {
	known bool // keys came from an answer and may be used until staleUntil
	keys  []jose.JSONWebKey
	fresh time.Time // until when without asking again

	tried    time.Time // when the last fetch ended
	err      error     // of the last fetch
	inFlight chan struct{}
}

func newClientKeys(outbound *http.Client, now func() time.Time) *clientKeys {
	return &clientKeys{
		outbound: outbound, now: now,
		fetches: make(chan struct{}, maxKeyFetches),
		inline:  make(map[[sha256.Size]byte][]jose.JSONWebKey),
		remote:  make(map[string]*remoteKeys),
	}
}

// find returns the keys of c that may verify a signature with algorithm alg:
// those with key id kid, or else those without a key id; all that fit the
// algorithm when kid is empty. None is an empty result, not an error. An error
// is errDocument or errUnreachable as [fetchLimited] has them, or ctx's.
//
// Keys for another use, private keys, and keys of unusual size are never
// returned. An unknown kid makes a jwks_uri be fetched anew, at most every 30
// seconds. A set whose URI cannot be reached is used for up to an hour longer.
func (k *clientKeys) find(ctx context.Context, c *oauthreg.Client, kid, alg string) ([]jose.JSONWebKey, error) {
	if c.JWKSURI != "" {
		return k.findRemote(ctx, c.JWKSURI, kid, alg)
	}
	if len(c.JWKS) == 0 {
		return nil, nil
	}
	keys, err := k.registered(c.JWKS)
	if err != nil {
		return nil, err
	}
	return pickKeys(keys, kid, alg), nil
}

// registered parses a jwks once. The cache goes by content, so it need not know
// of clients and their versions.
func (k *clientKeys) registered(set []byte) ([]jose.JSONWebKey, error) {
	digest := sha256.Sum256(set)
	k.mu.Lock()
	keys, ok := k.inline[digest]
	k.mu.Unlock()
	if ok {
		return keys, nil
	}
	keys, err := parseJWKS(set)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.inline) >= maxInlineSets {
		for d := range k.inline { // any one will do
			delete(k.inline, d)
			break
		}
	}
	k.inline[digest] = keys
	return keys, nil
}

func (k *clientKeys) findRemote(ctx context.Context, uri, kid, alg string) ([]jose.JSONWebKey, error) {
	k.mu.Lock()
	r := k.entry(uri)
	now := k.now()
	found := pickKeys(r.keys, kid, alg)
	stale := r.known && !now.Before(r.fresh)
	if len(found) > 0 && !stale {
		k.mu.Unlock()
		return found, nil
	}
	if r.inFlight == nil && r.due(now) {
		r.inFlight = make(chan struct{})
		go k.fetch(uri, r)
	}
	// While the host is down, requests do not wait for it to time out.
	if r.inFlight == nil || len(found) > 0 && r.err != nil && r.usable(now) {
		defer k.mu.Unlock()
		return r.answer(now, kid, alg)
	}
	wait := r.inFlight
	k.mu.Unlock()

	select {
	case <-wait:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return r.answer(k.now(), kid, alg)
}

// due reports whether the URI may be asked again.
func (r *remoteKeys) due(now time.Time) bool {
	pause := refetchJWKS
	if errors.Is(r.err, errUnreachable) {
		pause = retryJWKS
	}
	return r.tried.IsZero() || now.Sub(r.tried) >= pause
}

// usable reports whether the keys may still be used, fresh or stale.
func (r *remoteKeys) usable(now time.Time) bool {
	return r.known && now.Before(r.fresh.Add(staleJWKS))
}

// answer is what can be said without asking again.
func (r *remoteKeys) answer(now time.Time, kid, alg string) ([]jose.JSONWebKey, error) {
	if r.usable(now) {
		if found := pickKeys(r.keys, kid, alg); len(found) > 0 {
			return found, nil
		}
	}
	return nil, r.err
}

// entry returns what is known of uri, and makes room for it when nothing is.
func (k *clientKeys) entry(uri string) *remoteKeys {
	if r := k.remote[uri]; r != nil {
		return r
	}
	makeRoom(k.remote, maxRemoteSets, func(a, b *remoteKeys) bool { // no keys, or some that end first
		return b.known && (!a.known || a.fresh.Before(b.fresh))
	})
	r := new(remoteKeys)
	k.remote[uri] = r
	return r
}

// fetch asks uri and tells everyone who waits. It belongs to no request: the one
// that began it may be canceled while others wait. outbound's timeout ends it.
func (k *clientKeys) fetch(uri string, r *remoteKeys) {
	keys, lifetime, err := k.load(uri)
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	r.tried, r.err = now, err
	switch {
	case err == nil:
		r.known, r.keys, r.fresh = true, keys, now.Add(lifetime)
	case errors.Is(err, errDocument): // the client's host took the keys away
		r.known, r.keys = false, nil
	}
	close(r.inFlight)
	r.inFlight = nil
}

func (k *clientKeys) load(uri string) (keys []jose.JSONWebKey, lifetime time.Duration, err error) {
	defer func() {
		if p := recover(); p != nil { // no request's handler is there to catch it
			err = fmt.Errorf("%w: panic: %v", errDocument, p)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), defaultOutboundTimeout)
	defer cancel()
	select {
	case k.fetches <- struct{}{}:
		defer func() { <-k.fetches }()
	case <-ctx.Done():
		return nil, 0, fmt.Errorf("%w: too many fetches at once", errUnreachable)
	}
	body, header, err := fetchLimited(ctx, k.outbound, uri, "application/jwk-set+json, application/json", maxJWKS)
	if err != nil {
		return nil, 0, err
	}
	keys, err = parseJWKS(body)
	return keys, jwksCache.lifetime(header), err
}

// cacheBounds are how long a document may be kept, whatever its host says.
type cacheBounds struct {
	unsaid   time.Duration // when it does not say
	min, max time.Duration
}

var jwksCache = cacheBounds{unsaid: jwksLifetime, min: minJWKSLifetime, max: maxJWKSLifetime}

// lifetime is max-age (RFC 9111 §5.2.2.1) within the bounds.
func (b cacheBounds) lifetime(h http.Header) time.Duration {
	lifetime := b.unsaid
	for _, directive := range strings.Split(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache":
			return b.min
		case "max-age":
			seconds, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 32)
			if err != nil {
				continue
			}
			lifetime = time.Duration(seconds) * time.Second
		}
	}
	return min(max(lifetime, b.min), b.max)
}

// parseJWKS reads the usable keys of a JWK set (RFC 7517 §5). Keys that cannot
// be read or used are skipped; only a document that is no JWK set is an error.
func parseJWKS(set []byte) ([]jose.JSONWebKey, error) {
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	switch {
	case len(set) > maxJWKS:
		return nil, fmt.Errorf("%w: JWK set is larger than %d bytes", errDocument, maxJWKS)
	case json.Unmarshal(set, &doc) != nil || doc.Keys == nil:
		return nil, fmt.Errorf("%w: not a JWK set", errDocument)
	}
	keys := make([]jose.JSONWebKey, 0, min(len(doc.Keys), maxJWKSKeys))
	for _, raw := range doc.Keys[:min(len(doc.Keys), maxJWKSKeys)] {
		var purpose struct {
			Use    string   `json:"use"`
			KeyOps []string `json:"key_ops"`
		}
		if json.Unmarshal(raw, &purpose) != nil ||
			purpose.Use != "" && purpose.Use != "sig" ||
			purpose.KeyOps != nil && !slices.Contains(purpose.KeyOps, "verify") {
			continue
		}
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil && usableKey(key.Key) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// usableKey reports whether key is a public key of a kind and size we verify with.
func usableKey(key any) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		bits := key.N.BitLen()
		return bits >= minRSABits && bits <= maxRSABits && key.E >= 3 && key.E&1 == 1
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	default:
		return false // private, symmetric or unknown
	}
}

// pickKeys returns the keys for kid and alg, at most maxKeysTried.
func pickKeys(keys []jose.JSONWebKey, kid, alg string) []jose.JSONWebKey {
	var exact, unnamed []jose.JSONWebKey
	for _, key := range keys {
		switch {
		case !fitsAlg(key, alg):
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

// fitsAlg reports whether key can verify alg (RFC 7518 §3.1, RFC 8037 §3.1) and
// is not meant for another.
func fitsAlg(key jose.JSONWebKey, alg string) bool {
	if key.Algorithm != "" && key.Algorithm != alg {
		return false
	}
	switch key := key.Key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case *ecdsa.PublicKey:
		switch key.Curve.Params().Name {
		case "P-256":
			return alg == "ES256"
		case "P-384":
			return alg == "ES384"
		case "P-521":
			return alg == "ES512"
		}
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}
