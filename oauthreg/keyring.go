package oauthreg

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// ErrBadSignature: a token is not a JWS in compact form that one of the ring's
// keys made.
var ErrBadSignature = errors.New("oauthreg: not a valid signature of this server")

// KeyRingConfig is what a [KeyRing] is made of.
type KeyRingConfig struct {
	// Store keeps the keys. Required.
	Store KeyStore

	// Algorithms are the JWS algorithms to sign with, a key for each: RS, PS
	// and ES with 256, 384 and 512, and EdDSA (Ed25519). Empty means RS256 and
	// ES256. Keys of other algorithms in the store stay published and verify,
	// but are neither used nor rotated.
	Algorithms []string
	// Events hears of every new key; nil means nobody.
	Events EventFunc
	// Logger gets a line when Events panics; nil discards.
	Logger *slog.Logger
	// External are keys whose private part is elsewhere. Empty means that the
	// ring makes all keys itself.
	External []ExternalKey
	// Now is the clock; nil means [time.Now].
	Now func() time.Time

	// RotateEvery is how long a key signs. Zero means 90 days; negative means
	// that keys are rotated by hand only.
	RotateEvery time.Duration
	// PublishBefore is how long a scheduled key is in the JWKS before it signs:
	// longer than anybody caches the JWKS. Zero means 24 hours, or half of
	// RotateEvery if that is less.
	PublishBefore time.Duration
	// KeepAfter is how long a key is in the JWKS after it last signed: longer
	// than what it signed is valid. Zero means 48 hours.
	KeepAfter time.Duration
	// Refresh is after how long changes by other processes are seen, at the
	// latest. Zero means 5 seconds.
	Refresh time.Duration
}

// maxStaleKeys is how long the ring goes on with what it read last when the
// store fails.
const maxStaleKeys = time.Minute

// rsaBits is the size of generated RSA keys.
const rsaBits = 2048

// maxJWS is the longest token that [KeyRing.Verify] looks at.
const maxJWS = 64 * 1024

// KeyRing signs and verifies with the keys of a [KeyStore], and keeps their
// schedule: a key is published, then signs, then is only published, then is
// gone. It is safe for concurrent use, and so are any number of rings on one
// store. It reads the store when it is used and starts nothing of its own: the
// host calls [KeyRing.Maintain].
type KeyRing struct {
	store         KeyStore
	algs          []string
	events        EventFunc
	log           *slog.Logger
	clock         func() time.Time
	rotateEvery   time.Duration
	publishBefore time.Duration
	keepAfter     time.Duration
	refresh       time.Duration
	external      []ringKey

	// loading holds one element while somebody reads the store.
	loading chan struct{}
	// loaded is what was read last; nil at first.
	loaded atomic.Pointer[keySnapshot]
	// published is the JWKS document that was made last.
	published atomic.Pointer[publishedKeys]
}

// keySnapshot is what was in the store at one time. It is never changed.
type keySnapshot struct {
	at   time.Time
	keys []ringKey // oldest first
	// tried is when it was last attempted to read a newer one.
	tried *atomic.Int64 // unix nanoseconds
}

// ringKey is a key with its schedule as of a snapshot. What it shares with
// later snapshots is in parsed.
type ringKey struct {
	SigningKey // without Private
	parsed     *parsedKey
}

// parsedKey has either private or external.
type parsedKey struct {
	private  crypto.Signer
	external Signer
	public   jose.JSONWebKey
	signers  sync.Map // of typ to jose.Signer
}

type publishedKeys struct {
	kids string
	body []byte
	etag string
}

