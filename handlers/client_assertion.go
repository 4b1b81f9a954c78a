package handlers

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // case-sensitive, refuses repeated members
	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

const (
	maxAssertion     = 16 << 10 // bytes
	maxAssertionJTI  = 255      // bytes
	maxAssertionName = 2048     // bytes of iss: a client_id may be a URL
	// assertionLeeway is how far the client's clock may be off.
	assertionLeeway = time.Minute
	// maxAssertionAge is how far in the future exp may be: the jti of an
	// assertion is remembered until then.
	maxAssertionAge = time.Hour
)

// assertionAlgorithms are the algorithms a client assertion may be signed with:
// asymmetric ones only (token_endpoint_auth_signing_alg_values_supported).
var assertionAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// assertionAlgs are the names of assertionAlgorithms, for the metadata.
func assertionAlgs() []string {
	names := make([]string, len(assertionAlgorithms))
	for i, alg := range assertionAlgorithms {
		names[i] = string(alg)
	}
	return names
}

// assertionPaths are the endpoints, below the issuer, whose URL an assertion may
// name as its audience in place of the issuer: those that authenticate clients.
var assertionPaths = []string{
	"/oauth/token", "/oauth/introspect", "/oauth/revoke", "/oauth/par",
	"/v2/oauth/token", "/v2/oauth/introspect", "/v2/oauth/revoke",
}

// assertionClaims are the claims of RFC 7523 §3 and OpenID Connect Core §9.
type assertionClaims struct {
	Issuer    string            `json:"iss"`
	Subject   string            `json:"sub"`
	Audience  assertionAudience `json:"aud"`
	Expires   *float64          `json:"exp"`
	NotBefore *float64          `json:"nbf"`
	IssuedAt  *float64          `json:"iat"`
	ID        string            `json:"jti"`
}

// assertionAudience is one string or an array of them (RFC 7519 §4.1.3).
type assertionAudience []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *assertionAudience) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]string)(a))
	}
	var one string
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	*a = assertionAudience{one}
	return nil
}

// assertionIssuer is the client that an assertion claims to come from: iss, when
// sub is the same. Nothing is verified, so it is good for looking the client up
// and for nothing else.
func assertionIssuer(assertion string) (clientID string, ok bool) {
	if len(assertion) > maxAssertion {
		return "", false
	}
	_, rest, _ := strings.Cut(assertion, ".")
	payload, _, _ := strings.Cut(rest, ".")
	b, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return "", false
	}
	var claims assertionClaims
	if json.Unmarshal(b, &claims) != nil {
		return "", false
	}
	id := claims.Issuer
	return id, id != "" && id == claims.Subject && len(id) <= maxAssertionName
}

// verifyClientAssertion verifies a client_assertion of c by private_key_jwt
// (RFC 7523 §2.2 and §3, OpenID Connect Core §9): everything but that it is used
// for the first time, which [Server.useAssertion] decides when all else about
// the request is known to be right. It returns the claims jti and exp.
//
// Whatever is wrong with the assertion or with the client's keys is
// invalid_client; that the client's jwks_uri cannot be reached now is 503.
func (s *Server) verifyClientAssertion(ctx context.Context, c *oauthreg.Client, assertion string) (jti string, exp time.Time, err error) {
	refuse := func(reason string, args ...any) (string, time.Time, error) {
		return "", time.Time{}, invalidClient().because(fmt.Errorf("client assertion: "+reason, args...))
	}
	if c.TokenEndpointAuthMethod != oauthreg.AuthPrivateKeyJWT {
		return refuse("the client is not registered for private_key_jwt")
	}
	if len(assertion) > maxAssertion {
		return refuse("larger than %d bytes", maxAssertion)
	}
	algorithms := assertionAlgorithms
	if alg := jose.SignatureAlgorithm(c.TokenEndpointAuthSigningAlg); alg != "" {
		if !slices.Contains(assertionAlgorithms, alg) {
			return refuse("the registered algorithm is not supported")
		}
		algorithms = []jose.SignatureAlgorithm{alg}
	}
	jws, err := jose.ParseSignedCompact(assertion, algorithms)
	if err != nil {
		return refuse("not a signed JWT with an allowed algorithm")
	}
	header := jws.Signatures[0].Protected
	if reason := checkAssertionHeader(header); reason != "" {
		return refuse("%s", reason)
	}

	// The claims come before the keys, so that junk does not make us fetch any.
	var claims assertionClaims
	if json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claims) != nil {
		return refuse("the claims are malformed")
	}
	exp, reason := s.checkAssertionClaims(c, &claims)
	if reason != "" {
		return refuse("%s", reason)
	}

	keys, err := s.jwks.find(ctx, c, header.KeyID, header.Algorithm)
	switch {
	case errors.Is(err, errDocument):
		return refuse("keys: %w", err)
	case err != nil:
		e := unavailable(fmt.Errorf("keys of client %s: %w", c.ID, err))
		e.RetryAfter = retryJWKS
		return "", time.Time{}, e
	case len(keys) == 0:
		return refuse("the client has no key for it")
	}
	for _, key := range keys {
		if _, err := jws.Verify(key.Key); err == nil {
			return claims.ID, exp, nil
		}
	}
	return refuse("the signature does not verify")
}

