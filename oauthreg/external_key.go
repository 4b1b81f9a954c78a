package oauthreg

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha512" // SHA-384 and SHA-512
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// ErrExternalKey: the key is an [ExternalKey], or such a key signs by that
// algorithm, so it is rotated and withdrawn where it is kept, and then in the
// configuration.
var ErrExternalKey = errors.New("oauthreg: the private key is not kept here")

// Signer signs with a private key that is elsewhere: in a key management
// service, in a hardware module, behind an agent. It must be safe for concurrent
// use. It is [crypto.Signer] with a context instead of a source of randomness:
// what such services offer needs no more than that.
type Signer interface {
	// Public is the public key: *rsa.PublicKey, *ecdsa.PublicKey or
	// ed25519.PublicKey. It never changes and does no I/O.
	Public() crypto.PublicKey
	// Sign signs digest, which is opts.HashFunc() of the message, or the
	// message itself for Ed25519, where HashFunc is 0. opts is
	// *rsa.PSSOptions, with a salt of the length of the hash, for PS256, PS384
	// and PS512. ECDSA signatures are in ASN.1 DER, as in [crypto.Signer]. An
	// error is answered to clients as server_error.
	Sign(ctx context.Context, digest []byte, opts crypto.SignerOpts) (signature []byte, err error)
}

// ExternalKey is a signing key whose private part a [Signer] has. The ring
// publishes it and signs with it like with one of its own. For its algorithm the
// ring then makes no keys: those it made before retire when the external key
// begins to sign, and stay published for KeepAfter.
type ExternalKey struct {
	// Signer has the key. Required.
	Signer Signer
	// Alg is the JWS algorithm: one of KeyRingConfig.Algorithms that fits the
	// key. Required.
	Alg string
	// KeyID is kid; empty means the thumbprint of the public key (RFC 7638).
	KeyID string
	// ActiveAt is when it begins to sign; zero means at once. To change keys
	// without a gap for those who cache the JWKS, configure the next one with a
	// time at least PublishBefore ahead. Of several the one that became active
	// last signs.
	ActiveAt time.Time
	// RetiredAt is when it stops; zero means never. It stays published for
	// KeepAfter. When the last one of an algorithm stops, the ring makes keys of
	// its own again.
	RetiredAt time.Time
}

// externalKeys checks what the configuration has and gives it the ring's form.
func (k *KeyRing) externalKeys(keys []ExternalKey) (out []ringKey, errs []error) {
	for i, e := range keys {
		e.ActiveAt, e.RetiredAt = e.ActiveAt.UTC().Truncate(time.Millisecond), e.RetiredAt.UTC().Truncate(time.Millisecond)
		fail := func(text string) {
			errs = append(errs, fmt.Errorf("oauthreg: KeyRingConfig.External[%d]: %s", i, text))
		}
		if e.Signer == nil {
			fail("Signer is nil")
			continue
		}
		public := e.Signer.Public()
		if !slices.Contains(k.algs, e.Alg) || !slices.Contains(publicKeyAlgs(public), e.Alg) {
			fail(fmt.Sprintf("Alg %q is not one of KeyRingConfig.Algorithms that fits the key", e.Alg))
			continue
		}
		if r, ok := public.(*rsa.PublicKey); ok && r.N.BitLen() < minRSABits {
			fail(fmt.Sprintf("an RSA key needs %d bits", minRSABits))
			continue
		}
		if !e.RetiredAt.IsZero() && !e.RetiredAt.After(e.ActiveAt) {
			fail("RetiredAt must be after ActiveAt")
		}
		kid := e.KeyID
		if kid == "" {
			var err error
			if kid, err = thumbprint(public); err != nil {
				fail(err.Error())
				continue
			}
		}
		if slices.ContainsFunc(out, func(o ringKey) bool { return o.KeyID == kid }) {
			fail(fmt.Sprintf("the kid %q is used twice; give one of the keys a KeyID", kid))
		}
		key := SigningKey{KeyID: kid, Alg: e.Alg, ActiveAt: e.ActiveAt}
		if !e.RetiredAt.IsZero() {
			key = k.retire(key, e.RetiredAt)
		}
		out = append(out, ringKey{key, &parsedKey{
			external: e.Signer,
			public:   jose.JSONWebKey{Key: public, KeyID: kid, Algorithm: e.Alg, Use: "sig"},
		}})
	}
	return out, errs
}