// NewKeyRing checks cfg, names everything wrong with it at once, and returns a
// ring. It does no I/O: call [KeyRing.Maintain] before the first use.
func NewKeyRing(cfg KeyRingConfig) (*KeyRing, error) {
	var errs []error
	if cfg.Store == nil {
		errs = append(errs, errors.New("oauthreg: KeyRingConfig.Store is nil"))
	}
	algs := slices.Clone(cfg.Algorithms)
	if len(algs) == 0 {
		algs = []string{"RS256", "ES256"}
	}
	for i, a := range algs {
		if !slices.Contains(signingAlgs, a) {
			errs = append(errs, fmt.Errorf("oauthreg: KeyRingConfig.Algorithms: %q is not an asymmetric JWS algorithm", a))
		}
		if slices.Contains(algs[:i], a) {
			errs = append(errs, fmt.Errorf("oauthreg: KeyRingConfig.Algorithms: %q is listed twice", a))
		}
	}
	if cfg.PublishBefore < 0 || cfg.KeepAfter < 0 || cfg.Refresh < 0 {
		errs = append(errs, errors.New("oauthreg: KeyRingConfig: PublishBefore, KeepAfter and Refresh must not be negative"))
	}

	k := &KeyRing{
		store:         cfg.Store,
		algs:          algs,
		events:        cfg.Events,
		log:           cfg.Logger,
		clock:         cfg.Now,
		rotateEvery:   cmp.Or(cfg.RotateEvery, 90*24*time.Hour),
		publishBefore: cfg.PublishBefore,
		keepAfter:     cmp.Or(cfg.KeepAfter, 48*time.Hour),
		refresh:       cmp.Or(cfg.Refresh, 5*time.Second),
		loading:       make(chan struct{}, 1),
	}
	if k.publishBefore == 0 {
		k.publishBefore = 24 * time.Hour
		if k.rotateEvery > 0 {
			k.publishBefore = min(k.publishBefore, k.rotateEvery/2)
		}
	}
	if k.rotateEvery > 0 && k.publishBefore > k.rotateEvery {
		errs = append(errs, errors.New("oauthreg: KeyRingConfig.PublishBefore must not be longer than RotateEvery"))
	}
	var wrong []error
	k.external, wrong = k.externalKeys(cfg.External)
	if errs = append(errs, wrong...); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if k.clock == nil {
		k.clock = time.Now
	}
	return k, nil
}

// Algorithms returns the algorithms the ring signs with, in order of preference.
func (k *KeyRing) Algorithms() []string { return slices.Clone(k.algs) }

// now is the time as schedules are kept.
func (k *KeyRing) now() time.Time { return k.clock().UTC().Truncate(time.Millisecond) }

// Maintain makes the keys that are missing and moves the schedule on: a first
// key signs at once; a successor is published PublishBefore its predecessor
// retires, which happens after RotateEvery. It changes nothing when nothing is
// due, and may run in any number of processes: call it at the start and then
// every few minutes, at least once per half PublishBefore.
func (k *KeyRing) Maintain(ctx context.Context) error {
	have, err := k.store.SigningKeys(ctx)
	if err != nil {
		return fmt.Errorf("read signing keys: %w", err)
	}
	plan := k.plan(have, k.now())
	if plan.empty() {
		return nil
	}

	// Keys are made before the store is locked, and once more under the lock in
	// the rare case that something changed in between.
	spare := map[string]SigningKey{}
	for _, n := range plan.needed {
		if spare[n.alg], err = generateKey(n.alg); err != nil {
			return err
		}
	}
	var made []SigningKey
	err = k.store.UpdateSigningKeys(ctx, func(have []SigningKey) (add, replace []SigningKey, err error) {
		now := k.now()
		plan := k.plan(have, now)
		for _, n := range plan.needed {
			key, ok := spare[n.alg]
			if !ok {
				if key, err = generateKey(n.alg); err != nil {
					return nil, nil, err
				}
			}
			key.CreatedAt, key.ActiveAt = now, n.activeAt
			add = append(add, key)
		}
		made = add
		return add, plan.replace, nil
	})
	if err != nil {
		return fmt.Errorf("update signing keys: %w", err)
	}
	k.report(ctx, made)
	return k.reload(ctx)
}

// keyPlan is what is due.
type keyPlan struct {
	needed  []neededKey
	replace []SigningKey
}

type neededKey struct {
	alg      string
	activeAt time.Time
}

