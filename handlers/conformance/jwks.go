package conformance

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// The algorithms that a published key can verify (RFC 7518 §3.1, RFC 8037 §3.1).
var publicAlgs = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// keys reads the JWKS.
func (r *run) keys(ctx context.Context) ([]json.RawMessage, error) {
	where, err := r.endpoint("jwks_uri")
	if err != nil {
		return nil, err
	}
	a, err := r.get(ctx, where)
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, fmt.Errorf("%s: got %v, want status 200", where, a)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(a.body, &set); err != nil || set.Keys == nil {
		return nil, fmt.Errorf("%s: got %v, want an object with an array keys", where, a)
	}
	return set.Keys, nil
}

func jwksDocument(ctx context.Context, r *run) error {
	keys, err := r.keys(ctx)
	if err == nil && len(keys) == 0 {
		return errors.New("there is no key")
	}
	return err
}

// Members of RFC 7518 §6.2.2, §6.3.2 and §6.4.1 that are nobody else's business.
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

func jwksPrivate(ctx context.Context, r *run) error {
	keys, err := r.keys(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for i, raw := range keys {
		var m members
		if json.Unmarshal(raw, &m) != nil {
			continue // that of jwks/keys
		}
		for _, name := range privateMembers {
			if m.has(name) {
				errs = append(errs, fmt.Errorf("key %d (kid %q) has the private member %s: every token signed with it can be forged", i, m.text("kid"), name))
			}
		}
	}
	return errors.Join(errs...)
}

func jwksKeys(ctx context.Context, r *run) error {
	keys, err := r.keys(ctx)
	if err != nil {
		return err
	}
	var errs []error
	var kids []string
	for i, raw := range keys {
		var m members
		wrong := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("key %d (kid %q) %s", i, m.text("kid"), fmt.Sprintf(format, args...)))
		}
		if json.Unmarshal(raw, &m) != nil {
			wrong("is not an object")
			continue
		}
		kid := m.text("kid")
		if kid == "" && len(keys) > 1 {
			wrong("has no kid, and there are several keys")
		}
		if kid != "" && slices.Contains(kids, kid) {
			wrong("has the kid of another key")
		}
		kids = append(kids, kid)
		if !slices.Contains([]string{"RSA", "EC", "OKP"}, m.text("kty")) {
			wrong("is of the type %q, want a public key: RSA, EC or OKP", m.text("kty"))
			continue
		}
		key, err := publicKey(raw)
		if err != nil {
			if !errors.Is(err, jose.ErrUnsupportedKeyType) && !slices.Contains([]string{"X25519", "X448", "Ed448"}, m.text("crv")) {
				wrong("is not well-formed: %v", err)
			}
			continue
		}
		if pub, ok := key.Key.(*rsa.PublicKey); ok && pub.N.BitLen() < 2048 {
			wrong("has %d bits, want 2048 or more (RFC 7518 §3.3)", pub.N.BitLen())
		}
	}
	return errors.Join(errs...)
}

// publicKey reads a key without what is private in it: that is for jwks/private
// to tell.
func publicKey(raw json.RawMessage) (jose.JSONWebKey, error) {
	var key jose.JSONWebKey
	var m members
	if err := json.Unmarshal(raw, &m); err != nil {
		return key, err
	}
	for _, name := range privateMembers {
		delete(m, name)
	}
	public, err := json.Marshal(m)
	if err != nil {
		return key, err
	}
	err = key.UnmarshalJSON(public)
	return key, err
}

// verify checks a JWS against the JWKS and returns its claims and header.
func (r *run) verify(ctx context.Context, token string) (members, *jose.Header, error) {
	jws, err := jose.ParseSignedCompact(token, publicAlgs)
	if err != nil {
		return nil, nil, fmt.Errorf("not a JWS with an asymmetric algorithm: %w", err)
	}
	if r.results["jwks/document"].Outcome == Fail {
		return nil, nil, skip("needs jwks/document, which failed")
	}
	keys, err := r.keys(ctx)
	if err != nil {
		return nil, nil, err
	}
	header := &jws.Signatures[0].Protected
	for _, raw := range keys {
		key, err := publicKey(raw)
		if err != nil || header.KeyID != "" && key.KeyID != header.KeyID || key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		payload, err := jws.Verify(key)
		if err != nil {
			continue
		}
		var claims members
		if err := json.Unmarshal(payload, &claims); err != nil {
			return nil, nil, fmt.Errorf("the claims are not a JSON object: %w", err)
		}
		return claims, header, nil
	}
	return nil, nil, fmt.Errorf("no key of the JWKS verifies the signature (alg %s, kid %q)", header.Algorithm, header.KeyID)
}
