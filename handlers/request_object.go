package handlers

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // case-sensitive, refuses repeated members

	"github.com/oauthreg/oauthreg/oauthreg"
)

const (
	maxRequestObject = 64 << 10 // bytes behind a request_uri
	// maxRequestAge is how far in the future the exp of a request object may be,
	// and how old one without exp.
	maxRequestAge = time.Hour

	maxRequestDocuments = 512
	requestDocumentLife = 10 * time.Minute
)

// requestClaims are the claims of a request object that are not parameters of
// the request (RFC 9101 §4, RFC 7519 §4.1).
type requestClaims struct {
	Issuer    string            `json:"iss"`
	Subject   string            `json:"sub"`
	Audience  assertionAudience `json:"aud"`
	Expires   *float64          `json:"exp"`
	NotBefore *float64          `json:"nbf"`
	IssuedAt  *float64          `json:"iat"`
	ClientID  string            `json:"client_id"`
}

func invalidRequestObject(reason string, args ...any) *Error {
	return oauthError(http.StatusBadRequest, "invalid_request_object", "The request object is not acceptable.").
		because(fmt.Errorf("request object: "+reason, args...))
}

func invalidRequestURI(description string) *Error {
	return oauthError(http.StatusBadRequest, "invalid_request_uri", description)
}

// fetchObject gets a request object by reference, from a registered place.
type fetchObject func(ctx context.Context, uri string) (string, error)

// requestParameters returns the parameters of a request that comes as a request
// object, by value or by reference (RFC 9101, OpenID Connect Core §6). What is
// signed is all that counts: of the parameters beside it only client_id and
// response_type are taken, where the object has none (RFC 9101 §6.3). A form
// without an object is returned as it is.
func (s *Server) requestParameters(ctx context.Context, c *oauthreg.Client, form url.Values, fetch fetchObject) (url.Values, error) {
	object, byReference := form.Get("request"), form.Has("request_uri")
	if object == "" && !byReference {
		return form, nil
	}
	if e := permitRequestObject(c, form); e != nil {
		return nil, e
	}
	if byReference {
		var err error
		if object, err = fetch(ctx, form.Get("request_uri")); err != nil {
			return nil, err
		}
	}
	payload, err := s.verifyRequestObject(ctx, c, object, byReference)
	if err != nil {
		return nil, err
	}
	signed, e := objectParameters(payload)
	if e != nil {
		return nil, e
	}
	for _, name := range []string{"client_id", "response_type"} {
		if !signed.Has(name) && form.Has(name) {
			signed.Set(name, form.Get(name))
		}
	}
	return signed, nil
}

// verifyRequestObject returns the payload of an object that the client signed
// for this server with a registered key. One that stands in the URL, where others
// may have seen it, must say until when it is good; one that the client keeps at
// a registered address it can take away.
func (s *Server) verifyRequestObject(ctx context.Context, c *oauthreg.Client, object string, byReference bool) ([]byte, error) {
	if byReference && s.cfg.UnsignedRequestURIs && c.RequestObjectSigningAlg == "" {
		if payload, ok := unsignedPayload(object); ok {
			return payload, s.checkUnsigned(c, payload)
		}
	}
	jws, err := jose.ParseSignedCompact(object, permittedRequestAlgs(c))
	if err != nil {
		return nil, invalidRequestObject("not a JWS with an allowed algorithm: %w", err)
	}
	header := jws.Signatures[0].Protected
	for _, name := range []jose.HeaderKey{"crit", "b64"} {
		if _, ok := header.ExtraHeaders[name]; ok {
			return nil, invalidRequestObject("%s is not supported", name)
		}
	}
	if typ, ok := header.ExtraHeaders[jose.HeaderType]; ok {
		name, _ := typ.(string)
		name = strings.TrimPrefix(strings.ToLower(name), "application/")
		if name != "jwt" && name != "oauth-authz-req+jwt" { // RFC 9101 §10.8
			return nil, invalidRequestObject("typ is %q", name)
		}
	}
	// The claims come before the keys, so that junk does not make us fetch any.
	var claims requestClaims
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claims); err != nil {
		return nil, invalidRequestObject("claims: %w", err)
	}
	if reason := s.checkRequestClaims(c, &claims, byReference); reason != "" {
		return nil, invalidRequestObject("%s", reason)
	}
	keys, err := s.jwks.find(ctx, c, header.KeyID, header.Algorithm)
	switch {
	case errors.Is(err, errDocument):
		return nil, invalidRequestObject("keys: %w", err)
	case err != nil:
		e := unavailable(fmt.Errorf("keys of client %s: %w", c.ID, err))
		e.RetryAfter = retryJWKS
		return nil, e
	}
	for _, key := range keys {
		if payload, err := jws.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	return nil, invalidRequestObject("no key of the client verifies it")
}

// unsignedPayload is the payload of an object whose algorithm is none (RFC 7519
// §6.1).
func unsignedPayload(object string) ([]byte, bool) {
	parts := strings.Split(object, ".")
	if len(parts) != 3 || parts[2] != "" {
		return nil, false
	}
	raw, err := strictBase64.DecodeString(parts[0])
	var header map[string]json.RawMessage
	if err != nil || json.Unmarshal(raw, &header) != nil || string(header["alg"]) != `"none"` || header["crit"] != nil || header["b64"] != nil {
		return nil, false
	}
	payload, err := strictBase64.DecodeString(parts[1])
	return payload, err == nil
}