func (p keyPlan) empty() bool { return len(p.needed) == 0 && len(p.replace) == 0 }

func (k *KeyRing) plan(have []SigningKey, now time.Time) keyPlan {
	var p keyPlan
	for _, alg := range k.algs {
		k.planAlgorithm(&p, alg, have, now)
	}
	return p
}

func (k *KeyRing) planAlgorithm(p *keyPlan, alg string, have []SigningKey, now time.Time) {
	if from, ok := k.externalFrom(alg, now); ok {
		k.makeRoom(p, alg, have, now, from)
		return
	}
	active := activeKey(have, alg, now)
	var next *SigningKey // the first to become active
	for i := range have {
		key := &have[i]
		if key.Alg == alg && key.State(now) == KeyUpcoming && (next == nil || key.ActiveAt.Before(next.ActiveAt)) {
			next = key
		}
	}

	switch {
	case active == nil && next != nil: // nobody came by for long
		key := *next
		key.ActiveAt = now
		p.replace = append(p.replace, key)
		return
	case active == nil:
		p.needed = append(p.needed, neededKey{alg, now})
		return
	}

	// An older key that still signs, since two were made at once or one by
	// hand, retires now.
	for _, key := range have {
		if key.Alg == alg && key.KeyID != active.KeyID && key.State(now) == KeyActive {
			p.replace = append(p.replace, k.retire(key, now))
		}
	}

	var end time.Time
	if next != nil {
		end = next.ActiveAt
	} else if k.rotateEvery > 0 {
		due := active.ActiveAt.Add(k.rotateEvery)
		if now.Before(due.Add(-k.publishBefore)) {
			return
		}
		end = due
		if soonest := now.Add(k.publishBefore); end.Before(soonest) {
			end = soonest
		}
		p.needed = append(p.needed, neededKey{alg, end})
	}
	if !end.IsZero() && !active.RetiredAt.Equal(end) {
		p.replace = append(p.replace, k.retire(*active, end))
	}
}

// retire returns key with its end at t.
func (k *KeyRing) retire(key SigningKey, t time.Time) SigningKey {
	key.RetiredAt, key.ExpiresAt = t, t.Add(k.keepAfter)
	return key
}

// withdraw returns key with its end now, in the JWKS too.
func withdraw(key SigningKey, now time.Time) SigningKey {
	if key.ActiveAt.After(now) {
		key.ActiveAt = now
	}
	if key.RetiredAt.IsZero() || key.RetiredAt.After(now) {
		key.RetiredAt = now
	}
	key.ExpiresAt = now
	return key
}

// activeKey is the key that signs by alg at time t: of several the one that
// became active last.
func activeKey(keys []SigningKey, alg string, t time.Time) *SigningKey {
	var found *SigningKey
	for i := range keys {
		key := &keys[i]
		if key.Alg == alg && key.State(t) == KeyActive && (found == nil || laterKey(key, found)) {
			found = key
		}
	}
	return found
}

func laterKey(a, b *SigningKey) bool {
	return cmp.Or(a.ActiveAt.Compare(b.ActiveAt), a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.KeyID, b.KeyID)) > 0
}

// Rotate makes a new key that signs by alg from now on, and returns its kid.
// The key before it retires now and stays published for KeepAfter. A key that
// waited for its time is withdrawn: after a leak it would be no better. An
// algorithm that an external key has, or is to have, gives [ErrExternalKey].
func (k *KeyRing) Rotate(ctx context.Context, alg string) (kid string, err error) {
	if !slices.Contains(k.algs, alg) {
		return "", fmt.Errorf("oauthreg: this key ring does not sign by %q", alg)
	}
	if _, ok := k.externalFrom(alg, k.now()); ok {
		return "", ErrExternalKey
	}
	fresh, err := generateKey(alg)
	if err != nil {
		return "", err
	}
	err = k.store.UpdateSigningKeys(ctx, func(have []SigningKey) (add, replace []SigningKey, err error) {
		now := k.now()
		for _, key := range have {
			if key.Alg != alg {
				continue
			}
			switch key.State(now) {
			case KeyActive:
				replace = append(replace, k.retire(key, now))
			case KeyUpcoming:
				replace = append(replace, withdraw(key, now))
			}
		}
		fresh.CreatedAt, fresh.ActiveAt = now, now
		return []SigningKey{fresh}, replace, nil
	})
	if err != nil {
		return "", fmt.Errorf("update signing keys: %w", err)
	}
	k.report(ctx, []SigningKey{fresh})
	return fresh.KeyID, k.reload(ctx)
}

