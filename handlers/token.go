package handlers

import (
	"net/http"
	"net/url"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// token serves POST /oauth/token (RFC 6749 §3.2): authorization_code,
// refresh_token and client_credentials.
func (s *Server) token(w http.ResponseWriter, r *http.Request) error {
	form, client, err := s.clientRequest(w, r)
	if err != nil {
		return err
	}
	if err := s.permitGrantType(client, form.Get("grant_type")); err != nil {
		return err
	}
	ctx := withCaller(r.Context(), client)
	request, err := s.engine.NewAccessRequest(ctx, r, NewSession())
	if err != nil {
		return err
	}
	response, err := s.engine.NewAccessResponse(ctx, request)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, response.ToMap())
	return nil
}

// clientRequest is steps one and two of the pipeline for the endpoints that
// clients call directly: limits, then who is calling.
func (s *Server) clientRequest(w http.ResponseWriter, r *http.Request) (url.Values, *oauthreg.Client, error) {
	form, err := formBody(w, r)
	if err != nil {
		return nil, nil, err
	}
	client, err := s.authenticateClient(r, form)
	if err != nil {
		return nil, nil, err
	}
	r.PostForm, r.Form = form, form // what the engine reads
	return form, client, nil
}