func (s *Server) checkUnsigned(c *oauthreg.Client, payload []byte) error {
	var claims requestClaims
	if err := json.Unmarshal(payload, &claims); err != nil {
		return invalidRequestObject("claims: %w", err)
	}
	if reason := s.checkRequestClaims(c, &claims, true); reason != "" {
		return invalidRequestObject("%s", reason)
	}
	return nil
}

// checkRequestClaims says what is wrong, if anything.
func (s *Server) checkRequestClaims(c *oauthreg.Client, claims *requestClaims, byReference bool) string {
	now := s.now()
	exp, hasExp := numericDate(claims.Expires)
	switch {
	case claims.Issuer != "" && claims.Issuer != c.ClientID, claims.ClientID != "" && claims.ClientID != c.ClientID:
		return "iss or client_id is another client"
	case claims.Issuer == "" && (!byReference || claims.ClientID == ""):
		return "iss is missing"
	case claims.Subject != "": // a client assertion has one (RFC 9101 §10.8)
		return "a request object has no sub"
	case len(claims.Audience) == 0 && !byReference:
		return "aud is missing"
	case len(claims.Audience) > 0 && !slices.Contains(claims.Audience, s.cfg.Issuer):
		return "aud is not this server"
	case claims.Expires == nil && !byReference:
		return "exp is missing"
	case claims.Expires != nil && (!hasExp || !now.Before(exp.Add(assertionLeeway))):
		return "expired"
	case hasExp && exp.After(now.Add(maxRequestAge+assertionLeeway)) && !byReference:
		return "exp is too far in the future"
	}
	for name, claim := range map[string]*float64{"nbf": claims.NotBefore, "iat": claims.IssuedAt} {
		if claim == nil {
			continue
		}
		if t, ok := numericDate(claim); !ok || t.After(now.Add(assertionLeeway)) {
			return name + " is in the future or malformed"
		}
	}
	return ""
}

// objectParameters turns the claims of a request object into parameters: strings
// are taken as they are, numbers and objects in their JSON form, and resource may
// be a list (RFC 9101 §4). Claims that are not parameters are left out.
func objectParameters(payload []byte) (url.Values, *Error) {
	var claims map[string]json.RawMessage
	if err := json.Unmarshal(payload, &claims); err != nil || len(claims) > maxParameters {
		return nil, invalidRequestObject("not an object, or too large")
	}
	out := url.Values{}
	for name, raw := range claims {
		switch name {
		case "iss", "aud", "exp", "nbf", "iat", "jti":
			continue
		case "request", "request_uri": // RFC 9101 §4
			return nil, invalidRequestObject("%s within a request object", name)
		case "client_secret", "client_assertion", "client_assertion_type":
			return nil, invalidRequestObject("a credential within a request object")
		}
		var values []string
		text := strings.TrimSpace(string(raw))
		switch {
		case text == "null":
		case text[0] == '"':
			var v string
			if json.Unmarshal(raw, &v) != nil {
				return nil, invalidRequestObject("%s", name)
			}
			values = []string{v}
		case text[0] == '[':
			if !repeatable(name) || json.Unmarshal(raw, &values) != nil {
				return nil, invalidRequestObject("%s is a list", name)
			}
		default:
			values = []string{text}
		}
		for _, v := range values {
			if len(v) > maxParameter {
				return nil, invalidRequestObject("%s is too long", name)
			}
			if v != "" {
				out.Add(name, v)
			}
		}
	}
	return out, nil
}

// requestDocuments remembers what was behind a request_uri whose fragment is the
// digest of it (OpenID Connect Core §6.2), and so cannot have changed.
type requestDocuments struct {
	mu    sync.Mutex
	known map[string]requestDocument
}

type requestDocument struct {
	object string
	until  time.Time
}

// requestDocument gets a request object by reference. uri is a registered one.
func (s *Server) requestDocument(ctx context.Context, uri string) (string, error) {
	d := &s.requests
	now := s.now()
	d.mu.Lock()
	have, ok := d.known[uri]
	d.mu.Unlock()
	if ok && now.Before(have.until) {
		return have.object, nil
	}
	place, fragment, _ := strings.Cut(uri, "#")
	body, _, err := fetchLimited(ctx, s.outbound, place, "application/oauth-authz-req+jwt, application/jwt", maxRequestObject)
	if err != nil {
		return "", invalidRequestURI("The server cannot get what request_uri names.").because(err)
	}
	object := strings.TrimSpace(string(body))
	sum := sha256.Sum256(body)
	if fragment == "" || fragment != base64.RawURLEncoding.EncodeToString(sum[:]) {
		return object, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil {
		d.known = map[string]requestDocument{}
	}
	for old := range d.known {
		if len(d.known) < maxRequestDocuments {
			break
		}
		delete(d.known, old) // any one will do
	}
	d.known[uri] = requestDocument{object, now.Add(requestDocumentLife)}
	return object, nil
}