// Withdraw ends a key that got into wrong hands: it signs no more, leaves the
// JWKS, and nothing that it signed verifies here any more. Clients learn it when
// they read the JWKS again, other processes after Refresh. If it was the one that
// signs, a new one signs from now on, as by [KeyRing.Rotate]. [ErrNotFound] for a
// kid that is not in the store, [ErrExternalKey] for an external key; a key that
// has ended already is left as it is.
func (k *KeyRing) Withdraw(ctx context.Context, kid string) error {
	if slices.ContainsFunc(k.external, func(e ringKey) bool { return e.KeyID == kid }) {
		return ErrExternalKey
	}
	have, err := k.store.SigningKeys(ctx)
	if err != nil {
		return fmt.Errorf("read signing keys: %w", err)
	}
	at := slices.IndexFunc(have, func(key SigningKey) bool { return key.KeyID == kid })
	if at < 0 {
		return ErrNotFound
	}
	alg := have[at].Alg
	_, external := k.externalFrom(alg, k.now())
	var fresh SigningKey
	succeed := slices.Contains(k.algs, alg) && !external
	if succeed {
		if fresh, err = generateKey(alg); err != nil {
			return err
		}
	}
	var made []SigningKey
	err = k.store.UpdateSigningKeys(ctx, func(have []SigningKey) (add, replace []SigningKey, err error) {
		made = nil
		now := k.now()
		active := activeKey(have, alg, now)
		signs := succeed && active != nil && active.KeyID == kid
		for _, key := range have {
			state := key.State(now)
			switch {
			case key.KeyID == kid && state == KeyExpired:
				return nil, nil, nil
			case key.KeyID == kid, signs && key.Alg == alg && state == KeyUpcoming:
				replace = append(replace, withdraw(key, now))
			}
		}
		if signs {
			fresh.CreatedAt, fresh.ActiveAt = now, now
			add = append(add, fresh)
			made = add
		}
		return add, replace, nil
	})
	if err != nil {
		return fmt.Errorf("update signing keys: %w", err)
	}
	k.report(ctx, made)
	return k.reload(ctx)
}

// ListedKey is what there is to tell about a key. It has no private part.
type ListedKey struct {
	KeyID string
	Alg   string
	State KeyState
	// External says that it is an [ExternalKey].
	External bool
	// CreatedAt is zero for an external key. The others are as in [SigningKey].
	CreatedAt time.Time
	ActiveAt  time.Time
	RetiredAt time.Time
	ExpiresAt time.Time
}

// List returns the external keys, in order of configuration, and then all keys of
// the store, newest first, ended ones too, as the store has them now.
func (k *KeyRing) List(ctx context.Context) ([]ListedKey, error) {
	stored, err := k.store.SigningKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("read signing keys: %w", err)
	}
	now := k.now()
	list := make([]ListedKey, 0, len(k.external)+len(stored))
	tell := func(key *SigningKey, external bool) {
		list = append(list, ListedKey{
			KeyID: key.KeyID, Alg: key.Alg, State: key.State(now), External: external,
			CreatedAt: key.CreatedAt, ActiveAt: key.ActiveAt, RetiredAt: key.RetiredAt, ExpiresAt: key.ExpiresAt,
		})
	}
	for i := range k.external {
		tell(&k.external[i].SigningKey, true)
	}
	for i := range slices.Backward(stored) {
		tell(&stored[i], false)
	}
	return list, nil
}