// checkAssertionHeader says what is wrong with a header, if anything. Keys that
// it carries or points to (jwk, jku, x5c, x5u) are never used.
func checkAssertionHeader(h jose.Header) string {
	if _, ok := h.ExtraHeaders["crit"]; ok { // RFC 7515 §4.1.11: there is none we know
		return "crit is not supported"
	}
	if _, ok := h.ExtraHeaders["b64"]; ok {
		return "b64 is not supported"
	}
	if typ, ok := h.ExtraHeaders[jose.HeaderType]; ok {
		// Media types ignore case and may leave out "application/" (RFC 7515 §4.1.9).
		name, _ := typ.(string)
		name = strings.TrimPrefix(strings.ToLower(name), "application/")
		if name != "jwt" && name != "client-authentication+jwt" {
			return "typ is not that of a client assertion"
		}
	}
	return ""
}

// checkAssertionClaims returns exp, or what is wrong.
func (s *Server) checkAssertionClaims(c *oauthreg.Client, claims *assertionClaims) (exp time.Time, reason string) {
	now := s.now()
	exp, ok := numericDate(claims.Expires)
	switch {
	case claims.Issuer != c.ClientID || claims.Subject != c.ClientID:
		return exp, "iss and sub are not the client"
	case !slices.ContainsFunc(claims.Audience, s.isAssertionAudience):
		return exp, "aud is not this server"
	case !ok:
		return exp, "exp is missing or malformed"
	case !now.Before(exp.Add(assertionLeeway)):
		return exp, "expired"
	case exp.After(now.Add(maxAssertionAge + assertionLeeway)):
		return exp, "exp is too far in the future"
	case claims.ID == "" || len(claims.ID) > maxAssertionJTI:
		return exp, "jti is missing or too long"
	}
	for name, claim := range map[string]*float64{"nbf": claims.NotBefore, "iat": claims.IssuedAt} {
		if claim == nil {
			continue
		}
		if t, ok := numericDate(claim); !ok || t.After(now.Add(assertionLeeway)) {
			return exp, name + " is in the future or malformed"
		}
	}
	return exp, ""
}

// isAssertionAudience reports whether aud is this server: the issuer, or the URL
// of an endpoint that authenticates clients, byte for byte (RFC 7523 §3).
func (s *Server) isAssertionAudience(aud string) bool {
	path, ok := strings.CutPrefix(aud, s.cfg.Issuer)
	return ok && (path == "" || slices.Contains(assertionPaths, path))
}

// numericDate is a NumericDate (RFC 7519 §2), which may have a fraction.
func numericDate(v *float64) (time.Time, bool) {
	const latest = 253402300800 // the year 10000
	if v == nil || !(*v >= 0 && *v < latest) {
		return time.Time{}, false
	}
	seconds, fraction := math.Modf(*v)
	return time.Unix(int64(seconds), int64(fraction*1e9)), true
}

// useAssertion uses up the assertion with that jti: of any number of calls for
// one client and jti, one succeeds (RFC 7523 §3 item 7). It is the last check of
// all, so that an assertion that was refused can be corrected. The jti is
// remembered for as long as the assertion would be accepted.
func (s *Server) useAssertion(ctx context.Context, c *oauthreg.Client, jti string, exp time.Time) error {
	owner := c.ID
	if owner == "" { // a client that is not stored
		owner = c.ClientID
	}
	digest := sha256.Sum256([]byte(owner + "\x00" + jti))
	key := base64.RawURLEncoding.EncodeToString(digest[:])
	err := s.store.SetClientAssertionJWT(ctx, key, exp.Add(assertionLeeway))
	if errors.Is(err, fosite.ErrJTIKnown) {
		return invalidClient().because(err)
	}
	return err
}
