package handlers

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// userinfo serves GET and POST /oauth/userinfo (OpenID Connect Core §5.3).
//
// The access token comes in the Authorization header or in the body of a POST
// (RFC 6750 §2.1, §2.2), in one of them and never in the query. It needs the
// scope openid; what resources it is for does not matter. The answer is JSON, or
// a signed JWT for clients that registered an algorithm for it.
func (s *Server) userinfo(w http.ResponseWriter, r *http.Request) error {
	token, err := s.bearerToken(w, r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	t, err := s.findToken(ctx, token, fosite.AccessToken)
	if err != nil {
		return err
	}
	if t == nil {
		return s.refuseBearer(http.StatusUnauthorized, "invalid_token", "The access token is unknown, expired or revoked.")
	}
	if t.session.ForClient || !t.request.GetGrantedScopes().Has("openid") {
		return s.refuseBearer(http.StatusForbidden, "insufficient_scope", "The access token does not have the scope openid.")
	}
	client, err := s.reg.Get(ctx, oauthreg.ByClientID(t.request.GetClient().GetID()))
	switch {
	case errors.Is(err, oauthreg.ErrNotFound):
		return s.refuseBearer(http.StatusUnauthorized, "invalid_token", "The access token is unknown, expired or revoked.")
	case err != nil:
		return err
	}
	info := infoOf(ctx)
	info.isClient(&client)
	info.subject = t.session.Subject
	var asked map[string]*claimRequest
	if t.session.Claims != nil {
		asked = t.session.Claims.Userinfo
	}
	known, err := s.claimsOf(ctx, &client, t.session.Subject, t.request.GetGrantedScopes(), asked, t.session.ClaimsLocales)
	switch {
	case errors.Is(err, oauthreg.ErrNotFound):
		return s.refuseBearer(http.StatusUnauthorized, "invalid_token", "The user no longer exists.")
	case err != nil:
		return err
	}
	claims := map[string]any{}
	maps.Copy(claims, known)
	claims["sub"] = t.session.clientSubject()

	alg := client.UserinfoSignedResponseAlg
	if alg == "" {
		writeJSON(w, http.StatusOK, claims)
		return nil
	}
	claims["iss"], claims["aud"] = s.cfg.Issuer, client.ClientID // §5.3.2
	signed, err := s.keys.Sign(ctx, alg, "", claims)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/jwt")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(signed)) // the client went away; nothing to tell it
	return nil
}

// bearerToken finds the one access token of a request (RFC 6750 §2).
func (s *Server) bearerToken(w http.ResponseWriter, r *http.Request) (string, error) {
	refuse := func(description string) (string, error) {
		return "", s.refuseBearer(http.StatusBadRequest, "invalid_request", description)
	}
	query, err := queryParameters(r)
	if err != nil {
		return "", err
	}
	if query.Has("access_token") {
		return refuse("An access token does not belong into the query.")
	}
	var form url.Values
	if r.Method == http.MethodPost && r.ContentLength != 0 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		r.URL.RawQuery = "" // it carries nothing that counts
		if form, err = formBody(w, r); err != nil {
			return "", err
		}
	}
	headers := r.Header.Values("Authorization")
	header, inHeader := "", false
	if len(headers) == 1 {
		scheme, value, _ := strings.Cut(headers[0], " ")
		if strings.EqualFold(scheme, "Bearer") {
			header, inHeader = strings.TrimLeft(value, " "), true
		}
	}
	switch {
	case len(headers) > 1:
		return refuse("There is more than one Authorization header.")
	case inHeader && form.Has("access_token"):
		return refuse("The access token stands in the header and in the body.")
	case inHeader:
		return header, nil
	case form.Has("access_token"):
		return form.Get("access_token"), nil
	}
	// Without any credential the challenge has no error (RFC 6750 §3.1).
	e := oauthError(http.StatusUnauthorized, "invalid_token", "The request has no access token.")
	e.challenge = `Bearer realm="` + s.cfg.Issuer + `", scope="openid"`
	return "", e
}

// refuseBearer is an error of RFC 6750 §3.1 with its challenge.
func (s *Server) refuseBearer(status int, code, description string) *Error {
	e := oauthError(status, code, description)
	e.challenge = `Bearer realm="` + s.cfg.Issuer + `", error="` + code + `", error_description="` + description + `", scope="openid"`
	return e
}