// generateKey makes a key for alg without a schedule. Its kid is its thumbprint
// (RFC 7638).
func generateKey(alg string) (SigningKey, error) {
	var private crypto.Signer
	var err error
	switch alg {
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default: // RS and PS; there are no others in signingAlgs
		private, err = rsa.GenerateKey(rand.Reader, rsaBits)
	}
	if err != nil {
		return SigningKey{}, fmt.Errorf("generate %s key: %w", alg, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return SigningKey{}, fmt.Errorf("encode %s key: %w", alg, err)
	}
	kid, err := thumbprint(private.Public())
	if err != nil {
		return SigningKey{}, err
	}
	return SigningKey{KeyID: kid, Alg: alg, Private: der}, nil
}

func thumbprint(public crypto.PublicKey) (string, error) {
	jwk := jose.JSONWebKey{Key: public}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("make kid: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// snapshot returns what the store has, as of at most Refresh ago; or, while the
// store fails, of at most a minute ago.
func (k *KeyRing) snapshot(ctx context.Context) (*keySnapshot, error) {
	return k.snapshotWithin(ctx, k.refresh)
}

func (k *KeyRing) snapshotWithin(ctx context.Context, age time.Duration) (*keySnapshot, error) {
	now := k.clock()
	have := k.loaded.Load()
	if have != nil && have.fresh(now, age) {
		return have, nil
	}
	if have != nil && have.fresh(now, maxStaleKeys) {
		// While one reads, and right after one failed, the others go on.
		if since := now.Sub(time.Unix(0, have.tried.Load())); since >= 0 && since < min(age, time.Second) {
			return have, nil
		}
		select {
		case k.loading <- struct{}{}:
		default:
			return have, nil
		}
	} else if err := k.lockLoading(ctx); err != nil {
		return nil, err
	}
	defer k.unlockLoading()

	if have = k.loaded.Load(); have != nil {
		if have.fresh(now, age) {
			return have, nil
		}
		have.tried.Store(now.UnixNano())
	}
	next, err := k.load(ctx, have)
	if err == nil {
		return next, nil
	}
	if have != nil && have.fresh(now, maxStaleKeys) {
		return have, nil
	}
	return nil, err
}

// fresh reports whether s was read less than age ago; not if the clock went back.
func (s *keySnapshot) fresh(now time.Time, age time.Duration) bool {
	since := now.Sub(s.at)
	return since >= 0 && since < age
}

// reload reads the store now.
func (k *KeyRing) reload(ctx context.Context) error {
	if err := k.lockLoading(ctx); err != nil {
		return err
	}
	defer k.unlockLoading()
	_, err := k.load(ctx, k.loaded.Load())
	return err
}

func (k *KeyRing) lockLoading(ctx context.Context) error {
	select {
	case k.loading <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("read signing keys: %w", ctx.Err())
	}
}

func (k *KeyRing) unlockLoading() { <-k.loading }

// load reads the store. The caller has locked loading.
func (k *KeyRing) load(ctx context.Context, before *keySnapshot) (*keySnapshot, error) {
	at := k.clock() // before reading: what is written meanwhile may be missing
	keys, err := k.store.SigningKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("read signing keys: %w", err)
	}
	parsed := map[string]*parsedKey{}
	if before != nil {
		for _, key := range before.keys {
			if key.parsed.external == nil {
				parsed[key.KeyID] = key.parsed
			}
		}
	}
	s := &keySnapshot{at: at, tried: new(atomic.Int64)}
	for _, key := range keys {
		if key.State(at) == KeyExpired {
			continue
		}
		p := parsed[key.KeyID]
		if p == nil {
			if p, err = parseKey(key); err != nil {
				return nil, fmt.Errorf("signing key %s: %w", key.KeyID, err)
			}
		}
		key.Private = nil
		s.keys = append(s.keys, ringKey{key, p})
	}
	s.keys = append(s.keys, k.external...)
	k.loaded.Store(s)
	return s, nil
}

func parseKey(key SigningKey) (*parsedKey, error) {
	private, err := x509.ParsePKCS8PrivateKey(key.Private)
	if err != nil {
		return nil, errors.New("not a private key in PKCS #8") // the cause might tell of the key
	}
	signer, ok := private.(crypto.Signer)
	if !ok || !slices.Contains(publicKeyAlgs(signer.Public()), key.Alg) {
		return nil, fmt.Errorf("not a key for %s", key.Alg)
	}
	return &parsedKey{
		private: signer,
		public:  jose.JSONWebKey{Key: signer.Public(), KeyID: key.KeyID, Algorithm: key.Alg, Use: "sig"},
	}, nil
}

// signer returns the signer for tokens of that typ; "" for none.
func (p *parsedKey) signer(typ string) (jose.Signer, error) {
	if s, ok := p.signers.Load(typ); ok {
		return s.(jose.Signer), nil
	}
	opts := new(jose.SignerOptions)
	if typ != "" {
		opts = opts.WithType(jose.ContentType(typ))
	}
	s, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(p.public.Algorithm),
		Key:       jose.JSONWebKey{Key: p.private, KeyID: p.public.KeyID},
	}, opts)
	if err != nil {
		return nil, fmt.Errorf("make signer: %w", err)
	}
	p.signers.Store(typ, s)
	return s, nil
}

