package oauthreg

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// Limits of a client's key set.
const (
	maxJWKS     = 64 * 1024
	maxJWKSKeys = 20
	minRSABits  = 2048
	maxRSABits  = 8192
)

// privateJWKMembers carry private or symmetric key material (RFC 7518 §6).
var privateJWKMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// canonicalJWKS reduces a key set to its keys member, without white space, so
// that every reader sees the same keys. What is not a key set stays as it is:
// checkJWKS says what is wrong with it.
func canonicalJWKS(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 || bytes.Equal(bytes.TrimSpace(raw), []byte("null")) {
		return nil
	}
	if len(raw) > maxJWKS {
		return raw
	}
	keys, err := jwksKeys(raw)
	if err != nil {
		return raw
	}
	out, err := json.Marshal(map[string][]json.RawMessage{"keys": keys})
	if err != nil {
		return raw
	}
	return out
}

// jwksKeys takes the keys out of a key set (RFC 7517 §5), not yet parsed.
func jwksKeys(raw json.RawMessage) ([]json.RawMessage, error) {
	var set map[string]json.RawMessage
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, err
	}
	var keys []json.RawMessage
	if err := json.Unmarshal(set["keys"], &keys); err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("no keys")
	}
	return keys, nil
}

// checkJWKS returns what is wrong with a client's key set: at most 64 KiB and
// 20 keys, each a public one for signatures by an algorithm of signingAlgs.
// usable says whether one of them can verify signatures by alg, or by any
// algorithm if alg is empty.
func checkJWKS(raw json.RawMessage, alg string) (usable bool, problems []Problem) {
	add := func(field, message string) {
		problems = append(problems, Problem{Field: field, Message: message})
	}
	if len(raw) > maxJWKS {
		add("jwks", "must be at most 65536 bytes")
		return false, problems
	}
	keys, err := jwksKeys(raw)
	if err != nil {
		add("jwks", "must be a JSON object whose keys member is a list of at least one key")
		return false, problems
	}
	if len(keys) > maxJWKSKeys {
		add("jwks", fmt.Sprintf("must be at most %d keys", maxJWKSKeys))
		return false, problems
	}
	for i, raw := range keys {
		key, message := checkJWK(raw)
		if message != "" {
			add(indexed("jwks.keys", i), message)
			continue
		}
		if key.Use != "enc" && (alg == "" || slices.Contains(jwkAlgs(key), alg)) {
			usable = true
		}
	}
	return usable, problems
}

func checkJWK(raw json.RawMessage) (key jose.JSONWebKey, message string) {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || members == nil {
		return key, "must be a JSON object"
	}
	for name := range members {
		if slices.Contains(privateJWKMembers, strings.ToLower(name)) {
			return key, "must be a public key, without private or symmetric parts"
		}
	}
	if key.UnmarshalJSON(raw) != nil || !key.Valid() || !key.IsPublic() {
		return key, "must be a valid RSA, EC or Ed25519 public key"
	}
	if k, ok := key.Key.(*rsa.PublicKey); ok {
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits || k.E < 3 || k.E%2 == 0 {
			return key, fmt.Sprintf("must have an RSA modulus of %d to %d bits", minRSABits, maxRSABits)
		}
	}
	algs := jwkAlgs(key)
	if algs == nil {
		return key, "must be a valid RSA, EC or Ed25519 public key"
	}
	if key.Use != "" && key.Use != "sig" && key.Use != "enc" {
		return key, "must have sig or enc for its use"
	}
	if key.Algorithm != "" && key.Use != "enc" && !slices.Contains(algs, key.Algorithm) {
		return key, "must have an alg that is allowed and fits the key"
	}
	return key, ""
}

// jwkAlgs are the algorithms that key verifies; nil for a kind of key that we
// do not take.
func jwkAlgs(key jose.JSONWebKey) []string {
	if key.Algorithm != "" && slices.Contains(publicKeyAlgs(key.Key), key.Algorithm) {
		return []string{key.Algorithm}
	}
	return publicKeyAlgs(key.Key)
}

func publicKeyAlgs(key any) []string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return []string{"ES256"}
		case elliptic.P384():
			return []string{"ES384"}
		case elliptic.P521():
			return []string{"ES512"}
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}
	}
	return nil
}
