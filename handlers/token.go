package handlers

import (
	"net/http"
	"net/url"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// token serves POST /oauth/token (RFC 6749 §3.2): authorization_code,
// refresh_token and client_credentials.
func (s *Server) token(w http.ResponseWriter, r *http.Request, form url.Values, client *oauthreg.Client) error {
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
