package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/go-jose/go-jose/v4"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// SoftwareStatementIssuer is an issuer whose software statements count (RFC
// 7591 §2.3).
type SoftwareStatementIssuer struct {
	// Issuer is the claim iss, compared exactly.
	Issuer string
	// JWKS is the issuer's public keys as a JWK set (RFC 7517 §5); JWKSURI is
	// where they are fetched, by [Config.Outbound], when they are needed.
	// Exactly one is set.
	JWKS    []byte
	JWKSURI string
	// Algs are the JWS algorithms the issuer may sign with; empty means every
	// asymmetric one.
	Algs []string
}

// problems says what is wrong with i, each as what stands behind its name.
func (i *SoftwareStatementIssuer) problems() []string {
	var out []string
	if i.Issuer == "" {
		out = append(out, ".Issuer is empty")
	}
	switch {
	case (len(i.JWKS) == 0) == (i.JWKSURI == ""):
		out = append(out, " must have either JWKS or JWKSURI")
	case len(i.JWKS) > 0:
		if keys, err := parseJWKS(i.JWKS); err != nil || len(keys) == 0 {
			out = append(out, ".JWKS has no public key that can be used")
		}
	default:
		if u, err := url.Parse(i.JWKSURI); err != nil || u.Host == "" || u.Scheme != "https" && !isLoopbackHost(u.Hostname()) {
			out = append(out, ".JWKSURI must be an https URL")
		}
	}
	for _, alg := range i.Algs {
		if !slices.Contains(assertionAlgs(), alg) {
			out = append(out, fmt.Sprintf(".Algs: %q is not an asymmetric JWS algorithm", alg))
		}
	}
	return out
}

// statementClaims are the claims of RFC 7519 §4.1 that a software statement may
// have. All others are metadata.
type statementClaims struct {
	Issuer    string            `json:"iss"`
	Audience  assertionAudience `json:"aud"`
	Expires   *float64          `json:"exp"`
	NotBefore *float64          `json:"nbf"`
	IssuedAt  *float64          `json:"iat"`
}

// notMetadata are claims that say something about the statement itself.
var notMetadata = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "software_statement"}

// The errors of RFC 7591 §3.2.2.

func invalidStatement(reason string, args ...any) *Error {
	e := oauthError(http.StatusBadRequest, "invalid_software_statement", "The software statement is not valid.")
	return e.because(fmt.Errorf("software statement: "+reason, args...))
}

func unapprovedStatement() *Error {
	return oauthError(http.StatusBadRequest, "unapproved_software_statement", "The software statement's issuer is not one that this server trusts.")
}

// softwareStatement verifies the software statement of m, if there is one, and
// puts its claims in the place of the client's own members (RFC 7591 §2.3). It
// returns the claims, and the statement as it was sent.
func (s *Server) softwareStatement(ctx context.Context, m *metadataReader) (claims map[string]json.RawMessage, sent string, err error) {
	if !m.has("software_statement") {
		if s.cfg.Registration.RequireSoftwareStatement {
			return nil, "", oauthError(http.StatusBadRequest, "invalid_software_statement", "A software statement is required.")
		}
		return nil, "", nil
	}
	sent, ok := jsonString(m.members["software_statement"])
	if !ok {
		return nil, "", invalidStatement("not a string")
	}
	if claims, err = s.verifyStatement(ctx, sent); err != nil {
		return nil, "", err
	}
	for name, value := range claims {
		if !slices.Contains(notMetadata, name) {
			m.members[name] = value
		}
	}
	return claims, sent, nil
}

func (s *Server) verifyStatement(ctx context.Context, statement string) (map[string]json.RawMessage, error) {
	jws, err := jose.ParseSignedCompact(statement, assertionAlgorithms)
	if err != nil {
		return nil, invalidStatement("not a signed JWT with an allowed algorithm")
	}
	header := jws.Signatures[0].Protected
	for _, name := range []jose.HeaderKey{"crit", "b64"} {
		if _, ok := header.ExtraHeaders[name]; ok {
			return nil, invalidStatement("%s is not supported", name)
		}
	}
	payload := jws.UnsafePayloadWithoutVerification()
	claims, err := readObject(payload)
	if err != nil {
		return nil, invalidStatement("claims: %w", err)
	}
	var known statementClaims
	if json.Unmarshal(payload, &known) != nil {
		return nil, invalidStatement("the claims are malformed")
	}
	if raw, ok := claims["iss"]; !ok || isNull(raw) {
		return nil, invalidStatement("iss is missing")
	}
	issuer := s.statementIssuer(claims)
	if issuer == nil {
		return nil, unapprovedStatement()
	}
	if len(issuer.Algs) > 0 && !slices.Contains(issuer.Algs, header.Algorithm) {
		return nil, invalidStatement("algorithm %s is not the issuer's", header.Algorithm)
	}
	if reason := s.checkStatement(&known); reason != "" {
		return nil, invalidStatement("%s", reason)
	}

	signer := &oauthreg.Client{JWKS: issuer.JWKS, JWKSURI: issuer.JWKSURI}
	keys, err := s.jwks.find(ctx, signer, header.KeyID, header.Algorithm)
	if err != nil {
		// The issuer is the operator's choice: its keys are not the client's fault.
		return nil, unavailable(fmt.Errorf("keys of software statement issuer %s: %w", issuer.Issuer, err))
	}
	for _, key := range keys {
		if _, err := jws.Verify(key.Key); err == nil {
			return claims, nil
		}
	}
	return nil, invalidStatement("the signature does not verify")
}

// statementIssuer is the trusted issuer that claims to have made the statement.
func (s *Server) statementIssuer(claims map[string]json.RawMessage) *SoftwareStatementIssuer {
	iss, _ := jsonString(claims["iss"])
	trusted := s.cfg.Registration.SoftwareStatements
	for i := range trusted {
		if trusted[i].Issuer == iss {
			return &trusted[i]
		}
	}
	return nil
}

// checkStatement says what is wrong with the claims about time and audience,
// all of which may be missing.
func (s *Server) checkStatement(c *statementClaims) string {
	now := s.now()
	if c.Expires != nil {
		if exp, ok := numericDate(c.Expires); !ok || !now.Before(exp.Add(assertionLeeway)) {
			return "expired"
		}
	}
	for _, claim := range []*float64{c.NotBefore, c.IssuedAt} {
		if claim == nil {
			continue
		}
		if t, ok := numericDate(claim); !ok || t.After(now.Add(assertionLeeway)) {
			return "nbf or iat is in the future or malformed"
		}
	}
	mine := func(aud string) bool { return aud == s.cfg.Issuer || aud == s.url("/oauth/register") }
	if len(c.Audience) > 0 && !slices.ContainsFunc(c.Audience, mine) {
		return "aud is not this server"
	}
	return ""
}

// asInvalid is errors.As for the registry's verdict about a client.
func asInvalid(err error, target **oauthreg.InvalidError) bool { return errors.As(err, target) }