// Sign returns claims as a JWS in compact form (RFC 7515 §7.1), signed by alg
// with the key that is active now, whose kid is in the header. typ is the
// header's typ, such as "at+jwt"; empty means none. It must not come from a
// request: signers are kept for each. claims is a JSON document as a []byte, or
// what [json.Marshal] makes one of.
func (k *KeyRing) Sign(ctx context.Context, alg, typ string, claims any) (compact string, err error) {
	payload, ok := claims.([]byte)
	if !ok {
		if payload, err = json.Marshal(claims); err != nil {
			return "", fmt.Errorf("encode claims: %w", err)
		}
	}
	s, err := k.snapshot(ctx)
	if err != nil {
		return "", err
	}
	key := s.active(alg, k.now())
	if key == nil {
		return "", fmt.Errorf("oauthreg: no active signing key for %q", alg)
	}
	if key.external != nil {
		return key.signExternally(ctx, typ, payload)
	}
	signer, err := key.signer(typ)
	if err != nil {
		return "", err
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return jws.CompactSerialize()
}

func (s *keySnapshot) active(alg string, t time.Time) *parsedKey {
	var found *ringKey
	for i := range s.keys {
		key := &s.keys[i]
		if key.Alg == alg && key.State(t) == KeyActive && (found == nil || goesBefore(key, found)) {
			found = key
		}
	}
	if found == nil {
		return nil
	}
	return found.parsed
}

// goesBefore reports whether a signs rather than b: external keys before stored
// ones, then the later one.
func goesBefore(a, b *ringKey) bool {
	if external := a.parsed.external != nil; external != (b.parsed.external != nil) {
		return external
	}
	return laterKey(&a.SigningKey, &b.SigningKey)
}

// KeyInfo is what the header of a verified token says.
type KeyInfo struct {
	// KeyID is kid and Alg alg: those of a key of the ring.
	KeyID string
	Alg   string
	// Type is typ as it stands in the header, empty if it is not there. What it
	// has to be is for the caller to check (RFC 8725 §3.11).
	Type string
}

// Verify returns the payload of a token that the ring made: its signature is by
// a key that is in the JWKS now, found by kid, and by that key's algorithm. The
// claims, their expiry included, are for the caller to check. The error is
// [ErrBadSignature], or that of a store that failed.
func (k *KeyRing) Verify(ctx context.Context, compact string) (claims []byte, info KeyInfo, err error) {
	if len(compact) > maxJWS {
		return nil, KeyInfo{}, ErrBadSignature
	}
	jws, err := jose.ParseSignedCompact(compact, allowedAlgs)
	if err != nil || len(jws.Signatures) != 1 {
		return nil, KeyInfo{}, ErrBadSignature
	}
	header := jws.Signatures[0].Protected
	key, err := k.find(ctx, header.KeyID)
	if err != nil {
		return nil, KeyInfo{}, err
	}
	if key == nil || key.Alg != header.Algorithm {
		return nil, KeyInfo{}, ErrBadSignature
	}
	claims, err = jws.Verify(key.parsed.public.Key)
	if err != nil {
		return nil, KeyInfo{}, ErrBadSignature
	}
	typ, _ := header.ExtraHeaders[jose.HeaderType].(string)
	return claims, KeyInfo{KeyID: key.KeyID, Alg: key.Alg, Type: typ}, nil
}

// allowedAlgs is signingAlgs as jose wants them.
var allowedAlgs = func() []jose.SignatureAlgorithm {
	out := make([]jose.SignatureAlgorithm, len(signingAlgs))
	for i, a := range signingAlgs {
		out[i] = jose.SignatureAlgorithm(a)
	}
	return out
}()

// find returns the published key of that kid; nil if there is none. For a kid
// it does not know it looks into the store once more, at most every second:
// another process may have rotated.
func (k *KeyRing) find(ctx context.Context, kid string) (*ringKey, error) {
	s, err := k.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	if key := s.find(kid, k.now()); key != nil || kid == "" {
		return key, nil
	}
	if s, err = k.snapshotWithin(ctx, min(k.refresh, time.Second)); err != nil {
		return nil, err
	}
	return s.find(kid, k.now()), nil
}

func (s *keySnapshot) find(kid string, t time.Time) *ringKey {
	for i := range s.keys {
		if key := &s.keys[i]; key.KeyID == kid && key.State(t) != KeyExpired {
			return key
		}
	}
	return nil
}

// Keys returns the keys that are in the JWKS now, oldest first, without their
// private parts. [SigningKey.State] tells where each stands.
func (k *KeyRing) Keys(ctx context.Context) ([]SigningKey, error) {
	s, err := k.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	now := k.now()
	var keys []SigningKey
	for i := range s.keys {
		if key := &s.keys[i]; key.State(now) != KeyExpired {
			keys = append(keys, key.SigningKey)
		}
	}
	return keys, nil
}

// JWKS returns the public keys to publish (RFC 7517 §5): upcoming, active and
// retired ones. The active ones come first, in order of Algorithms, for readers
// that take the first key they see.
func (k *KeyRing) JWKS(ctx context.Context) (jose.JSONWebKeySet, error) {
	s, err := k.snapshot(ctx)
	if err != nil {
		return jose.JSONWebKeySet{}, err
	}
	return k.keySet(s), nil
}

func (k *KeyRing) keySet(s *keySnapshot) jose.JSONWebKeySet {
	now := k.now()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	first := map[string]bool{}
	for _, alg := range k.algs {
		if key := s.active(alg, now); key != nil {
			set.Keys = append(set.Keys, key.public)
			first[key.public.KeyID] = true
		}
	}
	for _, key := range s.keys {
		if !first[key.KeyID] && key.State(now) != KeyExpired {
			set.Keys = append(set.Keys, key.parsed.public)
		}
	}
	return set
}

// PublicJSON returns [KeyRing.JWKS] as a JSON document and its entity tag, with
// the quotation marks of RFC 9110 §8.8.3. The document must not be changed.
func (k *KeyRing) PublicJSON(ctx context.Context) (body []byte, etag string, err error) {
	set, err := k.JWKS(ctx)
	if err != nil {
		return nil, "", err
	}
	var kids strings.Builder
	for _, key := range set.Keys {
		kids.WriteString(key.KeyID)
		kids.WriteByte('\n')
	}
	if p := k.published.Load(); p != nil && p.kids == kids.String() {
		return p.body, p.etag, nil
	}
	if body, err = json.Marshal(set); err != nil {
		return nil, "", fmt.Errorf("encode JWKS: %w", err)
	}
	sum := sha256.Sum256(body)
	p := &publishedKeys{kids: kids.String(), body: body, etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`}
	k.published.Store(p)
	return p.body, p.etag, nil
}
