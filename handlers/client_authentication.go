package handlers

import (
	"context"
	"encoding/base64"
	"errors"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// assertionType is client_assertion_type of RFC 7523 §2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// credentials are what a request brings to prove which client it is.
type credentials struct {
	clientID  string
	secret    string
	assertion string
	method    oauthreg.AuthMethod // how they were presented
}

// readCredentials finds the one way in which the request authenticates
// (RFC 6749 §2.3: a client uses no more than one). A bearer token in the
// Authorization header is not client authentication and is left alone.
func readCredentials(r *http.Request, form url.Values) (*credentials, *Error) {
	c := &credentials{clientID: form.Get("client_id"), method: oauthreg.AuthNone}
	headers := r.Header.Values("Authorization")
	if len(headers) > 1 {
		return nil, invalidRequest("There is more than one Authorization header.")
	}
	var basic string
	ways := 0
	if len(headers) == 1 {
		scheme, value, _ := strings.Cut(headers[0], " ")
		if strings.EqualFold(scheme, "Basic") {
			basic, c.method = value, oauthreg.AuthClientSecretBasic
			ways++
		}
	}
	if form.Has("client_secret") {
		c.secret, c.method = form.Get("client_secret"), oauthreg.AuthClientSecretPost
		ways++
	}
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		c.assertion, c.method = form.Get("client_assertion"), oauthreg.AuthPrivateKeyJWT
		ways++
	}
	if ways > 1 {
		return nil, invalidRequest("The client authenticates in more than one way.")
	}
	switch c.method {
	case oauthreg.AuthClientSecretBasic:
		id, secret, ok := decodeBasic(basic)
		if !ok {
			return nil, invalidClient()
		}
		if c.clientID != "" && c.clientID != id {
			return nil, invalidRequest("The client_id parameter is not the one of the Authorization header.")
		}
		c.clientID, c.secret = id, secret
	case oauthreg.AuthPrivateKeyJWT:
		id, ok := assertionIssuer(c.assertion)
		if !ok || form.Get("client_assertion_type") != assertionType || c.clientID != "" && c.clientID != id {
			return nil, invalidClient()
		}
		c.clientID = id
	}
	return c, nil
}

// decodeBasic reads Basic credentials, which are form-encoded inside
// (RFC 6749 §2.3.1). A value that is not is refused.
func decodeBasic(value string) (id, secret string, ok bool) {
	raw, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return "", "", false
	}
	u, p, found := strings.Cut(string(raw), ":")
	if !found {
		return "", "", false
	}
	if id, err = url.QueryUnescape(u); err != nil {
		return "", "", false
	}
	if secret, err = url.QueryUnescape(p); err != nil {
		return "", "", false
	}
	return id, secret, id != ""
}

// clientEndpoint serves an endpoint that clients call directly. It is given the
// parameters and the client that authenticated: only [Server.byClient] calls it.
type clientEndpoint func(w http.ResponseWriter, r *http.Request, form url.Values, caller *oauthreg.Client) error

// noFiles says that a request was looked at for files.
var noFiles = new(multipart.Form)

// byClient puts the first two steps of the pipeline, limits and then who is
// calling, before an endpoint, which has no other way to its parameters.
func (s *Server) byClient(e clientEndpoint) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		form, err := formBody(w, r)
		if err != nil {
			return err
		}
		caller, err := s.authenticateClient(r, form)
		if err != nil {
			s.emitUnproven(r.Context(), err, "")
			return err
		}
		infoOf(r.Context()).isClient(caller)
		r.PostForm, r.Form, r.MultipartForm = form, form, noFiles // what the engine reads
		return e(w, r, form, caller)
	}
}

// authenticateClient finds out which client calls, by exactly the method it
// registered. Unknown, suspended, wrong method and wrong secret get the same
// answer after comparable work; a registry that cannot answer is 5xx, never an
// unknown client. The method is the last word on nothing else: what the client
// may do is permission's business.
func (s *Server) authenticateClient(r *http.Request, form url.Values) (*oauthreg.Client, error) {
	creds, cerr := readCredentials(r, form)
	if cerr != nil {
		return nil, s.challengeBasic(cerr)
	}
	if creds.clientID == "" {
		return nil, s.challengeBasic(invalidClient())
	}
	ctx := r.Context()
	infoOf(ctx).clientID = creds.clientID
	limitKey := creds.clientID + " " + s.clientAddress(r)
	if after, ok := s.allow(ctx, LimitClientAuth, limitKey); !ok {
		return nil, slowDown(after)
	}
	rec, err := s.clientRecord(ctx, creds.clientID) // nil if it is unknown
	if err != nil && !errors.Is(err, oauthreg.ErrNotFound) {
		return nil, err
	}
	proven, use, err := s.prove(ctx, rec, creds)
	if err != nil {
		return nil, err
	}
	if !proven || rec == nil || rec.Client.Suspended() || !rec.Client.AllowsAuthMethod(creds.method) {
		s.limits.Failed(ctx, LimitClientAuth, limitKey)
		return nil, s.challengeBasic(invalidClient())
	}
	if err := use(); err != nil { // everything else holds
		return nil, s.challengeBasic(err)
	}
	return &rec.Client, nil
}

// prove does the work of comparing, for an unknown client, nil, as well. use consumes
// what may be used once only.
func (s *Server) prove(ctx context.Context, rec *oauthreg.Record, creds *credentials) (proven bool, use func() error, err error) {
	use = func() error { return nil }
	switch creds.method {
	case oauthreg.AuthNone:
		return rec != nil && rec.Client.IsPublic(), use, nil
	case oauthreg.AuthPrivateKeyJWT:
		if rec == nil {
			return false, use, nil
		}
		jti, exp, err := s.verifyClientAssertion(ctx, &rec.Client, creds.assertion)
		var refused *Error
		if errors.As(err, &refused) && refused.Status == http.StatusUnauthorized {
			return false, use, nil
		}
		return err == nil, func() error { return s.useAssertion(ctx, &rec.Client, jti, exp) }, err
	default:
		return s.reg.CheckSecret(rec, creds.secret), use, nil
	}
}

// challengeBasic adds the challenge that a 401 must carry (RFC 6749 §5.2,
// RFC 9110 §15.5.2).
func (s *Server) challengeBasic(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusUnauthorized {
		e.challenge = `Basic realm="` + s.cfg.Issuer + `", charset="UTF-8"`
	}
	return err
}