// externalFrom is when an external key signs by alg, or will: not before now.
// ok is false when none does and none is to come.
func (k *KeyRing) externalFrom(alg string, now time.Time) (from time.Time, ok bool) {
	for i := range k.external {
		key := &k.external[i].SigningKey
		if key.Alg != alg || !key.RetiredAt.IsZero() && !now.Before(key.RetiredAt) {
			continue
		}
		at := key.ActiveAt
		if at.Before(now) {
			at = now
		}
		if !ok || at.Before(from) {
			from, ok = at, true
		}
	}
	return from, ok
}

// makeRoom retires the stored keys of alg for the external one that signs from
// then on, and makes one for the time until then if there is none.
func (k *KeyRing) makeRoom(p *keyPlan, alg string, have []SigningKey, now, from time.Time) {
	signs := false
	for _, key := range have {
		if key.Alg != alg {
			continue
		}
		switch key.State(now) {
		case KeyActive:
			signs = true
			if key.RetiredAt.IsZero() || key.RetiredAt.After(from) {
				p.replace = append(p.replace, k.retire(key, from))
			}
		case KeyUpcoming:
			p.replace = append(p.replace, withdraw(key, now))
		}
	}
	if !signs && now.Before(from) {
		p.needed = append(p.needed, neededKey{alg, now})
	}
}

// signExternally makes a JWS in compact form with a [Signer]. What it returns is
// verified: a service that signs with another key than the published one must
// not get as far as the clients.
func (p *parsedKey) signExternally(ctx context.Context, typ string, payload []byte) (string, error) {
	alg := p.public.Algorithm
	header := struct {
		Alg string `json:"alg"`
		Kid string `json:"kid"`
		Typ string `json:"typ,omitempty"`
	}{alg, p.public.KeyID, typ}
	b, err := json.Marshal(header)
	if err != nil {
		return "", fmt.Errorf("encode header: %w", err)
	}
	input := base64.RawURLEncoding.EncodeToString(b) + "." + base64.RawURLEncoding.EncodeToString(payload)

	digest, opts := []byte(input), crypto.SignerOpts(crypto.Hash(0))
	if alg != "EdDSA" {
		hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[2:]]
		h := hash.New()
		h.Write(digest)
		digest, opts = h.Sum(nil), hash
		if alg[:2] == "PS" {
			opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
		}
	}
	signature, err := p.external.Sign(ctx, digest, opts)
	if err != nil {
		return "", fmt.Errorf("sign with external key %s: %w", p.public.KeyID, err)
	}
	if key, ok := p.public.Key.(*ecdsa.PublicKey); ok {
		if signature, err = joseECDSA(key.Curve, signature); err != nil {
			return "", fmt.Errorf("external key %s: %w", p.public.KeyID, err)
		}
	}
	compact := input + "." + base64.RawURLEncoding.EncodeToString(signature)
	jws, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
	if err == nil {
		_, err = jws.Verify(p.public.Key)
	}
	if err != nil {
		return "", fmt.Errorf("external key %s made a signature that its public key does not verify: %w", p.public.KeyID, err)
	}
	return compact, nil
}

// joseECDSA turns a signature in ASN.1 into the form of RFC 7518 §3.4.
func joseECDSA(curve elliptic.Curve, der []byte) ([]byte, error) {
	var sig struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &sig)
	size := (curve.Params().BitSize + 7) / 8
	if err != nil || len(rest) > 0 || sig.R.Sign() <= 0 || sig.S.Sign() <= 0 || sig.R.BitLen() > size*8 || sig.S.BitLen() > size*8 {
		return nil, errors.New("not an ECDSA signature in ASN.1")
	}
	out := make([]byte, 2*size)
	sig.R.FillBytes(out[:size])
	sig.S.FillBytes(out[size:])
	return out, nil
}
