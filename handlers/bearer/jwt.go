package bearer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// algorithms are the signatures that are verified: asymmetric ones only.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// JWTConfig configures [NewJWT].
type JWTConfig struct {
	// Issuer is the issuer identifier of the authorization server, an https URL
	// (http on localhost, 127.0.0.1 and ::1), exactly as it stands in its
	// tokens. Required.
	Issuer string
	// Audience is what this resource server is called; a token must have one of
	// them in aud, compared as by [Token.HasAudience]. Required.
	Audience []string
	// JWKSURI is where the issuer's keys are. Empty means that the issuer's
	// metadata tells (RFC 8414, or else OpenID Connect Discovery).
	JWKSURI string
	// Algorithms are the signature algorithms accepted; nil means RS256, RS384,
	// RS512, PS256, PS384, PS512, ES256, ES384, ES512 and EdDSA. Others cannot
	// be named.
	Algorithms []string
	// Client fetches metadata and keys; nil means one with a timeout of 10
	// seconds that follows no redirects.
	Client *http.Client
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// NewJWT returns a [Verifier] of JWT access tokens (RFC 9068 §4), which it
// verifies by itself: signature, typ at+jwt, iss, aud, exp, nbf and iat, with 30
// seconds of leeway. A token that was revoked stays valid until it expires.
// Tokens bound to a key (cnf) are refused, because the proof is not checked.
//
// The issuer's keys are fetched when the first token comes, again every 15
// minutes, and when a token names an unknown key, at most every 30 seconds. While
// the issuer cannot be reached, the keys last seen are used for up to 24 hours.
//
// NewJWT does no I/O; it returns an error that names everything wrong with cfg.
func NewJWT(cfg JWTConfig) (Verifier, error) {
	v := &jwtVerifier{cfg: cfg, algorithms: algorithms}
	var errs []error
	if !isSecureURL(cfg.Issuer) {
		errs = append(errs, fmt.Errorf("bearer: JWTConfig.Issuer: %q is not an https URL without query and fragment", cfg.Issuer))
	}
	if len(cfg.Audience) == 0 || slices.Contains(cfg.Audience, "") {
		errs = append(errs, errors.New("bearer: JWTConfig.Audience is empty or names nothing"))
	}
	if cfg.JWKSURI != "" && !isSecureURL(cfg.JWKSURI) {
		errs = append(errs, fmt.Errorf("bearer: JWTConfig.JWKSURI: %q is not an https URL", cfg.JWKSURI))
	}
	if cfg.Algorithms != nil {
		v.algorithms = make([]jose.SignatureAlgorithm, len(cfg.Algorithms))
		for i, alg := range cfg.Algorithms {
			v.algorithms[i] = jose.SignatureAlgorithm(alg)
			if !slices.Contains(algorithms, v.algorithms[i]) {
				errs = append(errs, fmt.Errorf("bearer: JWTConfig.Algorithms: %q is not supported", alg))
			}
		}
		if len(cfg.Algorithms) == 0 {
			errs = append(errs, errors.New("bearer: JWTConfig.Algorithms is empty, nothing would be accepted"))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	v.cfg.Audience = slices.Clone(cfg.Audience)
	if v.cfg.Now == nil {
		v.cfg.Now = time.Now
	}
	v.keys = newIssuerKeys(cfg.Issuer, cfg.JWKSURI, orDefault(cfg.Client), v.cfg.Now)
	return v, nil
}

type jwtVerifier struct {
	cfg        JWTConfig
	algorithms []jose.SignatureAlgorithm
	keys       *issuerKeys
}

// Verify implements [Verifier].
func (v *jwtVerifier) Verify(ctx context.Context, token string) (*Token, error) {
	if len(token) > maxToken {
		return nil, fmt.Errorf("%w: too long", ErrInvalidToken)
	}
	jws, err := jose.ParseSignedCompact(token, v.algorithms)
	if err != nil {
		return nil, fmt.Errorf("%w: not a signed JWT with an allowed algorithm", ErrInvalidToken)
	}
	header := jws.Signatures[0].Protected
	if !isAccessTokenHeader(header) {
		return nil, fmt.Errorf("%w: not the header of an access token", ErrInvalidToken)
	}
	// The claims come before the keys, so that junk does not make us fetch any.
	claims, err := decodeClaims(jws.UnsafePayloadWithoutVerification())
	if err != nil {
		return nil, fmt.Errorf("%w: malformed claims", ErrInvalidToken)
	}
	t, err := tokenOf(claims, v.cfg.Now())
	switch {
	case err != nil:
		return nil, err
	case t.Issuer != v.cfg.Issuer:
		return nil, fmt.Errorf("%w: another issuer", ErrInvalidToken)
	case !slices.ContainsFunc(v.cfg.Audience, t.HasAudience):
		return nil, fmt.Errorf("%w: for another audience", ErrInvalidToken)
	case t.ExpiresAt.IsZero():
		return nil, fmt.Errorf("%w: without exp", ErrInvalidToken)
	}
	keys, err := v.keys.find(ctx, header.KeyID)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if _, err := jws.Verify(key.Key); err == nil {
			return t, nil
		}
	}
	return nil, fmt.Errorf("%w: no key verifies the signature", ErrInvalidToken)
}

// isAccessTokenHeader checks typ (RFC 9068 §2.1), which keeps id_tokens and
// other JWTs of the issuer out, and refuses critical extensions (RFC 7515
// §4.1.11). Keys in the header are never used.
func isAccessTokenHeader(h jose.Header) bool {
	typ, _ := h.ExtraHeaders[jose.HeaderType].(string)
	_, crit := h.ExtraHeaders["crit"]
	_, b64 := h.ExtraHeaders["b64"]
	return strings.TrimPrefix(strings.ToLower(typ), "application/") == "at+jwt" && !crit && !b64
}

// isSecureURL reports whether s is an https URL without query, fragment and user,
// or an http one of this machine.
func isSecureURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || strings.ContainsAny(s, "?#") {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname())
}

func isLoopback(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}
